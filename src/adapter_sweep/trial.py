"""The story of one trial: cost it, train it, score it, hand back its record."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch

from adapter_sweep.bench import Bench, check_lengths, scoring_bounds
from adapter_sweep.config import SweepConfig
from adapter_sweep.config.schema import HeadMethod
from adapter_sweep.engine import guards
from adapter_sweep.engine.adapters import AdaptedModel, BottleneckSpec, HeadSpec, MethodSpec, ParamCount, count_params
from adapter_sweep.engine.batches import epoch_batches
from adapter_sweep.engine.latency import LatencySpec, latency_metrics, measure, training_step
from adapter_sweep.engine.saving import save_adapted
from adapter_sweep.engine.training import Progress, TrainSpec, score, train
from adapter_sweep.records import TrialState

__all__ = ["LatencyTable", "Outcome", "TrialWatcher", "run_trial"]

Curves = dict[str, list[tuple[int, float]]]


class LatencyTable(Protocol):
    """Where the latency of an architecture is kept, so that its trials share one number."""

    def latency(self, key: str) -> dict[str, float] | None:
        """The latency kept under a key."""

    def keep_latency(self, key: str, metrics: Mapping[str, float]) -> dict[str, float]:
        """Keep a latency; returns what is kept, which is another's where that one was first."""


class TrialWatcher(Protocol):
    """Whoever watches a trial."""

    def stage(self, text: str) -> None:
        """What is being done, in a few words."""

    def step(self, progress: Progress) -> None:
        """A training step ended."""

    def epoch(self, epoch: int, epochs: int, loss: float, accuracy: float) -> None:
        """An epoch ended and the validation split was scored."""


@dataclass(frozen=True)
class Outcome:
    """How a trial that raised nothing ended: complete, or refused.

    Attributes:
        constraints: budget -> the distance over it, relative to it; at most 0 within it. Only budgets that are set.
    """

    state: TrialState
    metrics: dict[str, float]
    curves: Curves = field(default_factory=dict)
    reason: str | None = None
    weights: Path | None = None
    constraints: dict[str, float] = field(default_factory=dict)


def run_trial(config: SweepConfig, bench: Bench, table: LatencyTable, folder: Path, watch: TrialWatcher) -> Outcome:
    """Run one configuration. What it costs is known before the first step, and over the budget it is not trained.

    Raises:
        GuardError: a guard fired, so the result cannot be trusted.
        UserInputError: the trial's texts are longer than the backbone can take, or it has no such layers.
    """
    check_lengths(config, bench.backbone)
    spec = method_spec(config)
    classes = len(bench.data.label_names)
    params = count_params(bench.backbone.layout, spec, classes)
    metrics = _param_metrics(params, bench)
    budget = config.budget
    over = _over("trainable_params", metrics, budget.max_trainable_params)
    if any(excess > 0 for excess in over.values()):
        reason = (
            f"{params.total:,} trainable parameters, over budget.max_trainable_params={budget.max_trainable_params}"
        )
        # Not measured, so nothing is known against it; the samplers want each constraint on each trial.
        unknown = {} if budget.max_latency_ratio is None else {"latency_ratio": 0.0}
        return Outcome(TrialState.REFUSED, metrics, reason=reason, constraints=over | unknown)

    model = AdaptedModel(bench.backbone, spec, classes, seed=config.train.seed)
    guards.check_param_count(model, params)
    metrics |= _latency(config, bench, model, table, watch)
    over |= _over("latency_ratio", metrics, budget.max_latency_ratio)
    if any(excess > 0 for excess in over.values()):
        ratio = metrics["latency_ratio"]
        reason = f"latency ratio {ratio:.3f}, over budget.max_latency_ratio={budget.max_latency_ratio}"
        return Outcome(TrialState.REFUSED, metrics, reason=reason, constraints=over)

    trained, curves = _train(config, bench, model, watch)
    watch.stage("saving")
    guards.check_frozen(bench.backbone)
    weights = save_adapted(model, folder / "adapter", label_names=bench.data.label_names)
    return Outcome(TrialState.COMPLETE, metrics | trained, curves, weights=weights, constraints=over)


