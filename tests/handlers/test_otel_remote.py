"""Trace context across processes and threads: carriers, environment, baggage; and links."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry import baggage
from opentelemetry import context as context_api
from opentelemetry import trace as trace_api
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

from spanloom import async_map, link, propagate, use_callback_manager
from spanloom.callbacks import CallbackManager
from spanloom.events import decode, encode
from spanloom.handlers.otel import inject, inject_environment, remote_parent
from tests.handlers.otel_setup import Setup, id_of, parent_of, trace_of

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CARRIER = {"traceparent": f"00-{TRACE}-{SPAN}-03", "tracestate": "vendor=value", "baggage": "tenant=acme"}


async def nothing(_: object) -> None:
    await asyncio.sleep(0)


# a parent from a carrier --------------------------------------------------------------------------------


@pytest.mark.parametrize("live_parents", [True, False])
@pytest.mark.parametrize(
    "carrier",
    [
        CARRIER,
        {
            "Traceparent": CARRIER["traceparent"],
            "TraceState": CARRIER["tracestate"],
            "Baggage": "tenant=acme",
        },
        {key: [value.encode()] for key, value in CARRIER.items()},
    ],
    ids=["w3c", "http", "bytes"],
)
def test_a_trace_in_the_block_continues_the_sender_s(carrier: dict[str, object], live_parents: bool) -> None:
    """Trace id, parent, flags (sampled and random), state and baggage of the sender are those of the whole tree."""
    otel = Setup(live_parents=live_parents)
    seen: list[object] = []

    async def job(_: object) -> None:
        seen.append(baggage.get_baggage("tenant"))

    async def main() -> None:
        before = context_api.get_current()
        with remote_parent(carrier):
            await async_map(job, [0], desc="batch")
        assert context_api.get_current() is before

    otel.run(main())
    batch, done = otel.span("batch"), otel.span("job")
    assert (parent_of(batch), parent_of(done)) == (int(SPAN, 16), id_of(batch))
    assert batch.parent is not None
    assert batch.parent.is_remote
    for span in (batch, done):
        assert span.context is not None
        assert trace_of(span) == int(TRACE, 16)
        assert span.context.trace_flags == 3
        assert span.context.trace_state.to_header() == "vendor=value"
    assert seen == ["acme"]


def test_a_sender_that_is_not_sampled_is_obeyed(otel: Setup) -> None:
    """What the sender does not record, nobody records."""
    with remote_parent({"traceparent": f"00-{TRACE}-{SPAN}-00"}):
        otel.run(async_map(nothing, [0]))
    assert otel.spans() == []


@pytest.mark.parametrize(
    "carrier", [{}, {"traceparent": "nonsense"}, {"traceparent": f"00-{'0' * 32}-{SPAN}-01"}]
)
def test_a_carrier_that_names_no_span_changes_nothing(otel: Setup, carrier: dict[str, object]) -> None:
    """A message from someone who does not trace starts a trace of its own, or goes on in the one that is current."""
    with remote_parent(carrier), otel.manager.event(name="alone"):
        pass
    with (
        otel.tracer.start_as_current_span("around"),
        remote_parent(carrier),
        otel.manager.event(name="inside"),
    ):
        pass
    assert otel.span("alone").parent is None
    assert parent_of(otel.span("inside")) == id_of(otel.span("around"))


def test_inside_an_event_a_sender_of_another_trace_is_linked(otel: Setup) -> None:
    """An event keeps its parent, so that a trace is one tree, and says whom it works for by a link."""
    with otel.manager.event(name="consume"):
        with remote_parent(CARRIER), otel.manager.event(name="handle"), otel.manager.event(name="deep"):
            pass
        with otel.manager.event(name="after"):
            pass
    consume, handle, deep = otel.span("consume"), otel.span("handle"), otel.span("deep")
    assert (parent_of(handle), parent_of(deep)) == (id_of(consume), id_of(handle))
    assert {trace_of(span) for span in otel.spans()} == {trace_of(consume)}
    ((found,), no_links) = handle.links, otel.span("after").links
    assert (found.context.trace_id, found.context.span_id) == (int(TRACE, 16), int(SPAN, 16))
    assert (no_links, deep.links) == ((), ())


def test_a_block_left_in_another_task_leaves_no_parent_behind(otel: Setup) -> None:
    """A generator that is closed elsewhere inside the block does not make later traces the sender's."""

    async def messages() -> Any:
        with remote_parent(CARRIER):
            yield 1

    async def main() -> None:
        generator = messages()
        await anext(generator)
        await asyncio.create_task(generator.aclose())
        assert not trace_api.get_current_span().get_span_context().is_valid
        await async_map(nothing, [0], desc="later")

    otel.run(main())
    assert otel.span("later").parent is None


