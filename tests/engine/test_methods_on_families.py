"""Every method on every family: it works, or is refused in words. What each reads and trains there is written out."""

from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from adapter_sweep.engine import guards
from adapter_sweep.engine.adapters import AdaptedModel, count_params
from adapter_sweep.engine.backbone import Backbone
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
from adapter_sweep.engine.projections import projections_of
from adapter_sweep.engine.saving import load_adapted, save_adapted
from adapter_sweep.errors import UserInputError
from families import FAMILIES, HIDDEN, LAYERS, OTHERS, inputs_of, tiny_backbone

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
