import dataclasses
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from adapter_sweep import cohort_size as cohort_module
from adapter_sweep.bench import Bench
from adapter_sweep.cohort import Ready, train_trials
from adapter_sweep.cohort_size import cohort_size
from adapter_sweep.config.methods import HeadMethod
from adapter_sweep.engine import memory as memory_module
from adapter_sweep.engine.adapters import AdaptedModel, BottleneckSpec, HeadSpec, MethodSpec
from adapter_sweep.engine.backbone import Backbone, structure_of
from adapter_sweep.engine.methods import LoraSpec
from adapter_sweep.engine.saving import CONFIG_FILE
from adapter_sweep.errors import GuardError
from adapter_sweep.records import TrialState
from adapter_sweep.trial import Outcome, Prepared, prepare_trial
from toy_bench import Table, Watch, toy_bench, toy_config, undisturbed

# Trials that can share a pass.
PARAMS: tuple[dict[str, Any], ...] = (
    {"train__lr": 1e-2},
    {"train__lr": 3e-3, "method__width": 7, "method__placement": "post_ffn", "train__epochs": 1},
    {"train__lr": 1e-3, "method__layers": "[0]", "train__seed": 5, "train__data_seed": 0, "train__weight_decay": 0.1},
)


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with undisturbed(monkeypatch, tmp_path):
        yield


class Studio:
    """Trains trials together on one bench, each in a folder of its own."""

    def __init__(self, tiny_bert: Path, folder: Path) -> None:
        self.tiny_bert, self.folder = tiny_bert, folder
        self.bench = toy_bench(tiny_bert)
        self.table = Table()
        self.runs = 0

    def ready(self, **params: Any) -> Ready:
        self.runs += 1
        folder, watch = self.folder / str(self.runs), Watch()
        prepared = prepare_trial(toy_config(self.tiny_bert, **params), self.bench, self.table, watch)
        assert isinstance(prepared, Prepared)
        return Ready(prepared, folder, watch)

    def all_ready(self) -> list[Ready]:
        return [self.ready(**params) for params in PARAMS]

    def each_alone(self) -> list[Outcome]:
        return [complete(*train_trials([ready], self.bench)) for ready in self.all_ready()]


@pytest.fixture
def studio(tiny_bert: Path, tmp_path: Path) -> Studio:
    return Studio(tiny_bert, tmp_path)


def complete(outcome: Outcome | Exception) -> Outcome:
    assert isinstance(outcome, Outcome), outcome
    assert outcome.state is TrialState.COMPLETE
    return outcome


def assert_same(outcome: Outcome | Exception, alone: Outcome) -> None:
    """The same weights, curves and scores, up to rounding."""
    outcome = complete(outcome)
    assert outcome.weights is not None
    assert alone.weights is not None
    saved, expected = load_file(outcome.weights), load_file(alone.weights)
    assert saved.keys() == expected.keys()
    for name, tensor in saved.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-6)
    assert outcome.metrics["accuracy"] == alone.metrics["accuracy"]
    assert outcome.curves["accuracy"] == alone.curves["accuracy"]
    assert outcome.metrics["train_loss"] == pytest.approx(alone.metrics["train_loss"], rel=1e-4)
    assert outcome.metrics.keys() == alone.metrics.keys()


# -- together


def test_trials_together_end_as_each_does_alone_and_each_watcher_sees_its_own(studio: Studio) -> None:
    ready = studio.all_ready()
    assert len({trial.trial.pass_key for trial in ready}) == 1
    outcomes = train_trials(ready, studio.bench)
    for trial, outcome, alone in zip(ready, outcomes, studio.each_alone(), strict=True):
        assert_same(outcome, alone)
        outcome = complete(outcome)
        assert (outcome.metrics["cohort_size"], alone.metrics["cohort_size"]) == (3, 1)
        epochs = trial.trial.spec.epochs
        assert [p.step for p in trial.watch.steps] == list(range(1, 6 * epochs + 1))  # type: ignore[attr-defined]
        assert {p.steps for p in trial.watch.steps} == {6 * epochs}  # type: ignore[attr-defined]
        stages = trial.watch.stages  # type: ignore[attr-defined]
        assert stages[-2 - epochs :] == ["training", *["scoring"] * epochs, "saving"]
        about = json.loads((trial.folder / "adapter" / CONFIG_FILE).read_text())
        assert about["spec"]["width"] == trial.trial.config.method.width  # type: ignore[union-attr]


