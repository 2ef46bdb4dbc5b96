"""Every method on every family: it works, or is refused in words. What each reads and trains there is written out."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import DynamicCache

from adapter_sweep.engine import guards
from adapter_sweep.engine.adapters import AdaptedModel, count_params
from adapter_sweep.engine.backbone import Backbone, pool
from adapter_sweep.engine.batches import Batch
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
    MethodSpec,
    ParallelSpec,
    PrefixSpec,
    PromptSpec,
)
from adapter_sweep.engine.problems import Classification
from adapter_sweep.engine.saving import load_adapted, save_adapted
from adapter_sweep.errors import UserInputError
from families import CAUSAL, FAMILIES, OTHERS, inputs_of, tiny_backbone

# Of each method two that differ, where it has settings.
SPECS: dict[str, tuple[MethodSpec, MethodSpec]] = {
    "bottleneck": (BottleneckSpec(4), BottleneckSpec(3, "post_ffn", layers="top:1", layer_norms="none")),
    "parallel": (ParallelSpec(4, "both"), ParallelSpec(3, "attention", layers="top:1")),
    "lora": (LoraSpec(2), LoraSpec(3, targets="all_linear", layers="top:1")),
    "ia3": (IA3Spec(), IA3Spec("top:1")),
    "prefix": (PrefixSpec(3), PrefixSpec(2)),
    "prompt": (PromptSpec(3), PromptSpec(2)),
    "bitfit": (BitFitSpec(), BitFitSpec("top:1")),
    "layernorm": (LayerNormSpec(), LayerNormSpec("layers", "top:1")),
    "full": (FullSpec(), FullSpec()),
    "head": (HeadSpec(), HeadSpec()),
}
EVERY = (*FAMILIES, *OTHERS)
_NO_CACHE = "takes no past_key_values, which the method needs"
_NO_BIAS = "has no bias terms in its layers"
# (method, family) -> why it cannot be had.
REFUSED = {
    **{("bitfit", family): _NO_BIAS for family in ("llama", "mistral", "qwen3", "gemma", "gemma2", "gemma3", "phi3")},
    **{("bitfit", family): _NO_BIAS for family in ("modernbert", "t5")},
    **{("prefix", family): _NO_CACHE for family in ("distilbert", "albert", "mpnet", "deberta", "deberta-v2")},
    **{("prefix", family): _NO_CACHE for family in ("deberta-v3", "modernbert", "bart", "vit")},
    ("prefix", "t5"): "does not compute with keys and values given it",
    ("prompt", "vit"): "takes no inputs_embeds, which the method needs",
}
# What these train computes on the relative positions too, which are no part of a batch: such models go alone.
UNSHARED = {(method, family) for method in ("lora", "bitfit", "layernorm") for family in ("deberta-v2", "deberta-v3")}
UNSHARED |= {("lora", "deberta")}
UNSHARED |= {("ia3", "deberta-v3")}  # whose keys are made of them by the projection for the texts' keys
EXACT, NEAR = ("parallel", "lora", "ia3", "bitfit", "layernorm", "full", "head"), ("bottleneck",)


@cache
def backbone_of(family: str) -> Backbone:
    """One for all checks: adapted models leave it as they found it, which is a check itself."""
    return tiny_backbone(family)


@cache
def frozen_of(family: str) -> Tensor:
    return backbone_of(family).encode(inputs_of(backbone_of(family))).detach()


def moved(model: AdaptedModel, seed: int = 0) -> AdaptedModel:
    """The model away from its start, where much is 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def structure(backbone: Backbone) -> list[Any]:
    modules = list(backbone.model.named_modules())
    return [
        [(name, id(module), "forward" in vars(module)) for name, module in modules],
        [len(module._forward_hooks) + len(module._forward_pre_hooks) for _, module in modules],
        [(name, id(p), p.requires_grad, p.grad is None) for name, p in backbone.model.named_parameters()],
    ]


def loss_of(logits: Tensor) -> Tensor:
    return logits.logsumexp(dim=-1).square().sum()


def gradients(model: AdaptedModel) -> list[Tensor]:
    found = [p.grad for p in model.parameters()]
    model.zero_grad()
    assert all(gradient is not None for gradient in found)
    return [gradient for gradient in found if gradient is not None]


def test_every_method_is_tested() -> None:
    assert [type(spec) for spec, _ in SPECS.values()] == list(METHODS.values())


