"""Payload keys for calls of models and tools.

Within spanloom only the targets of `instrument` write them, and never contents; user code may write them, too. Handlers
translate those that are there into the names of their backend.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "AGENT",
    "ARGUMENTS",
    "CACHED_INPUT_TOKENS",
    "CACHE_WRITE_TOKENS",
    "COMPLETION",
    "CONTENT",
    "CONVERSATION_ID",
    "COST_USD",
    "DOCUMENTS",
    "FINISH_REASON",
    "INPUT",
    "INPUT_TOKENS",
    "MAX_TOKENS",
    "MESSAGES",
    "MODEL",
    "OPERATION",
    "OUTPUT",
    "OUTPUT_TOKENS",
    "PROMPT",
    "PROVIDER",
    "QUERY",
    "REASONING_TOKENS",
    "REQUEST_ID",
    "RESPONSE_MODEL",
    "RESULT",
    "SEED",
    "SERVER_ADDRESS",
    "SERVER_PORT",
    "STREAM",
    "SYSTEM",
    "TEMPERATURE",
    "TIME_TO_FIRST_CHUNK_S",
    "TOOL",
    "TOOL_CALL_ID",
    "TOP_K",
    "TOP_P",
    "TOTAL_TOKENS",
    "USER_ID",
]

PROVIDER: Final = "provider"
"""Who serves the model: ``openai``, ``anthropic``, ``aws.bedrock``."""
OPERATION: Final = "operation"
"""What is asked of it: ``chat``, ``embeddings``. By default, what the type of the event says."""
MODEL: Final = "model"
"""The model that was asked for."""
RESPONSE_MODEL: Final = "response_model"
"""The model that answered."""
REQUEST_ID: Final = "request_id"
"""The provider's id of this request or of its answer, to quote to its support."""
FINISH_REASON: Final = "finish_reason"
"""Why it stopped: a text, or a list of them, one for each answer."""
CONVERSATION_ID: Final = "conversation_id"
"""The session or thread that this belongs to."""
USER_ID: Final = "user_id"
"""The user on whose behalf it is done."""
AGENT: Final = "agent"
"""Name of the agent that acts."""
TOOL: Final = "tool"
"""Name of the tool that is called."""
TOOL_CALL_ID: Final = "tool_call_id"
"""The model's id of this call."""
SERVER_ADDRESS: Final = "server_address"
"""Host name of the endpoint as sent over the wire: an international one as A-labels."""
SERVER_PORT: Final = "server_port"
"""Its port."""

INPUT_TOKENS: Final = "input_tokens"
"""Tokens of the input, cached ones included."""
CACHED_INPUT_TOKENS: Final = "cached_input_tokens"
"""Those of them that the provider's cache served."""
CACHE_WRITE_TOKENS: Final = "cache_write_tokens"
"""Those of them that were written to that cache."""
OUTPUT_TOKENS: Final = "output_tokens"
"""Tokens of the output, reasoning included."""
REASONING_TOKENS: Final = "reasoning_tokens"
"""Those of them that went into reasoning."""
TOTAL_TOKENS: Final = "total_tokens"
"""Input and output together."""
COST_USD: Final = "cost_usd"
"""What it cost, in US dollars."""
TIME_TO_FIRST_CHUNK_S: Final = "time_to_first_chunk_s"
"""Seconds from the request to the first piece of a streamed answer."""

TEMPERATURE: Final = "temperature"
"""Setting of the request."""
TOP_P: Final = "top_p"
"""Setting of the request."""
TOP_K: Final = "top_k"
"""Setting of the request; of a retrieval: how many documents were asked for."""
MAX_TOKENS: Final = "max_tokens"
"""Setting of the request: most tokens of the output."""
SEED: Final = "seed"
"""Setting of the request."""
STREAM: Final = "stream"
"""Whether the answer was streamed."""

# Contents: what people have written and models have answered.
SYSTEM: Final = "system"
"""Content: the instructions, a text."""
MESSAGES: Final = "messages"
"""Content: the chat so far, a list of dicts with ``role`` and ``content``, or a text."""
PROMPT: Final = "prompt"
"""Content: the input as one text."""
INPUT: Final = "input"
"""Content: the input of anything else: the texts to embed, a tool's input."""
COMPLETION: Final = "completion"
"""Content: the answer as one text."""
OUTPUT: Final = "output"
"""Content: the answer, a message, a list of them, or a text."""
ARGUMENTS: Final = "arguments"
"""Content: arguments of a tool's call."""
RESULT: Final = "result"
"""Content: what the tool returned."""
QUERY: Final = "query"
"""Content: what was searched for."""
DOCUMENTS: Final = "documents"
"""Content: what was found."""

CONTENT: Final = frozenset(
    {SYSTEM, MESSAGES, PROMPT, INPUT, COMPLETION, OUTPUT, ARGUMENTS, RESULT, QUERY, DOCUMENTS}
)
"""The keys whose values are contents: no handler shows them unless it is told to."""
