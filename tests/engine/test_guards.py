"""Each guard is seen to fire on the thing it guards against, broken on purpose, and to stay quiet otherwise."""

import dataclasses

import pytest
import torch

from adapter_sweep.engine import guards
from adapter_sweep.engine.adapters import AdaptedModel, BottleneckSpec, HeadSpec, count_params
from adapter_sweep.engine.batches import Batch
from adapter_sweep.engine.encoded import EncodedTexts
from adapter_sweep.engine.methods import (
    BitFitSpec,
    FullSpec,
    IA3Spec,
    LayerNormSpec,
    LoraSpec,
    MethodSpec,
    ParallelSpec,
    PrefixSpec,
    PromptSpec,
)
from adapter_sweep.engine.train_spec import TrainSpec
from adapter_sweep.engine.training import train
from adapter_sweep.errors import GuardError
from families import tiny_backbone, tokens


def _batch() -> Batch:
    return Batch((0, 1, 2, 3), tokens(), torch.zeros(4, dtype=torch.long))


def test_near_identity() -> None:
    gap = guards.check_identity(AdaptedModel(tiny_backbone(), BottleneckSpec(8), 2, 0), _batch())
    assert 0 < gap < 0.02
    with pytest.raises(GuardError, match=r"change the hidden states by .* init_std=1"):
        guards.check_identity(AdaptedModel(tiny_backbone(), BottleneckSpec(64, init_std=1.0), 2, 0), _batch())


def test_a_head_alone_is_the_identity() -> None:
    assert guards.check_identity(AdaptedModel(tiny_backbone(), HeadSpec(), 2, 0), _batch()) == 0.0


@pytest.mark.parametrize("spec", [PromptSpec(3), PrefixSpec(3)])
def test_virtual_tokens_start_anywhere_but_not_at_nan(spec: MethodSpec) -> None:
    model = AdaptedModel(tiny_backbone(), spec, 2, 0)
    assert guards.check_identity(model, _batch()) > guards.MAX_IDENTITY_GAP
    with torch.no_grad():
        next(model.adapters.parameters()).fill_(float("nan"))
    with pytest.raises(GuardError, match="change the hidden states by nan"):
        guards.check_identity(model, _batch())


@pytest.mark.parametrize("spec", [LoraSpec(2), IA3Spec(), FullSpec(), BitFitSpec(), LayerNormSpec(), ParallelSpec(4)])
def test_other_methods_start_at_the_backbone(spec: MethodSpec) -> None:
    assert guards.check_identity(AdaptedModel(tiny_backbone(), spec, 2, 0), _batch()) == 0.0


def test_near_identity_does_not_let_nan_through() -> None:
    model = AdaptedModel(tiny_backbone(), BottleneckSpec(8), 2, 0)
    with torch.no_grad():
        next(iter(model.adapters.values())).up.bias.fill_(float("nan"))  # type: ignore[union-attr,operator]
    with pytest.raises(GuardError):
        guards.check_identity(model, _batch())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_frozen_weights(precision: str) -> None:
    backbone = tiny_backbone(precision=precision)
    guards.check_frozen(backbone)
    weight = next(backbone.model.parameters())
    with torch.no_grad():
        weight.view(-1)[0] = torch.nextafter(weight.view(-1)[0], torch.tensor(9.0, dtype=weight.dtype))
    with pytest.raises(GuardError, match="frozen backbone's weights changed"):
        guards.check_frozen(backbone)


def test_frozen_structure() -> None:
    backbone = tiny_backbone()
    layer = backbone.model.get_submodule(backbone.layout.layers[0].name)
    fires = pytest.raises(GuardError, match="modules, hooks or buffers changed")
    for hook in (layer.register_forward_hook, layer.register_forward_pre_hook):
        handle = hook(lambda *_: None)
        with fires:
            guards.check_frozen(backbone)
        handle.remove()
    layer.forward = layer.forward
    with fires:
        guards.check_frozen(backbone)
    del layer.forward
    guards.check_frozen(backbone)
    next(backbone.model.buffers()).view(-1)[0] += 1
    with fires:
        guards.check_frozen(backbone)


def test_parameter_count() -> None:
    backbone, spec = tiny_backbone(), BottleneckSpec(8)
    model = AdaptedModel(backbone, spec, 2, 0)
    expected = count_params(backbone.model, backbone.layout, spec, 2)
    guards.check_param_count(model, expected)
    with pytest.raises(GuardError, match="the formula gives"):
        guards.check_param_count(model, dataclasses.replace(expected, adapters=expected.adapters + 1))
    model.head.bias.requires_grad_(False)
    with pytest.raises(GuardError, match="the formula gives"):
        guards.check_param_count(model, expected)


def test_finite_loss() -> None:
    model = AdaptedModel(tiny_backbone(), BottleneckSpec(8), 2, 0)
    split = EncodedTexts(((1, 2, 3), (4, 5)), (0, 1), 0)
    with torch.no_grad():
        model.head.bias[0] = float("inf")
    with pytest.raises(GuardError, match=r"the loss is (nan|inf) at step 1"):
        train(model, split, TrainSpec(1, 1e-3, 2))


@pytest.mark.parametrize("predictions", [(0, 1), (0, 1, 1, 0), (0, None, 1)])
def test_whole_split(predictions: tuple[int | None, ...]) -> None:
    guards.check_whole_split((0, 1, 1), 3, "validation")
    with pytest.raises(GuardError, match="of the validation split's 3 examples were scored"):
        guards.check_whole_split(predictions, 3, "validation")