@pytest.mark.parametrize("method", SPECS)
@pytest.mark.parametrize("family", EVERY)
def test_a_method_works_on_a_family_or_is_refused(family: str, method: str, tmp_path: Path) -> None:
    backbone, (spec, other) = backbone_of(family), SPECS[method]
    if (method, family) in REFUSED:
        name = type(backbone.model).__name__
        with pytest.raises(UserInputError, match=f"^method={method}: {name} {REFUSED[method, family]}"):
            AdaptedModel(backbone, spec, 3, seed=0)
        if REFUSED[method, family] in (_NO_CACHE, _NO_BIAS):  # which takes no pass to see
            with pytest.raises(UserInputError, match=f"^method={method}: {name} "):
                count_params(backbone.model, backbone.layout, spec, 3)
        return
    found, inputs = structure(backbone), inputs_of(backbone)
    batch = Batch((0, 1, 2, 3), inputs, Classification().targets([0, 1, 2, 0], 1))
    model = AdaptedModel(backbone, spec, 3, seed=0)
    with torch.no_grad():
        frozen = frozen_of(family)
        with model.attached():
            begun = backbone.encode(inputs)
    gap = float((begun - frozen).norm() / frozen.norm())
    assert (gap == 0) if method in EXACT else (0 < gap < 0.02) if method in NEAR else (gap > 1e-3), gap

    moved(model)
    guards.check_param_count(model, count_params(backbone.model, backbone.layout, spec, 3))
    logits = Cohort([model]).logits(batch)
    loss_of(logits).backward()
    plain = gradients(model)
    assert [name for (name, _), g in zip(model.named_parameters(), plain, strict=True) if not bool(g.any())] == []
    assert structure(backbone) == found

    with ExitStack() as held:
        loss_of(Cohort([model]).logits(batch, held=held)).backward()
    assert all(torch.equal(a, b) for a, b in zip(gradients(model), plain, strict=True))
    assert structure(backbone) == found

    save_adapted(model, tmp_path, label_names=("a", "b", "c"))
    loaded, _ = load_adapted(backbone, tmp_path)
    with torch.no_grad():
        assert torch.equal(Cohort([loaded]).logits(batch), logits)

    if model.insertion.shares_pass:
        together = [model, moved(AdaptedModel(backbone, other, 3, seed=1), seed=1)]
        if (method, family) in UNSHARED:
            with pytest.raises(ValueError, match="does not hold 2 models' batches"):
                Cohort(together).logits(batch)
        else:
            check_together(together, batch, logits, plain)
    assert structure(backbone) == found
    guards.check_frozen(backbone)


def check_together(models: list[AdaptedModel], batch: Batch, *first: Any) -> None:
    """What a cohort of two computes is what each computes alone, as the first one has: logits and gradients."""
    together = Cohort(models).logits(batch)
    loss_of(together).backward()
    shared = [gradients(model) for model in models]
    second = Cohort(models[1:]).logits(batch)
    loss_of(second).backward()
    for logits, found, (alone, expected) in zip(together, shared, (first, (second, gradients(models[1]))), strict=True):
        torch.testing.assert_close(logits, alone[0], rtol=1e-4, atol=1e-5)
        size = max(float(gradient.norm()) for gradient in expected)
        for a, b in zip(found, expected, strict=True):
            # Next to the largest: those of keys' biases are 0 but for rounding.
            assert float((a - b).norm()) <= 1e-4 * float(b.norm()) + 1e-6 * size


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "modernbert", "phi3", "opt", "t5", "vit"])
def test_methods_that_share_a_pass_share_one_with_each_other(family: str) -> None:
    backbone, inputs = backbone_of(family), inputs_of(backbone_of(family))
    specs = [spec for name, both in SPECS.items() if (name, family) not in REFUSED for spec in both]
    models = [moved(AdaptedModel(backbone, spec, 3, seed=0)) for spec in specs]
    models = [model for model in models if model.insertion.shares_pass]
    batch = Batch((0, 1, 2, 3), inputs, Classification().targets([0, 1, 2, 0], 1))
    found = structure(backbone)
    with torch.no_grad():
        for model, logits in zip(models, Cohort(models).logits(batch), strict=True):
            torch.testing.assert_close(logits, model(inputs), rtol=1e-4, atol=1e-5)
    assert structure(backbone) == found


# -- what each method has where


# Family -> names in a layer: queries and values, keys and values, the feed-forward's inner activation; and what the two
# sub-layers are given: the module whose output it is, "" where it is the layer's input.
_BERT = (
    ("attention.self.query", "attention.self.value"),
    ("attention.self.key", "attention.self.value"),
    "output.dense",
    ("", "attention.output.LayerNorm"),
)
_DEBERTA = (
    ("attention.self.query_proj", "attention.self.value_proj"),
    ("attention.self.key_proj", "attention.self.value_proj"),
    *_BERT[2:],
)
_LLAMA = (
    ("self_attn.q_proj", "self_attn.v_proj"),
    ("self_attn.k_proj", "self_attn.v_proj"),
    "mlp.down_proj",
    ("input_layernorm", "post_attention_layernorm"),
)
_GEMMA2 = (*_LLAMA[:3], ("input_layernorm", "pre_feedforward_layernorm"))
_BART = (
    ("self_attn.v_proj", "self_attn.q_proj"),
    ("self_attn.k_proj", "self_attn.v_proj"),
    "fc2",
    ("", "self_attn_layer_norm"),
)