def test_trials_share_a_pass_where_their_batches_and_lowest_layer_are_the_same(studio: Studio) -> None:
    key = studio.ready().trial.pass_key
    same: list[dict[str, Any]] = [
        {"train__lr": 1e-4},
        {"train__epochs": 5},
        {"method__width": 9},
        {"train__seed": 3, "train__data_seed": 0},
    ]
    others: list[dict[str, Any]] = [
        {"train__seed": 3},
        {"train__batch_size": 4},
        {"train__max_tokens_per_batch": 99},
        {"train__max_length": 12},
        {"method__layers": "top:1"},
        {"method": {"kind": "head"}},
    ]
    assert all(studio.ready(**params).trial.pass_key == key for params in same)
    keys = {studio.ready(**params).trial.pass_key for params in others}
    assert key not in keys
    assert len(keys) == len(others)


def test_layers_below_what_is_trained_compute_once_for_all_trials(studio: Studio) -> None:
    """Afterwards only the identity check, frozen and adapted, goes through them."""
    backbone = studio.bench.backbone
    lower = backbone.model.get_submodule(backbone.layout.layers[0].sites["post_ffn"])
    params = [{"method__layers": "top:1", "method__width": width} for width in (2, 3)]
    first = train_trials([studio.ready(**own) for own in params], studio.bench)
    ready = [studio.ready(**own) for own in params]
    calls: list[int] = []
    handle = lower.register_forward_hook(lambda *_: calls.append(1))
    hooks_are_loaded(studio.bench.backbone)
    again = train_trials(ready, studio.bench)
    handle.remove()
    assert len(calls) == 2 * len(ready)
    for outcome, before in zip(again, first, strict=True):
        assert_same(outcome, complete(before))