# ours, for others -----------------------------------------------------------------------------------------


def test_inject_names_the_span_of_the_current_event(otel: Setup) -> None:
    """The headers of a request sent from a job name the job's span, in the flags and the state of its trace."""
    headers: list[dict[str, str]] = []

    async def job(_: object) -> None:
        headers.append(inject())

    with remote_parent(CARRIER):
        otel.run(async_map(job, range(2), isolation="context", limit=1, desc="batch"))
    jobs = otel.named("job")
    assert [found["traceparent"] for found in headers] == [
        f"00-{TRACE}-{id_of(span):016x}-03" for span in jobs
    ]
    assert {(found["tracestate"], found["baggage"]) for found in headers} == {("vendor=value", "tenant=acme")}


def test_inject_adds_to_a_carrier_and_says_nothing_without_a_span(otel: Setup) -> None:
    """Other headers stay; where there is no span there is nothing to pass on."""
    assert inject() == {}
    carrier = {"accept": "*/*"}
    with otel.manager.event(name="step"):
        assert inject(carrier) == carrier
    assert carrier["accept"] == "*/*"
    assert carrier["traceparent"].endswith(f"-{id_of(otel.span('step')):016x}-03")
    with otel.manager.event(name="over"):
        pass
    assert inject() == {}


def test_inject_where_nothing_is_sampled_says_so() -> None:
    """The flags tell the other side not to record either."""
    otel = Setup(ParentBased(ALWAYS_OFF))
    headers: list[str] = []

    async def job(_: object) -> None:
        headers.append(inject()["traceparent"])

    otel.run(async_map(job, [0]))
    assert [header[-2:] for header in headers] == ["02"]


def test_the_environment_of_a_child_holds_ours_and_nothing_of_the_one_before(otel: Setup) -> None:
    """A stale state or baggage of our own parent is not passed on with our span."""
    stale = {"TRACEPARENT": "x", "TRACESTATE": "old=1", "BAGGAGE": "old=1", "PATH": "/bin"}
    with otel.manager.event(name="step"):
        variables = inject_environment(stale)
    span = otel.span("step")
    assert variables == {"PATH": "/bin", "TRACEPARENT": f"00-{trace_of(span):032x}-{id_of(span):016x}-03"}
    assert stale["TRACEPARENT"] == "x"
    assert "TRACEPARENT" not in inject_environment({"TRACEPARENT": "x"})


CHILD = """
import asyncio, json
from opentelemetry import baggage
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from spanloom import CallbackManager, async_map, use_callback_manager
from spanloom.handlers.otel import OpenTelemetryHandler

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
manager = CallbackManager([OpenTelemetryHandler(provider)])
seen = []

async def work(number):
    seen.append(baggage.get_baggage("tenant"))

with use_callback_manager(manager):
    asyncio.run(async_map(work, [0], desc="child"))
    with provider.get_tracer("x").start_as_current_span("own"), manager.event(name="under own"):
        pass
manager.close()
spans = {span.name: span for span in exporter.get_finished_spans()}
print(json.dumps({"seen": seen, "spans": {
    name: [span.context.trace_id, span.context.span_id, span.parent and span.parent.span_id,
           int(span.context.trace_flags), span.context.trace_state.to_header()]
    for name, span in spans.items()}}))
"""


