import pytest
import torch

from adapter_sweep.engine.backbone import Pooling, fingerprint, pool
from adapter_sweep.errors import UserInputError
from families import CAUSAL, tiny_backbone, tokens


def test_pooling_by_hand() -> None:
    hidden = torch.arange(12.0).view(1, 4, 3)
    mask = torch.tensor([[1, 1, 1, 0]])
    assert pool(hidden, mask, "cls").tolist() == [[0, 1, 2]]
    assert pool(hidden, mask, "last").tolist() == [[6, 7, 8]]
    assert pool(hidden, mask, "mean").tolist() == [[3, 4, 5]]


def test_the_backbone_is_frozen_in_evaluation_mode_and_without_a_pooler() -> None:
    backbone = tiny_backbone()
    assert not any(p.requires_grad for p in backbone.model.parameters())
    assert not any(module.training for module in backbone.model.modules())
    assert not any("pooler" in name for name, _ in backbone.model.named_parameters())


def test_a_fingerprint_sees_a_single_bit_a_name_and_a_shape() -> None:
    weights = {"a": torch.zeros(2, 3), "b": torch.ones(2)}
    changed = {"a": weights["a"].clone(), "b": weights["b"]}
    changed["a"][0, 0] = -0.0
    others = [changed, {"a": weights["a"], "c": weights["b"]}, {"a": torch.zeros(3, 2), "b": weights["b"]}]
    prints = {fingerprint(w) for w in (weights, *others)}
    assert len(prints) == 4
    assert fingerprint(weights) == fingerprint({"b": torch.ones(2), "a": torch.zeros(2, 3)})


def test_precision_changes_what_is_held_and_not_what_was_loaded() -> None:
    full, half = tiny_backbone(), tiny_backbone(precision="bf16")
    assert full.fingerprint == half.fingerprint
    assert full.held == full.fingerprint != half.held


def test_images_are_pooled_over_all_their_tokens() -> None:
    hidden = torch.arange(12.0).view(1, 4, 3)
    assert pool(hidden, None, "cls").tolist() == [[0, 1, 2]]
    assert pool(hidden, None, "last").tolist() == [[9, 10, 11]]
    assert pool(hidden, None, "mean").tolist() == [[4.5, 5.5, 6.5]]


def test_an_image_has_no_last_token() -> None:
    with pytest.raises(UserInputError, match=r"pooling='last': vit reads images.*allowed: auto, cls, mean"):
        tiny_backbone("vit", pooling="last")


def test_no_keys_and_values_are_kept_for_a_next_token() -> None:
    for family in CAUSAL:
        model = tiny_backbone(family).model
        assert model(**tokens()).past_key_values is None, family


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "vit"])
@pytest.mark.parametrize("pooling", ["auto", "mean"])
def test_a_backbone_knows_whether_it_is_causal(family: str, pooling: Pooling) -> None:
    assert tiny_backbone(family, pooling=pooling).causal == (family in CAUSAL)


def test_a_decoders_first_token_is_refused() -> None:
    with pytest.raises(UserInputError, match=r"pooling='cls': the first token of gpt2 sees no other token"):
        tiny_backbone("gpt2", pooling="cls")


def test_bf16_leaves_rotary_positions_in_float32() -> None:
    buffers = dict(tiny_backbone("llama", precision="bf16").model.named_buffers())
    assert {b.dtype for name, b in buffers.items() if "inv_freq" in name} == {torch.float32}
