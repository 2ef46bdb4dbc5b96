"""Every method on an encoder, a decoder with fused projections and one with grouped heads."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.overrides import TorchFunctionMode

from adapter_sweep.engine import guards
from adapter_sweep.engine.adapters import AdaptedModel, MethodSpec, count_params
from adapter_sweep.engine.backbone import Backbone, Precision
from adapter_sweep.engine.cohort import Cohort
from adapter_sweep.engine.methods import (
    METHODS,
    BitFitSpec,
    BottleneckSpec,
    FullSpec,
    HeadSpec,
    IA3Spec,
    LayerNormSpec,
    LoraSpec,
    ParallelSpec,
    PrefixSpec,
    PromptSpec,
)
from adapter_sweep.engine.methods.insertion import inserted
from adapter_sweep.engine.methods.parallel import ParallelAdapter
from adapter_sweep.engine.methods.tuned import peft
from adapter_sweep.engine.optimizer import FlatAdamW
from adapter_sweep.engine.projections import projections_of
from adapter_sweep.engine.saving import WEIGHTS_FILE, load_adapted, save_adapted
from adapter_sweep.engine.training import TrainSpec, train, train_cohort
from adapter_sweep.errors import UserInputError
from families import HIDDEN, LAYERS, some_split, tiny_backbone, tokens

SPECS: dict[str, MethodSpec] = {
    "bottleneck": BottleneckSpec(4),
    "shared": BottleneckSpec(4, shared=True, scaling="learned"),
    "parallel": ParallelSpec(4, "both"),
    "lora": LoraSpec(2),
    "lora everywhere": LoraSpec(2, targets="all_linear", layers="top:2"),
    "ia3": IA3Spec(),
    "prefix": PrefixSpec(3),
    "prompt": PromptSpec(3),
    "bitfit": BitFitSpec(),
    "layernorm": LayerNormSpec(),
    "full": FullSpec(),
    "head": HeadSpec(),
}
FAMILIES = ("bert", "gpt2", "llama")
CASES = [(f, m) for f in FAMILIES for m in SPECS if (f, m) != ("llama", "bitfit")]  # which has no biases
_PRECISIONS: tuple[Precision, Precision] = ("fp32", "bf16")
ALONE = ("prefix", "prompt", "full")

each = pytest.mark.parametrize(("family", "method"), CASES)


def _moved(model: AdaptedModel, by: float = 0.05) -> AdaptedModel:
    """A model away from its start, where much is 0."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(by * torch.randn(parameter.shape, generator=generator))
    return model


def _state(backbone: Backbone) -> list[Any]:
    model = backbone.model
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    return [
        [(name, id(m)) for name, m in model.named_modules()],
        [(name, id(p), p.dtype) for name, p in model.named_parameters()],
        hooks,
        [name for name, m in model.named_modules() if "forward" in vars(m)],
    ]


def test_every_method_is_tested() -> None:
    assert {type(spec) for spec in SPECS.values()} == set(METHODS.values())


@each
def test_what_is_trained_is_what_was_costed_and_gradients_reach_all_of_it_and_nothing_else(
    family: str, method: str
) -> None:
    backbone, spec = tiny_backbone(family), SPECS[method]
    found = _state(backbone)
    expected = count_params(backbone.model, backbone.layout, spec, 3)
    model = _moved(AdaptedModel(backbone, spec, 3, seed=0))
    guards.check_param_count(model, expected)
    model(tokens()).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.parameters())
    assert all(p.grad is None and not p.requires_grad for p in backbone.model.parameters())
    guards.check_frozen(backbone)
    assert _state(backbone) == found


@each
def test_the_start_is_the_frozen_backbone_where_it_should_be(family: str, method: str) -> None:
    for precision in ("fp32", "bf16"):
        backbone = tiny_backbone(family, precision=precision)
        model = AdaptedModel(backbone, SPECS[method], 3, seed=0)
        inputs = tokens()
        with torch.no_grad():
            frozen = backbone.encode(inputs)
            with model.attached():
                adapted = backbone.encode(inputs)
        if method in ("bottleneck", "shared"):
            assert float((adapted - frozen).norm() / frozen.norm()) < 0.02
        elif method in ("prefix", "prompt"):
            assert not torch.allclose(adapted, frozen, rtol=0.01)
        else:
            assert torch.equal(adapted, frozen)


