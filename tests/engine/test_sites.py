import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel

from adapter_sweep.engine.sites import Layers, find_layout, layers_of, sites_of
from adapter_sweep.errors import UserInputError
from families import FAMILIES, tiny_model


@pytest.mark.parametrize("family", FAMILIES)
def test_the_layer_norms_are_all_the_norms_there_are(family: str) -> None:
    model = tiny_model(family)
    layout = find_layout(model)
    named = {name for layer in layout.layers for name in layer.norms} | set(layout.other_norms)
    assert named == {name for name, module in model.named_modules() if "Norm" in type(module).__name__}
    assert all(len(layer.norms) == 2 for layer in layout.layers)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_site_is_what_the_residual_connection_adds(family: str) -> None:
    """Zeroing both sites of every layer leaves a stack of residual connections and norms: no token sees another."""
    model = tiny_model(family).eval()
    layout = find_layout(model)
    modules = dict(model.named_modules())
    for _, _, name in sites_of(layout, "both"):
        modules[name].register_forward_hook(lambda _module, _args, output: torch.zeros_like(output))
    first = torch.tensor([[5, 6, 7, 8]])
    second = torch.tensor([[9, 6, 7, 8]])
    with torch.no_grad():
        a, b = model(input_ids=first).last_hidden_state, model(input_ids=second).last_hidden_state
    assert torch.equal(a[:, 1:], b[:, 1:])
    assert not torch.equal(a[:, 0], b[:, 0])


@pytest.mark.parametrize(
    ("layers", "indices"),
    [("all", [0, 1, 2]), ("top:1", [2]), ("top:3", [0, 1, 2]), ((0,), [0]), ((2, 0), [0, 2])],
)
def test_the_layers_that_hold_adapters(layers: Layers, indices: list[int]) -> None:
    layout = find_layout(tiny_model("bert"))
    assert [layer.index for layer in layers_of(layout, layers)] == indices
    assert [layer.index for layer, _, _ in sites_of(layout, "post_ffn", layers)] == indices


@pytest.mark.parametrize(
    ("layers", "given"),
    [
        ("top:0", "top:0"),
        ("top:4", "top:4"),
        ("top:", "top:"),
        ("bottom:1", "bottom:1"),
        ((), "[]"),
        ((0, 3), "[0,3]"),
        ((-1,), "[-1]"),
        ((1, 1), "[1,1]"),
    ],
)
def test_layers_that_a_backbone_does_not_have(layers: Layers, given: str) -> None:
    with pytest.raises(UserInputError) as caught:
        layers_of(find_layout(tiny_model("bert")), layers)
    assert str(caught.value) == (
        f"method.layers={given}: the backbone has 3 distinct layers; allowed: all, top:1 to top:3, or a list of "
        "distinct indices from 0 at the input to 2 at the output, e.g. [0,2]"
    )


def test_a_backbone_that_shares_one_layer_has_one_to_choose() -> None:
    layout = find_layout(tiny_model("albert"))
    assert layers_of(layout, "all") == layers_of(layout, "top:1") == layers_of(layout, (0,))
    with pytest.raises(UserInputError, match=r"has 1 distinct layer; allowed: all, top:1 or \[0\]"):
        layers_of(layout, "top:2")


def test_an_intermediate_size_equal_to_the_hidden_size_is_no_trap() -> None:
    model = BertModel(BertConfig(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=4))
    assert find_layout(model).layers[0].sites["post_ffn"] == "encoder.layer.0.output.dense"


def test_a_model_without_layers_is_refused_with_what_was_looked_for() -> None:
    class Config:
        hidden_size = 8

    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = Config()
            self.blocks = nn.ModuleList([nn.Linear(8, 8)])

    with pytest.raises(UserInputError, match=r"no adapter sites found in Flat.*'attn' or 'attention'.*found: blocks"):
        find_layout(Flat())


def test_a_model_without_a_hidden_size_is_refused() -> None:
    with pytest.raises(UserInputError, match=r"no config\.hidden_size"):
        find_layout(nn.Linear(2, 2))
