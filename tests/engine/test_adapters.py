import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import BertConfig, BertModel

from adapter_sweep.engine.adapters import (
    ACTIVATIONS,
    AdaptedModel,
    BottleneckAdapter,
    BottleneckSpec,
    HeadSpec,
    ParamCount,
    count_params,
)
from adapter_sweep.engine.sites import Layers, find_layout
from families import DECODERS, DISTINCT, FAMILIES, HIDDEN, tiny_backbone, tokens


@pytest.fixture(scope="module")
def bert_base() -> nn.Module:
    """BERT-base without its weights."""
    with torch.device("meta"):
        return BertModel(BertConfig(), add_pooling_layer=False)


@pytest.mark.parametrize(
    ("width", "placement", "expected"),
    [(64, "both", 2_379_264), (64, "post_ffn", 1_189_632), (8, "both", 313_536), (256, "both", 9_461_760)],
)
def test_bert_base_counts(bert_base: nn.Module, width: int, placement: str, expected: int) -> None:
    count = count_params(
        bert_base, find_layout(bert_base), BottleneckSpec(width, placement, layer_norms="none"), outputs=2
    )
    assert (count.adapters, count.layer_norms, count.head) == (expected, 0, 2 * 768 + 2)


@pytest.mark.parametrize(("layer_norms", "expected"), [("none", 0), ("adapted_layers", 36_864), ("all", 38_400)])
def test_bert_base_layer_norms(bert_base: nn.Module, layer_norms: str, expected: int) -> None:
    count = count_params(bert_base, find_layout(bert_base), BottleneckSpec(64, layer_norms=layer_norms), outputs=2)  # type: ignore[arg-type]
    assert count.layer_norms == expected


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("placement", ["post_attention", "post_ffn", "both"])
def test_the_formula_counts_what_is_trained(family: str, placement: str) -> None:
    backbone = tiny_backbone(family)
    spec = BottleneckSpec(5, placement, layer_norms="all")
    model = AdaptedModel(backbone, spec, 3, seed=0)
    assert model.count_params() == count_params(backbone.model, backbone.layout, spec, 3)
    sites = DISTINCT[family] * (2 if placement == "both" else 1)
    assert model.count_params().adapters == sites * (2 * 5 * HIDDEN + 5 + HIDDEN)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == model.count_params().total


@pytest.mark.parametrize(("layers", "held"), [("top:1", [2]), ("top:2", [1, 2]), ((0, 2), [0, 2])])
@pytest.mark.parametrize("layer_norms", ["none", "adapted_layers", "all"])
def test_only_the_chosen_layers_hold_adapters_and_trained_norms(
    layers: Layers, held: list[int], layer_norms: str
) -> None:
    backbone = tiny_backbone()
    spec = BottleneckSpec(5, layer_norms=layer_norms, layers=layers)  # type: ignore[arg-type]
    model = AdaptedModel(backbone, spec, 3, seed=0)
    assert sorted(model.adapters) == [f"{index}/{site}" for index in held for site in ("post_attention", "post_ffn")]
    norms = {"none": [], "adapted_layers": held, "all": [0, 1, 2]}[layer_norms]
    names = {name.replace(".", "/") for index in norms for name in backbone.layout.layers[index].norms}
    assert set(model.norms) == names | ({"embeddings/LayerNorm"} if layer_norms == "all" else set())
    count = count_params(backbone.model, backbone.layout, spec, 3)
    assert model.count_params() == count
    assert count.adapters == len(held) * 2 * (2 * 5 * HIDDEN + 5 + HIDDEN)
    assert count.layer_norms == len(model.norms) * 2 * HIDDEN


