"""What a task type predicts for a row, and how each metric follows from the rows, in plain numbers.

The report computes scores and their intervals from what is kept of each row, without torch; `engine/metrics` has the
same metrics as `evaluate` modules.

What a row's prediction and label are, as plain JSON:

- `classification`: the class's index.
- `multi_label`: the indices of the labels that hold, ascending.
- `regression`: a number.
- `tokens`: the entities, each `[first word, last word, type]`, in order.
- `spans`: the answer's text, `""` for none; the label is the list of accepted answers.
"""

import functools
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

__all__ = [
    "IMAGE_TYPES",
    "METRICS",
    "TASK_METRICS",
    "Formula",
    "Metric",
    "Modality",
    "TaskType",
    "answer_f1",
    "exact_match",
    "is_language",
    "metric_and_language",
    "row_numbers",
]

TaskType = Literal["classification", "multi_label", "regression", "tokens", "spans"]
Modality = Literal["text", "image"]
"""What examples are, and so what a backbone must read."""


class Formula(StrEnum):
    """How a score follows from what each row gives (see `row_numbers`)."""

    MEAN = "mean"
    """Of each row's one number, from 0 to 1."""
    F1 = "f1"
    """2 tp / (2 tp + fp + fn) of the rows' sums; 0 where all are 0. Each row gives (tp, fp, fn)."""
    CLASSES = "classes"
    """From the table of predicted against true classes. Each row gives (prediction, label)."""
    CORRELATION = "correlation"
    """Between predictions and labels; 0 where one of them is constant. Each row gives (prediction, label)."""


@dataclass(frozen=True)
class Metric:
    """A metric; more is better in all of them.

    Attributes:
        title: its name in a sentence.
        low: its least value: 0, or -1 of a correlation. The best is 1.
        share: whether it is a share of the rows, each of which is right or wrong.
    """

    title: str
    formula: Formula
    help: str
    low: float = 0.0
    share: bool = False


METRICS: Mapping[str, Metric] = {
    "accuracy": Metric("accuracy", Formula.MEAN, "share of examples with the right class", share=True),
    "macro_f1": Metric("macro F1", Formula.CLASSES, "unweighted mean of F1 over the classes that occur"),
    "f1": Metric("F1", Formula.F1, "F1 of the second of two classes"),
    "matthews": Metric("Matthews correlation", Formula.CLASSES, "Matthews correlation of classes", -1.0),
    "micro_f1": Metric("micro F1", Formula.F1, "F1 over all pairs of an example and a label"),
    "subset_accuracy": Metric(
        "subset accuracy", Formula.MEAN, "share of examples with exactly the right labels", share=True
    ),
    "spearman": Metric("Spearman correlation", Formula.CORRELATION, "rank correlation with the labels", -1.0),
    "pearson": Metric("Pearson correlation", Formula.CORRELATION, "linear correlation with the labels", -1.0),
    "entity_f1": Metric("entity F1", Formula.F1, "F1 over entities, right in type and both ends (CoNLL-2003)"),
    "answer_f1": Metric("answer F1", Formula.MEAN, "mean overlap of the answers' words, as F1 (SQuAD)"),
    "exact_match": Metric("exact match", Formula.MEAN, "share of answers that match exactly (SQuAD)", share=True),
}

IMAGE_TYPES: tuple[TaskType, ...] = ("classification", "multi_label", "regression")
"""The types whose examples may be images."""

# The metrics of each task type; the first is the primary one unless `task.metric` says otherwise.
TASK_METRICS: Mapping[TaskType, tuple[str, ...]] = {
    "classification": ("accuracy", "macro_f1", "f1", "matthews"),
    "multi_label": ("micro_f1", "subset_accuracy"),
    "regression": ("spearman", "pearson"),
    "tokens": ("entity_f1",),
    "spans": ("answer_f1", "exact_match"),
}


# What may follow a metric's name in multilingual data, e.g. `de`, `pt_BR`, `zh-CN`.
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*")


def is_language(name: str) -> bool:
    """Whether a language may be called so: a code of two or three letters, with parts that say more: `zh-Hant`."""
    return _LANGUAGE.fullmatch(name) is not None


def metric_and_language(name: str) -> tuple[str, str] | None:
    """The metric that a recorded name is of, and the language it is for: `("entity_f1", "de")` of `entity_f1_de`.

    The language is empty for all rows. None where the name is of no metric.
    """
    if name in METRICS:
        return name, ""
    for metric in sorted(METRICS, key=len, reverse=True):
        language = name.removeprefix(f"{metric}_")
        if language != name and is_language(language):
            return metric, language
    return None


def row_numbers(metric: str, prediction: Any, label: Any) -> tuple[float, ...]:
    """What one row gives to a metric: see `Formula` for what the numbers are.

    Raises:
        KeyError: no such metric.
    """
    formula = METRICS[metric].formula
    if metric == "f1":
        return float(prediction == 1 == label), float(prediction == 1 != label), float(label == 1 != prediction)
    if formula is Formula.F1:
        found, true = ({_hashable(each) for each in items} for items in (prediction, label))
        return float(len(found & true)), float(len(found - true)), float(len(true - found))
    if formula is not Formula.MEAN:
        return float(prediction), float(label)
    if metric == "answer_f1":
        return (max((answer_f1(prediction, each) for each in _accepted(label)), default=0.0),)
    if metric == "exact_match":
        return (float(any(exact_match(prediction, each) for each in _accepted(label))),)
    return (float(_hashable(prediction) == _hashable(label)),)


def exact_match(answer: str, accepted: str) -> bool:
    """Whether two answers are the same but for case, punctuation, articles and spacing.

    Rajpurkar et al. (2016), section 6.1.
    """
    return _words(answer) == _words(accepted)


def answer_f1(answer: str, accepted: str) -> float:
    """F1 of the words of two answers, each a bag; 1 where both are empty, 0 where one is.

    Rajpurkar et al. (2016), section 6.1; for questions without an answer Rajpurkar et al. (2018), section 5.
    """
    found, true = _words(answer), _words(accepted)
    if not found or not true:
        return float(found == true)
    shared = (Counter(found) & Counter(true)).total()
    return 2 * shared / (len(found) + len(true))


def _accepted(answers: Sequence[str]) -> Sequence[str]:
    """Without answers like `the` and `-`, of which no word is left, unless all are: as SQuAD 2.0's script has it."""
    return [each for each in answers if _words(each)] or answers


@functools.lru_cache(maxsize=2**16)  # accepted answers meet the predictions of every run
def _words(answer: str) -> tuple[str, ...]:
    bare = "".join(letter for letter in answer.lower() if letter not in string.punctuation)
    return tuple(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def _hashable(item: Any) -> Any:
    """The same with tuples for lists, to any depth: JSON has lists where Python had tuples."""
    return tuple(map(_hashable, item)) if isinstance(item, Sequence) and not isinstance(item, str) else item