@each
def test_on_a_bf16_backbone_what_is_trained_is_float32_and_the_output_is_near(family: str, method: str) -> None:
    logits = []
    for precision in ("fp32", "bf16"):
        model = _moved(AdaptedModel(tiny_backbone(family, precision=precision), SPECS[method], 3, seed=0))
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        with torch.no_grad():
            logits.append(model(tokens()))
    exact, near = logits
    assert near.dtype == torch.float32
    assert float((near - exact).norm() / exact.norm()) < 0.1


@each
def test_what_is_saved_loads_back_bit_identically(family: str, method: str, tmp_path: Path) -> None:
    backbone = tiny_backbone(family)
    model = _moved(AdaptedModel(backbone, SPECS[method], 3, seed=0))
    save_adapted(model, tmp_path, label_names=("a", "b", "c"))
    assert sum(t.numel() for t in load_file(tmp_path / WEIGHTS_FILE).values()) == model.count_params().total
    loaded, _ = load_adapted(tiny_backbone(family), tmp_path)
    assert loaded.spec == model.spec
    with torch.no_grad():
        assert torch.equal(loaded(tokens()), model(tokens()))


@pytest.mark.parametrize("method", SPECS)
def test_training_moves_all_of_it_and_leaves_the_backbone(method: str) -> None:
    backbone = tiny_backbone("bert")
    model = AdaptedModel(backbone, SPECS[method], 3, seed=0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    result = train(model, some_split(), TrainSpec(epochs=1, lr=0.01, batch_size=8))
    assert all(not torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert result.error is None
    guards.check_frozen(backbone)


def test_methods_that_share_a_pass_train_as_each_does_alone(caplog: pytest.LogCaptureFixture) -> None:
    backbone, split = tiny_backbone("bert"), some_split()
    specs = [spec for name, spec in SPECS.items() if name not in ALONE]
    training = [TrainSpec(epochs=1, lr=0.01, batch_size=8)] * len(specs)
    together = [AdaptedModel(backbone, spec, 3, seed=0) for spec in specs]
    results = train_cohort(together, split, training)
    assert [result.error for result in results] == [None] * len(specs)
    assert "cannot share a pass" not in caplog.text
    for model, result in zip(together, results, strict=True):
        alone = AdaptedModel(backbone, model.spec, 3, seed=0)
        losses = train(alone, split, training[0]).losses
        torch.testing.assert_close(torch.tensor(result.losses), torch.tensor(losses), rtol=1e-4, atol=1e-5)
        for name, value in alone.state_dict().items():
            torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("method", ALONE)
def test_methods_that_cannot_share_a_pass_are_refused_in_one(method: str) -> None:
    backbone = tiny_backbone()
    models = [AdaptedModel(backbone, spec, 3, seed=0) for spec in (SPECS[method], HeadSpec())]
    Cohort(models[:1])
    with pytest.raises(ValueError, match="goes through the backbone alone"):
        Cohort(models)


def test_scalings_hold_in_one_batched_product_too() -> None:
    backbone = tiny_backbone()
    specs = [BottleneckSpec(4, scaling="learned"), BottleneckSpec(6, "post_ffn", scaling=2.5), BottleneckSpec(2)]
    models = [_moved(AdaptedModel(backbone, spec, 3, seed=0)) for spec in specs]
    inputs = tokens()
    with torch.no_grad(), Cohort(models, stacked=True).attached(len(inputs["input_ids"])):
        states = backbone.encode({name: tensor.repeat(3, 1) for name, tensor in inputs.items()})
    for model, own in zip(models, states.chunk(3), strict=True):
        with torch.no_grad(), model.attached():
            torch.testing.assert_close(own, backbone.encode(inputs))


# -- merging


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["lora", "lora everywhere", "ia3"])
def test_merged_weights_predict_the_same(family: str, method: str, precision: str) -> None:
    backbone = tiny_backbone(family, precision=precision)
    model = _moved(AdaptedModel(backbone, SPECS[method], 3, seed=0), by=0.5 if precision == "fp32" else 0.05)
    found = _state(backbone)
    with torch.no_grad():
        beside = model(tokens())
        with inserted(model.backbone.model, model.merge()):
            merged = model.read(tokens())
            assert not any(
                "lora" in type(m).__module__ or "ia3" in type(m).__module__ for m in backbone.model.modules()
            )
        frozen = model.read(tokens())
    # In bf16 both round, each at its own place; either is up to 0.07 from what is computed in fp32.
    assert float((merged - beside).norm() / beside.norm()) < (1e-5 if precision == "fp32" else 0.03)
    if precision == "fp32":  # elsewhere it would have to be told from rounding
        assert float((merged - frozen).norm() / frozen.norm()) > 1e-3
    assert _state(backbone) == found
    guards.check_frozen(backbone)


@pytest.mark.parametrize("method", ["lora everywhere", "ia3"])
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_what_is_tuned_computes_in_the_precision_of_the_hidden_states(family: str, method: str) -> None:
    full, half = (_moved(AdaptedModel(tiny_backbone(family, precision=p), SPECS[method], 3, 0)) for p in _PRECISIONS)
    seen: set[torch.dtype] = set()

    class Products(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func in (torch.nn.functional.linear, torch.Tensor.mul, torch.Tensor.__mul__):
                seen.update(x.dtype for x in args if isinstance(x, torch.Tensor))
            return func(*args, **(kwargs or {}))

    name, layer = next(iter(half.insertion.replaced.items()))
    states = torch.randn(2, 5, HIDDEN, generator=torch.Generator().manual_seed(0))
    with Products():  # type: ignore[no-untyped-call]
        output = layer(states.bfloat16())
    assert seen == {torch.bfloat16}
    expected = full.insertion.replaced[name](states)
    assert 0 < float((output.float() - expected).detach().norm() / expected.detach().norm()) < 0.01
    output.float().square().sum().backward()
    expected.square().sum().backward()
    for own, other in zip(layer.parameters(), full.insertion.replaced[name].parameters(), strict=True):
        assert own.grad is not None
        assert other.grad is not None
        assert own.dtype == own.grad.dtype == torch.float32
        assert float((own.grad - other.grad).norm() / other.grad.norm()) < 0.02


def test_weight_decay_leaves_factors() -> None:
    """Theirs is 1 at the start: to pull it to 0 takes features away."""
    start = AdaptedModel(tiny_backbone(), IA3Spec(), 3, seed=0)
    plain, decayed = (AdaptedModel(start.backbone, IA3Spec(), 3, seed=0) for _ in range(2))
    for model, decay in ((plain, 0.0), (decayed, 0.9)):
        flat = FlatAdamW(model, lr=0.1, weight_decay=decay, max_grad_norm=0.0, factor=lambda _: 1.0)
        flat.step()
        flat.release()
    assert all(map(torch.equal, decayed.adapters.parameters(), plain.adapters.parameters()))
    assert not torch.equal(decayed.head.weight, plain.head.weight)


def test_what_cannot_be_merged_is_refused() -> None:
    model = AdaptedModel(tiny_backbone(), BottleneckSpec(4), 3, seed=0)
    assert not model.merges
    with pytest.raises(ValueError, match="cannot be merged"):
        model.merge()


# -- each method's own


def test_a_parallel_adapter_is_he_and_others_formula() -> None:
    adapter = ParallelAdapter(HIDDEN, ParallelSpec(6, scaling=4.0), torch.Generator().manual_seed(0))
    torch.nn.init.normal_(adapter.up.weight)
    x, y = torch.randn(2, 3, HIDDEN), torch.randn(2, 3, HIDDEN)
    hidden = torch.relu(x @ adapter.down.weight.T + adapter.down.bias)
    torch.testing.assert_close(adapter(x, y), y + 4 * (hidden @ adapter.up.weight.T + adapter.up.bias))


def test_a_parallel_adapter_takes_what_its_sublayer_is_given() -> None:
    """On a layer of BERT, written out: the adapter's part is added before the residual add and the norm."""
    backbone = tiny_backbone()
    model = _moved(AdaptedModel(backbone, ParallelSpec(4, "both", layers=(1,)), 3, seed=0))
    layer: Any = backbone.model.encoder.layer[1]  # type: ignore[union-attr,index]
    seen: dict[str, torch.Tensor] = {}
    for name, module in (("in", layer.attention), ("ffn", layer.intermediate), ("attention", layer.attention.self)):
        module.register_forward_hook(lambda _m, args, out, name=name: seen.update({name: (args, out)}))
    layer.register_forward_hook(lambda _m, _args, out: seen.update(out=out))
    inputs = tokens()
    inputs["attention_mask"][:] = 1
    with torch.no_grad(), model.attached():
        backbone.encode(inputs)
    (x, *_), _ = seen["in"]
    given, attended = x, seen["attention"][1][0]
    beside: Any = model.adapters
    own = layer.attention.output
    with torch.no_grad():
        after = own.LayerNorm(x + beside["1/post_attention"](given, own.dense(attended)))
        fed = layer.output.dense(layer.intermediate(after))
        expected = layer.output.LayerNorm(after + beside["1/post_ffn"](after, fed))
    out: Any = seen["out"]
    torch.testing.assert_close(out[0] if isinstance(out, tuple) else out, expected)


def test_a_parallel_adapter_takes_the_texts_of_a_projection_that_reads_relative_positions_too() -> None:
    """DeBERTa v3 projects its relative positions by the texts' own projections, afterwards."""
    backbone = tiny_backbone("deberta-v3")
    model = _moved(AdaptedModel(backbone, ParallelSpec(4, "attention"), 3, seed=0))
    given: list[torch.Tensor] = []
    layer: Any = backbone.model.get_submodule(backbone.layout.layers[0].name)
    seen: list[torch.Tensor] = []
    hook = layer.attention.self.query_proj.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    first = next(iter(model.adapters.values()))
    first.register_forward_pre_hook(lambda _module, args: given.append(args[0]))
    model(tokens())
    hook.remove()
    assert seen[0].shape != seen[1].shape
    assert given[0] is seen[0]


def test_bitfit_trains_biases_of_modules_that_hold_others_alone() -> None:
    """DeBERTa's attention adds two of its own to what its projection makes."""
    backbone = tiny_backbone("deberta", precision="bf16")
    models = [_moved(AdaptedModel(backbone, BitFitSpec(), 3, seed)) for seed in range(2)]
    own = [name for name, p in models[0].named_parameters() if name.endswith(("q_bias", "v_bias"))]
    assert len(own) == 2 * LAYERS
    found = _state(backbone)
    models[0](tokens()).square().sum().backward()
    for name in own:
        parameter = models[0].get_parameter(name)
        assert parameter.dtype == torch.float32
        assert parameter.grad is not None
        assert parameter.grad.any()
    assert _state(backbone) == found
    with pytest.raises(ValueError, match="BitFitSpec goes through the backbone alone"):
        Cohort(models)


def test_shared_adapters_are_counted_and_saved_once() -> None:
    backbone = tiny_backbone()
    own, shared = (BottleneckSpec(4, shared=shared, layer_norms="none") for shared in (False, True))
    counts = [count_params(backbone.model, backbone.layout, spec, 3).adapters for spec in (own, shared)]
    assert counts[0] == LAYERS * counts[1]
    model = AdaptedModel(backbone, shared, 3, seed=0)
    assert sorted(model.adapters) == ["post_attention", "post_ffn"]
    calls: list[int] = []
    for adapter in model.adapters.values():
        adapter.register_forward_hook(lambda *_: calls.append(1))
    model(tokens())
    assert len(calls) == 2 * LAYERS


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_trained_is_found_by_structure(family: str) -> None:
    backbone = tiny_backbone(family)
    projections = projections_of(backbone.model, backbone.layout.layers[0], HIDDEN)
    ends = [name.rpartition(".")[2] for name in projections.queries_and_values]
    assert ends == {"bert": ["query", "value"], "gpt2": ["c_attn"], "llama": ["q_proj", "v_proj"]}[family]
    counts = {
        "bert": (LAYERS * 2 * 2 * 64, LAYERS * (2 * 32 + 64)),
        "gpt2": (LAYERS * 2 * (32 + 96), LAYERS * (96 + 128)),
        "llama": (LAYERS * 2 * (64 + 48), LAYERS * (2 * 16 + 64)),
    }[family]
    trained = [count_params(backbone.model, backbone.layout, spec, 3).adapters for spec in (LoraSpec(2), IA3Spec())]
    assert tuple(trained) == counts


def test_targets_may_be_named() -> None:
    backbone = tiny_backbone()
    model = AdaptedModel(backbone, LoraSpec(2, targets=("key", "intermediate.dense"), layers=(1,)), 3, seed=0)
    name = "encoder/layer/1"
    assert sorted(model.adapters) == [f"{name}/attention/self/key", f"{name}/intermediate/dense"]
    with pytest.raises(
        UserInputError, match=r"method\.targets: no projection is called 'q_proj'; there are: query, key"
    ):
        AdaptedModel(backbone, LoraSpec(2, targets=("q_proj",)), 3, seed=0)


@pytest.mark.parametrize("spec", [LoraSpec(2, layers="top:1"), IA3Spec("top:1"), BitFitSpec("top:1")])
def test_below_the_chosen_layers_nothing_is_trained(spec: MethodSpec) -> None:
    model = AdaptedModel(tiny_backbone(), spec, 3, seed=0)
    assert model.lowest_trained_layer == LAYERS - 1
    assert AdaptedModel(tiny_backbone(), FullSpec(), 3, seed=0).lowest_trained_layer == -1


@pytest.mark.parametrize(("method", "family"), [("prefix", "distilbert"), ("prefix", "albert"), ("bitfit", "llama")])
def test_what_a_family_cannot_have_is_refused(method: str, family: str) -> None:
    backbone = tiny_backbone(family)
    with pytest.raises(UserInputError, match=f"method={method}: {type(backbone.model).__name__} "):
        count_params(backbone.model, backbone.layout, SPECS[method], 3)


@pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"
)  # peft's own model asks it
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["prefix", "prompt"])
def test_virtual_tokens_are_those_of_peft(family: str, method: str) -> None:
    """Positions, masks and caches, against peft's own model around the same weights."""
    backbone = tiny_backbone(family)
    model = AdaptedModel(backbone, SPECS[method], 3, seed=0)
    library = peft(method)
    kind = {"prefix": library.PrefixTuningConfig, "prompt": library.PromptTuningConfig}[method]
    config = kind(task_type="FEATURE_EXTRACTION", num_virtual_tokens=3)
    reference = library.PeftModelForFeatureExtraction(tiny_backbone(family).model, config).eval()
    reference.prompt_encoder["default"].load_state_dict(model.adapters[method].state_dict())
    inputs = tokens()
    with torch.no_grad():
        expected = reference(**inputs).last_hidden_state[:, -7:]
        with model.attached():
            states = backbone.hidden_states(inputs)
    real = inputs["attention_mask"].bool()
    torch.testing.assert_close(states[real], expected[real], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["prefix", "prompt"])
def test_padding_changes_nothing_and_every_token_has_a_state(family: str, method: str) -> None:
    backbone = tiny_backbone(family)
    model = AdaptedModel(backbone, SPECS[method], 3, seed=0, per_token=True)
    ids = tokens(rows=2)["input_ids"]
    short = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    long = {name: torch.cat([tensor, torch.zeros(2, 4, dtype=torch.long)], dim=1) for name, tensor in short.items()}
    with torch.no_grad():
        expected, padded = model(short), model(long)
    assert expected.shape == (2, 7, 3)
    torch.testing.assert_close(padded[:, :7], expected, rtol=1e-4, atol=1e-5)


def test_prompts_are_of_the_first_text_where_a_model_is_told() -> None:
    backbone = tiny_backbone()
    model = AdaptedModel(backbone, PromptSpec(3), 3, seed=0)
    inputs = tokens()
    with torch.no_grad():
        plain = model(inputs)
        torch.testing.assert_close(model({**inputs, "token_type_ids": torch.zeros_like(inputs["input_ids"])}), plain)
        second = model({**inputs, "token_type_ids": torch.ones_like(inputs["input_ids"])})
    assert not torch.allclose(second, plain)
