from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from adapter_sweep.engine import training as training_module
from adapter_sweep.engine.adapters import AdaptedModel, BottleneckSpec, HeadSpec, MethodSpec
from adapter_sweep.engine.backbone import Backbone, fingerprint
from adapter_sweep.engine.batches import Batch, scoring_batches
from adapter_sweep.engine.cohort import Cohort
from adapter_sweep.engine.optimizer import FlatAdamW
from adapter_sweep.engine.scoring import score_cohort
from adapter_sweep.engine.train_spec import TrainSpec
from adapter_sweep.engine.training import Training, train_cohort
from adapter_sweep.errors import GuardError
from families import some_split, tiny_backbone, tiny_deberta

BACKBONES: dict[str, Callable[[], Backbone]] = {
    **{family: partial(tiny_backbone, family) for family in ("bert", "llama", "albert", "gpt2", "distilbert")},
    "deberta": tiny_deberta,
}
# Members that differ in all they may differ in.
METHODS: tuple[MethodSpec, ...] = (
    BottleneckSpec(8, "both", layer_norms="adapted_layers", init_std=0.05),
    BottleneckSpec(3, "post_ffn", layer_norms="none", layers="top:1"),
    BottleneckSpec(16, "post_attention", layer_norms="adapted_layers", layers=(0,)),
    HeadSpec(),
)
SPECS = (
    TrainSpec(10, 3e-3, 8, weight_decay=0.1, warmup_fraction=0.2, seed=3),
    TrainSpec(6, 1e-2, 8, warmup_fraction=0.0, max_grad_norm=0.0, seed=3),
    TrainSpec(10, 1e-3, 8, weight_decay=0.01, max_grad_norm=0.1, seed=3),
    TrainSpec(8, 1e-2, 8, warmup_fraction=1.0, seed=3),
)


def members(backbone: Backbone, methods: Sequence[MethodSpec] = METHODS) -> list[AdaptedModel]:
    return [AdaptedModel(backbone, method, 3, seed) for seed, method in enumerate(methods)]


def random_members(backbone: Backbone) -> list[AdaptedModel]:
    """Far from the identity, so that a mix-up is seen."""
    models = members(backbone)
    for model in models:
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.3)
    return models


def distance(model: AdaptedModel, other: AdaptedModel) -> float:
    """The largest relative distance of two models' tensors."""
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    return max(float((a - b).norm() / b.norm()) for a, b in ((a.detach(), b.detach()) for a, b in pairs))


def no_gradients(model: AdaptedModel) -> bool:
    return all(p.grad is None for p in (*model.parameters(), *model.backbone.model.parameters()))


def stack(monkeypatch: pytest.MonkeyPatch, stacked: bool) -> None:
    """Train and score with cohorts that compute their adapters in one product, or one each."""
    monkeypatch.setattr(training_module, "Cohort", partial(Cohort, stacked=stacked))


# -- together as alone


@pytest.mark.parametrize("stacked", [True, False])
@pytest.mark.parametrize("family", BACKBONES)
def test_logits_and_gradients_are_those_of_each_alone(family: str, stacked: bool) -> None:
    backbone = BACKBONES[family]()
    models = random_members(backbone)
    batch = list(scoring_batches(some_split(), batch_size=6, max_tokens=999))[3]
    logits = Cohort(models, stacked=stacked).logits(batch)
    logits.logsumexp(-1).sum().backward()
    assert logits.dtype == torch.float32
    for model, own in zip(models, logits, strict=True):
        gradients = [p.grad for p in model.parameters()]
        model.zero_grad()
        alone = model(batch.inputs)
        alone.logsumexp(-1).sum().backward()
        torch.testing.assert_close(own, alone, rtol=1e-5, atol=1e-5)
        for (name, parameter), gradient in zip(model.named_parameters(), gradients, strict=True):
            assert gradient is not None
            assert parameter.grad is not None
            assert float((gradient - parameter.grad).norm() / parameter.grad.norm()) < 1e-4, name


