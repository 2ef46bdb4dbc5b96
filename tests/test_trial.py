import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, f1_score

from adapter_sweep import cohort as cohort_module
from adapter_sweep import trial as trial_module
from adapter_sweep.bench import Bench
from adapter_sweep.cohort import run_trial
from adapter_sweep.engine.adapters import AdaptedModel, HeadSpec
from adapter_sweep.engine.backbone import Backbone
from adapter_sweep.engine.saving import load_adapted
from adapter_sweep.engine.scoring import Scores, score, score_cohort
from adapter_sweep.errors import GuardError, UserInputError
from adapter_sweep.records import METRIC_HELP, TrialState
from adapter_sweep.scores import METRICS
from adapter_sweep.trial import Outcome
from toy_bench import Table, Watch, toy_bench, toy_config, toy_data, undisturbed

CONFIRMED = ("test_accuracy", "test_examples")
NOT_HERE = {*(METRICS.keys() - {"accuracy"}), "stopped_epoch"}
MERGED = {name for name in METRIC_HELP if name.startswith("merged_")}
METHODS: dict[str, dict[str, Any]] = {
    "parallel": {"kind": "parallel", "width": 4},
    "lora": {"kind": "lora", "rank": 2},
    "lora named": {"kind": "lora", "rank": 2, "targets": ["query", "dense"], "layers": "[1]"},
    "ia3": {"kind": "ia3"},
    "prefix": {"kind": "prefix", "length": 3},
    "prompt": {"kind": "prompt", "length": 3},
    "bitfit": {"kind": "bitfit"},
    "layernorm": {"kind": "layernorm"},
    "full": {"kind": "full"},
}


class Studio:
    """Runs trials on one bench and one latency table, each in a folder of its own."""

    def __init__(self, tiny_bert: Path, folder: Path) -> None:
        self.tiny_bert, self.folder = tiny_bert, folder
        self.bench = toy_bench(tiny_bert)
        self.table = Table()
        self.watch = Watch()
        self.runs = 0

    def run(self, **params: Any) -> Outcome:
        self.runs += 1
        folder = self.folder / str(self.runs)
        return run_trial(toy_config(self.tiny_bert, **params), self.bench, self.table, folder, self.watch)


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with undisturbed(monkeypatch, tmp_path):
        yield


@pytest.fixture
def studio(tiny_bert: Path, tmp_path: Path) -> Studio:
    return Studio(tiny_bert, tmp_path)


# -- the story


