"""From labelled rows to a task: duplicates, splits and subsets, the same for every source.

Splitting is a function of the rows and the user's seed alone, whatever the hash seed.
"""

import logging
import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple

from adapter_sweep.engine.tasks.data import Split, TaskData
from adapter_sweep.errors import UserInputError

__all__ = ["Row", "assemble", "drop_duplicates", "sort_label_names"]

_HELD_OUT_SHARE = 0.1  # of the rows, for each split that is carved
_log = logging.getLogger(__name__)


class Row(NamedTuple):
    """One labelled example as it was read; `group` names the document it must stay together with."""

    text: str
    pair: str | None
    label: str
    group: str | None = None


def assemble(
    name: str,
    source: str,
    *,
    train: Sequence[Row],
    validation: Sequence[Row] | None = None,
    test: Sequence[Row] | None = None,
    label_names: Sequence[str] | None = None,
    split_seed: int = 0,
    max_train_examples: int | None = None,
) -> TaskData:
    """Put a task together.

    Held-out rows that are given stay as they are; those that are None are carved from the train rows, a tenth
    each, every class in every split. Rows of one group stay in one split. Duplicates go from train (of two
    equal inputs the first stays), and so do train rows that are held out; where validation and test share an
    input, test keeps it. Each removal is logged as a warning with its count.

    Args:
        label_names: the classes by index; by default the labels that occur, sorted.
        max_train_examples: keep this many train rows, each class in proportion; a smaller subset is part of a
            larger one.

    Raises:
        UserInputError: too few rows or classes, or a held-out label that train never has; all problems at
            once.
    """
    rows = drop_duplicates(train, name)
    if test is not None:
        rows = _without(rows, test, f"{name}: removed %d train rows that are in test")
        if validation is not None:
            validation = _without(validation, test, f"{name}: removed %d validation rows that are in test")
    if validation is not None:
        rows = _without(rows, validation, f"{name}: removed %d train rows that are in validation")
    names = tuple(label_names or sort_label_names({row.label for row in rows}))
    carved = [part for part, given in (("validation", validation), ("test", test)) if given is None]
    _check(name, rows, {"validation": validation, "test": test}, carved, max_train_examples)
    parts, rows = _carve(rows, carved, split_seed)
    if max_train_examples is not None:
        rows = _subset(rows, max_train_examples, split_seed)
    return TaskData(
        name=name,
        label_names=names,
        train=_split(rows, names),
        validation=_split(parts.get("validation", validation or ()), names),
        test=_split(parts.get("test", test or ()), names),
        source=source,
    )


def drop_duplicates(
    rows: Sequence[Row],
    name: str,
    *,
    key: Callable[[Row], Hashable] = lambda row: (row.text, row.pair),
    level: int = logging.WARNING,
) -> list[Row]:
    """The rows without those whose `key` an earlier row has; logs how many went and how many disagreed."""
    first: dict[Hashable, Row] = {}
    disagree = sum(first.setdefault(key(row), row).label != row.label for row in rows)
    removed = len(rows) - len(first)
    if removed:
        _log.log(level, "%s: removed %d duplicates, %d of them with another label", name, removed, disagree)
    return list(first.values())


def sort_label_names(labels: Iterable[str]) -> list[str]:
    """Label names in order: as numbers when all of them are numbers, else as text."""
    names = sorted(labels)
    try:
        numbers = {label: float(label) for label in names}
    except ValueError:
        return names
    # `nan` is a float too, and has no place among numbers.
    finite = all(map(math.isfinite, numbers.values()))
    return sorted(names, key=numbers.__getitem__) if finite else names


def _without(rows: Sequence[Row], held_out: Sequence[Row], message: str) -> list[Row]:
    taken = {(row.text, row.pair) for row in held_out}
    kept = [row for row in rows if (row.text, row.pair) not in taken]
    if len(kept) < len(rows):
        _log.warning(message, len(rows) - len(kept))
    return kept


