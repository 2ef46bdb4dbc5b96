"""Which rows are held out, and which make a subset: shares of each stratum, by the user's seed alone."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import islice

from adapter_sweep.engine.tasks.questions import context_key
from adapter_sweep.engine.tasks.rows import Row
from adapter_sweep.scores import TaskType

__all__ = ["carve", "subset"]

_HELD_OUT_SHARE = 0.1  # of the rows, for each split that is carved
_BINS = 10  # of a regression's labels

_Stratum = tuple[str, str]  # what the label is about, and the language


def carve(
    rows: Sequence[Row], parts: Sequence[str], kind: TaskType, seed: int
) -> tuple[dict[str, list[Row]], list[Row]]:
    """Take a share of the rows out for each of `parts`; every split keeps the rows' order.

    Each stratum gives its share: a class; of several labels the rarest; a tenth of the range of numbers, by rank; and
    each of these in each language. A class gives at least one row to each split, however few it has, so that many small
    classes give more than a tenth of the rows. All other types give a tenth, at least one row, to each split: rare
    strata first have one row each, as far as the tenth goes, and those with too few rows for that are one stratum
    together. Rows of one group, and questions on one context, stay together.
    """
    if not parts:
        return {}, list(rows)
    if kind == "spans":
        place = _context_places(rows, parts, seed)
    elif rows[0].group is not None:
        place = _group_places(rows, parts, seed)
    else:
        place = _row_places(rows, parts, kind, seed)
    taken = {part: [row for row, where in zip(rows, place, strict=True) if where == part] for part in parts}
    return taken, [row for row, where in zip(rows, place, strict=True) if where == "train"]


def subset(rows: Sequence[Row], count: int, kind: TaskType, seed: int) -> list[Row]:
    """`count` rows in their order, each stratum in proportion, no class left out; nested in `count`."""
    ranked: list[tuple[bool, float, int, int]] = []
    seen: set[str] = set()
    for number, ((about, _), indices) in enumerate(_shuffled(rows, kind, seed).items()):
        # The first row of each class comes before all others: several languages make more strata than classes.
        ranked += [(rank > 0 or about in seen, rank / len(indices), number, i) for rank, i in enumerate(indices)]
        seen.add(about)
    chosen = sorted(index for _, _, _, index in sorted(ranked)[:count])
    return [rows[index] for index in chosen]


def _row_places(rows: Sequence[Row], parts: Sequence[str], kind: TaskType, seed: int) -> list[str]:
    # Not scikit-learn's train_test_split: it refuses classes too small for their share, and leaves a rare
    # class out of a split without a word. Here every class has at least one row in each split.
    needed = 1 + len(parts)
    strata = _shuffled(rows, kind, seed)
    whole = [indices for indices in strata.values() if len(indices) >= needed]
    # A class that is rare in one language is held out over the languages in which it is rare.
    pooled: dict[str, list[int]] = defaultdict(list)
    for (about, _), indices in strata.items():
        if len(indices) < needed:
            pooled[about] += indices
    whole += [indices for indices in pooled.values() if len(indices) >= needed]
    if kind == "classification":
        shares = [[max(1, round(_HELD_OUT_SHARE * len(indices)))] * len(parts) for indices in whole]
    else:
        rare = [index for indices in pooled.values() if len(indices) < needed for index in indices]
        random.Random(seed).shuffle(rare)
        whole.append(rare)
        shares = _tenths([len(indices) for indices in whole], len(rows), len(parts))
    place = ["train"] * len(rows)
    for indices, counts in zip(whole, shares, strict=True):
        left = iter(indices)
        for part, count in zip(parts, counts, strict=True):
            for index in islice(left, count):
                place[index] = part
    return place


def _tenths(sizes: Sequence[int], rows: int, parts: int) -> list[list[int]]:
    """How many rows each stratum gives to each part: a tenth of all rows a part, by largest remainder.

    A stratum too small for a row of its own comes before the remainders of others, and of those one that gave none yet.
    """
    every = round(1 / _HELD_OUT_SHARE)
    given = [[size // every] * parts for size in sizes]
    spare = max(1, round(_HELD_OUT_SHARE * rows)) - sum(size // every for size in sizes)
    enough = [number for number, size in enumerate(sizes) if size > parts]
    for part in range(parts):

        def rank(number: int, part: int = part) -> tuple[int, int, int]:
            size = sizes[number]
            return -(size < every), sum(given[number][:part]) if size < every else 0, -(size % every)

        for number in sorted(enough, key=rank)[:spare]:
            given[number][part] += 1
    return given


def _context_places(rows: Sequence[Row], parts: Sequence[str], seed: int) -> list[str]:
    sizes = Counter(map(context_key, rows))
    contexts = list(sizes)
    random.Random(seed).shuffle(contexts)
    share = max(1, round(_HELD_OUT_SHARE * len(rows)))
    where: dict[str, str] = {}
    for number, part in enumerate(parts):
        left = len(parts) - number  # a context each for the parts that follow, and for train
        taken = 0
        while taken < share and len(contexts) > left:
            context = contexts.pop()
            where[context] = part
            taken += sizes[context]
    return [where.get(context_key(row), "train") for row in rows]


def _group_places(rows: Sequence[Row], parts: Sequence[str], seed: int) -> list[str]:
    from sklearn.model_selection import StratifiedGroupKFold

    folds = StratifiedGroupKFold(n_splits=round(1 / _HELD_OUT_SHARE), shuffle=True, random_state=seed)
    labels, groups = [row.label for row in rows], [row.group for row in rows]
    place = ["train"] * len(rows)
    for part, (_, indices) in zip(parts, folds.split(labels, labels, groups), strict=False):
        for index in indices:
            place[index] = part
    return place


def _shuffled(rows: Sequence[Row], kind: TaskType, seed: int) -> dict[_Stratum, list[int]]:
    """The row numbers of each stratum in random order; strata by name."""
    strata: dict[_Stratum, list[int]] = defaultdict(list)
    for index, (about, row) in enumerate(zip(_about(rows, kind), rows, strict=True)):
        strata[about, row.language or ""].append(index)
    generator = random.Random(seed)
    ordered = {stratum: strata[stratum] for stratum in sorted(strata)}
    for indices in ordered.values():
        generator.shuffle(indices)
    return ordered


def _about(rows: Sequence[Row], kind: TaskType) -> list[str]:
    """What each row's stratum is about: the same for all rows of `tokens` and `spans`."""
    if kind == "classification":
        return [row.label for row in rows]
    if kind == "multi_label":
        counts = Counter(label for row in rows for label in row.label)
        return [min(row.label, key=lambda label: (counts[label], label), default="") for row in rows]
    if kind == "regression":
        return _bins(rows)
    return [""] * len(rows)


def _bins(rows: Sequence[Row]) -> list[str]:
    """For each row which part of its language's labels, by rank, it is in; each of ten rows or more."""
    bins = [""] * len(rows)
    for language in {row.language for row in rows}:
        ranked = sorted((row.label, index) for index, row in enumerate(rows) if row.language == language)
        count = max(1, min(_BINS, len(ranked) // 10))
        for rank, (_, index) in enumerate(ranked):
            bins[index] = str(rank * count // len(ranked))
    return bins
