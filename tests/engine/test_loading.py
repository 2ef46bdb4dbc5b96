import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    BartForConditionalGeneration,
    PreTrainedTokenizerFast,
    T5EncoderModel,
    T5ForConditionalGeneration,
    ViTImageProcessorPil,
)

from adapter_sweep.engine.backbone import fingerprint
from adapter_sweep.engine.loading import load_backbone, prepare_tokenizer
from adapter_sweep.engine.modality import count_image_tokens
from adapter_sweep.errors import UserInputError
from families import tiny_model, tokens


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


# -- encoder-decoders


def _whole(family: str) -> nn.Module:
    """The whole model, as checkpoints hold it: encoder, decoder and language-model head."""
    config = tiny_model(family).config
    kinds: dict[str, Any] = {"t5": T5ForConditionalGeneration, "bart": BartForConditionalGeneration}
    torch.manual_seed(0)
    model: nn.Module = kinds[family](config).eval()
    return model


def _saved_model(model: nn.Module, folder: Path) -> Path:
    model.save_pretrained(folder)  # type: ignore[operator]
    _tokenizer(pad_token="[PAD]").save_pretrained(folder)
    return folder


def _tokenizer(**special: str) -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    words = Tokenizer(WordLevel({"[PAD]": 0, "</s>": 1, "[UNK]": 2, "good": 3, "bad": 4}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, **special)


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_of_an_encoder_decoder_only_the_encoder_is_kept(family: str, tmp_path: Path) -> None:
    whole = _whole(family)
    encoder: Any = whole.get_encoder()  # type: ignore[operator]
    backbone = load_backbone(_saved_model(whole, tmp_path), pooling="auto", attention="eager")
    assert backbone.fingerprint == fingerprint(dict(encoder.named_parameters()))
    assert backbone.layout.num_params == sum(p.numel() for p in encoder.parameters())
    assert backbone.layout.num_params < 0.6 * sum(p.numel() for p in whole.parameters())
    assert backbone.pooling == "mean"  # the tokenizer has no token that stands for a whole text
    inputs = tokens()
    with torch.no_grad():
        expected = encoder(**inputs).last_hidden_state
        assert torch.equal(backbone.hidden_states(inputs), expected)


def test_a_checkpoint_of_the_encoder_alone_is_the_same_backbone(tmp_path: Path) -> None:
    whole = _whole("t5")
    alone = T5EncoderModel(deepcopy(whole.config))  # type: ignore[arg-type]
    alone.load_state_dict({n: t for n, t in whole.state_dict().items() if n.startswith(("shared", "encoder"))})
    one, other = (
        load_backbone(_saved_model(model, tmp_path / name)) for name, model in (("whole", whole), ("alone", alone))
    )
    assert one.fingerprint == other.fingerprint


def test_an_encoders_weights_that_are_missing_are_not_made_up(tmp_path: Path) -> None:
    folder = _saved_model(_whole("t5"), tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_layers": 4}))
    with pytest.raises(UserInputError, match=r"lacks 8 weights .* the first encoder\.block\.3"):
        load_backbone(folder)


# -- what a backbone reads with


@pytest.mark.parametrize(
    ("special", "pad"),
    [
        ({"pad_token": "[PAD]", "eos_token": "</s>"}, 0),
        ({"eos_token": "</s>", "unk_token": "[UNK]"}, 1),
        ({"unk_token": "[UNK]"}, 2),
    ],
)
def test_a_missing_padding_token_is_stood_in_for(special: dict[str, str], pad: int) -> None:
    tokenizer = _tokenizer(**special)
    tokenizer.padding_side = tokenizer.truncation_side = "left"
    prepare_tokenizer(tokenizer, "here")
    assert (tokenizer.pad_token_id, tokenizer.padding_side, tokenizer.truncation_side) == (pad, "right", "right")


def test_a_tokenizer_with_nothing_to_pad_with_is_refused() -> None:
    with pytest.raises(UserInputError, match=r"tokenizer of here has no token to pad with.*name one as pad_token"):
        prepare_tokenizer(_tokenizer(), "here")


def test_an_image_model_comes_with_its_processor(tmp_path: Path) -> None:
    tiny_model("vit").save_pretrained(tmp_path)  # type: ignore[operator]
    with pytest.raises(UserInputError, match=r"has no image processor; expected one of preprocessor_config\.json"):
        load_backbone(tmp_path)
    ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(tmp_path)
    backbone = load_backbone(tmp_path, pooling="auto")
    assert (backbone.modality, backbone.pooling, backbone.tokenizer) == ("image", "cls", None)
    assert count_image_tokens(backbone.model) == 1 + 4 * 4
    assert backbone.processor is not None
    image = torch.randint(256, (3, 40, 30), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).numpy()
    pixels = backbone.processor(images=[image, image], return_tensors="pt")["pixel_values"]
    assert pixels.shape == (2, 3, 16, 16)
    with torch.no_grad():
        assert backbone.encode({"pixel_values": pixels}).shape == (2, 32)
