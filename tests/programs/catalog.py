"""The programs that are run under ``spanloom run``, what they are taken from, and the tree that they have to have.

All but two were written by others, and are run as they stand in the source distributions of PyPI that
``tests/programs/sources.txt`` names by hash. PyPI has none for LlamaIndex that needs neither a key nor a network:
``ingest.py`` and ``query.py`` were written for this.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["PROGRAMS", "Program"]

ROOT: Final = Path(__file__).parents[2]
SOURCES: Final = ROOT / "build" / "programs"
OF_OTHERS: Final = ROOT / ".venvs" / "programs" / "bin" / "python"
HERE: Final = Path(__file__).parent

_VARYING: Final = re.compile(
    r"\d+\.\d+ ?(s\b|\(s\)|seconds|items/s|x faster)|0x[0-9a-f]+|\d+\.\d+ +(?=\d)|est\. \S+|in \d+\.\d+s"
)
"""Times that a program prints of itself, and addresses."""


class Program(NamedTuple):
    """One program.

    Attributes:
        name: For the tests.
        arguments: What follows ``python``, or ``spanloom run``.
        tree: Paths from a root to an event, by type and name, that have to be there; ``...`` for what may vary.
        exit_code: With which it ends.
        in_other_environment: Whether its libraries are in ``.venvs/programs``.
        ordered: Whether it prints in the same order each time.
        latency_s: Of the server that it asks.
        longer: Arguments with which it has more to do, if it takes any such; for ``tools/programs-cost``.
    """

    name: str
    arguments: tuple[str, ...]
    tree: tuple[str, ...]
    exit_code: int = 0
    in_other_environment: bool = False
    ordered: bool = True
    latency_s: float = 0.05
    longer: tuple[str, ...] = ()

    @property
    def python(self) -> str:
        """The interpreter that has its libraries."""
        return str(OF_OTHERS) if self.in_other_environment else sys.executable

    def comparable(self, output: str) -> list[str]:
        """Return the lines that it has printed, without what differs from one time to the next."""
        lines = [" ".join(_VARYING.sub("<varying>", line).split()) for line in output.splitlines()]
        return lines if self.ordered else sorted(lines)


def _instructor(example: str) -> tuple[str, ...]:
    return (str(SOURCES / "instructor-1.17.0" / "examples" / example / "run.py"),)


def _tests(*arguments: str) -> tuple[str, ...]:
    """Return what runs tests of a library as a program of their own, without their configuration."""
    options = ("-q", "--noconftest", "-c", "/dev/null", "-p", "no:cacheprovider")
    return ("-m", "pytest", *options, *arguments)


def _again(times: int, *arguments: str) -> tuple[str, ...]:
    """Return what runs the same tests so many times over."""
    file, *others = arguments
    return _tests("--keep-duplicates", *[file] * times, *others)


_ANYIO: Final = SOURCES / "anyio-4.16.0" / "docs"
_TQDM: Final = SOURCES / "tqdm-4.70.1"
_ASKED: Final = "llm openai.chat.completions"
_ATTEMPT: Final = f"{_ASKED} > attempt openai.chat.completions"

PROGRAMS: Final = (
    Program(
        "llama-index-ingestion",
        (str(HERE / "ingest.py"), str(_ANYIO)),
        (
            "step IngestionPipeline.arun > batch _arun_transformations_worker > job _arun_transformations_worker",
            "step IngestionPipeline.arun > node_parsing node_parsing > step SentenceSplitter._parse_nodes",
            "step IngestionPipeline.arun > step MockEmbedding.aget_text_embedding_batch > embedding embedding",
        ),
    ),
    Program(
        "llama-index-query",
        (str(HERE / "query.py"), str(_ANYIO)),
        (
            "trace index_construction > trace index_construction > step MockEmbedding.get_text_embedding_batch",
            "step run_jobs > batch ... > job ... > step run_jobs.<locals>.worker"
            " > step RetrieverQueryEngine.aquery > step RetrieverQueryEngine._aquery"
            " > retrieve VectorIndexRetriever.aretrieve",
            "step CompactAndRefine.asynthesize > ... > llm MockLLM.acomplete",
            "llm MockLLM.stream_complete",
        ),
    ),
    Program(
        "langchain-abatch",
        _tests(
            str(SOURCES / "langchain_core-1.7.2/tests/unit_tests/runnables/test_concurrency.py"),
        ),
        ("batch gated_coro > job gated_coro > step tracked_function",),
        longer=_again(
            30, str(SOURCES / "langchain_core-1.7.2/tests/unit_tests/runnables/test_concurrency.py")
        ),
    ),
    Program(
        "aiometer",
        _tests(str(SOURCES / "aiometer-1.0.0/tests/test_aiometer.py"), "-k", "asyncio and TestRunners"),
        ("batch process > job process",),
        longer=_again(
            20, str(SOURCES / "aiometer-1.0.0/tests/test_aiometer.py"), "-k", "asyncio and TestRunners"
        ),
    ),
    Program(
        "tenacity-httpx",
        _instructor("tenacity-benchmarks"),
        (
            "retry extract_user_info > attempt extract_user_info > retry retry_sync_v2 > attempt retry_sync_v2"
            f" > {_ATTEMPT} > request POST ...",
            "retry extract_user_info > backoff extract_user_info",
        ),
        in_other_environment=True,
    ),
    Program(
        "openai-streaming",
        (str(SOURCES / "openai-3.54.0/examples/streaming.py"),),
        (f"{_ATTEMPT} > request POST ...",),
    ),
    Program(
        "openai-batch",
        _instructor("learn-async"),
        (
            f"batch extract_person > job extract_person > ... > {_ATTEMPT} > request POST ...",
            f"batch rate_limited_extract_person > job rate_limited_extract_person > ... > {_ASKED}",
        ),
        in_other_environment=True,
    ),
    Program(
        "instructor-batch",
        _instructor("asyncio-benchmarks"),
        (
            f"batch extract_person > job extract_person > retry ... > attempt ... > {_ATTEMPT} > request POST ...",
            f"batch rate_limited_extract_person > job rate_limited_extract_person > ... > {_ASKED}",
        ),
        in_other_environment=True,
    ),
    Program(
        "instructor-failing-batch",
        _instructor("batch-classification"),
        (f"batch classify > job classify > retry ... > attempt ... > {_ATTEMPT} > request POST ...",),
        exit_code=1,
        in_other_environment=True,
    ),
    Program("tqdm", (str(_TQDM / "examples/async_coroutines.py"),), ("batch sleep > job sleep",)),
    Program(
        "anyio",
        (str(_ANYIO / "snippets/tasks/start_soon.py"),),
        ("batch sometask > job sometask",),
    ),
    Program(
        "process-pool",
        (str(_TQDM / "examples/parallel_bars.py"),),
        ("batch progresser > job progresser",),
    ),
)
