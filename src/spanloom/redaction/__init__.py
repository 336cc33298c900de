"""Removal of secrets from whatever is written: logs, spans, records.

All handlers share one redactor per process. `redact_text`, `redact_data` and `redact_named` apply it; `add_key`,
`add_pattern` and `keep_key` configure it. Imports nothing but the standard library.
"""

from spanloom.redaction.redactor import Redactor
from spanloom.redaction.shared import (
    add_key,
    add_pattern,
    keep_key,
    redact_data,
    redact_named,
    redact_text,
)

__all__ = ["Redactor", "add_key", "add_pattern", "keep_key", "redact_data", "redact_named", "redact_text"]
