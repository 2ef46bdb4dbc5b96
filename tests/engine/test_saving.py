import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from adapter_sweep.engine.adapters import AdaptedModel, BottleneckSpec, HeadSpec, MethodSpec
from adapter_sweep.engine.saving import CONFIG_FILE, WEIGHTS_FILE, load_adapted, save_adapted
from adapter_sweep.errors import UserInputError
from families import FAMILIES, tiny_backbone, tokens


def _model(family: str = "bert", precision: str = "fp32") -> AdaptedModel:
    backbone = tiny_backbone(family, precision=precision)
    return AdaptedModel(backbone, BottleneckSpec(6, init_std=0.2, layer_norms="all"), 3, seed=5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_loaded_back_the_logits_are_bit_identical(family: str, precision: str, tmp_path: Path) -> None:
    model = _model(family, precision)
    save_adapted(model, tmp_path, label_names=("a", "b", "c"))
    loaded, labels = load_adapted(tiny_backbone(family, precision=precision), tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(tokens()), model(tokens()))
    assert labels == ("a", "b", "c")


@pytest.mark.parametrize(
    ("spec", "method"),
    [
        (BottleneckSpec(6, init_std=0.2, layers="top:2"), "bottleneck"),
        (BottleneckSpec(6, init_std=0.2, layers=(0, 2)), "bottleneck"),
        (HeadSpec(), "head"),
    ],
    ids=str,
)
def test_the_method_is_saved_and_loads_back(spec: MethodSpec, method: str, tmp_path: Path) -> None:
    model = AdaptedModel(tiny_backbone(), spec, 3, seed=5)
    save_adapted(model, tmp_path, label_names=("a", "b", "c"))
    assert json.loads((tmp_path / CONFIG_FILE).read_text())["method"] == method
    loaded, _ = load_adapted(tiny_backbone(), tmp_path)
    assert (loaded.spec, hash(loaded.spec)) == (spec, hash(spec))
    with torch.no_grad():
        assert torch.equal(loaded(tokens()), model(tokens()))


def test_what_was_saved_before_layers_could_be_chosen_has_adapters_in_all(tmp_path: Path) -> None:
    model = _model()
    save_adapted(model, tmp_path, label_names=("a", "b", "c"))
    about = json.loads((tmp_path / CONFIG_FILE).read_text())
    del about["spec"]["layers"]
    (tmp_path / CONFIG_FILE).write_text(json.dumps(about))
    assert load_adapted(tiny_backbone(), tmp_path)[0].spec == model.spec


def test_a_method_that_is_not_known_is_refused(tmp_path: Path) -> None:
    save_adapted(_model(), tmp_path, label_names=("a", "b", "c"))
    about = json.loads((tmp_path / CONFIG_FILE).read_text())
    (tmp_path / CONFIG_FILE).write_text(json.dumps(about | {"method": "dora"}))
    with pytest.raises(UserInputError, match="the method 'dora' is not known; known are bottleneck, parallel, lora"):
        load_adapted(tiny_backbone(), tmp_path)


def test_the_file_holds_what_is_trained_and_nothing_of_the_backbone(tmp_path: Path) -> None:
    model = _model()
    save_adapted(model, tmp_path, label_names=("a", "b", "c"))
    tensors = load_file(tmp_path / WEIGHTS_FILE)
    assert set(tensors) == {name for name, _ in model.named_parameters()}
    assert sum(t.numel() for t in tensors.values()) == model.count_params().total
    assert sorted(p.name for p in tmp_path.iterdir()) == [CONFIG_FILE, WEIGHTS_FILE]


def test_another_backbone_is_refused(tmp_path: Path) -> None:
    save_adapted(_model(), tmp_path, label_names=("a", "b", "c"))
    with pytest.raises(UserInputError, match="was made for bert, mean pooling"):
        load_adapted(tiny_backbone(seed=1), tmp_path)
    with pytest.raises(UserInputError, match="cls pooling"):
        load_adapted(tiny_backbone(pooling="cls"), tmp_path)


@pytest.mark.parametrize("broken", ["{", "[]", "{}", '{"spec": {"width": "many"}}'])
def test_a_broken_description_is_refused(broken: str, tmp_path: Path) -> None:
    save_adapted(_model(), tmp_path, label_names=("a", "b", "c"))
    (tmp_path / CONFIG_FILE).write_text(broken)
    with pytest.raises(UserInputError, match="holds no adapter that can be read"):
        load_adapted(tiny_backbone(), tmp_path)


def test_a_cut_weights_file_is_refused(tmp_path: Path) -> None:
    weights = save_adapted(_model(), tmp_path, label_names=("a", "b", "c"))
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(UserInputError, match="holds no adapter that can be read"):
        load_adapted(tiny_backbone(), tmp_path)


def test_weights_that_do_not_fit_their_description_are_refused(tmp_path: Path) -> None:
    save_adapted(_model(), tmp_path, label_names=("a", "b", "c"))
    about = json.loads((tmp_path / CONFIG_FILE).read_text())
    about["spec"]["width"] = 7
    (tmp_path / CONFIG_FILE).write_text(json.dumps(about))
    with pytest.raises(UserInputError, match="does not fit"):
        load_adapted(tiny_backbone(), tmp_path)


def test_another_precision_is_refused(tmp_path: Path) -> None:
    save_adapted(_model(precision="bf16"), tmp_path, label_names=("a", "b", "c"))
    with pytest.raises(UserInputError, match="was trained on a bf16 backbone, and this one is fp32"):
        load_adapted(tiny_backbone(), tmp_path)
