"""Trials that stop early, weigh classes or save memory."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from adapter_sweep.bench import Bench
from adapter_sweep.cohort import run_trial
from adapter_sweep.engine.saving import load_adapted
from adapter_sweep.engine.scoring import score
from adapter_sweep.engine.tasks import Split
from adapter_sweep.errors import UserInputError
from adapter_sweep.records import TrialState
from adapter_sweep.trial import Outcome, train_spec
from toy_bench import Table, Watch, toy_bench, toy_config, toy_data, undisturbed

# A rate that is too high: the score falls after it rose.
WILD: dict[str, Any] = {"train__epochs": 12, "train__lr": 0.3, "train__score_epochs": "last"}


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with undisturbed(monkeypatch, tmp_path):
        yield


def run(bench: Bench, tiny_bert: Path, folder: Path, watch: Watch | None = None, **params: Any) -> Outcome:
    return run_trial(toy_config(tiny_bert, **params), bench, Table(), folder, watch or Watch())


def test_a_trial_ends_when_it_gets_no_better_and_keeps_its_best_epoch(tiny_bert: Path, tmp_path: Path) -> None:
    bench, watch = toy_bench(tiny_bert), Watch()
    outcome = run(bench, tiny_bert, tmp_path, watch, **WILD, train__early_stopping=2)
    assert outcome.state is TrialState.COMPLETE
    values = [value for _, value in outcome.curves["accuracy"]]
    best = values.index(max(values))
    assert outcome.metrics["accuracy"] == values[best]
    assert outcome.metrics["stopped_epoch"] == len(values) == best + 1 + 2 < 12
    assert len(watch.epochs) == len(values)
    # What is saved is the best epoch, not the last.
    model, _ = load_adapted(bench.backbone, tmp_path / "adapter")
    held_out = bench.encoded(bench.held_out, 16)
    assert score(model, held_out, batch_size=8, max_tokens=256).predictions == outcome.predictions
    assert bench.metric(outcome.predictions, bench.labels) == outcome.metrics["accuracy"]


def test_the_test_split_stops_nobody_and_is_scored_once(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = toy_bench(tiny_bert)
    searched = run(bench, tiny_bert, tmp_path / "a", **WILD, train__early_stopping=2)
    on_test, seen = bench.on_test(), []
    encode = Bench.encoded

    def noting(self: Bench, split: Split, length: int) -> Any:
        seen.append(split)
        return encode(self, split, length)

    monkeypatch.setattr(Bench, "encoded", noting)
    confirmed = run(on_test, tiny_bert, tmp_path / "b", **WILD, train__early_stopping=2)
    assert seen.count(bench.data.test) == 1
    assert confirmed.metrics["stopped_epoch"] == searched.metrics["stopped_epoch"]
    assert confirmed.curves["accuracy"] == searched.curves["accuracy"]
    assert "accuracy" not in confirmed.metrics
    assert confirmed.metrics["test_accuracy"] == on_test.metric(confirmed.predictions, on_test.labels)
    assert confirmed.metrics["test_examples"] == len(bench.data.test)


def test_without_early_stopping_every_epoch_is_trained(tiny_bert: Path, tmp_path: Path) -> None:
    outcome = run(toy_bench(tiny_bert), tiny_bert, tmp_path, **WILD)
    assert "stopped_epoch" not in outcome.metrics
    assert len(outcome.curves["accuracy"]) == 1


def test_balanced_weights_are_those_of_the_training_split(tiny_bert: Path) -> None:
    data = toy_data()
    few = [row for row, label in enumerate(data.train.labels) if label == 0 or row % 4 == 0]
    labels = tuple(data.train.labels[row] for row in few)
    data = replace(data, train=Split(tuple(data.train.texts[row] for row in few), None, labels))
    expected = compute_class_weight("balanced", classes=np.array([0, 1]), y=labels)
    assert train_spec(toy_config(tiny_bert, train__class_weights="balanced"), data).loss.class_weights == tuple(
        expected
    )
    assert train_spec(toy_config(tiny_bert), data).loss.class_weights is None


def test_memory_savers_end_as_the_plain_trial_and_say_what_they_took(tiny_bert: Path, tmp_path: Path) -> None:
    bench = toy_bench(tiny_bert)
    plain = run(bench, tiny_bert, tmp_path / "plain")
    small = run(bench, tiny_bert, tmp_path / "small", train__micro_batches=4, train__gradient_checkpointing=True)
    assert plain.metrics["micro_batches"] == 1
    assert small.metrics["micro_batches"] == 4
    assert small.metrics["train_loss"] == pytest.approx(plain.metrics["train_loss"], rel=1e-3)
    assert small.metrics["peak_train_memory_mb"] < plain.metrics["peak_train_memory_mb"]


@pytest.mark.parametrize("params", [{"train__label_smoothing": 0.1}, {"train__class_weights": "balanced"}])
def test_a_loss_that_means_nothing_for_the_task_is_refused(
    tiny_bert: Path, tmp_path: Path, params: dict[str, Any]
) -> None:
    data = toy_data()
    numbers = {
        name: replace(split, labels=tuple(float(row) for row in range(len(split))))
        for name, split in (("train", data.train), ("validation", data.validation), ("test", data.test))
    }
    bench = toy_bench(tiny_bert, replace(data, type="regression", label_names=(), **numbers))
    (key,) = (name.replace("__", ".") for name in params)
    with pytest.raises(UserInputError, match=f"{key}.*regression"):
        run(bench, tiny_bert, tmp_path, **params)
    assert not (tmp_path / "adapter").exists()