@pytest.mark.parametrize("disk", ["there", "not there"])
def test_what_does_not_fit_in_memory_goes_to_disk_or_is_computed_anew(
    studio: Studio, disk: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = complete(*train_trials([studio.ready(method__layers="top:1")], studio.bench))
    cache = tmp_path / "cache"
    cache.mkdir()
    if disk == "not there":
        (cache / "activations").write_text("no folder")
    monkeypatch.setenv("ADAPTER_SWEEP_CACHE", str(cache))
    config = toy_config(studio.tiny_bert, train__cache_gb=0)
    studio.bench = dataclasses.replace(studio.bench, config=config)
    assert_same(train_trials([studio.ready(method__layers="top:1")], studio.bench)[0], expected)
    assert (cache / "activations").is_dir() == (disk == "there")


def test_heads_train_on_the_pooled_states_alone(studio: Studio) -> None:
    ready = [studio.ready(method={"kind": "head"}, train__lr=lr) for lr in (1e-2, 3e-2)]
    studio.bench.anchors()
    calls: list[int] = []
    handle = studio.bench.backbone.model.register_forward_hook(lambda *_: calls.append(1))
    hooks_are_loaded(studio.bench.backbone)
    outcomes = [complete(outcome) for outcome in train_trials(ready, studio.bench)]
    handle.remove()
    assert calls == []
    assert {outcome.metrics["cohort_size"] for outcome in outcomes} == {2}


# -- one that breaks


def assert_only(position: int, kind: type[Exception], outcomes: list[Outcome | Exception], studio: Studio) -> None:
    alone = studio.each_alone()
    for number, (outcome, expected) in enumerate(zip(outcomes, alone, strict=True)):
        if number == position:
            assert isinstance(outcome, kind)
        else:
            assert_same(outcome, expected)


def hooks_are_loaded(backbone: Backbone) -> None:
    """A test's own hooks are not what a trial left."""
    object.__setattr__(backbone, "structure", structure_of(backbone.model))


def first_adapter(ready: Ready) -> nn.Module:
    return next(iter(ready.trial.model.adapters.values()))


def test_a_trial_far_from_the_identity_is_not_begun_and_the_others_are(studio: Studio) -> None:
    ready = studio.all_ready()
    model = ready[1].trial.model
    with torch.no_grad():
        for adapter in model.adapters.values():
            nn.init.normal_(adapter.up.weight, std=9.0)  # type: ignore[union-attr,arg-type]
            nn.init.normal_(adapter.up.bias, std=9.0)  # type: ignore[union-attr,arg-type]
    outcomes = train_trials(ready, studio.bench)
    assert ready[1].watch.steps == []  # type: ignore[attr-defined]
    assert {complete(outcomes[i]).metrics["cohort_size"] for i in (0, 2)} == {2}
    assert_only(1, GuardError, outcomes, studio)


@pytest.mark.parametrize("breakage", ["nan", "raises"])
def test_a_trial_that_breaks_in_training_ends_alone(studio: Studio, breakage: str) -> None:
    ready = studio.all_ready()

    def broken(_module: nn.Module, _args: object, output: torch.Tensor) -> torch.Tensor:
        if len(ready[0].watch.steps) < 4:  # type: ignore[attr-defined]
            return output
        if breakage == "nan":
            return output * torch.nan
        raise RuntimeError("broken")

    first_adapter(ready[0]).register_forward_hook(broken)
    outcomes = train_trials(ready, studio.bench)
    assert len(ready[0].watch.steps) == 4  # type: ignore[attr-defined]
    assert_only(0, GuardError if breakage == "nan" else RuntimeError, outcomes, studio)
    assert not (ready[0].folder / "adapter").exists()


def test_a_trial_whose_scoring_fails_ends_alone_and_trains_no_further(studio: Studio) -> None:
    ready = studio.all_ready()

    def broken(*_: object) -> None:
        if "scoring" in ready[2].watch.stages and torch.is_inference_mode_enabled():  # type: ignore[attr-defined]
            raise RuntimeError("broken")

    first_adapter(ready[2]).register_forward_hook(broken)
    outcomes = train_trials(ready, studio.bench)
    assert len(ready[2].watch.steps) == 6  # type: ignore[attr-defined]
    assert_only(2, RuntimeError, outcomes, studio)


def test_where_memory_runs_out_in_scoring_fewer_are_scored_at_a_time(studio: Studio) -> None:
    ready = studio.all_ready()
    tried: list[int] = []

    def limited(_module: nn.Module, _args: object, output: torch.Tensor) -> None:
        if torch.is_inference_mode_enabled() and ready[0].watch.steps:  # type: ignore[attr-defined]
            tried.append(len(output))
            if len(tried) == 1:
                raise torch.OutOfMemoryError("CUDA out of memory.")

    part = studio.bench.backbone.model.get_submodule(studio.bench.backbone.layout.layers[0].sites["post_ffn"])
    handle = part.register_forward_hook(limited)
    hooks_are_loaded(studio.bench.backbone)
    outcomes = train_trials(ready, studio.bench)
    handle.remove()
    hooks_are_loaded(studio.bench.backbone)
    for outcome, alone in zip(outcomes, studio.each_alone(), strict=True):
        assert_same(outcome, alone)
    assert len(tried) > 1


def test_a_trial_that_cannot_be_saved_ends_alone(studio: Studio) -> None:
    ready = studio.all_ready()
    ready[1].folder.write_text("no folder")
    assert_only(1, OSError, train_trials(ready, studio.bench), studio)


# -- how many together


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"train__cohort": 7}, 7),
        ({"train__cohort": 1, "study__n_trials": 100}, 1),
        ({"study__n_trials": 3}, 3),
        ({"study__n_trials": 100}, 4),
        ({"study__n_trials": 100, "study__sampler": "grid"}, 4),
        ({"study__n_trials": 9, "workers__count": 4}, 3),
        ({"study__n_trials": 1}, 1),
        # A sampler that learns: at most a tenth of the trials under way.
        ({"study__n_trials": 100, "study__sampler": "tpe"}, 4),
        ({"study__n_trials": 29, "study__sampler": "tpe"}, 2),
        ({"study__n_trials": 12, "study__sampler": "gp"}, 1),
        ({"study__n_trials": 40, "study__sampler": "nsga2", "workers__count": 2}, 2),
        ({"study__n_trials": 40, "study__sampler": "tpe", "workers__count": 8}, 1),
        # What its own trials will say; none of them can be trained.
        ({"study__n_trials": 40, "method__layers": "top:9"}, 1),
    ],
)
def test_how_many_trials_train_together(
    tiny_bert: Path, monkeypatch: pytest.MonkeyPatch, params: dict[str, Any], expected: int
) -> None:
    monkeypatch.setitem(cohort_module._MOST, "cpu", 4)
    config = toy_config(tiny_bert, **{"train__cohort": "auto", **params})
    assert cohort_size(config, toy_bench(tiny_bert)) == expected


