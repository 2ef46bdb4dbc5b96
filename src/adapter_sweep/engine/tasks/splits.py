"""From labelled rows to a task: duplicates, splits and subsets, the same for every source.

Splitting is a function of the rows and the user's seed alone, whatever the hash seed.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from adapter_sweep.engine.tasks.carving import carve, subset
from adapter_sweep.engine.tasks.data import Split, TaskData
from adapter_sweep.engine.tasks.questions import context_key, merge_answers
from adapter_sweep.engine.tasks.rows import Row, drop_duplicates, labels_in, sort_label_names
from adapter_sweep.errors import UserInputError
from adapter_sweep.scores import TaskType, is_language

__all__ = ["assemble"]

_log = logging.getLogger(__name__)
_TOO_MUCH = 0.15  # of the rows in one carved split
_NAMED = {"classification": ("class", "classes"), "multi_label": ("label", "labels"), "tokens": ("type", "types")}


def assemble(
    name: str,
    source: str,
    *,
    type: TaskType = "classification",
    train: Sequence[Row],
    validation: Sequence[Row] | None = None,
    test: Sequence[Row] | None = None,
    label_names: Sequence[str] | None = None,
    split_seed: int = 0,
    max_train_examples: int | None = None,
) -> TaskData:
    """Put a task together.

    Held-out rows that are given stay as they are; those that are None are carved from the train rows, a tenth
    each, every class in every split, and so more than a tenth, with a warning, where many classes have few rows.
    Rows of one group stay in one split, and so do questions on one context.
    Duplicates go from train (of two equal inputs the first stays), and so do train rows that are held out; where
    validation and test share an input, test keeps it. Each removal is logged as a warning with its count, and so are
    contexts that given splits share, pairs that share one text with a train pair (only whole pairs are kept apart), and
    a split that lacks a language. Of `spans` contexts are the same whatever
    their white space, and rows with the same question and context are one with all of their answers, in given splits
    too, with a warning.

    Args:
        label_names: the classes by index; by default the labels that occur, sorted.
        max_train_examples: keep this many train rows, each class in proportion; a smaller subset is part of a
            larger one.

    Raises:
        UserInputError: too few rows or classes, a held-out label that train never has, a language that is no code, or a
            held-out split with nothing to find; all problems at once.
    """
    if type == "spans":
        train = merge_answers(train, f"{name}, train")
        validation = None if validation is None else merge_answers(validation, f"{name}, validation")
        test = None if test is None else merge_answers(test, f"{name}, test")
    rows = drop_duplicates(train, name)
    if test is not None:
        rows = _without(type, rows, test, f"{name}: removed %d train rows that are in test")
        if validation is not None:
            validation = _without(type, validation, test, f"{name}: removed %d validation rows that are in test")
    if validation is not None:
        rows = _without(type, rows, validation, f"{name}: removed %d train rows that are in validation")
    names: tuple[str, ...] = ()
    if type in _NAMED:
        names = tuple(label_names or sort_label_names({label for row in rows for label in labels_in(row)}))
    carved = [part for part, given in (("validation", validation), ("test", test)) if given is None]
    _check(name, type, rows, {"validation": validation, "test": test}, carved, label_names, max_train_examples)
    whole = len(rows)
    parts, rows = carve(rows, carved, type, split_seed)
    if type == "classification":
        for part, taken in parts.items():
            if len(taken) > _TOO_MUCH * whole:
                _log.warning(
                    "%s: %s takes %d of %d rows: it has a row of every class, and many classes have few rows",
                    name,
                    part,
                    len(taken),
                    whole,
                )
    if max_train_examples is not None:
        rows = subset(rows, max_train_examples, type, split_seed)
    held_out = {"validation": parts.get("validation", validation or ()), "test": parts.get("test", test or ())}
    if problems := _pointless(name, type, rows, held_out, carved, whole):
        raise UserInputError(*problems)
    _warn(name, type, rows, held_out)
    return TaskData(
        name=name,
        label_names=names,
        train=_split(rows, names, type),
        validation=_split(held_out["validation"], names, type),
        test=_split(held_out["test"], names, type),
        source=source,
        type=type,
    )


def _input(row: Row, type: TaskType) -> tuple[str, str | None]:
    return row.text, context_key(row) if type == "spans" else row.pair


def _without(type: TaskType, rows: Sequence[Row], held_out: Sequence[Row], message: str) -> list[Row]:
    taken = {_input(row, type) for row in held_out}
    kept = [row for row in rows if _input(row, type) not in taken]
    if len(kept) < len(rows):
        _log.warning(message, len(rows) - len(kept))
    return kept


def _check(
    name: str,
    type: TaskType,
    train: Sequence[Row],
    given: dict[str, Sequence[Row] | None],
    carved: Sequence[str],
    label_names: Sequence[str] | None,
    max_train_examples: int | None,
) -> None:
    counts = Counter(label for row in train for label in labels_in(row))
    problems = []
    least = 2 if type == "classification" else 1
    if type in _NAMED and len(counts) < least:
        found = (
            f"there is only {next(iter(counts))!r}" if counts else "there are none" if train else "there are no rows"
        )
        wanted = {"tokens": "one entity type", "multi_label": "one label"}.get(type, "two classes")
        problems.append(f"{name}: a task needs at least {wanted} in its train rows; {found}")
    if type == "multi_label" and len(counts) == 1 and all(row.label for row in train):
        problems.append(f"{name}: a task with one label needs train rows without it; all have {next(iter(counts))!r}")
    if label_names is not None and (beyond := sort_label_names(counts.keys() - set(label_names))):
        problems.append(f"{name}: train has labels that are none of its class names: {_first(list(map(repr, beyond)))}")
    problems += _unspoken(name, [train, *(rows for rows in given.values() if rows is not None)])
    problems += _too_few(name, type, train, counts, carved)
    for part, rows in given.items():
        if rows is None:
            continue
        if not rows:
            problems.append(f"{name}: the {part} split has no rows")
        unknown = sort_label_names({label for row in rows for label in labels_in(row)} - counts.keys())
        if unknown and counts:
            problems.append(f"{name}: {part} has labels that train has not: {_first([repr(u) for u in unknown])}")
    classes = len(counts) if type == "classification" else 0
    if max_train_examples is not None and max_train_examples < max(2, classes):
        problems.append(
            f"{name}: max_train_examples={max_train_examples} is too small for {classes} classes; "
            "it must be at least their number"
        )
    if problems:
        raise UserInputError(*problems)


def _too_few(
    name: str, type: TaskType, train: Sequence[Row], counts: Mapping[str, int], carved: Sequence[str]
) -> list[str]:
    """Whether the splits that are carved, and train, would all have rows."""
    needed = 1 + len(carved)
    because = f", because {' and '.join(carved)} are split from them" if carved else ""
    if type == "classification":
        few = [f"{label!r} has {count}" for label, count in counts.items() if count < needed]
        return (
            [f"{name}: each class needs at least {needed} distinct train rows{because}; {_first(few)}"] if few else []
        )
    units = {context_key(row) for row in train} if type == "spans" else train
    if len(units) < needed:
        what = "contexts" if type == "spans" else "distinct train rows"
        return [f"{name}: there are {len(units)} {what}; a task needs at least {needed}{because}"]
    return []


def _unspoken(name: str, splits: Sequence[Sequence[Row]]) -> list[str]:
    """Whether a score could be told by each language's name."""
    languages = {row.language for rows in splits for row in rows if row.language is not None}
    wrong = sorted(language for language in languages if not is_language(language))
    return [
        f"{name}: language {language!r}: give a code, two or three letters and what follows after - or _, "
        "like de, pt_BR or zh-Hant"
        for language in wrong
    ]


