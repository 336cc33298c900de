"""Secrets taken out of what is written down: logs, spans, records.

Every handler redacts what it writes by the one redactor of the process, which `redact_text`, `redact_data` and
`redact_named` ask, and which `add_key`, `add_pattern` and `keep_key` teach. Knows nobody but the standard library.
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