def child(variables: dict[str, str]) -> Any:
    clean = {key: value for key, value in variables.items() if not key.startswith(("SPANLOOM_", "OTEL_"))}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CHILD],
        env=clean | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_child_processes_go_on_in_the_trace_of_their_job(otel: Setup) -> None:
    """Each job's process is a part of the job: its spans lie under the job's, with its state and its baggage."""

    async def run_child(_: object) -> Any:
        return await asyncio.to_thread(child, inject_environment())

    with remote_parent(CARRIER):
        reports = otel.run(async_map(run_child, range(2), desc="parents"))
    jobs = otel.named("run_child")
    assert {report["spans"]["child"][2] for report in reports} == {id_of(span) for span in jobs}
    for report in reports:
        spans = report["spans"]
        assert report["seen"] == ["acme"]
        assert spans["work"][2] == spans["child"][1]
        for name in ("child", "work"):
            assert (spans[name][0], *spans[name][3:]) == (int(TRACE, 16), 3, "vendor=value")
        # A span that is current comes first: the environment is for traces that have no parent of their own.
        assert spans["under own"][2] == spans["own"][1]
        assert spans["own"][0] != int(TRACE, 16)


def test_an_environment_without_a_sampled_parent_silences_the_child() -> None:
    """The variables decide for the child as a request's headers would."""
    report = child({**os.environ, "TRACEPARENT": f"00-{TRACE}-{SPAN}-00"})
    assert sorted(report["spans"]) == ["own", "under own"]