def test_a_complete_trial_leaves_its_whole_record(studio: Studio) -> None:
    outcome = studio.run()
    assert (outcome.state, outcome.reason, outcome.constraints) == (TrialState.COMPLETE, None, {})
    assert set(outcome.metrics) == set(METRIC_HELP) - {*NOT_HERE, *CONFIRMED, *MERGED}
    assert all(math.isfinite(value) for value in outcome.metrics.values())
    assert outcome.metrics["eval_examples"] == 16
    # Two layers, both sites, hidden size 32, width 4; two layer norms a layer; two classes.
    assert outcome.metrics["adapter_params"] == 4 * (2 * 4 * 32 + 4 + 32)
    assert outcome.metrics["layer_norm_params"] == 2 * 2 * 64
    assert outcome.metrics["head_params"] == 33 * 2
    steps = [step for step, _ in outcome.curves["train_loss"]]
    assert steps == list(range(1, len(steps) + 1))
    assert outcome.curves["accuracy"] == [
        (steps[-1] // 2, studio.watch.epochs[0][3]),
        (steps[-1], outcome.metrics["accuracy"]),
    ]
    assert [p.step for p in studio.watch.steps] == steps
    assert studio.watch.stages == ["measuring latency", "training", "scoring", "scoring", "saving"]


def test_the_split_may_be_scored_after_the_last_epoch_alone(studio: Studio) -> None:
    outcome, every = studio.run(train__score_epochs="last"), studio.run()
    assert outcome.metrics["accuracy"] == every.metrics["accuracy"]
    assert outcome.curves["accuracy"] == every.curves["accuracy"][-1:]
    assert studio.watch.stages.count("scoring") == 1 + 2


def test_a_metric_of_another_name_is_recorded_under_both(studio: Studio) -> None:
    config = toy_config(studio.tiny_bert, task__metric="macro_f1")
    studio.bench = dataclasses.replace(studio.bench, config=config)
    outcome = studio.run(task__metric="macro_f1", train__epochs=1, train__lr=1e-3)
    true = f1_score(studio.bench.labels, outcome.predictions, average="macro")
    assert outcome.metrics["macro_f1"] == outcome.metrics["accuracy"] == pytest.approx(true)
    assert outcome.metrics["accuracy"] != accuracy_score(studio.bench.labels, outcome.predictions)


@pytest.mark.parametrize("layers", ["top:1", "[0]"])
def test_adapters_in_one_layer_of_two_are_half_of_them(studio: Studio, layers: str) -> None:
    outcome = studio.run(method__layers=layers)
    assert outcome.state is TrialState.COMPLETE
    assert outcome.metrics["adapter_params"] == 2 * (2 * 4 * 32 + 4 + 32)
    assert outcome.metrics["layer_norm_params"] == 2 * 64
    assert outcome.weights is not None
    loaded, _ = load_adapted(studio.bench.backbone, outcome.weights.parent)
    assert loaded.count_params().total == outcome.metrics["trainable_params"]


def test_layers_that_the_backbone_does_not_have_are_refused(studio: Studio) -> None:
    with pytest.raises(UserInputError, match=r"method\.layers=top:3: the backbone has 2 distinct layers; allowed: all"):
        studio.run(method__layers="top:3")


def test_a_head_alone_is_costed_trained_and_kept_as_any_method(studio: Studio) -> None:
    outcome = studio.run(method={"kind": "head"})
    assert outcome.state is TrialState.COMPLETE
    assert set(outcome.metrics) == set(METRIC_HELP) - {*NOT_HERE, *CONFIRMED, *MERGED}
    assert (outcome.metrics["trainable_params"], outcome.metrics["adapter_params"]) == (33 * 2, 0)
    assert outcome.metrics["identity_gap"] == 0
    assert outcome.weights is not None
    assert set(load_file(outcome.weights)) == {"head.weight", "head.bias"}
    loaded, _ = load_adapted(studio.bench.backbone, outcome.weights.parent)
    start = AdaptedModel(studio.bench.backbone, HeadSpec(), 2, seed=0)
    assert loaded.spec == start.spec
    assert not torch.equal(loaded.head.weight, start.head.weight)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_costed_trained_and_kept(studio: Studio, method: str) -> None:
    outcome = studio.run(method=METHODS[method], train__epochs=1)
    assert outcome.state is TrialState.COMPLETE
    merged = MERGED if METHODS[method]["kind"] in ("lora", "ia3") else set()
    assert set(outcome.metrics) == (set(METRIC_HELP) - {*NOT_HERE, *CONFIRMED, *MERGED}) | merged
    assert all(math.isfinite(value) for value in outcome.metrics.values())
    assert outcome.weights is not None
    assert outcome.metrics["storage_bytes"] == outcome.weights.stat().st_size > 4 * outcome.metrics["trainable_params"]
    loaded, _ = load_adapted(studio.bench.backbone, outcome.weights.parent)
    assert loaded.count_params().total == outcome.metrics["trainable_params"]
    validation = studio.bench.encoded(studio.bench.data.validation, 16)
    assert score(loaded, validation, batch_size=32, max_tokens=256).predictions == outcome.predictions


def test_virtual_tokens_take_positions_from_a_text(studio: Studio) -> None:
    with pytest.raises(UserInputError) as caught:
        studio.run(method={"kind": "prompt", "length": 60})
    assert caught.value.problems == tuple(
        f"{key}: {studio.bench.backbone.source} takes at most 64 tokens, 60 of them the method's"
        for key in ("train.max_length=16", "latency.tokens=8")
    )


def test_the_test_split_is_never_read(tiny_bert: Path, tmp_path: Path) -> None:
    class Unread(tuple[Any, ...]):
        def __iter__(self) -> Any:
            raise AssertionError("the test split was read")

        __getitem__ = __hash__ = __contains__ = __iter__  # type: ignore[assignment]

    data = toy_data()
    for name in ("texts", "labels"):
        object.__setattr__(data.test, name, Unread(getattr(data.test, name)))
    bench = toy_bench(tiny_bert, data)
    with pytest.raises(AssertionError, match="was read"):
        bench.encoded(data.test, 16)
    bench.anchors()
    bench.provenance()
    outcome = run_trial(toy_config(tiny_bert), bench, Table(), tmp_path, Watch())
    assert outcome.state is TrialState.COMPLETE


def test_the_same_trial_twice_gives_the_same_weights_and_another_seed_others(studio: Studio) -> None:
    one, two, other = studio.run(), studio.run(), studio.run(train__seed=1)
    assert one.weights is not None
    assert two.weights is not None
    assert other.weights is not None
    assert one.weights.read_bytes() == two.weights.read_bytes()
    assert one.weights.read_bytes() != other.weights.read_bytes()
    assert one.curves == two.curves
    assert one.metrics["accuracy"] == two.metrics["accuracy"]


def test_saved_weights_load_back_bit_identically(studio: Studio, tiny_bert: Path) -> None:
    outcome = studio.run()
    assert outcome.weights is not None
    saved = load_file(outcome.weights)
    assert sum(tensor.numel() for tensor in saved.values()) == outcome.metrics["trainable_params"]
    fresh = toy_bench(tiny_bert)
    model, labels = load_adapted(fresh.backbone, outcome.weights.parent)
    assert labels == ("neg", "pos")
    state = model.state_dict()
    assert state.keys() == saved.keys()
    assert all(torch.equal(state[name], saved[name]) for name in saved)
    validation = fresh.encoded(fresh.data.validation, 16)
    scores = score(model, validation, batch_size=32, max_tokens=256)
    assert fresh.metric(scores.predictions, validation.labels) == outcome.metrics["accuracy"]


# -- cost before training


def no_call(*_: object, **__: object) -> Any:
    raise AssertionError("this must not be called")


def test_over_the_parameter_budget_neither_latency_nor_training_is_begun(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((trial_module, "AdaptedModel"), (trial_module, "measure"), (cohort_module, "train_cohort")):
        monkeypatch.setattr(module, name, no_call)
    outcome = studio.run(budget__max_trainable_params=1000, budget__max_latency_ratio=2.0)
    total = outcome.metrics["trainable_params"]
    assert outcome.state is TrialState.REFUSED
    assert outcome.reason == f"{total:,} trainable parameters, over budget.max_trainable_params=1000"
    assert outcome.constraints == {"trainable_params": total / 1000 - 1, "latency_ratio": 0.0}
    assert not any("latency" in name or name == "accuracy" for name in outcome.metrics)
    assert (outcome.curves, outcome.weights, studio.watch.stages) == ({}, None, [])


def test_over_the_latency_budget_training_is_not_begun(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cohort_module, "train_cohort", no_call)
    outcome = studio.run(budget__max_latency_ratio=0.01)
    ratio = outcome.metrics["latency_ratio"]
    assert outcome.state is TrialState.REFUSED
    assert outcome.reason == f"latency ratio {ratio:.3f}, over budget.max_latency_ratio=0.01"
    assert outcome.constraints == {"latency_ratio": ratio / 0.01 - 1}
    assert "accuracy" not in outcome.metrics
    assert studio.watch.stages == ["measuring latency"]


def test_a_budget_that_is_just_met_is_met(studio: Studio) -> None:
    total = studio.run(train__epochs=1).metrics["trainable_params"]
    outcome = studio.run(train__epochs=1, budget__max_trainable_params=int(total))
    assert outcome.state is TrialState.COMPLETE
    assert outcome.constraints == {"trainable_params": 0.0}


# -- one latency an architecture


def test_trials_of_one_architecture_share_one_latency(studio: Studio) -> None:
    def latency(**params: Any) -> dict[str, float]:
        metrics = studio.run(train__epochs=1, **params).metrics
        return {name: value for name, value in metrics.items() if "latency" in name}

    first = latency()
    same = [{"train__lr": 1e-4}, {"train__seed": 7}, {"train__batch_size": 4}, {"method__init_std": 0.02}]
    assert all(latency(**params) == first for params in same)
    assert studio.watch.stages.count("measuring latency") == 1
    others: list[dict[str, Any]] = [
        {"method__width": 5},
        {"method__placement": "post_ffn"},
        {"method__activation": "relu"},
        {"method__layer_norms": "none"},
        {"method__layers": "top:1"},
        {"method__layers": "[0]"},
        {"method": {"kind": "head"}},
        {"latency__tokens": 9},
    ]
    for params in others:
        latency(**params)
    latencies = [kept for kept in studio.table.values() if "latency_ratio" in kept]
    assert len(latencies) == studio.watch.stages.count("measuring latency") == 1 + len(others)


def test_trials_that_train_alike_share_one_measured_memory(studio: Studio) -> None:
    def peak(**params: Any) -> float:
        return studio.run(train__epochs=1, **params).metrics["peak_train_memory_mb"]

    first = peak()
    assert [peak(train__lr=1e-4), peak(train__seed=7), peak(method__init_std=0.02)] == [first] * 3
    assert sum("peak_train_memory_mb" in kept for kept in studio.table.values()) == 1
    assert peak(train__batch_size=4) < first
    assert first < min(peak(method__width=64), peak(method={"kind": "full"}))


def test_an_architecture_of_the_first_studies_has_the_key_it_had(studio: Studio) -> None:
    """What is new about a method has a first value, with which their latency tables are found again."""
    method = toy_config(studio.tiny_bert).method
    first = ("kind", "width", "placement", "activation", "layer_norms", "layers")
    assert method.architecture() == {name: getattr(method, name) for name in first}
    other = toy_config(studio.tiny_bert, method__scaling=2.0, method__shared=True).method
    assert other.architecture().items() - method.architecture().items() == {("scaling", "fixed"), ("shared", True)}
    assert trial_module._architecture(toy_config(studio.tiny_bert), studio.bench)["method"] == method.architecture()


def test_one_architecture_has_one_key_however_it_is_told(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    def keys(of: str, *variants: dict[str, Any]) -> int:
        find = getattr(trial_module, f"{of}_key")
        return len({find(toy_config(studio.tiny_bert, **params), studio.bench) for params in variants})

    layers = [{"method__layers": text} for text in ("all", "top:2", "[1,0]", "top:1", "[1]", "[0]")]
    assert [keys("architecture", *some) for some in (layers[:3], layers[3:5], layers)] == [1, 1, 3]
    scalings = [{"method__scaling": value} for value in (1, 2, 0.5, "learned")]
    assert [keys("architecture", *some) for some in (scalings[1:3], scalings)] == [1, 3]
    norms = [{"train__max_grad_norm": value} for value in (1.0, 2.0, 0.0)]
    assert [keys("memory", *some) for some in (norms[:2], norms)] == [1, 2]
    smoothed = [{"train__label_smoothing": value} for value in (0.1, 0.2, 0.0)]
    assert [keys("memory", *some) for some in (smoothed[:2], smoothed)] == [1, 2]
    both: list[dict[str, Any]] = [{"method": {"kind": "lora", "rank": 2}}, {}]
    before = [trial_module.architecture_key(toy_config(studio.tiny_bert, **params), studio.bench) for params in both]
    monkeypatch.setattr(trial_module, "version", lambda _: "another")
    after = [trial_module.architecture_key(toy_config(studio.tiny_bert, **params), studio.bench) for params in both]
    assert [was == now for was, now in zip(before, after, strict=True)] == [False, True]


def test_another_process_that_was_first_has_the_word(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured_meanwhile(*_: object) -> Any:
        (key,) = {trial_module.architecture_key(toy_config(studio.tiny_bert), studio.bench)}
        studio.table[key] = {"latency_ratio": 1.125}
        return real(*_)

    real = trial_module.measure
    monkeypatch.setattr(trial_module, "measure", measured_meanwhile)
    assert studio.run(train__epochs=1).metrics["latency_ratio"] == 1.125


# -- guards: each thing broken, and its guard seen to fire


def test_an_initialisation_far_from_the_identity_is_caught_before_training(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cohort_module, "train_cohort", no_call)
    with pytest.raises(GuardError, match=r"init_std=1\.0 is too large"):
        studio.run(method__init_std=1.0, method__width=64)


def test_a_backbone_that_moves_is_caught_and_poisons_no_later_trial(studio: Studio) -> None:
    def move(event: str) -> None:
        if event == "epoch":
            with torch.no_grad():
                next(studio.bench.backbone.model.parameters())[3, 1] += 1e-3

    studio.watch.at = move
    with pytest.raises(GuardError, match="frozen backbone's weights changed"):
        studio.run()
    studio.watch.at = lambda _: None
    with pytest.raises(GuardError, match="frozen backbone's weights changed"):
        studio.run()
    assert not list(studio.folder.rglob("*.safetensors"))


def test_a_formula_that_is_wrong_is_caught(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    real = trial_module.count_params

    def wrong(*args: Any) -> Any:
        return dataclasses.replace(real(*args), adapters=real(*args).adapters + 1)

    monkeypatch.setattr(trial_module, "count_params", wrong)
    with pytest.raises(GuardError, match="but the formula gives"):
        studio.run()


def test_a_loss_that_is_not_finite_is_caught(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Backbone.encode

    def overflow(self: Backbone, *inputs: torch.Tensor | None) -> torch.Tensor:
        return real(self, *inputs) * (math.inf if torch.is_grad_enabled() else 1.0)

    monkeypatch.setattr(Backbone, "encode", overflow)
    with pytest.raises(GuardError, match=r"the loss is nan at step 1; a lower train\.lr may help"):
        studio.run()


@pytest.mark.parametrize("breakage", ["dropped", "missed"])
def test_a_scorer_that_leaves_out_a_row_is_caught(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, breakage: str
) -> None:
    def careless(*args: Any, **options: Any) -> list[Scores]:
        (scores,) = score_cohort(*args, **options)
        rest = scores.predictions[1:]
        return [Scores(rest if breakage == "dropped" else (None, *rest), scores.seconds)]

    monkeypatch.setattr(cohort_module, "score_cohort", careless)
    with pytest.raises(GuardError, match="15 of the validation split's 16 examples were scored"):
        studio.run()


def test_texts_longer_than_the_backbone_takes_are_refused(studio: Studio) -> None:
    with pytest.raises(UserInputError) as caught:
        studio.run(train__max_length=65, latency__tokens=100)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["train.max_length=65", "latency.tokens=100"]
    assert all("takes at most 64 tokens" in problem for problem in caught.value.problems)


def test_the_bench_is_shared_and_left_as_it_was(studio: Studio) -> None:
    def modules(bench: Bench) -> list[int]:
        return [id(module) for module in bench.backbone.model.modules()]

    before = modules(studio.bench)
    studio.run()
    assert modules(studio.bench) == before
    assert not any(module._forward_hooks for module in studio.bench.backbone.model.modules())
