"""Models whose sites by structure are no sites: refused when they are wrapped, whatever their family."""

from copy import deepcopy
from typing import Any

import pytest
from families import tiny_model
from torch import Tensor, nn

from adapter_sweep.engine.backbone import Backbone, wrap_backbone
from adapter_sweep.errors import UserInputError


def _wrapped(model: nn.Module) -> Backbone:
    return wrap_backbone(model, None, pooling="mean", source="odd")


def test_a_layer_that_never_computes_is_refused() -> None:
    model: Any = tiny_model("llama")
    model.spare = nn.ModuleList([deepcopy(model.layers[0])])
    with pytest.raises(UserInputError, match=r"LlamaModel never computes spare\.0\.mlp\.down_proj"):
        _wrapped(model)


class _Beside(nn.Module):
    """A projection after the one that ends the block, declared before it, and so taken for an inner one."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.mix = nn.Linear(32, 64)
        self.block = block

    def forward(self, hidden: Tensor) -> Tensor:
        states: Tensor = self.block(hidden)
        return states + self.mix(hidden)[..., :32]


def test_a_sub_layers_output_that_goes_round_its_site_is_refused() -> None:
    model: Any = tiny_model("llama")
    model.layers[1].mlp = _Beside(model.layers[1].mlp)
    with pytest.raises(UserInputError, match=r"in LlamaModel a sub-layer's output reaches the hidden states otherwise"):
        _wrapped(model)


def test_a_layer_without_sites_among_those_with_is_refused() -> None:
    model: Any = tiny_model("llama")
    model.layers[1].self_attn = nn.Identity()
    with pytest.raises(UserInputError, match=r"layers\.1; adapters need the same two sites in each layer"):
        _wrapped(model)


def test_nothing_is_left_on_a_model_that_was_tried() -> None:
    backbone = _wrapped(tiny_model("bert"))
    assert not any(module._forward_hooks for module in backbone.model.modules())
