#!/usr/bin/env python3
"""Make docs/explanation/features.md: what the five systems have, what spanloom has, and the tests that show it.

``python tools/features.py`` writes the page. tests/test_features.py fails where the page is not what this makes, and
where a test that is named here does not exist.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "explanation" / "features.md"
SYSTEMS: Final = {
    "L": "LlamaIndex",
    "i": "lionherd",
    "d": "dotevals",
    "h": "adaptive-harmony",
    "b": "async-batch-llm",
}
"""By the letter that stands for each below."""


class Feature(NamedTuple):
    """One row."""

    what: str
    has: str
    """Letters of the systems whose documents have it."""
    broken: str
    """Letters of those of them in a released version of which it does not hold, as running it has shown."""
    ours: str
    tests: tuple[str, ...]
    """``file::test`` under tests/; those that show it of spanloom first, then those that show a system's failing."""


SECTIONS: Final[dict[str, tuple[Feature, ...]]] = {
    "Running": (
        Feature(
            "awaitables, at most n at a time",
            "Li",
            "L",
            "`run_jobs`",
            (
                "concurrency/test_jobs.py::test_at_most_workers_jobs_run_at_once",
                "concurrency/test_ancestors.py::test_llama_index_run_jobs_makes_every_task_up_front",
            ),
        ),
        Feature(
            "a function over items, results in input order",
            "Lidh",
            "h",
            "`async_map`",
            (
                "concurrency/test_map.py::test_results_stand_in_input_order",
                "concurrency/test_ancestors.py::test_adaptive_harmony_returns_nothing_for_a_generator",
            ),
        ),
        Feature(
            "failures are left out, the rest keeps its index",
            "h",
            "h",
            '`on_error="skip", with_index=True`',
            (
                "concurrency/test_map.py::test_with_index_tells_which_items_are_left",
                "concurrency/test_ancestors.py::test_adaptive_harmony_drops_none",
            ),
        ),
        Feature(
            "a failed item is replaced by the next",
            "h",
            "h",
            "`fill_batch`",
            (
                "concurrency/test_fill.py::test_failed_items_are_replaced_by_the_next_ones",
                "concurrency/test_ancestors.py::test_adaptive_harmony_is_off_by_one_at_its_failure_limit",
            ),
        ),
        Feature(
            "chunk after chunk",
            "L",
            "L",
            "`batch_gather`",
            (
                "concurrency/test_gather.py::test_a_chunk_starts_when_the_last_one_has_ended",
                "concurrency/test_ancestors.py::test_llama_index_batch_gather_of_size_zero_returns_nothing",
            ),
        ),
        Feature(
            "results as they come",
            "id",
            "i",
            "`stream`",
            (
                "concurrency/test_stream.py::test_outcomes_come_in_order_of_their_end_and_carry_their_index",
                "concurrency/test_ancestors.py::test_lionherd_lets_the_rest_run_on_when_a_stream_is_left_early",
            ),
        ),
        Feature(
            "gather that ends the others when one fails",
            "i",
            "i",
            "`gather`",
            (
                "compat/test_lionherd.py::test_an_error_is_raised_in_a_group_and_ends_the_others",
                "concurrency/test_ancestors.py::test_lionherd_swallows_system_exit_among_returned_exceptions",
            ),
        ),
        Feature(
            "the first to complete wins",
            "i",
            "",
            "`race`",
            ("concurrency/test_race.py::test_the_first_to_end_wins_and_the_others_have_ended",),
        ),
        Feature(
            "a coroutine from plain code, loop running or not",
            "Li",
            "L",
            "`run_sync`",
            (
                "concurrency/test_sync.py::test_it_runs_a_coroutine_below_a_running_loop",
                "concurrency/test_ancestors.py::test_llama_index_sync_runner_hides_the_jobs_error_and_patches_the_loop",
            ),
        ),
        Feature(
            "no task outlives the call that started it",
            "i",
            "i",
            "every runner",
            (
                "concurrency/test_cancel_everywhere.py::test_a_cancel_of_the_caller_in_any_turn_leaves_nothing_behind",
                "concurrency/test_cancel_everywhere.py::test_a_cancel_of_any_job_in_any_turn_leaves_nothing_behind",
                "concurrency/test_ancestors.py::test_lionherd_lets_the_rest_run_on_when_a_stream_is_left_early",
                "concurrency/test_ancestors.py::test_llama_index_run_jobs_lets_siblings_run_on_after_a_failure",
            ),
        ),
        Feature(
            "each job in a context of its own",
            "",
            "",
            "every runner",
            (
                "concurrency/test_isolation.py::test_what_a_job_sets_in_its_context_reaches_nobody_else",
                "concurrency/test_ancestors.py::test_async_batch_llm_leaks_context_between_items_of_one_worker",
            ),
        ),
        Feature(
            "an input that is pulled as there is room",
            "d",
            "d",
            "every runner",
            ("concurrency/test_jobs.py::test_a_generator_is_never_pulled_ahead_of_the_free_slots",),
        ),
        Feature(
            "a second run does only the rest",
            "d",
            "",
            "`checkpoint=`",
            (
                "concurrency/test_resume.py::test_a_second_run_does_only_what_is_not_done",
                "store/test_checkpoint_kill.py::*",
            ),
        ),
    ),
    "Retrying and limiting": (
        Feature(
            "back-off with jitter",
            "idb",
            "i",
            "`retry`, `RetryPolicy`",
            (
                "concurrency/test_retry.py::test_a_pause_lies_between_its_bounds",
                "concurrency/test_ancestors.py::test_lionherd_lets_the_jitter_exceed_the_longest_delay",
            ),
        ),
        Feature(
            "no attempt after the deadline",
            "i",
            "",
            "`retry`, `timeout=`",
            ("concurrency/test_retry.py::test_it_never_sleeps_past_a_deadline",),
        ),
        Feature(
            "policies of tenacity",
            "d",
            "",
            "`retry=AsyncRetrying(...)`",
            ("concurrency/test_retry.py::test_a_policy_of_tenacity_is_taken_with_our_events",),
        ),
        Feature(
            "what the server asks for (Retry-After)",
            "",
            "",
            "`RetryPolicy`, `Cooldown`",
            (
                "concurrency/test_retry.py::test_retry_after_in_seconds_is_a_floor",
                "concurrency/test_cooldown.py::test_the_longest_retry_after_is_a_floor",
            ),
        ),
        Feature(
            "a limit that adapts to the server",
            "d",
            "d",
            "`AdaptiveLimiter`",
            (
                "concurrency/test_adaptive.py::test_it_settles_near_the_best_fixed_limit",
                "compat/test_dotevals.py::test_rows_that_fail_lower_an_adaptive_number",
            ),
        ),
        Feature(
            "one refusal pauses all, and the start is slow",
            "b",
            "",
            "`Cooldown`",
            (
                "concurrency/test_cooldown.py::test_fifty_refusals_at_once_make_one_pause",
                "concurrency/test_cooldown.py::test_calls_start_slowly_after_a_pause",
            ),
        ),
        Feature(
            "requests or tokens a minute",
            "b",
            "b",
            "`RateLimiter`",
            (
                "concurrency/test_limits.py::test_no_window_holds_more_starts_than_allowed",
                "concurrency/test_limits.py::test_no_window_holds_more_units_than_allowed",
            ),
        ),
        Feature(
            "a client whose calls are limited",
            "d",
            "d",
            "`limited`",
            (
                "instrument/test_limited.py::*",
                "compat/test_dotevals.py::test_a_wrapped_client_holds_a_slot_for_each_call",
            ),
        ),
        Feature(
            "scopes with deadlines, locks, task groups",
            "i",
            "",
            "`spanloom.compat.lionherd`",
            (
                "compat/test_lionherd.py::test_scopes_end_at_their_deadline",
                "compat/test_lionherd_primitives.py::test_so_many_get_in_at_once",
            ),
        ),
    ),
    "Calls to models": (
        Feature(
            "a queue with workers, strategies and results",
            "b",
            "",
            "`ParallelBatchProcessor`",
            (
                "processing/test_processor.py::test_items_run_up_to_the_bound_and_one_worker_keeps_their_order",
            ),
        ),
        Feature(
            "one end for each item, in every path",
            "b",
            "b",
            "`ParallelBatchProcessor`",
            (
                "processing/test_storm.py::test_every_item_has_one_end_whatever_happens",
                "concurrency/test_ancestors.py::test_async_batch_llm_emits_no_end_for_a_cancelled_item_and_never_reaches_n_of_n",
            ),
        ),
        Feature(
            "middleware",
            "b",
            "",
            "`middlewares=`",
            ("processing/test_processor.py::test_middleware_wraps_items_like_the_skins_of_an_onion",),
        ),
        Feature(
            "observers and metrics (JSON, Prometheus)",
            "b",
            "b",
            "`observers=`, `MetricsObserver`",
            (
                "processing/test_observers.py::test_metrics_are_counted_and_exported",
                "concurrency/test_ancestors.py::test_async_batch_llm_hangs_when_an_observer_raises_cancelled_error",
            ),
        ),
        Feature(
            "tokens, those of failed attempts included",
            "b",
            "b",
            "`BatchResult`",
            ("processing/test_processor.py::test_tokens_of_failed_attempts_are_counted",),
        ),
        Feature(
            "results while items are added, with back-pressure",
            "",
            "",
            "`start`, `finish`, `async for`",
            (
                "processing/test_streaming.py::test_results_come_while_items_are_added",
                "processing/test_streaming.py::test_results_that_nobody_takes_hold_back_the_calls",
            ),
        ),
        Feature(
            "bounds of time, errors and money",
            "",
            "",
            "`GuardRails`",
            (
                "processing/test_guard_rails.py::test_a_spend_cap_stops_the_batch",
                "processing/test_guard_rails.py::test_errors_of_a_category_stop_the_batch",
            ),
        ),
    ),
    "Evaluating": (
        Feature(
            "a function over the rows of a dataset",
            "d",
            "",
            "`foreach`",
            (
                "evaluation/test_foreach.py::test_each_row_has_a_record",
                "evaluation/test_foreach.py::test_rows_are_given_by_column",
            ),
        ),
        Feature(
            "plain functions in order, coroutines at once",
            "d",
            "d",
            "`foreach`, `ForEach`",
            (
                "evaluation/test_foreach.py::test_plain_functions_run_row_by_row_in_the_callers_thread",
                "evaluation/test_foreach.py::test_coroutine_functions_run_at_the_same_time",
            ),
        ),
        Feature(
            "means and counts",
            "d",
            "",
            "`EvaluationResults`",
            ("evaluation/test_results.py::test_numbers_have_a_mean_and_a_count",),
        ),
        Feature(
            "a second run skips what is stored",
            "d",
            "d",
            "`ForEach(storage=)`",
            (
                "evaluation/test_foreach.py::test_a_second_run_skips_what_is_stored",
                "compat/test_dotevals.py::test_a_window_and_a_storage_go_together",
            ),
        ),
        Feature(
            "evaluations as tests, several at once",
            "d",
            "",
            "pytest plugin, `--concurrent`",
            (
                "pytest_spanloom/test_plugin.py::test_evaluations_are_tests",
                "pytest_spanloom/test_plugin.py::test_concurrent_evaluations_run_at_once",
            ),
        ),
    ),
    "Seeing": (
        Feature(
            "events with start, end and parent",
            "L",
            "L",
            "`CallbackManager`",
            (
                "callbacks/test_manager.py::test_a_thousand_traces_at_once_stay_apart",
                "concurrency/test_ancestors.py::test_llama_index_mixes_the_maps_of_two_concurrent_traces",
                "concurrency/test_ancestors.py::test_llama_index_ends_cancelled_events_like_successes",
            ),
        ),
        Feature(
            "runners emit events by themselves",
            "Lb",
            "L",
            "every runner",
            (
                "concurrency/test_stream.py::test_a_stream_is_a_batch_with_its_jobs",
                "concurrency/test_ancestors.py::test_llama_index_run_jobs_emits_nothing",
            ),
        ),
        Feature(
            "handlers that cannot harm the work",
            "b",
            "b",
            "guard of handlers",
            (
                "processing/test_observers.py::test_an_observer_that_hangs_is_given_up",
                "concurrency/test_ancestors.py::test_llama_index_lets_a_raising_handler_break_the_users_call",
                "concurrency/test_ancestors.py::test_async_batch_llm_hangs_when_an_observer_raises_cancelled_error",
            ),
        ),
        Feature(
            "statistics and trees of times",
            "L",
            "",
            "`DebugHandler`",
            ("handlers/test_debug.py::test_every_way_to_end_is_counted_and_the_sum_is_right",),
        ),
        Feature(
            "handlers of LlamaIndex, both ways",
            "L",
            "",
            "`spanloom.compat.llama_index`",
            (
                "compat/test_llama_index_real.py::test_their_handler_works_on_spanlooms_manager",
                "compat/test_llama_index_real.py::test_our_handlers_work_on_their_manager",
            ),
        ),
        Feature(
            "progress up to n of n",
            "Ldhb",
            "b",
            "`show_progress=`, `ProgressHandler`",
            (
                "handlers/test_progress.py::test_a_bar_ends_at_n_of_n",
                "processing/test_processor.py::test_progress_is_reported_after_each_interval_and_after_the_last_item",
            ),
        ),
        Feature(
            "OpenTelemetry spans of every job",
            "",
            "",
            "`OpenTelemetryHandler`",
            ("handlers/test_otel_pipeline.py::*",),
        ),
        Feature(
            "a record that survives kill -9",
            "",
            "",
            "`RecordHandler`, `spanloom show`",
            ("store/test_faults_kill.py::*",),
        ),
    ),
}

