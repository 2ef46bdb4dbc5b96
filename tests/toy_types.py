"""A small task of each type, in words that the tiny BERT knows, which it learns in a second or two."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from adapter_sweep.bench import Bench
from adapter_sweep.config import SweepConfig
from adapter_sweep.engine.tasks import Split, TaskData
from adapter_sweep.scores import TASK_METRICS, TaskType
from tiny_bert import BAD, GOOD, HOW
from toy_bench import toy_bench, toy_config

PARTS: Mapping[str, Sequence[str]] = {
    "train": ("film", "story", "cast"),
    "validation": ("scene",),
    "test": ("ending",),
}
_STRENGTH = {how: strength for strength, how in enumerate(HOW)}


def _sentences(things: Sequence[str]) -> list[tuple[str, ...]]:
    return [("the", *rest) for rest in itertools.product(things, ("is",), HOW, (*GOOD[:4], *BAD[:4]))]


def _labelled(label: Callable[[str, str, str], Any], things: Sequence[str]) -> Split:
    rows = _sentences(things)
    labels = tuple(label(thing, how, word) for _, thing, _, how, word in rows)
    return Split(tuple(map(" ".join, rows)), None, labels)


def _classes(_thing: str, _how: str, word: str) -> int:
    return int(word in GOOD)


def _several(_thing: str, how: str, word: str) -> tuple[int, ...]:
    return tuple(label for label, holds in enumerate((word in GOOD, how in HOW[:2], word == BAD[0])) if holds)


def _number(_thing: str, how: str, word: str) -> float:
    """In a unit whose numbers are far from those a head starts with."""
    return 1000.0 + 100 * (word in GOOD) + 20 * _STRENGTH[how]


def _entities(things: Sequence[str]) -> Split:
    """The thing, and what is said of it; but a fine thing is none."""
    rows = tuple(_sentences(things))
    labels = tuple(((1, 1, "thing"), (3, 4, "mood")) if words[4] != "fine" else ((1, 1, "thing"),) for words in rows)
    return Split(tuple(map(" ".join, rows)), None, labels, words=rows)


def _answers(things: Sequence[str]) -> Split:
    """The one word of praise or blame in a context that is longer than a window."""
    questions, contexts, labels = [], [], []
    for thing, how, word in itertools.product(things, HOW, (*GOOD[:4], *BAD[:4])):
        place = (_STRENGTH[how] * 5 + len(word) * 3 + len(thing)) % 17
        words = [HOW[(i + len(word)) % 4] for i in range(16)]
        words.insert(place, word)
        questions.append(f"the {thing} is {how}")
        contexts.append(" ".join(words))
        labels.append(((len(" ".join(words[:place])) + (place > 0), word),))
    return Split(tuple(questions), tuple(contexts), tuple(labels))


_MAKERS: dict[TaskType, tuple[tuple[str, ...], Callable[[Sequence[str]], Split]]] = {
    "classification": (("neg", "pos"), lambda things: _labelled(_classes, things)),
    "multi_label": (("good", "loud", "worst"), lambda things: _labelled(_several, things)),
    "regression": ((), lambda things: _labelled(_number, things)),
    "tokens": (("mood", "thing"), _entities),
    "spans": ((), _answers),
}


def typed_data(kind: TaskType, *, languages: bool = False) -> TaskData:
    """96 training examples and 32 to hold out; with `languages` every other one is in German."""
    names, make = _MAKERS[kind]
    splits = {part: make(things) for part, things in PARTS.items()}
    if languages:
        splits = {p: replace(s, languages=tuple(("en", "de")[i % 2] for i in range(len(s)))) for p, s in splits.items()}
    return TaskData(f"toy {kind}", names, **splits, source="here", type=kind)


# With which it is learnt: what a token is for itself is learnt sooner than what the mean of them says.
_TRAINED: dict[str, Any] = {"train__lr": 3e-2, "method__width": 16, "method__layer_norms": "all"}
_EPOCHS: dict[TaskType, int] = {"classification": 10, "multi_label": 10, "regression": 10, "tokens": 3, "spans": 3}


def typed_config(tiny_bert: Path, kind: TaskType, **params: Any) -> SweepConfig:
    """The toy settings for a type, scored by its first metric."""
    usual = {key: value for key, value in _TRAINED.items() if "method" not in params or not key.startswith("method__")}
    usual |= {"train__epochs": _EPOCHS[kind], "train__batch_size": 4}
    config = toy_config(tiny_bert, **usual | params)
    task = config.task.model_copy(update={"type": kind, "metric": TASK_METRICS[kind][0]})
    return config.model_copy(update={"task": task})


def typed_bench(tiny_bert: Path, kind: TaskType, *, languages: bool = False) -> Bench:
    bench = toy_bench(tiny_bert, typed_data(kind, languages=languages))
    return replace(bench, config=typed_config(tiny_bert, kind))
