"""Texts as tokens that know where they stand: of which text each is, and of which characters."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from adapter_sweep.engine.encoding.texts import pad_id_of
from adapter_sweep.errors import UserInputError

__all__ = ["Rows", "check_places", "tokenize"]


@dataclass(frozen=True)
class Rows:
    """Rows of token ids.

    Attributes:
        ids: of each row.
        samples: which of the texts each row is of.
        types: as the tokenizer tells a pair's texts apart; None where it does not.
    """

    ids: tuple[tuple[int, ...], ...]
    samples: tuple[int, ...]
    types: tuple[tuple[int, ...], ...] | None
    pad_id: int
    _encodings: Sequence[Any]

    def is_cut(self, row: int) -> bool:
        """Whether tokens of its text did not fit into a row."""
        return bool(self._encodings[row].overflowing)

    def tokens(self, row: int) -> Iterator[tuple[int, int, tuple[int, int]]]:
        """Each of a row's tokens but the special ones: its position, of which text it is (0 or 1), and its first
        character there and the one after its last.
        """
        encoding = self._encodings[row]
        for position, (text, place) in enumerate(zip(encoding.sequence_ids, encoding.offsets, strict=True)):
            if text is not None:
                yield position, text, place


def check_places(tokenizer: PreTrainedTokenizerBase) -> None:
    """Check that a tokenizer can say where its tokens stand.

    Raises:
        UserInputError: it cannot.
    """
    if not tokenizer.is_fast:
        raise UserInputError(
            f"backbone: {type(tokenizer).__name__} cannot say of which characters a token is, which tasks of type "
            "tokens and spans need; a backbone with a tokenizer.json (a fast tokenizer) can"
        )


def tokenize(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    text_pairs: Sequence[str] | None = None,
    *,
    max_length: int,
    overlap: int | None = None,
) -> Rows:
    """Tokenize texts, or pairs of texts.

    Args:
        tokenizer: a fast one.
        texts: the first texts.
        text_pairs: the second ones.
        max_length: of a row, with its special tokens.
        overlap: None to cut what is longer; else a second text that is longer becomes several rows, in its order,
            that share so many tokens with the one before.

    Raises:
        UserInputError: the tokenizer cannot say where its tokens stand.
    """
    check_places(tokenizer)
    cut: dict[str, Any] = {"truncation": True}
    if overlap is not None:
        cut = {"truncation": "only_second", "stride": overlap, "return_overflowing_tokens": True}
    encoded = tokenizer(
        list(texts),
        list(text_pairs) if text_pairs is not None else None,
        max_length=max_length,
        return_token_type_ids=True,
        return_offsets_mapping=True,
        **cut,
    )
    pad_id = pad_id_of(tokenizer)
    # A text of characters the tokenizer drops, with no special tokens, would be an empty row.
    ids = tuple(tuple(row) or (pad_id,) for row in encoded["input_ids"])
    types = tuple(tuple(row) or (0,) for row in encoded["token_type_ids"]) if text_pairs is not None else None
    samples = encoded.get("overflow_to_sample_mapping", range(len(ids)))
    return Rows(ids, tuple(samples), types, pad_id, encoded.encodings)
