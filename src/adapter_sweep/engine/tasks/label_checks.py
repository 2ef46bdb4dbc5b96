"""Whether the labels of a task's splits are what its type says they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from adapter_sweep.scores import TaskType

if TYPE_CHECKING:
    from adapter_sweep.engine.tasks.data import Split  # which asks here

__all__ = ["label_problems"]


def label_problems(kind: TaskType, names: Sequence[str], splits: Mapping[str, Split]) -> list[str]:
    """What is wrong with the labels, and what makes a task of the type untrainable; empty if nothing is."""
    problems = []
    for name, split in splits.items():
        if kind == "classification":
            problems += _unnamed(name, set(split.labels), names)
        elif kind == "multi_label":
            problems += _unnamed(name, {index for label in split.labels for index in label}, names)
            if any(low >= high for label in split.labels for low, high in pairwise(label)):
                problems.append(f"labels of the {name} split are not in ascending order")
        elif kind == "regression":
            problems += _numbers(name, split)
        elif kind == "tokens":
            problems += _entities(name, split, names)
        else:
            problems += _answers(name, split)
    return problems + _untrainable(kind, splits["train"])


def _untrainable(kind: TaskType, train: Split) -> list[str]:
    if kind == "classification" and len(set(train.labels)) < 2:
        return ["the train split needs at least two classes"]
    if kind == "multi_label" and len(set(train.labels)) < 2:
        return ["all examples of the train split have the same labels"]
    if kind == "tokens" and not any(train.labels):
        return ["the train split has no entity"]
    if kind == "spans" and not any(train.labels):
        return ["the train split has no answer"]
    return []


def _unnamed(name: str, indices: set[int], names: Sequence[str]) -> list[str]:
    wrong = sorted(index for index in indices if not 0 <= index < len(names))
    return [f"labels {wrong} of the {name} split have no name"] if wrong else []


def _numbers(name: str, split: Split) -> list[str]:
    if not all(map(math.isfinite, split.labels)):
        return [f"labels of the {name} split are not finite"]
    if len(set(split.labels)) == 1:  # no correlation with it is defined
        return [f"the labels of the {name} split are all {split.labels[0]:g}"]
    return []


def _entities(name: str, split: Split, names: Sequence[str]) -> list[str]:
    if split.words is None:
        return [f"the {name} split has no words"]
    problems = []
    unknown = sorted({kind for label in split.labels for _, _, kind in label} - set(names))
    if unknown:
        problems.append(f"entity types {unknown} of the {name} split have no name")
    for label, words in zip(split.labels, split.words, strict=True):
        ends = [end for first, last, _ in label for end in (first - 0.5, last)]  # first and last may be one word
        if ends != sorted(ends) or not all(-1 < end < len(words) for end in ends):
            problems.append(f"entities {label} of the {name} split overlap, or are not within {len(words)} words")
            break
    return problems


def _answers(name: str, split: Split) -> list[str]:
    if split.text_pairs is None:
        return [f"the {name} split has no contexts"]
    for label, context in zip(split.labels, split.text_pairs, strict=True):
        for start, text in label:
            if not text or context[start : start + len(text)] != text:
                return [f"the answer {text!r} of the {name} split is not at character {start} of its context"]
    return []