def test_bert_base_counts_by_depth(bert_base: nn.Module) -> None:
    count = count_params(bert_base, find_layout(bert_base), BottleneckSpec(64, layers="top:3"), outputs=2)
    assert (count.adapters, count.layer_norms) == (2_379_264 // 4, 36_864 // 4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_alone_is_a_linear_layer_on_the_frozen_backbone(family: str) -> None:
    backbone = tiny_backbone(family)
    model = AdaptedModel(backbone, HeadSpec(), 3, seed=0)
    assert (
        count_params(backbone.model, backbone.layout, HeadSpec(), 3)
        == model.count_params()
        == ParamCount(0, 0, (HIDDEN + 1) * 3)
    )
    assert set(dict(model.named_parameters())) == {"head.weight", "head.bias"}
    inputs = tokens()
    assert torch.equal(model(inputs), model.head(backbone.encode(inputs)))


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_reach_every_trained_parameter_and_nothing_frozen(family: str) -> None:
    backbone = tiny_backbone(family)
    model = AdaptedModel(backbone, BottleneckSpec(4, "both", init_std=0.1, layer_norms="all"), 3, seed=0)
    model(tokens()).logsumexp(dim=-1).sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.parameters())
    assert all(p.grad is None and not p.requires_grad for p in backbone.model.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_start_is_near_the_identity_and_exact_where_up_is_zero(family: str) -> None:
    backbone = tiny_backbone(family)
    inputs = tokens()
    with torch.no_grad():
        frozen = backbone.encode(inputs)
        model = AdaptedModel(backbone, BottleneckSpec(8), 2, seed=0)
        near = model.head.weight.new_tensor(0)
        with model.attached():
            near = backbone.encode(inputs)
        assert 0 < float((near - frozen).norm() / frozen.norm()) < 0.02
        for adapter in model.adapters.values():
            adapter.up.weight.zero_()  # type: ignore[union-attr,operator]
        with model.attached():
            assert torch.equal(backbone.encode(inputs), frozen)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_backbone_is_left_as_it_was_found(family: str) -> None:
    backbone = tiny_backbone(family)
    names = [name for name, _ in backbone.model.named_modules()]
    modules = [id(module) for module in backbone.model.modules()]
    inputs = tokens()
    with torch.no_grad():
        before = backbone.encode(inputs)
        AdaptedModel(backbone, BottleneckSpec(8, init_std=0.5, layer_norms="all"), 2, seed=0)(inputs)
        assert torch.equal(backbone.encode(inputs), before)
    assert [name for name, _ in backbone.model.named_modules()] == names
    assert [id(module) for module in backbone.model.modules()] == modules
    assert not any(module._forward_hooks for module in backbone.model.modules())


def test_the_backbone_is_left_as_it_was_found_after_an_error() -> None:
    backbone = tiny_backbone()
    model = AdaptedModel(backbone, BottleneckSpec(8, layer_norms="all"), 2, seed=0)
    modules = [id(module) for module in backbone.model.modules()]
    with pytest.raises(IndexError):
        model({"input_ids": torch.tensor([[10**6]]), "attention_mask": torch.tensor([[1]])})
    assert [id(module) for module in backbone.model.modules()] == modules
    assert not any(module._forward_hooks for module in backbone.model.modules())


def test_two_models_on_one_backbone_do_not_disturb_each_other() -> None:
    backbone = tiny_backbone()
    one, other = (AdaptedModel(backbone, BottleneckSpec(8, init_std=0.3), 2, seed=s) for s in (1, 2))
    inputs = tokens()
    with torch.no_grad():
        first = one(inputs)
        second = other(inputs)
        assert torch.equal(one(inputs), first)
    assert not torch.equal(first, second)


def test_an_adapter_is_houlsbys_module() -> None:
    spec = BottleneckSpec(6, activation="relu", init_std=0.05)
    adapter = BottleneckAdapter(HIDDEN, spec, torch.Generator().manual_seed(0))
    x = torch.randn(2, 3, HIDDEN)
    hidden = torch.relu(x @ adapter.down.weight.T + adapter.down.bias)
    torch.testing.assert_close(adapter(x), x + hidden @ adapter.up.weight.T + adapter.up.bias)
    assert set(dict(adapter.named_parameters())) == {"down.weight", "down.bias", "up.weight", "up.bias"}


@given(st.floats(1e-4, 0.5), st.integers(1, 64), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_the_start_is_truncated_at_two_deviations(std: float, width: int, seed: int) -> None:
    adapter = BottleneckAdapter(HIDDEN, BottleneckSpec(width, init_std=std), torch.Generator().manual_seed(seed))
    for linear in (adapter.down, adapter.up):
        assert float(linear.weight.detach().abs().max()) <= 2 * std * (1 + 1e-6)
        assert not linear.bias.detach().any()


def test_the_start_has_the_deviation_of_a_truncated_normal() -> None:
    adapter = BottleneckAdapter(768, BottleneckSpec(256, init_std=0.01), torch.Generator().manual_seed(0))
    # A normal cut at two deviations keeps 0.8796 of its deviation.
    assert float(adapter.down.weight.detach().std()) == pytest.approx(0.008796, rel=0.01)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_is_used(activation: str) -> None:
    adapters = {
        name: BottleneckAdapter(HIDDEN, BottleneckSpec(8, activation=name), torch.Generator().manual_seed(0))
        for name in ACTIVATIONS
    }
    x = torch.randn(2, 3, HIDDEN)
    outputs = {name: adapter(x) for name, adapter in adapters.items()}
    assert all(not torch.equal(outputs[activation], outputs[name]) for name in ACTIVATIONS if name != activation)


def test_the_same_seed_gives_the_same_start_and_another_seed_another() -> None:
    backbone = tiny_backbone()
    states = [AdaptedModel(backbone, BottleneckSpec(8), 2, seed).state_dict() for seed in (3, 3, 4)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_an_albert_adapter_is_shared_across_the_depth_like_its_layer() -> None:
    """One adapter a site, applied at each of the three passes through the one layer."""
    backbone = tiny_backbone("albert")
    model = AdaptedModel(backbone, BottleneckSpec(4, "both"), 2, seed=0)
    calls = []
    for adapter in model.adapters.values():
        adapter.register_forward_hook(lambda *_: calls.append(1))
    model(tokens())
    assert (len(model.adapters), len(calls)) == (2, 2 * 3)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_padding_changes_nothing(pooling: str) -> None:
    families = [f for f in FAMILIES if not (pooling == "cls" and f in DECODERS)]
    for family, extra in itertools.product(families, (1, 5)):
        backbone = tiny_backbone(family, pooling=pooling)
        ids = tokens(rows=2)["input_ids"]
        padded = torch.cat([ids, torch.zeros(2, extra, dtype=torch.long)], dim=1)
        mask = torch.cat([torch.ones_like(ids), torch.zeros(2, extra, dtype=torch.long)], dim=1)
        with torch.no_grad():
            short = backbone.encode({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
            long = backbone.encode({"input_ids": padded, "attention_mask": mask})
        torch.testing.assert_close(short, long, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_on_bf16_hidden_states_parameters_and_gradients_are_float32_and_the_output_is_near(activation: str) -> None:
    spec = BottleneckSpec(16, activation=activation, init_std=0.2)
    adapter = BottleneckAdapter(HIDDEN, spec, torch.Generator().manual_seed(0))
    x = torch.randn(4, 9, HIDDEN, generator=torch.Generator().manual_seed(1)).bfloat16()
    results = []
    for hidden in (x, x.float()):
        adapter.zero_grad()
        output = adapter(hidden)
        assert output.dtype == hidden.dtype
        output.float().square().sum().backward()
        results.append((output.detach().float(), [p.grad for p in adapter.parameters()]))
    (output, gradients), (expected, exact) = results
    assert float((output - expected).norm() / expected.norm()) < 0.01
    for gradient, other in zip(gradients, exact, strict=True):
        assert gradient is not None
        assert other is not None
        assert gradient.dtype == torch.float32
        assert float((gradient - other).norm() / other.norm()) < 0.03
    assert {p.dtype for p in adapter.parameters()} == {torch.float32}


@pytest.mark.parametrize("family", ["bert", "llama", "gpt2"])
def test_on_a_bf16_backbone_what_is_trained_and_its_gradients_are_float32(family: str) -> None:
    spec = BottleneckSpec(4, "both", init_std=0.1, layer_norms="all")
    logits = []
    for precision in ("bf16", "fp32"):
        model = AdaptedModel(tiny_backbone(family, precision=precision), spec, 3, seed=0)
        logits.append(model(tokens()))
        logits[-1].logsumexp(dim=-1).sum().backward()
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float32}
    torch.testing.assert_close(logits[0], logits[1], rtol=0.05, atol=0.02)