@pytest.mark.parametrize("live_parents", [True, False])
def test_the_environment_is_for_traces_without_a_parent(
    live_parents: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each root takes its parent from the variables, unless a span or a carrier says otherwise; children do not."""
    for key, value in CARRIER.items():
        monkeypatch.setenv(key.upper(), value)
    otel = Setup(live_parents=live_parents)
    with otel.manager.event(name="first"), otel.manager.event(name="child"):
        pass
    with otel.manager.event(name="second"):
        pass
    with remote_parent({"traceparent": f"00-{5:032x}-{6:016x}-01"}), otel.manager.event(name="request"):
        pass
    parents = {span.name: (trace_of(span), parent_of(span)) for span in otel.spans()}
    ours = (int(TRACE, 16), int(SPAN, 16))
    assert parents == {
        "first": ours,
        "child": (int(TRACE, 16), id_of(otel.span("first"))),
        "second": ours,
        "request": (5, 6),
    }
    assert context_api.get_current() == context_api.Context()


def test_propagators_of_another_kind_are_used(otel: Setup) -> None:
    """What `OTEL_PROPAGATORS` or the program has set up is what is written and read, in the environment, too."""
    from opentelemetry.propagate import get_global_textmap, set_global_textmap
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    before = get_global_textmap()
    set_global_textmap(TraceContextTextMapPropagator())  # no baggage
    try:
        with remote_parent(CARRIER), otel.manager.event(name="step"):
            assert set(inject()) == {"traceparent", "tracestate"}
            assert set(inject_environment({"BAGGAGE": "kept=1"})) == {"TRACEPARENT", "TRACESTATE", "BAGGAGE"}
            assert baggage.get_all() == {}
    finally:
        set_global_textmap(before)


def test_thread_pools_go_on_in_the_trace_of_their_job(otel: Setup) -> None:
    """By `propagate`, or by `asyncio.to_thread`, a thread's events, spans and headers are the job's."""
    headers: list[str] = []

    def work(name: str) -> None:
        headers.append(inject()["traceparent"])
        with otel.tracer.start_as_current_span(f"span {name}"), otel.manager.event(name=f"event {name}"):
            trace_api.get_current_span().set_attribute("thread", name)

    async def job(_: object) -> None:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(2) as pool:
            await asyncio.gather(
                loop.run_in_executor(pool, propagate(work), "executor"),
                asyncio.to_thread(work, "to_thread"),
            )

    otel.run(async_map(job, [0], desc="batch"))
    done = otel.span("job")
    assert headers == [f"00-{trace_of(done):032x}-{id_of(done):016x}-03"] * 2
    for name in ("executor", "to_thread"):
        span, event = otel.span(f"span {name}"), otel.span(f"event {name}")
        assert (parent_of(span), parent_of(event)) == (id_of(done), id_of(span))
        assert (event.attributes or {})["thread"] == name


# links ---------------------------------------------------------------------------------------------------


def test_fan_in_is_told_by_links(otel: Setup) -> None:
    """What puts earlier runs together is linked to each of them, of other traces and of other processes."""
    earlier = []
    for name in ("first", "second"):
        with otel.manager.as_trace(name) as context:
            pass
        earlier.append(context)
    with remote_parent(CARRIER), otel.manager.as_trace("continued") as continued:
        pass
    with otel.manager.event(name="merge").link(earlier[0]) as merge:
        merge.link(earlier[1], weight=0.5, secret=object()).link(continued)
        merge.link(CARRIER, kind="message").link({"no": "parent"})
    merged = otel.span("merge")
    assert [(found.context.trace_id, found.context.span_id) for found in merged.links] == [
        (trace_of(span), id_of(span)) for span in map(otel.span, ("first", "second", "continued"))
    ] + [(int(TRACE, 16), int(SPAN, 16))]
    assert trace_of(otel.span("continued")) == int(TRACE, 16)  # the span's trace, not the event's
    assert [dict(found.attributes or {}) for found in merged.links] == [
        {},
        {"weight": 0.5},
        {},
        {"kind": "message"},
    ]
    message = merged.links[3].context
    assert (message.is_remote, message.trace_flags, message.trace_state.get("vendor")) == (True, 3, "value")
    assert set(merged.attributes or {}) == {"spanloom.type", "spanloom.outcome"}


def test_a_job_is_linked_to_the_message_that_it_works_off(otel: Setup) -> None:
    """`link` reaches the job without an object to hold; outside of all events it does nothing."""
    messages = [{"traceparent": f"00-{TRACE}-{number:016x}-01"} for number in range(1, 4)]

    async def handle(message: dict[str, str]) -> None:
        link(message, topic="orders")

    link(messages[0])
    otel.run(async_map(handle, messages, desc="batch", isolation="context"))
    found = [[entry.context.span_id for entry in span.links] for span in otel.named("handle")]
    assert sorted(found) == [[1], [2], [3]]


def test_links_are_bounded_and_counted(otel: Setup) -> None:
    """A fan-in of a thousand has as many links as a span can hold, and the number of the others."""
    with otel.manager.event(name="merge") as merge:
        for number in range(1000):
            merge.link({"traceparent": f"00-{TRACE}-{number + 1:016x}-01"})
    span = otel.span("merge")
    assert len(span.links) == 128
    assert (span.attributes or {})["spanloom.omitted"] == 872


def test_links_are_plain_data_that_a_record_keeps() -> None:
    """They come back from the codec as they were, for a reader that makes spans of a record later."""
    manager = CallbackManager()
    with manager.event(name="merge") as merge:
        merge.link(CARRIER, kind="message")
    assert manager.recorder is not None
    (event,) = manager.recorder.ended()
    stored = decode(encode(event))
    assert (
        stored.payload["links"]
        == event.payload["links"]
        == [
            {
                "trace_id": TRACE,
                "event_id": SPAN,
                "flags": 3,
                "state": "vendor=value",
                "attributes": {"kind": "message"},
            }
        ]
    )


def test_a_payload_of_that_name_which_is_something_else_is_left_alone(otel: Setup) -> None:
    """A user's own key `links` breaks nothing, and makes no links."""
    with otel.manager.event(name="step", payload={"links": ["https://x", {"trace_id": "zz", "event_id": 3}]}):
        pass
    with use_callback_manager(otel.manager), otel.manager.event(name="text", payload={"links": "none"}):
        pass
    assert otel.span("step").links == ()
    assert (otel.span("text").attributes or {})["spanloom.payload.links"] == "none"
