"""What a study leaves behind, as plain data: the contract between the ledger, MLflow and the report.

Names of recorded numbers are the same everywhere (ledger, MLflow, CSV, JSON). A number that was not measured is
absent, never a sentinel.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from adapter_sweep.scores import METRICS, metric_and_language

__all__ = [
    "METRIC_HELP",
    "Confirmation",
    "ConfirmedRun",
    "Direction",
    "ParamValue",
    "Prediction",
    "StudyView",
    "TrialState",
    "TrialView",
    "is_recorded",
    "metric_help",
]

ParamValue = str | int | float | bool | None
Prediction = Any  # one row's, or its label: a plain JSON value, by task type (see `scores`); lists may be tuples
Direction = Literal["maximize", "minimize"]


class TrialState(StrEnum):
    """How a trial stands. The words are distinct because their causes are."""

    COMPLETE = "complete"  # trained, evaluated, every guard passed
    PRUNED = "pruned"  # stopped early by the search
    REFUSED = "refused"  # over the user's budget, so never trained
    FAILED = "failed"  # an error or a guard
    INTERRUPTED = "interrupted"  # Ctrl-C or a dead process; does not count towards study.n_trials
    RUNNING = "running"

    @property
    def counts(self) -> bool:
        """Whether the trial uses up one of the study's `n_trials`."""
        return self is not TrialState.INTERRUPTED


METRIC_HELP: dict[str, str] = {
    "accuracy": "the task's primary metric on the validation split",
    **{key: f"{metric.help}, on the validation split" for key, metric in METRICS.items() if key != "accuracy"},
    "accuracy_stderr": "one standard error of `accuracy` over the examples of the validation split, by the jackknife",
    "trainable_params": "parameters trained: adapters, layer norms and head",
    "adapter_params": "parameters in the adapters",
    "layer_norm_params": "parameters in the trained layer norms",
    "head_params": "parameters in the head",
    "trainable_fraction": "trainable parameters over the backbone's parameters",
    "latency_p50_ms": "median latency of one example (batch 1), milliseconds",
    "latency_p90_ms": "90th percentile of the latency of one example, milliseconds",
    "latency_ratio": "adapted over frozen backbone, batch 1, median of paired readings",
    "latency_ratio_low": "lower end of the ratio's 95 % bootstrap interval",
    "latency_ratio_high": "upper end of the ratio's 95 % bootstrap interval",
    "latency_noise_floor": "how far from 1 the backbone's ratio against itself may read (95 %)",
    "latency_noisy": "1 where a reading's IQR over median exceeds 10 %, else 0",
    "merged_latency_p50_ms": "median latency of one example with merged weights, milliseconds",
    "merged_latency_ratio": "latency ratio once the method's weights are merged into the backbone's, where they can be",
    "merged_latency_ratio_low": "lower end of the merged ratio's 95 % bootstrap interval",
    "merged_latency_ratio_high": "upper end of the merged ratio's 95 % bootstrap interval",
    "merged_latency_noise_floor": "how far from 1 the backbone's ratio against itself may read beside the merged one",
    "merged_latency_noisy": "1 where a merged reading's IQR over median exceeds 10 %, else 0",
    "batch_latency_p50_ms": "median latency of one throughput batch, milliseconds",
    "batch_latency_p90_ms": "90th percentile of the latency of one throughput batch, milliseconds",
    "batch_latency_ratio": "adapted over frozen backbone at the throughput batch",
    "batch_latency_ratio_low": "lower end of the throughput ratio's 95 % bootstrap interval",
    "batch_latency_ratio_high": "upper end of the throughput ratio's 95 % bootstrap interval",
    "batch_latency_noise_floor": "how far from 1 the backbone's ratio against itself may read, throughput batch",
    "batch_latency_noisy": "1 where a throughput reading's IQR over median exceeds 10 %, else 0",
    "storage_bytes": "size on disk of what is kept for the task: the trained weights, the head included",
    "peak_train_memory_mb": "megabytes at the fullest moment of a training step on the largest batch, weights included",
    "train_seconds": "wall seconds of training; in a cohort, the trial's equal share",
    "eval_seconds": "wall seconds of the last evaluation; in a cohort, the trial's equal share",
    "cohort_size": "trials that were trained in the same passes, this one included",
    "micro_batches": "forward passes that an update's batch is split into",
    "stopped_epoch": "the epoch early stopping ended training after",
    "train_loss": "training loss of the last epoch, mean over examples",
    "identity_gap": "relative change of the hidden states by the adapters before training",
    "eval_examples": "examples scored",
    "test_accuracy": "the task's primary metric on the test split, which only confirmation reads",
    "test_examples": "examples of the test split scored",
}


def is_recorded(name: str) -> bool:
    """Whether a number may be recorded under a name: one of `METRIC_HELP`, or a metric by language or on test."""
    return metric_help(name) is not None