def test_on_a_cpu_each_trial_trains_alone_unless_told(tiny_bert: Path) -> None:
    config = toy_config(tiny_bert, train__cohort="auto", study__n_trials=100)
    assert cohort_size(config, toy_bench(tiny_bert)) == 1


def test_no_more_than_free_memory_takes_by_the_largest_of_the_search_space(
    tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[AdaptedModel, dict[str, Any]]] = []
    real = cohort_module.cohort_bound

    def noting(model: AdaptedModel, *args: Any, **options: Any) -> int:
        asked.append((model, options))
        return real(model, *args, **options)

    monkeypatch.setattr(cohort_module, "cohort_bound", noting)
    monkeypatch.setitem(cohort_module._MOST, "cpu", 4)
    bench = toy_bench(tiny_bert)

    def size(free: int, **params: Any) -> int:
        monkeypatch.setattr(memory_module, "available_bytes", lambda _: free)
        return cohort_size(toy_config(tiny_bert, study__n_trials=40, train__cohort="auto", **params), bench)

    assert size(10**9) == 4
    assert size(10**5) == 1
    space = {
        "method.width": "tag(log, int(interval(4, 256)))",
        "method.placement": "choice(post_ffn, both)",
        "method.layers": "choice(top:1, all)",
        "train.batch_size": "choice(8, 16)",
        "train.lr": "tag(log, interval(1e-4, 1e-2))",
    }
    assert size(10**9, search_space=space, method__layers="top:1", workers__count=2) == 4
    model, options = asked[-1]
    assert isinstance(model.spec, BottleneckSpec)
    assert (model.spec.width, model.spec.placement, model.spec.layers) == (256, "both", "all")
    assert options == {"batch_size": 16, "max_tokens": 256, "share": 0.5}


def test_of_several_methods_the_one_that_takes_most_memory_decides(
    tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[MethodSpec] = []

    def bound(model: AdaptedModel, *_: Any, **__: Any) -> int:
        asked.append(model.spec)
        return 2 if isinstance(model.spec, BottleneckSpec) and model.spec.width == 32 else 4

    monkeypatch.setattr(cohort_module, "cohort_bound", bound)
    monkeypatch.setitem(cohort_module._MOST, "cpu", 4)
    config = toy_config(
        tiny_bert,
        study__n_trials=40,
        train__cohort="auto",
        search_space={"method": "choice(head, wide)", "wide.method.width": "choice(4, 32)"},
    )
    wide = config.method
    chosen = config.model_copy(update={"methods": {"head": HeadMethod(kind="head"), "wide": wide}})
    assert cohort_size(chosen, toy_bench(tiny_bert)) == 2
    assert isinstance(asked[0], HeadSpec)
    assert isinstance(asked[1], BottleneckSpec)
    assert asked[1].width == 32


def test_a_method_that_cannot_be_had_bounds_nothing_and_searched_targets_are_the_widest(
    tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[MethodSpec] = []
    monkeypatch.setattr(cohort_module, "cohort_bound", lambda model, *_, **__: asked.append(model.spec) or 3)
    monkeypatch.setitem(cohort_module._MOST, "cpu", 4)
    lora = {"kind": "lora", "rank": 2}
    config = toy_config(
        tiny_bert,
        study__n_trials=40,
        train__cohort="auto",
        methods={"deep": {"kind": "ia3", "layers": "top:9"}, "lora": lora, "named": lora},
        search_space={
            "method": "choice(deep, lora, named)",
            "lora.method.targets": "choice(attention, all_linear)",
            "named.method.targets": "choice(query, dense)",
        },
    )
    assert cohort_size(config, toy_bench(tiny_bert)) == 3
    assert asked == [LoraSpec(2, targets=targets) for targets in ("all_linear", "query", "dense")]


def test_a_bench_keeps_what_lies_below_for_all_its_trials(tiny_bert: Path) -> None:
    bench: Bench = toy_bench(tiny_bert)
    split = bench.encoded(bench.data.train, 16)
    below = bench.below(split, 1)
    assert below is not None
    assert bench.below(split, 1) is below
    assert bench.below(split, 0) is None
    others = replace(bench, config=toy_config(tiny_bert, train__batch_size=3, train__max_tokens_per_batch=64))
    own = others.below(split, 1)
    assert own is not None
    assert torch.equal(own.states, below.states)  # whatever the trials' batches
    pooled = bench.frozen(split).states
    assert pooled.shape == (len(split), 32)
    assert torch.equal(bench.frozen(split).states, pooled)
