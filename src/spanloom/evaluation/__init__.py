"""Evaluation: call one function with every row of a dataset, keep errors in the rows' records, summarize the scores."""

from spanloom.evaluation.decorated import Evaluation, evaluation_of
from spanloom.evaluation.foreach import ForEach, foreach
from spanloom.evaluation.results import EvaluationRecord, EvaluationResults, Summary
from spanloom.evaluation.retries import DEFAULT_RETRIES, is_connection_error

__all__ = [
    "DEFAULT_RETRIES",
    "Evaluation",
    "EvaluationRecord",
    "EvaluationResults",
    "ForEach",
    "Summary",
    "evaluation_of",
    "foreach",
    "is_connection_error",
]
