"""Rows for every metric, made up by chance, and what the metrics are of them by others' code or their definition."""

import collections
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

Rows = Sequence[Any]

_WORDS = ["the", "river", "Rhine", "in", "1848,", "a", "war", "north-east", "of", "Bonn."]


def rows_of(metric: str, rows: int, random: np.random.Generator, *, runs: int) -> tuple[list[Any], list[list[Any]]]:
    """Labels, and the predictions of several runs, which are right more often than not."""
    if metric in ("spearman", "pearson"):
        labels = random.normal(size=rows).round(1)
        return labels.tolist(), [(labels + random.normal(size=rows)).round(1).tolist() for _ in range(runs)]
    labels = [_one(metric, random) for _ in range(rows)]
    guessed = [[label if random.random() < 0.6 else _one(metric, random) for label in labels] for _ in range(runs)]
    if metric in ("answer_f1", "exact_match"):
        return [[label, _one(metric, random)] for label in labels], guessed
    return labels, guessed


def _one(metric: str, random: np.random.Generator) -> Any:
    if metric in ("accuracy", "macro_f1", "matthews", "f1"):
        return int(random.integers(2 if metric == "f1" else 4))
    if metric in ("micro_f1", "subset_accuracy"):
        return np.flatnonzero(random.random(3) < 0.4).tolist()
    if metric == "entity_f1":
        starts = np.flatnonzero(random.random(6) < 0.3).tolist()
        return [[start, start + int(random.integers(2)), str(random.choice(["PER", "LOC"]))] for start in starts]
    return " ".join(random.choice(_WORDS, size=int(random.integers(0, 4))))


def _indicators(items: Rows) -> np.ndarray:
    return np.array([[kind in row for kind in range(3)] for row in items], dtype=int)


def _correlation(of: Callable[[Rows, Rows], Any], guessed: Rows, labels: Rows) -> float:
    return float(of(guessed, labels)[0]) if min(len(set(guessed)), len(set(labels))) > 1 else 0.0


def _entity_f1(guessed: Rows, labels: Rows) -> float:
    """conlleval's: an entity is right if both ends and its type are."""
    found, true = ({(row, *each) for row, items in enumerate(side) for each in items} for side in (guessed, labels))
    precision = len(found & true) / len(found) if found else 0.0
    recall = len(found & true) / len(true) if true else 0.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _normal(text: str) -> str:
    """The official SQuAD script's `normalize_answer`, step by step."""
    text = "".join(letter for letter in text.lower() if letter not in set("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"))
    return " ".join(re.sub(re.compile(r"\b(a|an|the)\b"), " ", text).split())


def _squad_f1(guess: str, true: str) -> float:
    """The official script's `compute_f1`."""
    found, wanted = _normal(guess).split(), _normal(true).split()
    if not found or not wanted:
        return float(found == wanted)
    same = sum((collections.Counter(found) & collections.Counter(wanted)).values())
    if same == 0:
        return 0.0
    precision, recall = same / len(found), same / len(wanted)
    return 2 * precision * recall / (precision + recall)


def _golds(accepted: list[str]) -> list[str]:
    """The official script's `gold_answers` of SQuAD 2.0: those of which something is left, or no answer."""
    return [true for true in accepted if _normal(true)] or [""]


REFERENCES: dict[str, Callable[[Rows, Rows], float]] = {
    "accuracy": lambda guessed, labels: float(accuracy_score(labels, guessed)),
    "macro_f1": lambda guessed, labels: float(f1_score(labels, guessed, average="macro", zero_division=0.0)),
    "f1": lambda guessed, labels: float(f1_score(labels, guessed, pos_label=1, zero_division=0.0)),
    "matthews": lambda guessed, labels: float(matthews_corrcoef(labels, guessed)),
    "micro_f1": lambda guessed, labels: float(
        f1_score(_indicators(labels), _indicators(guessed), average="micro", zero_division=0.0)
    ),
    "subset_accuracy": lambda guessed, labels: float(accuracy_score(_indicators(labels), _indicators(guessed))),
    "spearman": lambda guessed, labels: _correlation(spearmanr, guessed, labels),
    "pearson": lambda guessed, labels: _correlation(pearsonr, guessed, labels),
    "entity_f1": _entity_f1,
    "answer_f1": lambda guessed, labels: float(
        np.mean(
            [
                max(_squad_f1(guess, true) for true in _golds(accepted))
                for guess, accepted in zip(guessed, labels, strict=True)
            ]
        )
    ),
    "exact_match": lambda guessed, labels: float(
        np.mean(
            [
                any(_normal(guess) == _normal(true) for true in _golds(accepted))
                for guess, accepted in zip(guessed, labels, strict=True)
            ]
        )
    ),
}
