import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter_sweep.engine.tasks.entities import Entity, count_malformed, entities, is_tag


def tags_of(found: tuple[Entity, ...], length: int, scheme: str) -> list[str]:
    """The tags that mark entities in a sentence: BIO, IOB1, BIOES or BILOU."""
    tags = ["O"] * length
    for first, last, kind in found:
        tags[first : last + 1] = [f"I-{kind}"] * (last + 1 - first)
        parted = first > 0 and tags[first - 1].endswith(f"-{kind}")
        if scheme != "IOB1" or parted:
            tags[first] = f"B-{kind}"
        if scheme in ("BIOES", "BILOU"):
            end, single = ("E", "S") if scheme == "BIOES" else ("L", "U")
            tags[last] = f"{end}-{kind}"
            tags[first] = f"{single}-{kind}" if first == last else tags[first]
    return tags


@st.composite
def sentences(draw: st.DrawFn) -> tuple[tuple[Entity, ...], int]:
    """Entities in order, some side by side, in a sentence of some length."""
    found: list[Entity] = []
    at = 0
    for gap, length in draw(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3)), max_size=5)):
        found.append((at + gap, at + gap + length - 1, draw(st.sampled_from(["PER", "LOC", "a-b"]))))
        at += gap + length
    return tuple(found), at + draw(st.integers(0, 2))


@settings(max_examples=200, deadline=None)
@given(st.lists(sentences(), max_size=4), st.sampled_from(["BIO", "IOB1", "BIOES", "BILOU"]))
def test_every_scheme_gives_back_its_entities(texts: list[tuple[tuple[Entity, ...], int]], scheme: str) -> None:
    tags = [tags_of(found, length, scheme) for found, length in texts]
    assert all(is_tag(tag) for sentence in tags for tag in sentence)
    assert [entities(sentence) for sentence in tags] == [found for found, _ in texts]
    assert count_malformed(tags) == 0


@pytest.mark.parametrize(
    ("tags", "found", "malformed"),
    [
        # In BIO, as conlleval has them: an I with nothing of its type before it begins an entity.
        ("O I-PER I-PER B-LOC", ((1, 2, "PER"), (3, 3, "LOC")), 1),
        ("B-PER I-LOC O", ((0, 0, "PER"), (1, 1, "LOC")), 1),
        ("B-PER O I-PER", ((0, 0, "PER"), (2, 2, "PER")), 1),
        ("B-PER B-PER I-PER", ((0, 0, "PER"), (1, 2, "PER")), 0),
        # IOB1: a B only parts two entities of one type.
        ("I-PER B-PER O I-LOC", ((0, 0, "PER"), (1, 1, "PER"), (3, 3, "LOC")), 0),
        ("I-PER I-PER O", ((0, 1, "PER"),), 0),
        # BIOES: an end that is missing, a beginning that is missing, and what follows an end.
        ("B-PER I-PER O S-LOC", ((0, 1, "PER"), (3, 3, "LOC")), 1),
        ("E-PER S-LOC", ((0, 0, "PER"), (1, 1, "LOC")), 1),
        ("B-PER E-PER I-PER S-LOC", ((0, 1, "PER"), (2, 2, "PER"), (3, 3, "LOC")), 1),
        ("B-PER S-PER", ((0, 0, "PER"), (1, 1, "PER")), 1),
        ("O O", (), 0),
        ("", (), 0),
    ],
)
def test_tags_that_break_their_scheme(tags: str, found: tuple[Entity, ...], malformed: int) -> None:
    assert entities(tags.split()) == found
    assert count_malformed([tags.split()]) == malformed


def test_one_sentence_in_bio_makes_another_malformed() -> None:
    assert count_malformed([["I-PER"], ["O", "B-PER"]]) == 1


@pytest.mark.parametrize(("tag", "is_one"), [("O", True), ("B-x", True), ("U-x", True), ("B", False), ("B-", False)])
def test_what_a_tag_is(tag: str, is_one: bool) -> None:
    assert is_tag(tag) == is_one
    assert not is_tag("o" + tag)