def _fused(name: str, inner: str, *given: str) -> Any:
    return (name,), (name,), inner, given


PLACES: dict[str, Any] = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "electra"), _BERT),
    "distilbert": (
        ("attention.q_lin", "attention.v_lin"),
        ("attention.k_lin", "attention.v_lin"),
        "ffn.lin2",
        ("", "sa_layer_norm"),
    ),
    "albert": (
        ("attention.query", "attention.value"),
        ("attention.key", "attention.value"),
        "ffn_output",
        ("", "attention.LayerNorm"),
    ),
    "deberta": _fused("attention.self.in_proj", "output.dense", "", "attention.output.LayerNorm"),
    **dict.fromkeys(("deberta-v2", "deberta-v3"), _DEBERTA),
    "mpnet": (
        ("attention.attn.q", "attention.attn.v"),
        ("attention.attn.k", "attention.attn.v"),
        "output.dense",
        ("", "attention.LayerNorm"),
    ),
    "modernbert": _fused("attn.Wqkv", "mlp.Wo", "attn_norm", "mlp_norm"),
    "gpt2": _fused("attn.c_attn", "mlp.c_proj", "ln_1", "ln_2"),
    "gpt-neox": _fused("attention.query_key_value", "mlp.dense_4h_to_h", "input_layernorm", "post_attention_layernorm"),
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma"), _LLAMA),
    **dict.fromkeys(("gemma2", "gemma3"), _GEMMA2),
    "phi": (*_LLAMA[:2], "mlp.fc2", ("input_layernorm", "input_layernorm")),
    "phi3": _fused("self_attn.qkv_proj", "mlp.down_proj", *_LLAMA[3]),
    "opt": (*_BART[:3], ("self_attn_layer_norm", "final_layer_norm")),
    "opt-350m": _BART,
    "t5": (
        ("layer.0.SelfAttention.q", "layer.0.SelfAttention.v"),
        ("layer.0.SelfAttention.k", "layer.0.SelfAttention.v"),
        "layer.1.DenseReluDense.wo",
        ("layer.0.layer_norm", "layer.1.layer_norm"),
    ),
    "bart": _BART,
    "vit": (
        ("attention.q_proj", "attention.v_proj"),
        ("attention.k_proj", "attention.v_proj"),
        "mlp.fc2",
        ("layernorm_before", "layernorm_after"),
    ),
}


@pytest.mark.parametrize("family", EVERY)
def test_low_rank_updates_and_factors_are_where_they_belong(family: str) -> None:
    backbone, (low_rank, scaled, inner, _) = backbone_of(family), PLACES[family]
    for spec, places in ((LoraSpec(2), low_rank), (IA3Spec(), (*scaled, inner))):
        model = AdaptedModel(backbone, spec, 3, seed=0)
        names = {f"{layer.name}.{place}" for layer in backbone.layout.layers for place in places}
        assert set(model.insertion.replaced) == names
    # The inner activation is scaled before the last projection, all else behind its own.
    layers = model.insertion.replaced.items()
    assert {name for name, layer in layers if layer.is_feedforward} == {n for n in names if n.endswith(f".{inner}")}


