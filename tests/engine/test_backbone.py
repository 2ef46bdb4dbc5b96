import json
from pathlib import Path

import pytest
import torch
from families import DECODERS, FAMILIES, tiny_backbone, tiny_model

from adapter_sweep.engine.backbone import fingerprint, pool
from adapter_sweep.engine.loading import load_backbone
from adapter_sweep.errors import UserInputError


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


def test_a_folder_without_safetensors_is_refused_and_a_pickle_is_not_read(tmp_path: Path) -> None:
    model = tiny_model("bert")
    model.config.save_pretrained(tmp_path)  # type: ignore[union-attr,operator]
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(UserInputError, match=r"has no \*\.safetensors.*pytorch_model\.bin"):
        load_backbone(tmp_path)


def test_a_missing_folder_and_a_folder_without_a_config_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match="is not a directory"):
        load_backbone(tmp_path / "none")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserInputError, match=r"has no config\.json; found: notes\.txt"):
        load_backbone(tmp_path)


def _saved(folder: Path) -> Path:
    """A whole model folder, as a user would have it."""
    tiny_model("bert").save_pretrained(folder)  # type: ignore[operator]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad"]
    (folder / "vocab.txt").write_text("\n".join(words))
    return folder


def test_a_whole_folder_loads(tmp_path: Path) -> None:
    backbone = load_backbone(_saved(tmp_path))
    assert len(backbone.layout.layers) == 3
    assert backbone.tokenizer is not None
    assert backbone.tokenizer("good bad")["input_ids"] == [2, 5, 6, 3]


def test_weights_that_are_missing_are_not_made_up(tmp_path: Path) -> None:
    config = json.loads((_saved(tmp_path) / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}))
    with pytest.raises(UserInputError, match=r"lacks 16 weights .* the first encoder\.layer\.3"):
        load_backbone(tmp_path)


def test_weights_of_another_shape_or_cut_short_are_refused(tmp_path: Path) -> None:
    config = json.loads((_saved(tmp_path) / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"intermediate_size": 48}))
    with pytest.raises(UserInputError, match="could not be loaded"):
        load_backbone(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserInputError, match="could not be loaded"):
        load_backbone(tmp_path)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    (_saved(tmp_path) / "vocab.txt").unlink()
    with pytest.raises(UserInputError, match=r"has no tokenizer; expected one of tokenizer\.json"):
        load_backbone(tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_pooling_by_default_takes_a_token_that_has_seen_the_text(family: str) -> None:
    assert tiny_backbone(family, pooling="auto").pooling == ("last" if family in DECODERS else "cls")


def test_a_decoders_first_token_is_refused() -> None:
    with pytest.raises(UserInputError, match=r"pooling='cls': the first token of gpt2 sees no other token"):
        tiny_backbone("gpt2", pooling="cls")


def test_bf16_leaves_rotary_positions_in_float32() -> None:
    buffers = dict(tiny_backbone("llama", precision="bf16").model.named_buffers())
    assert {b.dtype for name, b in buffers.items() if "inv_freq" in name} == {torch.float32}
