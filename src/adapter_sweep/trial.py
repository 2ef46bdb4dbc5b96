"""What a trial is before and after its training: its cost, its record, how it ended."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import torch
import transformers

from adapter_sweep.bench import Bench, method_spec
from adapter_sweep.config import SweepConfig
from adapter_sweep.config.layers import parsed_layers
from adapter_sweep.engine import guards
from adapter_sweep.engine.adapters import AdaptedModel, ParamCount, count_params
from adapter_sweep.engine.latency import LatencySpec, latency_metrics, measure, measure_merged, merged_metrics
from adapter_sweep.engine.peak import largest_batch, peak_train_memory
from adapter_sweep.engine.problems import LossSpec, check_loss, class_weights
from adapter_sweep.engine.sites import chosen_indices
from adapter_sweep.engine.tasks import TaskData
from adapter_sweep.engine.train_spec import TrainSpec
from adapter_sweep.engine.training import Progress
from adapter_sweep.opening import check_lengths
from adapter_sweep.records import TrialState

__all__ = [
    "LatencyTable",
    "Outcome",
    "Prepared",
    "TrialWatcher",
    "architecture_key",
    "memory_key",
    "method_spec",
    "prepare_trial",
    "train_spec",
]

# Methods whose passes go through the library's modules.
_OF_PEFT = ("lora", "ia3", "prefix", "prompt")
# Of how a trial trains.
_NO_MATTER_TO_MEMORY = ("epochs", "lr", "batch_size", "max_tokens", "weight_decay", "warmup_fraction", "seed")

Curves = dict[str, list[tuple[int, float]]]


class LatencyTable(Protocol):
    """Where the latency of an architecture is kept, so that its trials share one number; likewise its memory."""

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

    def resumed(self, step: int) -> None:
        """Training goes on from a checkpoint that was made after this step."""


@dataclass(frozen=True)
class Outcome:
    """How a trial that raised nothing ended: complete, or refused.

    Attributes:
        predictions: of every example of the held-out split, in its order, as `adapter_sweep.scores` has them; of a
            complete trial.
        constraints: budget -> the distance over it, relative to it; at most 0 within it. Only budgets that are set.
    """

    state: TrialState
    metrics: dict[str, float]
    curves: Curves = field(default_factory=dict)
    reason: str | None = None
    weights: Path | None = None
    predictions: tuple[Any, ...] = ()
    constraints: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Prepared:
    """A trial whose cost is known and within the budget, ready to be trained.

    Attributes:
        layer: the lowest layer with anything trained in it; None where only the head is.
        metrics, constraints: what is known so far.
    """

    config: SweepConfig
    model: AdaptedModel
    spec: TrainSpec
    layer: int | None
    metrics: dict[str, float]
    constraints: dict[str, float]

    @property
    def pass_key(self) -> tuple[object, ...]:
        """What trials must have in common to go through the backbone together: the batches, and where they begin.

        A method that can only go alone has nothing in common with any other.
        """
        alone = None if self.model.insertion.shares_pass else id(self)
        return self.spec.order, self.config.train.max_length, self.layer, alone


def prepare_trial(config: SweepConfig, bench: Bench, table: LatencyTable, watch: TrialWatcher) -> Prepared | Outcome:
    """Make a trial's model and find what it costs, before any training.

    Returns:
        The trial ready to be trained; or its end, where it is over the budget.

    Raises:
        GuardError: a guard fired, so the result cannot be trusted.
        UserInputError: the trial's texts are longer than the backbone can take, it has no such layers, or the task has
            no such loss.
    """
    check_lengths(config, bench.backbone)
    spec = train_spec(config, bench.data)
    method = method_spec(config)
    outputs = bench.data.outputs
    params = count_params(bench.backbone.model, bench.backbone.layout, method, outputs)
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

    model = AdaptedModel(bench.backbone, method, outputs, seed=config.train.seed, per_token=bench.per_token)
    guards.check_param_count(model, params)
    metrics |= _latency(config, bench, model, table, watch)
    over |= _over("latency_ratio", metrics, budget.max_latency_ratio)
    if any(excess > 0 for excess in over.values()):
        ratio = metrics["latency_ratio"]
        reason = f"latency ratio {ratio:.3f}, over budget.max_latency_ratio={budget.max_latency_ratio}"
        return Outcome(TrialState.REFUSED, metrics, reason=reason, constraints=over)
    metrics |= _memory(config, bench, model, spec, table)
    return Prepared(config, model, spec, model.lowest_trained_layer, metrics, over)


def train_spec(config: SweepConfig, data: TaskData | None = None) -> TrainSpec:
    """The engine's plain values of the configured training.

    Args:
        config: the trial's.
        data: what balanced class weights are those of.

    Raises:
        UserInputError: the loss that is asked for means nothing for the task.
    """
    train = config.train
    loss = LossSpec(train.label_smoothing)
    if data is not None:
        weights = class_weights(data.train, data) if train.class_weights == "balanced" else None
        loss = LossSpec(train.label_smoothing, weights)
        check_loss(data.type, loss)
    return TrainSpec(
        epochs=train.epochs,
        lr=train.lr,
        batch_size=train.batch_size,
        max_tokens=train.max_tokens_per_batch,
        weight_decay=train.weight_decay,
        warmup_fraction=train.warmup_fraction,
        max_grad_norm=train.max_grad_norm,
        seed=train.seed if train.data_seed is None else train.data_seed,
        loss=loss,
        micro_batches=train.micro_batches,
        checkpointing=train.gradient_checkpointing,
    )


def architecture_key(config: SweepConfig, bench: Bench) -> str:
    """What latency depends on, as a key: architecture, backbone, device, batch shapes; no trained value, no rate."""
    facts = _architecture(config, bench) | {"latency": config.latency.model_dump()}
    if config.method.kind in _OF_PEFT:
        facts["peft"] = version("peft")
    return _key(facts)


def memory_key(config: SweepConfig, bench: Bench) -> str:
    """What training's memory depends on, as a key: architecture, backbone, device, the largest batch, how it trains."""
    spec, split = train_spec(config, bench.data), bench.encoded(bench.data.train, config.train.max_length)
    rows = largest_batch(split, spec)
    told = "token_type_ids" in split.inputs(rows[:1])
    batch = {"rows": len(rows), "tokens": split.lengths[rows[0]], "types": told}
    training = {name: value for name, value in asdict(spec).items() if name not in _NO_MATTER_TO_MEMORY}
    used = {name: bool(value) for name, value in asdict(spec.loss).items()}
    training |= {"loss": used, "max_grad_norm": bool(spec.max_grad_norm)}
    return _key(_architecture(config, bench) | {"memory": batch, "training": training})