@pytest.mark.parametrize("family", EVERY)
def test_a_parallel_adapter_has_its_sub_layers_own_input_and_output(family: str) -> None:
    backbone, given = backbone_of(family), PLACES[family][3]
    model = moved(AdaptedModel(backbone, ParallelSpec(4, "both"), 3, seed=0))
    layer = backbone.layout.layers[-1]
    module, seen = backbone.model.get_submodule(layer.name), {}

    def enter(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen[""] = args[0] if args else kwargs["hidden_states"]

    def noting(name: str) -> Callable[[nn.Module, tuple[Any, ...], Tensor], None]:
        return lambda _module, args, out: seen.update({name: out, f"into {name}": args})

    # The hooks on a site's module stand behind the adapter's: they see what goes on to the residual.
    with model.attached(), ExitStack() as stack, torch.no_grad():
        stack.callback(module.register_forward_pre_hook(enter, with_kwargs=True).remove)
        for name in {*given} - {""}:
            stack.callback(module.get_submodule(name).register_forward_hook(noting(name)).remove)
        for site, path in layer.sites.items():
            adapter, last = model.adapters[f"{layer.index}/{site}"], backbone.model.get_submodule(path)
            stack.callback(adapter.register_forward_hook(noting(site)).remove)
            stack.callback(last.register_forward_hook(noting(path)).remove)
        backbone.encode(inputs_of(backbone))
    for (site, path), name in zip(layer.sites.items(), given, strict=True):
        x, y = seen[f"into {site}"]
        assert torch.equal(x.flatten(), seen[name].flatten())  # OPT's feed-forward block sees one list of tokens
        assert torch.equal(y, backbone.model.get_submodule(path)(*seen[f"into {path}"]))
        assert torch.equal(seen[path], seen[site])
        assert not torch.equal(seen[site], y)


# -- virtual tokens


def text_behind(backbone: Backbone, length: int) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Ids [P], a padded text, and the text behind the ids."""
    inputs = inputs_of(backbone)
    first = torch.arange(20, 20 + length)
    ids = torch.cat([first.expand(4, -1), inputs["input_ids"]], dim=1)
    mask = torch.cat([torch.ones(4, length, dtype=torch.long), inputs["attention_mask"]], dim=1)
    return first, inputs, {"input_ids": ids, "attention_mask": mask}


def check_reads_as_text(model: AdaptedModel, inputs: dict[str, Tensor], whole: dict[str, Tensor]) -> None:
    """The virtual tokens do what the same tokens do that are real: every state of the text, and what is pooled."""
    backbone, length = model.backbone, whole["input_ids"].shape[1] - inputs["input_ids"].shape[1]
    with torch.no_grad():
        expected = backbone.hidden_states(whole)[:, length:]
        with model.attached():
            states, pooled = backbone.hidden_states(inputs), backbone.encode(inputs)
        tagged = model(inputs)
    real = inputs["attention_mask"].bool()
    assert tagged.shape == (*real.shape, 3)
    torch.testing.assert_close(states[real], expected[real], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(pooled, pool(expected, inputs["attention_mask"], backbone.pooling), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(tagged[real], model.head(expected[real]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", [family for family in EVERY if ("prompt", family) not in REFUSED])
def test_a_prompt_of_words_is_those_words(family: str) -> None:
    backbone = backbone_of(family)
    first, inputs, whole = text_behind(backbone, 3)
    model = AdaptedModel(backbone, PromptSpec(3), 3, seed=0, per_token=True)
    with torch.no_grad():
        words: Any = backbone.model.get_input_embeddings()  # type: ignore[operator]
        (prompt,) = model.adapters["prompt"].parameters()
        prompt.copy_(words(first))
    check_reads_as_text(model, inputs, whole)


@pytest.mark.parametrize("family", CAUSAL)
def test_a_prefix_of_words_keys_and_values_is_those_words(family: str) -> None:
    """Only in a decoder: elsewhere the words' own states depend on the text."""
    backbone = backbone_of(family)
    first, inputs, whole = text_behind(backbone, 3)
    model = AdaptedModel(backbone, PrefixSpec(3), 3, seed=0, per_token=True)
    with torch.no_grad():
        cache = DynamicCache(config=backbone.model.config)  # type: ignore[arg-type]
        backbone.model(input_ids=first.unsqueeze(0), past_key_values=cache)
        held = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]  # [1, heads, P, size] each
        (prefix,) = model.adapters["prefix"].parameters()
        prefix.copy_(torch.cat([tensor[0].transpose(0, 1).flatten(1) for tensor in held], dim=1))
    check_reads_as_text(model, inputs, whole)


@pytest.mark.parametrize(
    ("method", "family"), [(m, f) for m in ("prefix", "prompt") for f in EVERY if (m, f) not in REFUSED]
)
def test_padding_changes_no_row_behind_virtual_tokens(method: str, family: str) -> None:
    backbone = backbone_of(family)
    model = moved(AdaptedModel(backbone, SPECS[method][0], 3, seed=0, per_token=True))
    inputs = inputs_of(backbone)
    alone = {name: tensor[:1, :5] for name, tensor in inputs.items()}
    assert int(inputs["attention_mask"][0].sum()) == 5
    with torch.no_grad():
        torch.testing.assert_close(model(inputs)[:1, :5], model(alone), rtol=1e-4, atol=1e-5)
        with model.attached():
            torch.testing.assert_close(backbone.encode(inputs)[:1], backbone.encode(alone), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["gemma2", "gemma3"])
def test_a_prefix_longer_than_a_window_is_refused(family: str) -> None:
    backbone = backbone_of(family)
    AdaptedModel(backbone, PrefixSpec(3), 3, seed=0)
    with pytest.raises(UserInputError, match=r"^method\.length=4: .* a window of 4 tokens; allowed: 1 to 3$"):
        count_params(backbone.model, backbone.layout, PrefixSpec(4), 3)
