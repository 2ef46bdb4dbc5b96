from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertTokenizerFast

from adapter_sweep.engine.batches import epoch_batches, scoring_batches
from adapter_sweep.engine.encoded import Encoded, EncodedTexts
from adapter_sweep.engine.encoding.texts import encode_texts
from families import tiny_backbone, tokens

splits = st.lists(st.integers(1, 40), min_size=1, max_size=200).map(
    lambda lengths: EncodedTexts(
        tuple(tuple(range(i * 50 + 1, i * 50 + 1 + n)) for i, n in enumerate(lengths)),
        tuple(i % 3 for i in range(len(lengths))),
        pad_id=0,
    )
)


@given(splits, st.integers(1, 33), st.integers(8, 300), st.integers(0, 2**31 - 1), st.integers(0, 5))
def test_an_epoch_is_every_row_once_within_the_bounds(
    split: Encoded, batch_size: int, max_tokens: int, seed: int, epoch: int
) -> None:
    bounds = {"batch_size": batch_size, "max_tokens": max_tokens}
    for batches in (
        list(epoch_batches(split, **bounds, seed=seed, epoch=epoch)),
        list(scoring_batches(split, **bounds)),
    ):
        assert sorted(row for batch in batches for row in batch.rows) == list(range(len(split)))
        for batch in batches:
            rows, length = batch.inputs["input_ids"].shape
            assert rows <= batch_size
            assert rows == 1 or rows * length <= max_tokens


@given(splits, st.integers(0, 2**31 - 1))
def test_a_batch_holds_its_rows_exactly(split: Encoded, seed: int) -> None:
    for batch in epoch_batches(split, batch_size=8, max_tokens=200, seed=seed, epoch=0):
        for i, row in enumerate(batch.rows):
            kept = batch.inputs["input_ids"][i][batch.inputs["attention_mask"][i].bool()]
            assert tuple(kept.tolist()) == split.ids[row]
            assert int(batch.targets[i]) == split.labels[row]
            assert not batch.inputs["input_ids"][i][~batch.inputs["attention_mask"][i].bool()].any()


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    split = EncodedTexts(tuple((1,) * (1 + i % 7) for i in range(100)), (0,) * 100, 0)

    def order(seed: int, epoch: int) -> list[tuple[int, ...]]:
        torch.manual_seed(123 + epoch)  # the global state must not matter
        return [b.rows for b in epoch_batches(split, batch_size=8, max_tokens=999, seed=seed, epoch=epoch)]

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


# A whole number of pools of 50 batches, less than one, and a little more than one.
@pytest.mark.parametrize("rows", [2000, 600, 1080])
def test_texts_of_similar_length_share_a_batch(rows: int) -> None:
    split = EncodedTexts(tuple((1,) * (1 + i % 30) for i in range(rows)), (0,) * rows, 0)
    batches = list(epoch_batches(split, batch_size=20, max_tokens=10_000, seed=0, epoch=0))
    assert len(batches) == rows // 20
    real = sum(int(b.inputs["attention_mask"].sum()) for b in batches)
    padding = 1 - real / sum(b.inputs["input_ids"].numel() for b in batches)
    assert padding < 0.05  # in random batches of these texts it is about 0.47


@pytest.fixture
def tokenizer(tmp_path: Path) -> BertTokenizerFast:
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]))
    return BertTokenizerFast(str(tmp_path / "vocab.txt"))


def test_a_pair_is_told_which_text_a_token_is_of(tokenizer: BertTokenizerFast) -> None:
    split = encode_texts(tokenizer, ["a", "a b"], [0, 1], text_pairs=["b b", "b"], token_types=True, max_length=16)
    (batch,) = scoring_batches(split, batch_size=8, max_tokens=99)
    assert batch.inputs["input_ids"].tolist() == [[2, 5, 3, 6, 6, 3], [2, 5, 6, 3, 6, 3]]
    assert batch.inputs["token_type_ids"].tolist() == [[0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1]]


def test_single_texts_and_models_without_types_are_told_none(tokenizer: BertTokenizerFast) -> None:
    for pairs, told in ((None, True), (["b", "b"], False)):
        split = encode_texts(tokenizer, ["a", "b"], [0, 1], text_pairs=pairs, token_types=told, max_length=16)
        assert all("token_type_ids" not in b.inputs for b in scoring_batches(split, batch_size=8, max_tokens=99))


def test_token_types_reach_the_model() -> None:
    backbone = tiny_backbone("bert")
    inputs = tokens()
    told = {**inputs, "token_type_ids": torch.ones_like(inputs["input_ids"])}
    with torch.no_grad():
        assert not torch.equal(backbone.encode(told), backbone.encode(inputs))
    assert backbone.takes_token_types
    assert not any(tiny_backbone(family).takes_token_types for family in ("distilbert", "gpt2", "llama"))
