"""Sentences of words as token ids, with the tag of each word at one of its tokens."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from transformers import PreTrainedTokenizerBase

from adapter_sweep.engine.encoded import EncodedTexts, Shortened
from adapter_sweep.engine.encoding.tokenizer import Rows, tokenize
from adapter_sweep.engine.problems import IGNORED, Tokens, tags_of
from adapter_sweep.engine.tasks.data import Split

__all__ = ["encode_words"]


def encode_words(
    tokenizer: PreTrainedTokenizerBase, split: Split, types: Sequence[str], *, causal: bool = False, max_length: int
) -> EncodedTexts:
    """One row a sentence, cut to `max_length` tokens with its special ones; the label of a row is its tokens' tags.

    The words are tokenized as the text they are, joined by spaces, and found again by where their tokens stand in it:
    so a byte-level tokenizer, to which a word without its space is another word, gives the tokens it was trained on.
    A word's tag is at its first token (Devlin et al. 2019, section 5.3), of a causal model at its last, which alone has
    seen the whole word.

    Raises:
        UserInputError: the tokenizer cannot say where its tokens stand.
    """
    assert split.words is not None
    rows = tokenize(tokenizer, [" ".join(words) for words in split.words], max_length=max_length)
    places = tuple(_places(words, rows, row, causal=causal) for row, words in enumerate(split.words))
    labels = []
    for row, (words, entities) in enumerate(zip(split.words, split.labels, strict=True)):
        own = [IGNORED] * len(rows.ids[row])
        for at, tag in zip(places[row], tags_of(entities, len(words), types), strict=True):
            if at is not None:
                own[at] = tag
        labels.append(tuple(own))
    problem = Tokens(tuple(types), places)
    return EncodedTexts(
        rows.ids, tuple(labels), rows.pad_id, problem=problem, shortened=_shortened(split, rows, places)
    )


def _shortened(split: Split, rows: Rows, places: Sequence[Sequence[int | None]]) -> Shortened:
    cut = [row for row in range(len(split)) if rows.is_cut(row)]
    words = sum(place is None for row in cut for place in places[row])
    lost = sum(None in places[row][first : last + 1] for row in cut for first, last, _ in split.labels[row])
    return Shortened(len(cut), words, lost)


def _places(words: Sequence[str], rows: Rows, row: int, *, causal: bool) -> tuple[int | None, ...]:
    """The position in a row of each word's first token, or its last; None for a word without one.

    A token that spans the space between two words, or begins with it, belongs to the first word it has a letter of.
    """
    text = " ".join(words)
    starts = [0, *accumulate(len(word) + 1 for word in words)][:-1]
    places: list[int | None] = [None] * len(words)
    for position, _, (start, end) in rows.tokens(row):
        letters = text[start:end].lstrip()
        if letters:
            word = bisect_right(starts, end - len(letters)) - 1
            if causal or places[word] is None:
                places[word] = position
    return tuple(places)
