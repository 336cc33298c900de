"""Patching the clients of openai and anthropic, which come from the same generator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from spanloom.callbacks.ambient import get_callback_manager
from spanloom.callbacks.decorate import hide_frame
from spanloom.events import model_keys
from spanloom.events.types import EventType
from spanloom.instrument.functions import Args, KwArgs
from spanloom.instrument.harmless import guarded
from spanloom.instrument.model_call import ModelCall

if TYPE_CHECKING:
    from spanloom.instrument.patches import Patches

__all__ = ["Api", "patch_clients"]

# Any: clients, options and answers are the libraries', none of which is imported here.

_SETTINGS: Final[Mapping[str, str]] = {
    "temperature": model_keys.TEMPERATURE,
    "top_p": model_keys.TOP_P,
    "top_k": model_keys.TOP_K,
    "seed": model_keys.SEED,
    "max_tokens": model_keys.MAX_TOKENS,
    "max_completion_tokens": model_keys.MAX_TOKENS,
    "max_output_tokens": model_keys.MAX_TOKENS,
}


class Api(NamedTuple):
    """What differs from one of the libraries to the next.

    Attributes:
        provider: The default provider of the model.
        providers: The provider, by name of the client's class, where it differs.
        methods: ``(type of the event, operation)`` by path of the request below ``/v1``.
    """

    provider: str
    providers: Mapping[str, str]
    methods: Mapping[str, tuple[str, str]]


def patch_clients(library: ModuleType, patches: Patches, api: Api) -> None:
    """Make every request of the library's clients an event.

    Raises:
        AttributeError: the library's inside has changed.
        ImportError: the same.
    """
    base, streaming, response = (
        import_module(f"{library.__name__}.{name}") for name in ("_base_client", "_streaming", "_response")
    )
    raw = [response.BaseAPIResponse]
    if legacy := getattr(base, "LegacyAPIResponse", None):
        raw.append(legacy)
    requests = _Requests(library.__name__, api, (streaming.Stream, streaming.AsyncStream), tuple(raw))
    patches.wrap(base.SyncAPIClient, "request", requests.watch)
    patches.wrap(base.AsyncAPIClient, "request", requests.watch_async)
    patches.wrap(base.SyncAPIClient, "_sleep_for_retry", _pause)
    patches.wrap(base.AsyncAPIClient, "_sleep_for_retry", _pause_async)
    patches.wrap(base.BaseClient, "_calculate_retry_timeout", _measure)
    from spanloom.instrument.model_stream import read, read_async

    patches.wrap(streaming.Stream, "__stream__", read)
    patches.wrap(streaming.AsyncStream, "__stream__", read_async)


class _Requests:
    """Called in place of the two methods that every request of a library goes through."""

    def __init__(self, library: str, api: Api, streams: Any, raw_answers: Any) -> None:
        self._library = library
        self._api = api
        self._streams = streams
        self._raw_answers = raw_answers

    def watch(self, request: Callable[..., Any], client: Any, args: Args, kwargs: KwArgs) -> Any:
        """Make a request with an event around it."""
        call = guarded(self._library, self._begin, client, args, kwargs)
        try:
            answer = request(*args, **kwargs)
        except BaseException as error:
            if call is not None:
                call.fail(error, _without_body(client, error))
            hide_frame(error)
            raise
        if call is not None:
            self._settle(call, answer)
        return answer

    async def watch_async(self, request: Callable[..., Any], client: Any, args: Args, kwargs: KwArgs) -> Any:
        """Do the same for an asynchronous client."""
        call = guarded(self._library, self._begin, client, args, kwargs)
        try:
            answer = await request(*args, **kwargs)
        except BaseException as error:
            if call is not None:
                call.fail(error, _without_body(client, error))
            hide_frame(error)
            raise
        if call is not None:
            self._settle(call, answer)
        return answer

    def _begin(self, client: Any, args: Args, kwargs: KwArgs) -> ModelCall | None:
        if not get_callback_manager().active:
            return None
        options = kwargs["options"] if "options" in kwargs else args[1]
        type, name, payload = self._described(client, options, bool(kwargs.get("stream")))
        retries = options.get_max_retries(client.max_retries) > 0
        return ModelCall(type, name, payload, retries=retries)

    def _described(self, client: Any, options: Any, is_stream: bool) -> tuple[str, str, dict[str, object]]:
        path = urlsplit(options.url).path.strip("/").removeprefix("v1/")
        known = self._api.methods.get(path)
        url = client.base_url
        payload: dict[str, object] = {
            model_keys.PROVIDER: _provider(type(client), self._api),
            model_keys.SERVER_ADDRESS: url.raw_host.decode("ascii"),
        }
        if url.port is not None:
            payload[model_keys.SERVER_PORT] = url.port
        if known is None:  # the rest of the path may be an id
            return EventType.CALL, f"{self._library}.{path.partition('/')[0]}", payload
        event_type, payload[model_keys.OPERATION] = known
        if is_stream:
            payload[model_keys.STREAM] = True
        for body in (options.json_data, options.extra_json):
            if isinstance(body, Mapping):
                payload.update(_settings(body))
        return event_type, f"{self._library}.{path.replace('/', '.')}", payload

    def _settle(self, call: ModelCall, answer: Any) -> None:
        call.leave()
        if not guarded(self._library, self._is_open, call, answer):
            call.end(None)

    def _is_open(self, call: ModelCall, answer: Any) -> bool:
        if isinstance(answer, self._streams):
            return call.take_response(answer.response)
        if isinstance(answer, self._raw_answers):
            return call.take_response(answer.http_response)
        call.take_answer(answer)
        return False


def _provider(client: type, api: Api) -> str:
    for kind in client.__mro__:
        if kind.__name__ in api.providers:
            return api.providers[kind.__name__]
    return api.provider


def _settings(body: Mapping[str, object]) -> Iterable[tuple[str, object]]:
    model = body.get("model")
    if isinstance(model, str):
        yield model_keys.MODEL, model
    for name, key in _SETTINGS.items():
        value = body.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield key, value


def _pause(sleep: Callable[..., Any], client: Any, args: Args, kwargs: KwArgs) -> Any:
    call = ModelCall.current.get()
    if call is not None:
        call.begin_pause(_failure(client, kwargs.get("response")))
    try:
        slept = sleep(*args, **kwargs)
    except BaseException as error:
        if call is not None:
            call.end_pause(error)
        hide_frame(error)
        raise
    if call is not None:
        call.end_pause(None)
    return slept


async def _pause_async(sleep: Callable[..., Any], client: Any, args: Args, kwargs: KwArgs) -> Any:
    call = ModelCall.current.get()
    if call is not None:
        call.begin_pause(_failure(client, kwargs.get("response")))
    try:
        slept = await sleep(*args, **kwargs)
    except BaseException as error:
        if call is not None:
            call.end_pause(error)
        hide_frame(error)
        raise
    if call is not None:
        call.end_pause(None)
    return slept


def _failure(client: Any, response: Any) -> BaseException | None:
    """Return the library's exception for a response; that of the HTTP library has the whole URL in its text."""
    if response is None:
        return None
    return guarded("a failed request", _made_again, client, response)


def _made_again(client: Any, response: Any) -> BaseException:
    make = client._make_status_error  # noqa: SLF001 -- the library's own table of exceptions by status
    error: BaseException = make(f"Error code: {response.status_code}", body=None, response=response)
    return error


def _without_body(client: Any, error: BaseException) -> BaseException | None:
    """Return `error` without the body of its response, which may repeat the request; ``None`` if it has no response."""
    bare = _failure(client, getattr(error, "response", None))
    return (
        bare.with_traceback(error.__traceback__) if type(bare) is type(error) and bare is not None else None
    )


def _measure(timeout: Callable[..., Any], _: Any, args: Args, kwargs: KwArgs) -> Any:
    seconds = timeout(*args, **kwargs)
    if (call := ModelCall.current.get()) is not None:
        call.pause_is(seconds)
    return seconds
