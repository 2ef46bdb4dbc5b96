"""Texts, or pairs of them, as token ids: one row each."""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from adapter_sweep.engine.encoded import EncodedTexts, Shortened

__all__ = ["encode_texts", "pad_id_of"]


def encode_texts(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    labels: Sequence[Any],
    *,
    text_pairs: Sequence[str] | None = None,
    token_types: bool = False,
    max_length: int,
) -> EncodedTexts:
    """Tokenize texts (or pairs of texts), each cut to `max_length` tokens with its special tokens.

    With `token_types`, a pair's tokens say which of its texts they are of, as BERT was pre-trained to be told.
    """
    pairs = list(text_pairs) if text_pairs is not None else None
    told = token_types and pairs is not None  # asked for: a tokenizer need not know what its model is told
    encoded = tokenizer(
        list(texts),
        pairs,
        truncation=True,
        max_length=max_length,
        add_special_tokens=True,
        return_token_type_ids=True if told else None,
    )
    pad_id = pad_id_of(tokenizer)
    # A text of characters the tokenizer drops, with no special tokens, would be an empty row.
    ids = tuple(tuple(row) or (pad_id,) for row in encoded["input_ids"])
    types = encoded["token_type_ids"] if told else None
    encodings = encoded.encodings or [None] * len(ids)  # none of a slow tokenizer, which does not tell
    cut = sum(own is not None and bool(own.overflowing) for own in encodings)
    told_types = tuple(map(tuple, types)) if types is not None else None
    return EncodedTexts(ids, tuple(labels), pad_id, told_types, shortened=Shortened(rows=cut))


def pad_id_of(tokenizer: PreTrainedTokenizerBase) -> int:
    """What stands at padded positions; any id will do, as they are masked."""
    return tokenizer.pad_token_id if isinstance(tokenizer.pad_token_id, int) else 0