def method_spec(config: SweepConfig) -> MethodSpec:
    """The engine's plain values of the configured method."""
    method = config.method
    if isinstance(method, HeadMethod):
        return HeadSpec()
    return BottleneckSpec(
        width=method.width,
        placement=method.placement,
        activation=method.activation,
        init_std=method.init_std,
        layer_norms=method.layer_norms,
        layers=method.chosen_layers,
    )


def architecture_key(config: SweepConfig, bench: Bench) -> str:
    """What latency depends on, as a key: architecture, backbone, device, batch shapes; no trained value, no rate."""
    facts = {
        "backbone": bench.backbone.fingerprint,
        "attention": bench.backbone.attention,
        "precision": bench.backbone.precision,
        "classes": len(bench.data.label_names),
        "method": config.method.model_dump(exclude={"init_std"}),
        "latency": config.latency.model_dump(),
        "device": bench.provenance()["device"],
        "torch": torch.__version__,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _over(name: str, metrics: Mapping[str, float], budget: float | None) -> dict[str, float]:
    return {} if budget is None else {name: metrics[name] / budget - 1}


def _param_metrics(params: ParamCount, bench: Bench) -> dict[str, float]:
    return {
        "trainable_params": params.total,
        "adapter_params": params.adapters,
        "layer_norm_params": params.layer_norms,
        "head_params": params.head,
        "trainable_fraction": params.total / bench.backbone.layout.num_params,
    }


def _latency(
    config: SweepConfig, bench: Bench, model: AdaptedModel, table: LatencyTable, watch: TrialWatcher
) -> dict[str, float]:
    key = architecture_key(config, bench)
    known = table.latency(key)
    if known is None:
        watch.stage("measuring latency")
        measured = latency_metrics(*measure(model, LatencySpec(**config.latency.model_dump())))
        known = table.keep_latency(key, measured)
    return known


def _train(
    config: SweepConfig, bench: Bench, model: AdaptedModel, watch: TrialWatcher
) -> tuple[dict[str, float], Curves]:
    """Train and score after every epoch; the last score is the trial's."""
    settings = config.train
    training_split = bench.encoded(bench.data.train, settings.max_length)
    validation = bench.encoded(bench.data.validation, settings.max_length)
    spec = TrainSpec(
        epochs=settings.epochs,
        lr=settings.lr,
        batch_size=settings.batch_size,
        max_tokens=settings.max_tokens_per_batch,
        weight_decay=settings.weight_decay,
        warmup_fraction=settings.warmup_fraction,
        max_grad_norm=settings.max_grad_norm,
        seed=settings.seed,
    )
    first = epoch_batches(
        training_split, batch_size=spec.batch_size, max_tokens=spec.max_tokens, seed=spec.seed, epoch=0
    )
    watch.stage("training")
    with training_step():
        metrics = {"identity_gap": guards.check_identity(model, next(first))}
    accuracies: list[tuple[int, float]] = []
    scoring_seconds = 0.0
    last_step = 0

    def on_step(progress: Progress) -> None:
        nonlocal last_step
        last_step = progress.step
        watch.step(progress)

    def on_epoch(epoch: int, loss: float) -> None:
        nonlocal scoring_seconds
        watch.stage("scoring")
        scores = score(model, validation, **scoring_bounds(config))
        guards.check_whole_split(scores.predictions, len(bench.data.validation), "validation")
        accuracies.append((last_step, bench.metric(scores.predictions, bench.data.validation.labels)))
        scoring_seconds = scores.seconds
        watch.epoch(epoch, spec.epochs, loss, accuracies[-1][1])

    training = train(model, training_split, spec, on_step=on_step, on_epoch=on_epoch)
    metrics |= {
        "accuracy": accuracies[-1][1],
        "train_loss": training.epoch_losses[-1],
        "train_seconds": training.seconds,
        "eval_seconds": scoring_seconds,
        "eval_examples": len(validation),
    }
    if config.task.metric != "accuracy":
        metrics[config.task.metric] = metrics["accuracy"]
    return metrics, {"train_loss": training.losses, "accuracy": accuracies}