@pytest.mark.parametrize("stacked", [True, False])
@pytest.mark.parametrize("family", ["bert", "llama", "albert", "deberta"])
def test_each_ends_at_the_weights_it_reaches_alone(family: str, stacked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """After 50 steps, 5 an epoch; two members end before the others do."""
    stack(monkeypatch, stacked)
    backbone, split = BACKBONES[family](), some_split()
    alone = members(backbone)
    results = [train_cohort([model], split, [spec])[0] for model, spec in zip(alone, SPECS, strict=True)]
    models = members(backbone)
    together = train_cohort(models, split, SPECS)
    assert [len(result.losses) for result in together] == [50, 30, 50, 40]
    for model, other, result, expected in zip(models, alone, together, results, strict=True):
        assert distance(model, other) < 1e-5
        assert result.error is None
        torch.testing.assert_close(result.losses, expected.losses, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(result.epoch_losses, expected.epoch_losses, rtol=1e-4, atol=1e-6)
    assert all(map(no_gradients, models))
    assert fingerprint(dict(backbone.model.named_parameters())) == backbone.held


@pytest.mark.parametrize("stacked", [True, False])
def test_members_of_different_activations_share_a_pass(stacked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    stack(monkeypatch, stacked)
    backbone, split = tiny_backbone(), some_split()
    methods = [BottleneckSpec(4, activation=name, init_std=0.3) for name in ("relu", "gelu", "tanh", "silu")]
    specs = [TrainSpec(2, 1e-3, 8)] * 4
    models, alone = members(backbone, methods), members(backbone, methods)
    train_cohort(models, split, specs)
    for model in alone:
        train_cohort([model], split, specs[:1])
    assert max(distance(a, b) for a, b in zip(models, alone, strict=True)) < 1e-5


@pytest.mark.parametrize("stacked", [True, False])
def test_in_bf16_the_losses_agree_loosely_and_what_is_trained_is_float32(
    stacked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack(monkeypatch, stacked)
    backbone, split = tiny_backbone(precision="bf16"), some_split()
    models = members(backbone)
    together = train_cohort(models, split, SPECS)
    alone = [train_cohort([m], split, [s])[0] for m, s in zip(members(backbone), SPECS, strict=True)]
    for result, expected in zip(together, alone, strict=True):
        assert [loss for _, loss in result.losses] == pytest.approx([loss for _, loss in expected.losses], abs=0.02)
    assert {p.dtype for model in models for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("stacked", [True, False])
@pytest.mark.parametrize("batch_size", [1, 2, 64])  # fewer rows than members as well
def test_scores_are_those_of_each_alone(batch_size: int, stacked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    stack(monkeypatch, stacked)
    backbone, split = tiny_backbone(pooling="cls"), some_split()
    models = members(backbone)
    train_cohort(models, split, SPECS)
    together = score_cohort(models, split, batch_size=batch_size, max_tokens=60)
    alone = [score_cohort([model], split, batch_size=8, max_tokens=999)[0] for model in models]
    assert [s.predictions for s in together] == [s.predictions for s in alone]
    assert len({s.predictions for s in together}) > 1


def test_pairs_are_told_their_types() -> None:
    models = random_members(tiny_backbone())
    (batch,) = scoring_batches(some_split(rows=5), batch_size=8, max_tokens=999)
    types = torch.zeros_like(batch.inputs["input_ids"])
    types[:, 1:] = 1
    told = Batch(batch.rows, {**batch.inputs, "token_type_ids": types}, batch.targets)
    with torch.no_grad():
        for model, own in zip(models, Cohort(models).logits(told), strict=True):
            torch.testing.assert_close(own, model(told.inputs))


def test_what_does_not_belong_together_is_refused() -> None:
    backbone, split = tiny_backbone(), some_split()
    one = AdaptedModel(backbone, HeadSpec(), 3, 0)
    specs = [TrainSpec(1, 1e-3, 8), TrainSpec(1, 1e-3, 8, seed=1)]
    for other in (AdaptedModel(backbone, HeadSpec(), 2, 0), AdaptedModel(tiny_backbone(), HeadSpec(), 3, 0)):
        with pytest.raises(ValueError, match="share a backbone and the shape of the head"):
            train_cohort([one, other], split, specs[:1] * 2)
    with pytest.raises(ValueError, match="share their batches"):
        train_cohort([one, AdaptedModel(backbone, HeadSpec(), 3, 0)], split, specs)
    with pytest.raises(ValueError, match="needs a member"):
        Cohort([])


def test_a_norm_that_is_not_of_the_batch_is_trained_with_each_model_alone(caplog: pytest.LogCaptureFixture) -> None:
    """DeBERTa's norm of its relative positions: 16 of them, as many as two members' batches of 8 rows."""
    backbone, split = tiny_deberta(), some_split()
    methods = [BottleneckSpec(4, layer_norms="all", init_std=0.1)] * 2
    specs = [TrainSpec(4, 3e-3, 8)] * 2
    models, alone = members(backbone, methods), members(backbone, methods)
    results = train_cohort(models, split, specs)
    for model in alone:
        train_cohort([model], split, specs[:1])
    assert [result.error for result in results] == [None, None]
    assert [result.together for result in results] == [1, 1]
    assert [distance(a, b) for a, b in zip(models, alone, strict=True)] == [0, 0]
    assert [r.getMessage() for r in caplog.records if "cannot share a pass" in r.getMessage()] == [
        "these models cannot share a pass, and each goes alone: "
        "a tensor of shape [16, 32] does not hold 2 models' batches of 8 rows"
    ]


# -- a member that breaks


def without(position: int, backbone: Backbone) -> list[AdaptedModel]:
    """The members trained without one of them."""
    rest = [i for i in range(len(METHODS)) if i != position]
    models = members(backbone)
    train_cohort([models[i] for i in rest], some_split(), [SPECS[i] for i in rest])
    return models


@pytest.mark.parametrize("stacked", [True, False])
def test_a_loss_that_is_not_finite_ends_its_own_training_only(stacked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    stack(monkeypatch, stacked)
    backbone = tiny_backbone()
    models = members(backbone)
    specs = [TrainSpec(10, 1e38, 8, warmup_fraction=0.0, max_grad_norm=0.0, seed=3), *SPECS[1:]]
    results = train_cohort(models, some_split(), specs)
    assert isinstance(results[0].error, GuardError)
    assert 1 <= len(results[0].losses) < 50
    assert [r.error for r in results[1:]] == [None, None, None]
    expected = without(0, backbone)
    assert max(distance(a, b) for a, b in zip(models[1:], expected[1:], strict=True)) < 1e-5
    assert all(map(no_gradients, models))


def fail_at(model: AdaptedModel, call: int, error: Exception) -> None:
    """Have one of a model's adapters raise at its n-th call and from then on."""
    adapter = next(iter(model.adapters.values()))
    calls = iter(range(10**6))

    def raising(*_: object) -> None:
        if next(calls) >= call:
            raise error

    adapter.register_forward_pre_hook(raising)


@pytest.mark.parametrize("call", [0, 17])
def test_an_adapter_that_raises_ends_its_own_training_only(call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stack(monkeypatch, stacked=False)
    backbone = tiny_backbone()
    modules = [id(module) for module in backbone.model.modules()]
    models = members(backbone)
    problem = RuntimeError("a part is broken")
    fail_at(models[1], call, problem)
    results = train_cohort(models, some_split(), SPECS)
    assert [result.error for result in results] == [None, problem, None, None]
    assert [len(result.losses) for result in results] == [50, call, 50, 40]
    # The failure was one's own, so the others share passes again.
    assert [result.together for result in results] == ([4] * 4 if call else [3, 0, 3, 3])
    expected = without(1, backbone)
    assert max(distance(models[i], expected[i]) for i in (0, 2, 3)) < 1e-5
    assert [id(module) for module in backbone.model.modules()] == modules
    assert not any(module._forward_hooks for module in backbone.model.modules())
    assert all(map(no_gradients, models))


def test_an_update_that_fails_ends_its_own_training_only(monkeypatch: pytest.MonkeyPatch) -> None:
    models = members(tiny_backbone())
    real = FlatAdamW.step

    def step(self: FlatAdamW) -> None:
        if self._parameters[0] is next(models[2].parameters()) and self._steps == 7:
            raise torch.OutOfMemoryError("no room for the moments")
        real(self)

    monkeypatch.setattr(FlatAdamW, "step", step)
    results = train_cohort(models, some_split(), SPECS)
    assert [type(result.error) for result in results] == [type(None), type(None), torch.OutOfMemoryError, type(None)]
    assert [len(result.losses) for result in results] == [50, 30, 7, 40]


def test_whoever_sets_an_error_after_an_epoch_ends_that_training() -> None:
    problem = ValueError("not to be scored")

    def on_epoch(epoch: int, trained: dict[int, Training]) -> None:
        if epoch == 2:
            trained[0].error = problem

    results = train_cohort(members(tiny_backbone()), some_split(), SPECS, on_epoch=on_epoch)
    assert [result.error for result in results] == [problem, None, None, None]
    assert [len(result.losses) for result in results] == [10, 30, 50, 40]


# -- memory that runs out

NO_MEMORY = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to ..."),
)


@contextmanager
def at_most(rows: int, backbone: Backbone, error: Exception) -> Iterator[list[int]]:
    """Fail in the backbone's last layer where a batch has more rows; collects the batch sizes that were tried."""
    tried: list[int] = []

    def limited(_module: nn.Module, _args: object, output: torch.Tensor) -> None:
        tried.append(len(output))
        if len(output) > rows:
            raise error

    handle = backbone.model.get_submodule(backbone.layout.layers[-1].name).register_forward_hook(limited)
    yield tried
    handle.remove()


@pytest.mark.parametrize("error", NO_MEMORY, ids=["gpu", "host"])
def test_where_memory_runs_out_half_as_many_go_together(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, split = tiny_backbone(), some_split()
    alone = members(backbone)
    for model, spec in zip(alone, SPECS, strict=True):
        train_cohort([model], split, [spec])
    steps: list[int] = []
    real = FlatAdamW.step
    monkeypatch.setattr(FlatAdamW, "step", lambda self: steps.append(id(self)) or real(self))
    models = members(backbone)
    with at_most(16, backbone, error) as tried:
        results = train_cohort(models, split, SPECS)
    assert [result.error for result in results] == [None] * 4
    assert [result.together for result in results] == [2] * 4
    assert tried[:4] == [32, 16, 16, 16]
    assert max(tried[1:]) == 16
    assert sorted(steps.count(optimizer) for optimizer in set(steps)) == [30, 40, 50, 50]
    assert max(distance(a, b) for a, b in zip(models, alone, strict=True)) < 1e-5


def test_a_model_that_does_not_fit_alone_leaves_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    stack(monkeypatch, stacked=False)
    backbone, split = tiny_backbone(), some_split()
    models = members(backbone)
    fail_at(models[0], 0, torch.OutOfMemoryError("CUDA out of memory."))
    results = train_cohort(models, split, SPECS)
    assert [type(result.error) for result in results] == [torch.OutOfMemoryError, *[type(None)] * 3]
    expected = without(0, backbone)
    assert max(distance(a, b) for a, b in zip(models[1:], expected[1:], strict=True)) < 1e-5


def test_where_nobody_fits_everybody_leaves_and_no_tensor_is_kept() -> None:
    backbone = tiny_backbone()
    with at_most(0, backbone, torch.OutOfMemoryError("CUDA out of memory.")) as tried:
        results = train_cohort(members(backbone), some_split(), SPECS)
    assert tried == [32, 16, *[8, 4, 2, 1] * 4]
    for result in results:
        assert isinstance(result.error, torch.OutOfMemoryError)
        trace: Any = result.error.__traceback__
        while trace is not None:
            held = [v for v in trace.tb_frame.f_locals.values() if isinstance(v, torch.Tensor)]
            assert held == [], trace.tb_frame
            trace = trace.tb_next
