"""From a sentence's tags to its entities: BIO (IOB2), IOB1, BIOES and BILOU alike.

An entity goes on at `I` or `E` of its type, and nowhere else, and it ends with `E` or `S`: the rules of conlleval
(Tjong Kim Sang and De Meulder 2003) and of seqeval's default mode. They need not know the scheme, and give tags that
break it a meaning: an `I` with nothing before it begins an entity.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

__all__ = ["Entity", "count_malformed", "entities", "is_tag"]

Entity = tuple[int, int, str]
"""First word, last word, type."""

_TAG = re.compile(r"O|[BIESLU]-.+", re.DOTALL)
_BIOES = {"L": "E", "U": "S"}  # BILOU's names for them


def is_tag(value: str) -> bool:
    """Whether a tag is `O`, or a place in an entity (`B`, `I`, `E`, `S`, `L`, `U`), a hyphen and a type."""
    return _TAG.fullmatch(value) is not None


def entities(tags: Sequence[str]) -> tuple[Entity, ...]:
    """The entities of a sentence, in order."""
    found: list[Entity] = []
    going_on = False
    for index, (prefix, kind) in enumerate(map(_parts, tags)):
        if prefix == "O":
            going_on = False
            continue
        if going_on and prefix in "IE" and found[-1][2] == kind:
            found[-1] = (found[-1][0], index, kind)
        else:
            found.append((index, index, kind))
        going_on = prefix in "BI"
    return tuple(found)


def count_malformed(sentences: Iterable[Sequence[str]]) -> int:
    """How many entities do not begin, or in BIOES end, as the scheme of the sentences wants.

    The scheme is BIOES where there is an `E` or an `S`; IOB1 where `B` only parts an entity from one of its type right
    before it, as it was made for; else BIO.
    """
    kept = [[_parts(tag) for tag in tags] for tags in sentences]
    prefixes = {prefix for tags in kept for prefix, _ in tags}
    if not prefixes & {"E", "S"} and all(
        before == (before[0], kind) and before[0] != "O"
        for tags in kept
        for before, (prefix, kind) in pairwise([("O", ""), *tags])
        if prefix == "B"
    ):
        return 0
    malformed = 0
    for tags in kept:
        for first, last, _ in entities([f"{prefix}-{kind}" if kind else prefix for prefix, kind in tags]):
            whole = tags[first][0] == "B" or (first == last and tags[first][0] == "S")
            if whole and prefixes & {"E", "S"}:
                whole = tags[last][0] in ("E", "S")
            malformed += not whole
    return malformed


def _parts(tag: str) -> tuple[str, str]:
    prefix, _, kind = tag.partition("-")
    return _BIOES.get(prefix, prefix), kind
