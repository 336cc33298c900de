"""LlamaIndex's event types, payload keys and records."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Final

from spanloom.events.clock import monotonic_ns
from spanloom.events.ids import new_event_id

__all__ = [
    "BASE_TRACE_EVENT",
    "LEAF_EVENTS",
    "TIMESTAMP_FORMAT",
    "CBEvent",
    "CBEventType",
    "EventPayload",
    "EventStats",
    "event_type_text",
    "hex_id",
]

TIMESTAMP_FORMAT: Final = "%m/%d/%Y, %H:%M:%S.%f"
"""How `CBEvent.time` is written."""
BASE_TRACE_EVENT: Final = "root"
"""The parent, in a trace map, of the events that are under no other."""


class CBEventType(str, Enum):  # noqa: UP042 -- str() of a StrEnum is its value; of theirs, the name with its class
    """The type of an event.

    Members are equal to their value, and so to the member of that value in the real package.
    """

    CHUNKING = "chunking"
    """A text is split."""
    NODE_PARSING = "node_parsing"
    """Documents are made into nodes."""
    EMBEDDING = "embedding"
    """Texts are embedded."""
    LLM = "llm"
    """A model is called."""
    QUERY = "query"
    """A query, from the question to its answer."""
    RETRIEVE = "retrieve"
    """Nodes are looked for."""
    SYNTHESIZE = "synthesize"
    """An answer is put together."""
    TREE = "tree"
    """A level of a tree of summaries is made."""
    SUB_QUESTION = "sub_question"
    """A question that is part of another."""
    TEMPLATING = "templating"
    """A prompt is filled in."""
    FUNCTION_CALL = "function_call"
    """A tool is called."""
    RERANKING = "reranking"
    """Nodes are put into a better order."""
    EXCEPTION = "exception"
    """A trace was ended by an exception that no event has reported."""
    AGENT_STEP = "agent_step"
    """One step of an agent."""
    ASYNC_JOB = "async_job"
    """One job of a runner, such as `run_jobs`. The real package documents it, and does not have it."""


class EventPayload(str, Enum):  # noqa: UP042 -- as above
    """Keys of payloads; equal to their value."""

    DOCUMENTS = "documents"
    CHUNKS = "chunks"
    NODES = "nodes"
    PROMPT = "formatted_prompt"
    MESSAGES = "messages"
    COMPLETION = "completion"
    RESPONSE = "response"
    QUERY_STR = "query_str"
    SUB_QUESTION = "sub_question"
    EMBEDDINGS = "embeddings"
    TOP_K = "top_k"
    ADDITIONAL_KWARGS = "additional_kwargs"
    SERIALIZED = "serialized"
    FUNCTION_CALL = "function_call"
    FUNCTION_OUTPUT = "function_call_response"
    TOOL = "tool"
    MODEL_NAME = "model_name"
    TEMPLATE = "template"
    TEMPLATE_VARS = "template_vars"
    SYSTEM_PROMPT = "system_prompt"
    QUERY_WRAPPER_PROMPT = "query_wrapper_prompt"
    EXCEPTION = "exception"


LEAF_EVENTS: Final = (CBEventType.CHUNKING, CBEventType.LLM, CBEventType.EMBEDDING)
"""Events that are never parents: in a trace map, events inside them are their siblings."""


# Any: payloads hold whatever LlamaIndex's components and their users put into them.


@dataclass
class CBEvent:
    """The start or the end of an event, as `LlamaDebugHandler` keeps it.

    Attributes:
        event_type: A `CBEventType`, or whatever was given as one.
        payload: Its payload.
        time: Local time in `TIMESTAMP_FORMAT`; by default now.
        id_: The event's id, the same for start and end; by default a fresh one.
        time_ns: Time on the monotonic clock, from which durations are computed.
    """

    event_type: CBEventType
    payload: dict[str, Any] | None = None
    time: str = ""
    id_: str = ""
    time_ns: int = field(default_factory=monotonic_ns, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Fill in the time and the id."""
        if not self.time:
            self.time = datetime.now().strftime(TIMESTAMP_FORMAT)  # noqa: DTZ005 -- their format has no zone
        if not self.id_:
            self.id_ = hex_id(new_event_id())


@dataclass
class EventStats:
    """How long events took.

    Attributes:
        total_secs: Sum of their durations.
        average_secs: Mean of their durations; 0 if there are none.
        total_count: How many have ended.
    """

    total_secs: float
    average_secs: float
    total_count: int


def hex_id(event_id: int) -> str:
    """Return an event's id as text, as LlamaIndex does: the 16 hexadecimal digits of its span."""
    return f"{event_id:016x}"


def event_type_text(event_type: object) -> str:
    """Return the plain text of an event type: the value of a member of either enum, or the text itself."""
    value = getattr(event_type, "value", event_type)
    return value if type(value) is str else str(value)
