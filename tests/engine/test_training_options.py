"""Micro-batches, gradient checkpointing, class weights and label smoothing: what each saves, and what it changes."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from adapter_sweep.engine.adapters import AdaptedModel, BottleneckSpec
from adapter_sweep.engine.batches import collate, split_batch
from adapter_sweep.engine.cohort import Cohort
from adapter_sweep.engine.encoded import EncodedTexts
from adapter_sweep.engine.problems import Classification, LossSpec
from adapter_sweep.engine.scoring import score
from adapter_sweep.engine.train_spec import TrainSpec
from adapter_sweep.engine.training import Training, train, train_cohort
from families import FAMILIES, some_split, tiny_backbone

SPEC: dict[str, Any] = {"epochs": 2, "lr": 1e-2, "batch_size": 8}


def trained(family: str = "bert", **options: Any) -> tuple[AdaptedModel, Training]:
    model = AdaptedModel(tiny_backbone(family), BottleneckSpec(8, init_std=0.1), 3, seed=0)
    return model, train(model, some_split(), TrainSpec(**SPEC, **options))


def weights(model: AdaptedModel) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def peak_bytes(work: Callable[[], object]) -> int:
    """The most memory that tensors take at once beyond what they took before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    total = peak = 0
    for event in seen.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            total += event.nbytes()
            peak = max(peak, total)
    return peak


@pytest.mark.parametrize("parts", [2, 3, 8])
@pytest.mark.parametrize("loss", [LossSpec(), LossSpec(0.2, (0.5, 1.0, 3.0))], ids=["plain", "weighted"])
def test_micro_batches_give_the_update_of_the_whole_batch(parts: int, loss: LossSpec) -> None:
    (whole, first), (cut, second) = trained(loss=loss), trained(loss=loss, micro_batches=parts)
    torch.testing.assert_close(weights(cut), weights(whole), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close([v for _, v in second.losses], [v for _, v in first.losses], rtol=1e-4, atol=1e-5)
    assert (first.micro_batches, second.micro_batches) == (1, parts)
    assert not torch.equal(weights(whole), weights(trained(loss=LossSpec(0.5))[0]))


def test_a_batch_is_cut_into_its_rows() -> None:
    split = some_split()
    batch = collate(split, [3, 9, 4, 1, 7])
    parts = split_batch(split, batch, 2)
    assert [part.rows for part in parts] == [(3, 9, 4), (1, 7)]
    assert [part.inputs["input_ids"].shape[1] for part in parts] == [
        max(split.lengths[row] for row in part.rows) for part in parts
    ]
    assert len(split_batch(split, batch, 9)) == 5


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpointing_changes_no_bit(family: str) -> None:
    (kept, first), (again, second) = trained(family), trained(family, checkpointing=True)
    assert torch.equal(weights(kept), weights(again))
    assert first.losses == second.losses
    assert not any("forward" in vars(module) for module in again.backbone.model.modules())


def test_a_cohort_is_checkpointed_as_well() -> None:
    split, options = some_split(), {**SPEC, "checkpointing": True}
    backbone = tiny_backbone()
    models = [AdaptedModel(backbone, BottleneckSpec(w, init_std=0.1), 3, seed=w) for w in (4, 8)]
    alone = copy.deepcopy([model.state_dict() for model in models])
    train_cohort(models, split, [TrainSpec(**options)] * 2)
    for model, state in zip(models, alone, strict=True):
        single = AdaptedModel(backbone, model.spec, 3, seed=0)
        single.load_state_dict(state)
        train(single, split, TrainSpec(**SPEC))
        torch.testing.assert_close(weights(single), weights(model), rtol=1e-3, atol=1e-4)


def test_checkpointing_and_micro_batches_save_memory() -> None:
    split = some_split(rows=64)
    model = AdaptedModel(tiny_backbone(), BottleneckSpec(8), 3, seed=0)

    def step(**options: Any) -> int:
        spec = TrainSpec(1, 1e-3, 64, **options)
        return peak_bytes(lambda: train(model, split, spec))

    plain = step()
    assert step(checkpointing=True) < 0.6 * plain
    assert step(micro_batches=8) < 0.4 * plain


def test_out_of_memory_halves_the_batch_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = trained()
    logits = Cohort.logits

    def small(self: Cohort, batch: Any, *args: Any, **options: Any) -> torch.Tensor:
        if len(batch.rows) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return logits(self, batch, *args, **options)

    monkeypatch.setattr(Cohort, "logits", small)
    model, result = trained()
    assert result.micro_batches == 4
    assert result.error is None
    torch.testing.assert_close(weights(model), weights(whole), rtol=1e-3, atol=1e-4)


def test_a_member_that_is_stopped_trains_no_further() -> None:
    split, backbone = some_split(), tiny_backbone()
    models = [AdaptedModel(backbone, BottleneckSpec(4), 3, seed=s) for s in (0, 1)]

    def stop(epoch: int, still: dict[int, Training]) -> None:
        if epoch == 1:
            still[0].stopped = True

    first, second = train_cohort(models, split, [TrainSpec(**{**SPEC, "epochs": 3})] * 2, on_epoch=stop)
    assert (len(first.epoch_losses), len(second.epoch_losses)) == (1, 3)
    assert first.error is None


def test_class_weights_and_smoothing_are_torchs() -> None:
    logits, targets = torch.randn(6, 3), torch.tensor([0, 2, 1, 1, 0, 2])
    spec = LossSpec(0.1, (1.0, 2.0, 0.5))
    expected = torch.nn.CrossEntropyLoss(torch.tensor(spec.class_weights), label_smoothing=0.1)(logits, targets)
    assert torch.equal(Classification().loss(logits, targets, spec), expected)


def test_weights_let_a_rare_class_be_found() -> None:
    generator = torch.Generator().manual_seed(0)
    ids = tuple(tuple(torch.randint(5, 99, (6,), generator=generator).tolist()) for _ in range(120))
    split = EncodedTexts(ids, tuple(int(row[0] < 12) for row in ids), 0)
    rare = sum(split.labels)
    found = []
    for weights in (None, (120 / (2 * (120 - rare)), 120 / (2 * rare))):
        model = AdaptedModel(tiny_backbone(), BottleneckSpec(8, init_std=0.1), 2, seed=0)
        train(model, split, TrainSpec(3, 1e-3, 16, loss=LossSpec(class_weights=weights)))
        found.append(sum(score(model, split, batch_size=32, max_tokens=999).predictions))
    assert rare == 8
    assert found[0] < rare <= found[1]


def test_passes_that_differ_are_no_cohort() -> None:
    backbone = tiny_backbone()
    models = [AdaptedModel(backbone, BottleneckSpec(4), 3, seed=s) for s in (0, 1)]
    with pytest.raises(ValueError, match="share their batches and passes"):
        train_cohort(models, some_split(), [TrainSpec(**SPEC), TrainSpec(**SPEC, checkpointing=True)])