def _check(
    name: str,
    train: Sequence[Row],
    given: dict[str, Sequence[Row] | None],
    carved: Sequence[str],
    max_train_examples: int | None,
) -> None:
    counts = Counter(row.label for row in train)
    problems = []
    if len(counts) < 2:
        found = f"there is only {next(iter(counts))!r}" if counts else "there are no rows"
        problems.append(f"{name}: a task needs at least two classes in its train rows; {found}")
    needed = 1 + len(carved)
    few = [f"{label!r} has {count}" for label, count in counts.items() if count < needed]
    if few:
        problems.append(
            f"{name}: each class needs at least {needed} distinct train rows"
            + (f", because {' and '.join(carved)} are split from them" if carved else "")
            + f"; {_first(few)}"
        )
    for part, rows in given.items():
        if rows is None:
            continue
        if not rows:
            problems.append(f"{name}: the {part} split has no rows")
        unknown = sort_label_names({row.label for row in rows} - counts.keys())
        if unknown and counts:
            problems.append(f"{name}: {part} has labels that train has not: {_first([repr(u) for u in unknown])}")
    if max_train_examples is not None and max_train_examples < max(2, len(counts)):
        problems.append(
            f"{name}: max_train_examples={max_train_examples} is too small for {len(counts)} classes; "
            "it must be at least their number"
        )
    if problems:
        raise UserInputError(*problems)


def _first(items: Sequence[str], count: int = 5) -> str:
    return ", ".join(items[:count]) + (f", … ({len(items)} in all)" if len(items) > count else "")


def _carve(rows: list[Row], parts: Sequence[str], seed: int) -> tuple[dict[str, list[Row]], list[Row]]:
    """Take a share of the rows out for each of `parts`; every split keeps the rows' order."""
    if not parts:
        return {}, rows
    place = _group_places(rows, parts, seed) if rows[0].group is not None else _row_places(rows, parts, seed)
    taken = {part: [row for row, where in zip(rows, place, strict=True) if where == part] for part in parts}
    return taken, [row for row, where in zip(rows, place, strict=True) if where == "train"]


def _row_places(rows: Sequence[Row], parts: Sequence[str], seed: int) -> list[str]:
    # Not scikit-learn's train_test_split: it refuses classes too small for their share, and leaves a rare
    # class out of a split without a word. Here every class has at least one row in each split.
    place = ["train"] * len(rows)
    for indices in _shuffled_classes(rows, seed):
        share = max(1, round(_HELD_OUT_SHARE * len(indices)))
        for number, part in enumerate(parts):
            for index in indices[number * share : (number + 1) * share]:
                place[index] = part
    return place


def _group_places(rows: Sequence[Row], parts: Sequence[str], seed: int) -> list[str]:
    from sklearn.model_selection import StratifiedGroupKFold

    folds = StratifiedGroupKFold(n_splits=round(1 / _HELD_OUT_SHARE), shuffle=True, random_state=seed)
    labels, groups = [row.label for row in rows], [row.group for row in rows]
    place = ["train"] * len(rows)
    for part, (_, indices) in zip(parts, folds.split(labels, labels, groups), strict=False):
        for index in indices:
            place[index] = part
    return place


def _subset(rows: list[Row], count: int, seed: int) -> list[Row]:
    """`count` rows in their order, each class in proportion and none left out; nested in `count`."""
    ranked: list[tuple[float, int, int]] = []
    for number, indices in enumerate(_shuffled_classes(rows, seed)):
        ranked += [(rank / len(indices), number, index) for rank, index in enumerate(indices)]
    chosen = sorted(index for _, _, index in sorted(ranked)[:count])
    return [rows[index] for index in chosen]


def _shuffled_classes(rows: Sequence[Row], seed: int) -> list[list[int]]:
    """The row numbers of each class in random order; classes by name."""
    classes: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        classes[row.label].append(index)
    generator = random.Random(seed)
    for label in sorted(classes):
        generator.shuffle(classes[label])
    return [classes[label] for label in sorted(classes)]


def _split(rows: Sequence[Row], label_names: Sequence[str]) -> Split:
    index = {label: number for number, label in enumerate(label_names)}
    pairs = tuple(row.pair for row in rows if row.pair is not None)
    return Split(tuple(row.text for row in rows), pairs or None, tuple(index[row.label] for row in rows))