def metric_help(name: str) -> str | None:
    """What a recorded number is, in a few words; None where nothing is recorded under the name.

    Besides those of `METRIC_HELP` there are a metric's value for one language of multilingual data, e.g. `accuracy_de`,
    and each metric on the test split, e.g. `test_entity_f1`.
    """
    if name in METRIC_HELP:
        return METRIC_HELP[name]
    found = metric_and_language(name.removeprefix("test_"))
    if found is None:
        return None
    metric, language = found
    split = "test split, which only confirmation reads" if name.startswith("test_") else "validation split"
    return METRICS[metric].help + (f", of language {language}" if language else "") + f", on the {split}"


@dataclass(frozen=True)
class TrialView:
    """One trial as the ledger holds it.

    Attributes:
        number: position in the study, from 0; never reused.
        params: swept parameters under their Hydra keys, e.g. `method.width`.
        metrics: the record (see `METRIC_HELP`); for a refused trial, what was costed.
        curves: per-step values, name -> [(step, value), ...], steps ascending.
        reason: why a trial failed, was refused or was interrupted; None otherwise.
        overrides: the Hydra overrides that reproduce the trial with `adapter-sweep trial`.
        config: the resolved configuration of the trial.
        provenance: code version, package versions, fingerprints, device, threads.
        weights_path: the trained weights (safetensors), where they were kept.
        mlflow_run_id: the MLflow run that shows the trial, once there is one.
    """

    number: int
    state: TrialState
    params: Mapping[str, ParamValue]
    metrics: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, list[tuple[int, float]]] = field(default_factory=dict)
    reason: str | None = None
    started: datetime | None = None
    ended: datetime | None = None
    overrides: tuple[str, ...] = ()
    config: Mapping[str, object] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    weights_path: str | None = None
    mlflow_run_id: str | None = None


@dataclass(frozen=True)
class ConfirmedRun:
    """A finalist's configuration, trained on a fresh seed and scored once on the test split.

    Attributes:
        configuration: which finalist: the trial's number in this study, or `STUDY:NUMBER` for one of another study.
        trial: the trial in this study that has this configuration; None where it comes from another study.
        params: the swept parameters under their Hydra keys.
        seed: `train.seed` of this run.
        metrics: the record: costs, `test_accuracy`, `test_examples`, `train_loss`, …; empty unless complete.
        predictions: what was predicted for every test row, in the split's order; empty unless complete.
        reason: why it failed; None otherwise.
    """

    configuration: str
    trial: int | None
    params: Mapping[str, ParamValue]
    seed: int
    state: TrialState
    metrics: Mapping[str, float] = field(default_factory=dict)
    predictions: tuple[Prediction, ...] = ()
    reason: str | None = None
    mlflow_run_id: str | None = None


@dataclass(frozen=True)
class Confirmation:
    """What confirming a study's finalists on the test split left behind.

    Attributes:
        metric: the task's primary metric, one of `scores.METRICS`.
        labels: the label of every test row.
        seeds: the fresh seeds, none of which the search has used.
        runs: every finalist on every seed, so far.
        anchors: reference points beside the finalists, label -> what they predict for every test row.
    """

    metric: str
    labels: tuple[Prediction, ...]
    seeds: tuple[int, ...]
    runs: tuple[ConfirmedRun, ...]
    anchors: Mapping[str, tuple[Prediction, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class StudyView:
    """One study as the ledger holds it.

    Attributes:
        objectives: recorded number -> direction, in the user's order.
        search_space: Hydra key -> the range as the user wrote it, e.g. `tag(log, int(interval(4, 256)))`. Where methods
            are chosen between, the key of a range that one of them alone has goes by its name: `lora.method.rank`.
        n_trials: how many trials the study is to have in all.
        created: when its first trial began; None before that.
        identity: what no other study has, whatever its name, not even a restored copy; None of one that an earlier
            version made.
        config: the resolved configuration the study was started with.
        provenance: code version, package versions, fingerprints, device, threads of the newest `run`.
        anchors: reference points beside the trials, label -> recorded numbers (e.g. the majority class).
        mlflow_run_id: the parent run, once there is one.
        confirmation: the finalists on the test split, once they were confirmed.
        importance: objective -> Hydra key -> share of the objective's variance over the search space that the
            parameter explains by itself, all of them together 1; empty where it was not computed. Where methods are
            chosen between, over what all of them share.
        importance_within: method -> the same over its own trials and parameters; only methods of which it is known.
    """

    name: str
    objectives: Mapping[str, Direction]
    search_space: Mapping[str, str]
    n_trials: int
    trials: tuple[TrialView, ...]
    created: datetime | None = None
    config: Mapping[str, object] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    anchors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    mlflow_run_id: str | None = None
    confirmation: Confirmation | None = None
    importance: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    importance_within: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    identity: str | None = None

    def counted(self) -> list[TrialView]:
        """The trials that use up one of `n_trials`, by number."""
        return [trial for trial in self.trials if trial.state.counts]

    def in_state(self, *states: TrialState) -> list[TrialView]:
        """The trials in any of `states`, by number."""
        return [trial for trial in self.trials if trial.state in states]
