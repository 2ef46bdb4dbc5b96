import pytest
import torch
from torch import nn
from transformers import DebertaV2Config, DebertaV2Model

from adapter_sweep.engine.adapters import AdaptedModel, BottleneckSpec, HeadSpec
from adapter_sweep.engine.backbone import Backbone, wrap_backbone
from adapter_sweep.engine.depth import norm_depths, passes_through_layers
from adapter_sweep.engine.sites import Layers
from families import DECODERS, DISTINCT, FAMILIES, tiny_backbone


@pytest.mark.parametrize("family", FAMILIES)
def test_an_embeddings_norm_is_below_the_layers_and_a_final_norm_above(family: str) -> None:
    depths = norm_depths(tiny_backbone(family))
    expected = DISTINCT[family] if family in DECODERS else -1
    assert set(depths.values()) == {expected}
    assert all(("embeddings" in name) == (depth == -1) for name, depth in depths.items())


def test_a_norm_declared_behind_the_layers_that_computes_below_them_is_below() -> None:
    config = DebertaV2Config(
        vocab_size=99,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        relative_attention=True,
        norm_rel_ebd="layer_norm",
        pos_att_type=["p2c", "c2p"],
        max_relative_positions=8,
    )
    backbone = wrap_backbone(DebertaV2Model(config), None, pooling="mean", source="deberta")
    names = [name for name, _ in backbone.model.named_modules()]
    assert names.index("encoder.LayerNorm") > names.index(backbone.layout.layers[-1].name)
    assert norm_depths(backbone) == {"embeddings.LayerNorm": -1, "encoder.LayerNorm": -1}


class _Norms(nn.Module):
    """Norms beside a BERT's layers, one of which the second layer's input passes through."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.bert, self.config = backbone.model, backbone.model.config
        self.between, self.unused = nn.LayerNorm(32), nn.LayerNorm(32)
        second: nn.Module = self.bert.encoder.layer[1]  # type: ignore[union-attr,index]
        second.register_forward_pre_hook(lambda _module, args: (self.between(args[0]), *args[1:]))

    def get_input_embeddings(self) -> nn.Module:
        embeddings: nn.Module = self.bert.get_input_embeddings()  # type: ignore[operator]
        return embeddings

    def forward(self, **inputs: torch.Tensor) -> object:
        return self.bert(**inputs)


def test_a_norm_between_two_layers_counts_as_the_lower_and_one_that_is_not_called_as_below_all() -> None:
    backbone = wrap_backbone(_Norms(tiny_backbone()), None, pooling="mean", source="norms")
    assert norm_depths(backbone) == {"between": 0, "unused": -1, "bert.embeddings.LayerNorm": -1}


def test_shared_layers_are_passed_more_often_than_there_are() -> None:
    assert passes_through_layers(tiny_backbone("albert")) == 3
    assert passes_through_layers(tiny_backbone("bert")) == 3


@pytest.mark.parametrize(
    ("layers", "layer_norms", "lowest"),
    [
        ("all", "none", 0),
        ("top:1", "none", 2),
        ("top:2", "adapted_layers", 1),
        ((1,), "adapted_layers", 1),
        ("top:1", "all", -1),
    ],
)
def test_the_lowest_trained_layer(layers: Layers, layer_norms: str, lowest: int) -> None:
    spec = BottleneckSpec(4, layer_norms=layer_norms, layers=layers)  # type: ignore[arg-type]
    assert AdaptedModel(tiny_backbone(), spec, 2, seed=0).lowest_trained_layer == lowest


def test_with_a_final_norm_the_norms_of_every_layer_decide() -> None:
    spec = BottleneckSpec(4, layer_norms="all", layers="top:1")
    assert AdaptedModel(tiny_backbone("llama"), spec, 2, seed=0).lowest_trained_layer == 0


def test_a_head_alone_trains_in_no_layer() -> None:
    assert AdaptedModel(tiny_backbone(), HeadSpec(), 2, seed=0).lowest_trained_layer is None


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layer_norms", ["none", "adapted_layers", "all"])
@pytest.mark.parametrize("layers", ["all", "top:1"])
def test_what_enters_the_lowest_trained_layer_does_not_depend_on_what_is_trained(
    family: str, layer_norms: str, layers: Layers
) -> None:
    backbone = tiny_backbone(family)
    spec = BottleneckSpec(4, init_std=0.3, layer_norms=layer_norms, layers=layers)  # type: ignore[arg-type]
    model = AdaptedModel(backbone, spec, 2, seed=0)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    inputs: list[torch.Tensor] = []
    handles = [
        backbone.model.get_submodule(layer.name).register_forward_pre_hook(
            lambda _module, args, kwargs: inputs.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
        )
        for layer in backbone.layout.layers
    ]
    ids = torch.tensor([[5, 6, 7]])
    told = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with torch.no_grad():
        backbone.encode(told)
        frozen, inputs[:] = list(inputs), []
        model(told)
    for handle in handles:
        handle.remove()
    same = [torch.equal(a, b) for a, b in zip(frozen, inputs, strict=True)]
    lowest = model.lowest_trained_layer
    assert lowest is not None
    if lowest < 0:
        assert not any(same)
    else:
        assert same == [index <= lowest for index in range(len(same))]
