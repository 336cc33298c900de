"""LlamaIndex's asynchronous utilities and callbacks: its names and promises, spanloom's engine and events."""

from spanloom.compat._llama_index.adapters import LlamaIndexHandler, SpanloomHandler
from spanloom.compat._llama_index.base_handler import BaseCallbackHandler, PythonicallyPrintingBaseHandler
from spanloom.compat._llama_index.debug import LlamaDebugHandler
from spanloom.compat._llama_index.dispatching import DispatcherHandler
from spanloom.compat._llama_index.event_context import EventContext
from spanloom.compat._llama_index.manager import CallbackManager
from spanloom.compat._llama_index.runners import (
    DEFAULT_NUM_WORKERS,
    asyncio_module,
    asyncio_run,
    batch_gather,
    chunks,
    get_asyncio_module,
    run_async_tasks,
    run_jobs,
)
from spanloom.compat._llama_index.schema import (
    BASE_TRACE_EVENT,
    LEAF_EVENTS,
    TIMESTAMP_FORMAT,
    CBEvent,
    CBEventType,
    EventPayload,
    EventStats,
)
from spanloom.compat._llama_index.tokens import (
    TokenCountingEvent,
    TokenCountingHandler,
    get_tokens_from_response,
)
from spanloom.compat._llama_index.trace_method import trace_method

__all__ = [
    "BASE_TRACE_EVENT",
    "DEFAULT_NUM_WORKERS",
    "LEAF_EVENTS",
    "TIMESTAMP_FORMAT",
    "BaseCallbackHandler",
    "CBEvent",
    "CBEventType",
    "CallbackManager",
    "DispatcherHandler",
    "EventContext",
    "EventPayload",
    "EventStats",
    "LlamaDebugHandler",
    "LlamaIndexHandler",
    "PythonicallyPrintingBaseHandler",
    "SpanloomHandler",
    "TokenCountingEvent",
    "TokenCountingHandler",
    "asyncio_module",
    "asyncio_run",
    "batch_gather",
    "chunks",
    "get_asyncio_module",
    "get_tokens_from_response",
    "run_async_tasks",
    "run_jobs",
    "trace_method",
]