def _architecture(config: SweepConfig, bench: Bench) -> dict[str, object]:
    method = config.method.architecture()
    if "layers" in method:
        method["layers"] = chosen_indices(bench.backbone.layout, parsed_layers(method["layers"]))
    return {
        "backbone": bench.backbone.fingerprint,
        "attention": bench.backbone.attention,
        "precision": bench.backbone.precision,
        "classes": bench.data.outputs,
        "method": method,
        "device": bench.provenance()["device"],
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _key(facts: Mapping[str, object]) -> str:
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
        spec = LatencySpec(**config.latency.model_dump())
        measured = latency_metrics(*measure(model, spec))
        if model.merges:
            measured |= merged_metrics(measure_merged(model, spec))
        known = table.keep_latency(key, measured)
    return known


def _memory(
    config: SweepConfig, bench: Bench, model: AdaptedModel, spec: TrainSpec, table: LatencyTable
) -> dict[str, float]:
    key = memory_key(config, bench)
    known = table.latency(key)
    if known is None:
        split = bench.encoded(bench.data.train, config.train.max_length)
        peak = peak_train_memory(model, split, spec)
        if peak is None:  # training, in smaller parts, may do: it is not kept, for there is no number
            return {}
        known = table.keep_latency(key, {"peak_train_memory_mb": peak / 1e6})
    return known
