"""Models whose sites by structure are no sites: refused when they are wrapped, whatever their family."""

from copy import deepcopy
from typing import Any

import pytest
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from adapter_sweep.engine.backbone import Backbone, wrap_backbone
from adapter_sweep.errors import UserInputError
from families import tiny_model


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


def test_a_mixture_of_experts_beside_a_site_is_refused() -> None:
    """Its experts' weights are no linear layers; the one that all tokens share is."""
    config = AutoConfig.for_model(
        "qwen2_moe",
        vocab_size=99,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        num_experts=4,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
    )
    with pytest.raises(UserInputError, match=r"otherwise than through .*o_proj and .*mlp\.shared_expert\.down_proj"):
        _wrapped(AutoModel.from_config(config))


@pytest.mark.parametrize("family", ["dinov2", "deit", "beit", "clip_vision_model"])
def test_what_only_scales_a_sites_output_is_no_way_round_it(family: str) -> None:
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = AutoConfig.for_model(family, **size, image_size=16, patch_size=4)
    backbone = wrap_backbone(AutoModel.from_config(config), None, pooling="auto", source=family)
    assert (backbone.pooling, len(backbone.layout.layers)) == ("cls", 2)


def test_stages_of_other_widths_are_not_left_out_in_silence() -> None:
    config = AutoConfig.for_model(
        "swin", image_size=16, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=2
    )
    with pytest.raises(UserInputError, match=r"layers without, the first of them encoder\.layers\.0\.blocks\.0"):
        _wrapped(AutoModel.from_config(config))
