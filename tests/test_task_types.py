"""A trial of each type of task, from texts to its record."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file

from adapter_sweep.bench import Bench
from adapter_sweep.cohort import Ready, run_trial, train_trials
from adapter_sweep.engine import probe
from adapter_sweep.engine.activations import Stored
from adapter_sweep.engine.anchors import anchor_predictions
from adapter_sweep.engine.encoded import Encoded
from adapter_sweep.engine.problems import Regression
from adapter_sweep.engine.saving import CONFIG_FILE, load_adapted
from adapter_sweep.engine.scoring import score
from adapter_sweep.engine.tasks import Split
from adapter_sweep.opening import _typical_batch
from adapter_sweep.records import METRIC_HELP, TrialState
from adapter_sweep.scores import METRICS, TASK_METRICS, TaskType
from adapter_sweep.trial import Outcome, Prepared, prepare_trial
from toy_bench import Table, Watch, undisturbed
from toy_types import typed_bench, typed_config, typed_data

TYPES: tuple[TaskType, ...] = get_args(TaskType)
BOUNDS = {"batch_size": 8, "max_tokens": 256}
# What a trial of the toy task reaches is far over what is reached untrained.
LEARNT = {"classification": 0.95, "multi_label": 0.9, "regression": 0.9, "tokens": 0.9, "spans": 0.9}


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with undisturbed(monkeypatch, tmp_path):
        yield


@pytest.mark.parametrize("kind", TYPES)
def test_a_trial_learns_and_leaves_its_whole_record(kind: TaskType, tiny_bert: Path, tmp_path: Path) -> None:
    bench = typed_bench(tiny_bert, kind)
    watch = Watch()
    outcome = run_trial(typed_config(tiny_bert, kind), bench, Table(), tmp_path, watch)
    assert outcome.state is TrialState.COMPLETE
    own = TASK_METRICS[kind] if kind != "classification" else ("accuracy",)
    others = {name for name in METRIC_HELP if not name.startswith(("test_", "merged_"))} - {*METRICS, "stopped_epoch"}
    assert {name for name in outcome.metrics if name in METRICS} == {"accuracy", *own}
    assert {name for name in outcome.metrics if name not in METRICS} == others
    assert outcome.metrics["accuracy"] == outcome.metrics[own[0]] >= LEARNT[kind]
    assert watch.epochs[-1][3] == outcome.metrics["accuracy"]
    losses = outcome.curves["train_loss"]
    assert outcome.metrics["train_loss"] < losses[0][1] / 2
    assert outcome.metrics["eval_examples"] == len(outcome.predictions) == len(bench.data.validation) == 32
    assert outcome.metrics["head_params"] == 33 * bench.data.outputs
    assert bench.scores(json.loads(json.dumps(outcome.predictions))) == {
        name: outcome.metrics[name] for name in ("accuracy", *own)
    }
    expected = bench.score_error(outcome.predictions)
    assert expected == {"accuracy_stderr": outcome.metrics["accuracy_stderr"]}
    assert 0 < outcome.metrics["accuracy_stderr"] < 0.2
    assert_predicts_the_same(outcome, bench, tiny_bert)


def assert_predicts_the_same(outcome: Outcome, bench: Bench, tiny_bert: Path) -> None:
    """What was saved is all that predicting needs."""
    kind = bench.data.type
    assert outcome.weights is not None
    about = json.loads((outcome.weights.parent / CONFIG_FILE).read_text())["problem"]
    assert (about["type"], about["outputs"], about["per_token"]) == (kind, bench.data.outputs, bench.per_token)
    model, names = load_adapted(typed_bench(tiny_bert, kind).backbone, outcome.weights.parent)
    assert names == bench.data.label_names
    split = bench.encoded(bench.data.validation, 16)
    if kind == "regression":
        split = replace(split, problem=Regression(about["mean"], about["sd"]))
    assert score(model, split, **BOUNDS).predictions == outcome.predictions


@pytest.mark.parametrize("kind", TYPES)
def test_two_together_end_as_each_does_alone(kind: TaskType, tiny_bert: Path, tmp_path: Path) -> None:
    bench, table = typed_bench(tiny_bert, kind), Table()
    common = {"method__layers": "top:1", "method__layer_norms": "adapted_layers", "train__epochs": 2}
    params = (common | {"train__lr": 1e-2}, common | {"train__lr": 3e-3, "method__width": 6})

    def ready(position: int, folder: str) -> Ready:
        config = typed_config(tiny_bert, kind, **params[position])  # type: ignore[arg-type]
        prepared = prepare_trial(config, bench, table, Watch())
        assert isinstance(prepared, Prepared)
        return Ready(prepared, tmp_path / folder / str(position), Watch())

    together = train_trials([ready(0, "both"), ready(1, "both")], bench)
    for position, outcome in enumerate(together):
        (alone,) = train_trials([ready(position, "alone")], bench)
        assert isinstance(outcome, Outcome), outcome
        assert isinstance(alone, Outcome)
        assert outcome.metrics["cohort_size"] == 2
        assert outcome.metrics["accuracy"] == pytest.approx(alone.metrics["accuracy"], abs=1e-6)
        assert outcome.weights is not None
        assert alone.weights is not None
        saved, expected = load_file(outcome.weights), load_file(alone.weights)
        assert saved.keys() == expected.keys()
        for name, tensor in saved.items():
            torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", TYPES)
def test_a_head_on_kept_states_predicts_what_it_does_on_the_model(
    kind: TaskType, tiny_bert: Path, tmp_path: Path
) -> None:
    """The cache of what heads read, per token and of windows as well."""
    bench = typed_bench(tiny_bert, kind)
    config = typed_config(tiny_bert, kind, method={"kind": "head"})
    outcome = run_trial(config, bench, Table(), tmp_path, Watch())
    assert outcome.weights is not None
    model, _ = load_adapted(bench.backbone, outcome.weights.parent)
    split = bench.encoded(bench.data.validation, 16)
    assert score(model, split, **BOUNDS, below=bench.frozen(split)).predictions == outcome.predictions
    whole = score(model, split, **BOUNDS).predictions
    if kind == "regression":
        assert whole == pytest.approx(outcome.predictions, rel=1e-4)
    else:
        assert whole == outcome.predictions


# -- anchors


def test_what_needs_no_adapter_is_there_for_each_type(tiny_bert: Path) -> None:
    names: dict[TaskType, list[str]] = {
        "classification": ["majority class", "frozen backbone", "head-only probe"],
        "multi_label": ["majority class", "head-only probe"],
        "regression": ["head-only probe"],
        "tokens": ["known entities", "head-only probe"],
        "spans": ["whole context"],
    }
    for kind in TYPES:
        bench = typed_bench(tiny_bert, kind)
        predictions, scores = bench.anchor_predictions(), bench.anchors()
        assert list(predictions) == list(scores) == names[kind]
        assert {len(found) for found in predictions.values()} == {32}
        for name, found in scores.items():
            assert found == bench.scores(predictions[name])
            assert all(math.isfinite(value) for value in found.values())
        if "head-only probe" in scores:
            assert scores["head-only probe"]["accuracy"] > 0.7


def test_the_most_frequent_labels_and_the_known_entities(tiny_bert: Path) -> None:
    assert set(typed_bench(tiny_bert, "multi_label").anchor_predictions()["majority class"]) == {(0,)}
    bench = typed_bench(tiny_bert, "tokens")
    for words, found in zip(bench.held_out.words or (), bench.anchor_predictions()["known entities"], strict=True):
        # The scene is new; a mood is known, but for the fine one, which was none.
        assert found == (((3, 4, "mood"),) if words[4] != "fine" else ())


def test_no_more_sentences_are_encoded_for_a_probe_of_words_than_it_fits(
    tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "MOST_ROWS", 240)
    bench, asked = typed_bench(tiny_bert, "tokens"), []

    def frozen(split: Split) -> tuple[Encoded, Stored]:
        asked.append(sum(map(len, split.words or ())))
        encoded = bench.encoded(split, 16)
        return encoded, bench.frozen(encoded)

    found = anchor_predictions(bench.data, bench.held_out, frozen)["head-only probe"]
    train, held_out = asked
    assert train == 240 == sum(map(len, bench.data.train.words or ())) / 2
    assert held_out == sum(map(len, bench.held_out.words or ()))
    assert bench.scores(found)["accuracy"] > 0.7


def test_where_there_may_be_no_answer_that_is_an_anchor() -> None:
    data = typed_data("spans")
    train = replace(data.train, labels=((), *data.train.labels[1:]))
    held_out = Split(("q", "r"), ("the film", "is good"), (((0, "the"),), ()))

    def unread(_: Split) -> object:
        raise AssertionError("no anchor of this type needs the backbone")

    anchors = anchor_predictions(replace(data, train=train), held_out, unread)  # type: ignore[arg-type]
    assert anchors == {"whole context": ("the film", "is good"), "no answer": ("", "")}


# -- languages, and the test split


def test_a_language_whose_labels_give_a_score_no_meaning_has_none(tiny_bert: Path) -> None:
    bench = typed_bench(tiny_bert, "regression", languages=True)
    languages = ("de", *(("en", "fr") * 16)[1:])
    held_out = bench.data.validation
    labels = tuple(
        5.0 if language == "fr" else label for language, label in zip(languages, held_out.labels, strict=True)
    )
    data = replace(bench.data, validation=replace(held_out, languages=languages, labels=labels))
    found = replace(bench, data=data).scores([float(row) for row in range(32)])
    assert {name for name in found if "_" in name} == {"spearman_en"}


@pytest.mark.parametrize("kind", TYPES)
def test_each_language_has_a_score_of_its_own(kind: TaskType, tiny_bert: Path) -> None:
    bench = typed_bench(tiny_bert, kind, languages=True)
    primary = TASK_METRICS[kind][0]
    wrong = {"classification": 0, "multi_label": (), "regression": 0.0, "tokens": (), "spans": "no"}
    right = [label if kind != "spans" else label[0] for label in bench.labels]
    found = bench.scores([each if row % 2 == 0 else wrong[kind] for row, each in enumerate(right)])
    assert found[f"{primary}_en"] == 1.0
    assert found[f"{primary}_de"] == (0.5 if kind == "classification" else 0.0)
    assert found["accuracy"] == found[primary] < 1
    languages = {f"{primary}_en", f"{primary}_de"}
    assert set(bench.on_test().scores(right)) == {f"test_{name}" for name in found}
    assert languages <= set(found)


def test_on_the_test_split_every_score_says_so(tiny_bert: Path, tmp_path: Path) -> None:
    bench = typed_bench(tiny_bert, "spans").on_test()
    outcome = run_trial(typed_config(tiny_bert, "spans"), bench, Table(), tmp_path, Watch())
    scored = {name for name in outcome.metrics if name.removeprefix("test_") in METRICS}
    assert scored == {"test_accuracy", "test_answer_f1", "test_exact_match"}
    assert outcome.metrics["test_examples"] == 32
    assert list(outcome.curves) == ["train_loss", "test_accuracy"]


# -- the rest of the bench


def windows_a_question(bench: Bench) -> float:
    return len(bench.encoded(bench.data.train, 16)) / len(bench.data.train)


def test_a_typical_batch_is_of_rows_as_they_are_trained(tiny_bert: Path) -> None:
    lengths = {"classification": 7, "multi_label": 7, "regression": 7, "tokens": 7, "spans": 16}
    for kind, length in lengths.items():
        bench = typed_bench(tiny_bert, kind)  # type: ignore[arg-type]
        rows, tokens = _typical_batch(bench.config, bench.backbone, bench.data)
        assert (rows, abs(tokens - length) <= 1) == (4, True), kind
    assert windows_a_question(typed_bench(tiny_bert, "spans")) > 2
