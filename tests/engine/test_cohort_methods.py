"""Members of different methods in one pass: each computes what it does alone, and none is sent alone."""

import pytest
import torch
from torch import nn

from adapter_sweep.engine.adapters import AdaptedModel, BottleneckSpec, MethodSpec
from adapter_sweep.engine.batches import scoring_batches
from adapter_sweep.engine.cohort import Cohort
from adapter_sweep.engine.methods import BitFitSpec, IA3Spec, LoraSpec, ParallelSpec
from adapter_sweep.engine.train_spec import TrainSpec
from adapter_sweep.engine.training import train_cohort
from families import some_split, tiny_backbone

OTHERS: tuple[MethodSpec, ...] = (IA3Spec(), BitFitSpec(), LoraSpec(2, targets="all_linear"))
BESIDE: tuple[MethodSpec, ...] = (BottleneckSpec(4, "both", layer_norms="adapted_layers"), ParallelSpec(4, "both"))


def mixed(family: str, first: MethodSpec) -> list[AdaptedModel]:
    """Models of one backbone, away from their starts, where much is 0."""
    backbone = tiny_backbone(family)
    models = [AdaptedModel(backbone, spec, 3, seed) for seed, spec in enumerate((first, *OTHERS))]
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in (p for model in models for p in model.parameters()):
            parameter.add_(0.1 * torch.randn_like(parameter))
    return models


def gradients(model: AdaptedModel) -> list[torch.Tensor]:
    found = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(found) == len(list(model.parameters()))
    model.zero_grad()
    return found


@pytest.mark.parametrize("stacked", [True, False])
@pytest.mark.parametrize("first", BESIDE, ids=["bottleneck", "parallel"])
@pytest.mark.parametrize("family", ["bert", "opt"])
def test_logits_and_gradients_are_those_of_each_alone(family: str, first: MethodSpec, stacked: bool) -> None:
    models = mixed(family, first)
    batch = list(scoring_batches(some_split(), batch_size=6, max_tokens=999))[3]
    logits = Cohort(models, stacked=stacked).logits(batch)
    logits.logsumexp(-1).square().sum().backward()
    together = [gradients(model) for model in models]
    for model, own, found in zip(models, logits, together, strict=True):
        alone = model(batch.inputs)
        alone.logsumexp(-1).square().sum().backward()
        torch.testing.assert_close(own, alone, rtol=1e-4, atol=1e-5)
        expected = gradients(model)
        size = max(float(gradient.norm()) for gradient in expected)
        for a, b in zip(found, expected, strict=True):
            # Next to the largest: those of keys' biases are 0 but for rounding.
            assert float((a - b).norm()) <= 1e-4 * float(b.norm()) + 1e-6 * size


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("first", BESIDE, ids=["bottleneck", "parallel"])
@pytest.mark.parametrize("family", ["bert", "opt"])
def test_they_train_in_one_pass(
    family: str, first: MethodSpec, checkpointing: bool, caplog: pytest.LogCaptureFixture
) -> None:
    models, alone = mixed(family, first), mixed(family, first)
    specs = [TrainSpec(2, 1e-3, 8, checkpointing=checkpointing)] * len(models)
    rows: set[int] = set()
    backbone = models[0].backbone
    last: nn.Module = backbone.model.get_submodule(backbone.layout.layers[-1].name)
    last.register_forward_pre_hook(lambda _module, args: rows.add(len(args[0])))
    results = train_cohort(models, some_split(), specs)
    assert rows == {8 * len(models)}
    assert [r for r in caplog.records if "cannot share a pass" in r.getMessage()] == []
    for model, spec, result in zip(alone, specs, results, strict=True):
        (expected,) = train_cohort([model], some_split(), [spec])
        assert result.error is None
        torch.testing.assert_close(result.losses, expected.losses, rtol=1e-3, atol=1e-5)


def test_a_hook_on_a_module_runs_once_a_pass() -> None:
    """Not once a member: what reads a module's output reads the whole batch."""
    models = mixed("bert", BESIDE[0])
    backbone = models[0].backbone
    batch = next(iter(scoring_batches(some_split(), batch_size=6, max_tokens=999)))
    with Cohort(models).attached(6):
        name = backbone.layout.layers[0].sites["post_ffn"]
        seen: list[int] = []
        backbone.model.get_submodule(name).register_forward_hook(lambda _module, _args, out: seen.append(len(out)))
        backbone.encode({key: value.repeat(len(models), 1) for key, value in batch.inputs.items()})
    assert seen == [6 * len(models)]