HEAD: Final = """# The five systems and spanloom

What the documents of five systems promise, and what spanloom has for it. **yes**: it is in the system's document.
*but not quite*: it is, and a released version (of dotevals: one of 0.23 to 0.28) does otherwise. That was seen by
running it, once and by hand: the systems are not installed for our tests, but for LlamaIndex. The tests named beside
it run ours; among them is one that the other would fail. A dash: it is in neither. The tests are under `tests/` in
spanloom's repository.

How to change over: [LlamaIndex](../how-to/migrate-from-llama-index.md),
[lionherd](../how-to/migrate-from-lionherd.md), [dotevals](../how-to/migrate-from-dotevals.md),
[adaptive-harmony](../how-to/migrate-from-adaptive-harmony.md),
[async-batch-llm](../how-to/migrate-from-async-batch-llm.md). This page is made by `tools/features.py`.
"""


def page() -> str:
    """Return the page."""
    lines = [HEAD]
    for title, features in SECTIONS.items():
        lines += [
            f"## {title}",
            "",
            f"| | {' | '.join(SYSTEMS.values())} | spanloom | shown by |",
            "| --- " * 8 + "|",
        ]
        for feature in features:
            cells = [_cell(feature, letter) for letter in SYSTEMS]
            tests = ", ".join(f"`{test.removesuffix('::*')}`" for test in feature.tests)
            lines.append(f"| {' | '.join([feature.what, *cells, feature.ours, tests])} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _cell(feature: Feature, letter: str) -> str:
    if letter in feature.broken:
        return "*but not quite*"
    return "**yes**" if letter in feature.has else "-"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