def _pointless(
    name: str,
    type: TaskType,
    train: Sequence[Row],
    held_out: Mapping[str, Sequence[Row]],
    carved: Sequence[str],
    whole: int,
) -> list[str]:
    """Held-out splits on which no score of the type says anything, where train would be well.

    Args:
        whole: the train rows before some were carved.
    """
    problems = []
    for part, rows in held_out.items():
        missing = ""
        if type == "regression" and len({row.label for row in rows}) < 2 <= len({row.label for row in train}):
            labels = f"all labels are {rows[0].label:g}" if len(rows) > 1 else "that is too few"
            missing = f"{labels}, and a correlation needs labels that differ"
        if type in ("tokens", "multi_label") and not any(row.label for row in rows):
            missing = f"none has {'an entity' if type == 'tokens' else 'a label'}, so there is nothing to find"
        if missing:
            count = f"{len(rows)} row{'s' if len(rows) != 1 else ''}"
            how, helps = f"{count}, as given", f"rows that have some in {part}"
            if part in carved:
                how = f"{count}, cut from {whole} train rows"
                helps = f"more rows, another split_seed, or rows of your own for {part}"
            problems.append(f"{name}: the {part} split ({how}): {missing}; give {helps}")
    return problems


def _warn(name: str, type: TaskType, train: Sequence[Row], held_out: Mapping[str, Sequence[Row]]) -> None:
    splits = {"train": train, **held_out}
    trained = {text for row in train for text in (row.text, row.pair)}
    languages = sorted({row.language for rows in splits.values() for row in rows if row.language is not None})
    for part, rows in splits.items():
        if lacking := set(languages) - {row.language for row in rows}:
            _log.warning("%s: the %s split has no rows in %s", name, part, ", ".join(sorted(lacking)))
        if type == "spans" and part != "train":
            shared = set(map(context_key, rows)) & set(map(context_key, train))
            if shared:
                _log.warning("%s: %d contexts of %s are in train too, with other questions", name, len(shared), part)
        elif part != "train" and rows and rows[0].pair is not None:
            again = sum(row.text in trained or row.pair in trained for row in rows)
            if again:
                _log.warning(
                    "%s: %d of %d pairs of %s have a text that is in train too, in another pair",
                    name,
                    again,
                    len(rows),
                    part,
                )


def _first(items: Sequence[str], count: int = 5) -> str:
    return ", ".join(items[:count]) + (f", … ({len(items)} in all)" if len(items) > count else "")


def _split(rows: Sequence[Row], label_names: Sequence[str], type: TaskType) -> Split:
    index = {label: number for number, label in enumerate(label_names)}
    pairs = tuple(row.pair for row in rows if row.pair is not None)
    words = tuple(row.words for row in rows if row.words is not None)
    languages = tuple(row.language for row in rows if row.language is not None)
    labels: tuple[Any, ...] = tuple(row.label for row in rows)
    if type == "classification":
        labels = tuple(index[label] for label in labels)
    elif type == "multi_label":
        labels = tuple(tuple(sorted(index[label] for label in each)) for each in labels)
    images = tuple(row.picture for row in rows if row.picture is not None)
    texts = tuple(row.text for row in rows)
    return Split(texts, pairs or None, labels, words or None, languages or None, images or None)
