"""Entities as one tag a word, and back.

Tags are numbered: 0 is O, outside of entities; 1 + 2k and 2 + 2k are B, the first word, and I, a further one, of the
k-th type.
"""

from collections.abc import Sequence

__all__ = ["OUTSIDE", "entities_of", "tag_names", "tags_of"]

OUTSIDE = 0
Entity = tuple[int, int, str]


def tag_names(types: Sequence[str]) -> tuple[str, ...]:
    """The tags' names in their order: `O`, `B-x`, `I-x` of each type x."""
    return ("O", *(f"{part}-{name}" for name in types for part in "BI"))


def tags_of(entities: Sequence[Entity], words: int, types: Sequence[str]) -> list[int]:
    """The tag of each word (Ramshaw and Marcus 1995, as IOB2: every entity begins with B)."""
    tags = [OUTSIDE] * words
    for first, last, name in entities:
        begin = 1 + 2 * types.index(name)
        tags[first : last + 1] = [begin, *[begin + 1] * (last - first)]
    return tags


def entities_of(tags: Sequence[int], types: Sequence[str]) -> list[Entity]:
    """The entities that tags make, each (first word, last word, type), in order.

    As `conlleval` and seqeval read them: I after O, or after another type, begins an entity as B does.
    """
    found: list[Entity] = []
    first: int | None = None
    for word, tag in enumerate([*tags, OUTSIDE]):
        before = tags[word - 1] if word else OUTSIDE
        continues = tag != OUTSIDE and tag % 2 == 0 and before != OUTSIDE and (tag - 1) // 2 == (before - 1) // 2
        if continues:
            continue
        if first is not None:
            found.append((first, word - 1, types[(before - 1) // 2]))
        first = word if tag != OUTSIDE else None
    return found
