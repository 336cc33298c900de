"""Protocols of an agent, for annotations; nothing is checked at run time."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

__all__ = ["AgentLike", "ResultLike", "UsageLike"]

T_co = TypeVar("T_co", covariant=True)

# Any: options and messages are the agent's.


class UsageLike(Protocol):
    """The tokens of a call."""

    @property
    def request_tokens(self) -> int:
        """Tokens of the prompt."""
        ...

    @property
    def response_tokens(self) -> int:
        """Tokens of the answer."""
        ...

    @property
    def total_tokens(self) -> int:
        """Sum of both."""
        ...


class ResultLike(Protocol[T_co]):
    """The result of an agent's run."""

    @property
    def output(self) -> T_co:
        """The answer."""
        ...

    def usage(self) -> UsageLike | None:
        """Return the tokens that the run used."""
        ...

    def all_messages(self) -> list[Any]:
        """Return the conversation."""
        ...


class AgentLike(Protocol[T_co]):
    """An agent, such as `MockAgent` or pydantic-ai's ``Agent``."""

    async def run(self, prompt: str, **kwargs: Any) -> ResultLike[T_co]:
        """Return the answer to `prompt`."""
        ...
