"""The training of trials, several in one pass through the backbone where they have the same batches."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch

from adapter_sweep.bench import Bench, scoring_bounds
from adapter_sweep.config import SweepConfig
from adapter_sweep.config.naming import applying, key_of
from adapter_sweep.config.space import Choices, parse_dimension
from adapter_sweep.engine import guards
from adapter_sweep.engine.activations import Stored
from adapter_sweep.engine.adapters import AdaptedModel, MethodSpec
from adapter_sweep.engine.batches import epoch_batches
from adapter_sweep.engine.latency import training_step
from adapter_sweep.engine.memory import cohort_bound, free_memory
from adapter_sweep.engine.saving import save_adapted
from adapter_sweep.engine.scoring import Scores, score_cohort
from adapter_sweep.engine.training import Progress, Training, train_cohort
from adapter_sweep.errors import UserInputError
from adapter_sweep.records import TrialState
from adapter_sweep.trial import LatencyTable, Outcome, Prepared, TrialWatcher, method_spec, prepare_trial

__all__ = ["Ready", "cohort_size", "run_trial", "train_trials"]

# More at once only takes memory. On a CPU tests/benchmark/engine.py shows 1.02 times one trial's rate for four: not
# worth a worker that trains the last trials while the others wait. The GPU's bound has not been measured.
_MOST = {"cpu": 1, "cuda": 32}
_LEARNING_SAMPLERS = ("tpe", "nsga2", "gp")


@dataclass(frozen=True)
class Ready:
    """A trial to be trained: what it is, where its files go, and who watches it."""

    trial: Prepared
    folder: Path
    watch: TrialWatcher


def run_trial(config: SweepConfig, bench: Bench, table: LatencyTable, folder: Path, watch: TrialWatcher) -> Outcome:
    """Run one configuration. What it costs is known before the first step, and over the budget it is not trained.

    Raises:
        GuardError: a guard fired, so the result cannot be trusted.
        UserInputError: the trial's texts are longer than the backbone can take, or it has no such layers.
    """
    prepared = prepare_trial(config, bench, table, watch)
    if isinstance(prepared, Outcome):
        return prepared
    outcome = train_trials([Ready(prepared, folder, watch)], bench)[0]
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def cohort_size(config: SweepConfig, bench: Bench) -> int:
    """How many trials a worker trains together: `train.cohort`, or what `auto` comes to.

    `auto` is as many as pay on the device, within the free memory by an estimate of what one trial keeps for its
    backward pass, and no more than the worker's share of the trials. A sampler that learns has at most a tenth of its
    trials under way at once: what is under way it cannot learn from.
    """
    if config.train.cohort != "auto":
        return config.train.cohort
    workers = config.workers.count or 1
    study = config.study
    most = min(_MOST[bench.device.type], -(-study.n_trials // workers))
    if study.sampler in _LEARNING_SAMPLERS:
        most = min(most, study.n_trials // (10 * workers))
    if most <= 1:
        return 1
    with suppress(UserInputError):  # its own trials will say what is wrong with it
        bounds = {
            "batch_size": _largest(config, "train.batch_size", config.train.batch_size),
            "max_tokens": _largest(config, "train.max_tokens_per_batch", config.train.max_tokens_per_batch),
        }
        length = _largest(config, "train.max_length", config.train.max_length)
        devices = torch.cuda.device_count() if bench.device.type == "cuda" else 1
        share = 1 / -(-workers // devices)
        with training_step():
            split = bench.encoded(bench.data.train, length)
            for method in _largest_methods(config):
                model = AdaptedModel(bench.backbone, method, bench.data.outputs, seed=0, per_token=bench.per_token)
                most = min(most, cohort_bound(model, split, **bounds, share=share))
            return most
    return 1


def _largest_methods(config: SweepConfig) -> list[MethodSpec]:
    """Of each method the study may train, about the settings that take most memory."""
    if not config.methods:
        return [_largest_method(config, None)]
    chosen = [(config.model_copy(update={"method": own}), method) for method, own in config.methods.items()]
    return [_largest_method(alone, method) for alone, method in chosen]


def _largest_method(config: SweepConfig, method: str | None) -> MethodSpec:
    spec = method_spec(config)
    searched = applying(config.search_space, method)
    own = {f.name for f in fields(spec) if f"method.{f.name}" in searched}
    changes: dict[str, Any] = {
        name: _largest(config, searched[f"method.{name}"], getattr(spec, name))
        for name in own & {"width", "rank", "length"}
    }
    changes |= {name: value for name, value in (("placement", "both"), ("layers", "all")) if name in own}
    return replace(spec, **changes)


def _largest(config: SweepConfig, name: str, value: int) -> int:
    """The largest value the study may set a key to, by its range's name and those of methods' own for the same key.

    It is the value it has where no range is of every method.
    """
    found = [] if name in config.search_space else [value]
    for own in (own for own in config.search_space if name in (own, key_of(own))):
        dimension = parse_dimension(own, config.search_space[own])
        values = dimension.values if isinstance(dimension, Choices) else (dimension.high,)
        found += [int(number) for number in values if isinstance(number, int | float)]
    return max(found)


def train_trials(trials: Sequence[Ready], bench: Bench) -> list[Outcome | Exception]:
    """Train trials of one `pass_key` together, score each on the bench's held-out split, and save them.

    Each is scored after its last epoch, and after every one where `train.score_epochs` is `all`.

    Returns:
        How each ended: complete, or what ended it, which is its own end only.
    """
    cohort = _Trials(trials, bench)
    cohort.train()
    guards.check_frozen(bench.backbone)
    return [cohort.outcome(position) for position in range(len(trials))]


@dataclass
class _Record:
    """What is gathered of a trial while it trains."""

    metrics: dict[str, float] = field(default_factory=dict)
    scores: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    predictions: tuple[Any, ...] = ()
    training: Training = field(default_factory=Training)
    error: Exception | None = None


class _Trials:
    """One run of `train_trials`."""

    def __init__(self, trials: Sequence[Ready], bench: Bench) -> None:
        self._trials, self._bench = trials, bench
        self._records = [_Record() for _ in trials]
        self._together = 0  # how many are in training when it begins
        self._config = trials[0].trial.config
        length = self._config.train.max_length
        self._split = bench.encoded(bench.data.train, length)
        self._held_out = bench.encoded(bench.held_out, length)

    def train(self) -> None:
        """Train all of them; what goes wrong with one is kept with it."""
        sound = [position for position in range(len(self._trials)) if self._starts_well(position)]
        self._together = len(sound)
        if not sound:
            return
        layer = self._trials[0].trial.layer
        below, below_held_out = (self._bench.below(split, layer) for split in (self._split, self._held_out))

        def on_step(place: int, progress: Progress) -> None:
            self._trials[sound[place]].watch.step(progress)

        def on_epoch(epoch: int, trained: dict[int, Training]) -> None:
            self._score(epoch, {sound[place]: training for place, training in trained.items()}, below_held_out)

        results = train_cohort(
            [self._trials[position].trial.model for position in sound],
            self._split,
            [self._trials[position].trial.spec for position in sound],
            below=below,
            on_step=on_step,
            on_epoch=on_epoch,
        )
        for position, training in zip(sound, results, strict=True):
            record = self._records[position]
            record.training = training
            record.error = training.error

    def outcome(self, position: int) -> Outcome | Exception:
        """How a trial ended, once it is saved."""
        ready, record = self._trials[position], self._records[position]
        if record.error is not None:
            return record.error
        trial, training = ready.trial, record.training
        metrics = trial.metrics | record.metrics
        on_test = self._bench.scored == "test"
        score, examples = ("test_accuracy", "test_examples") if on_test else ("accuracy", "eval_examples")
        metrics |= record.scores[-1][1] | {
            "train_loss": training.epoch_losses[-1],
            "train_seconds": training.seconds,
            examples: len(self._bench.labels),
            "cohort_size": self._together,
        }
        curves = {"train_loss": training.losses, score: [(step, scores[score]) for step, scores in record.scores]}
        ready.watch.stage("saving")
        try:
            weights = save_adapted(
                trial.model,
                ready.folder / "adapter",
                label_names=self._bench.data.label_names,
                problem=self._split.problem.about,
            )
        except Exception as error:
            return error
        metrics["storage_bytes"] = weights.stat().st_size
        return Outcome(
            TrialState.COMPLETE,
            metrics,
            curves,
            weights=weights,
            constraints=trial.constraints,
            predictions=record.predictions,
        )

    def _starts_well(self, position: int) -> bool:
        """The guards before the first step."""
        ready, record = self._trials[position], self._records[position]
        ready.watch.stage("training")
        order = ready.trial.spec.order._asdict()
        try:
            with training_step():
                first = next(epoch_batches(self._split, **order, epoch=0))
                record.metrics["identity_gap"] = guards.check_identity(ready.trial.model, first)
        except Exception as error:
            record.error = error
        return record.error is None

    def _score(self, epoch: int, trained: dict[int, Training], below: Stored | None) -> None:
        """Score those of the trials in training that are to be scored after this epoch."""
        trained = {position: training for position, training in trained.items() if self._is_scored(position, epoch)}
        if not trained:
            return
        for position in trained:
            self._trials[position].watch.stage("scoring")
        scored = self._scores([self._trials[position].trial.model for position in trained], below)
        score = "test_accuracy" if self._bench.scored == "test" else "accuracy"
        for (position, training), scores in zip(trained.items(), scored, strict=True):
            ready, record = self._trials[position], self._records[position]
            try:
                if isinstance(scores, Exception):
                    raise scores
                guards.check_whole_split(scores.predictions, len(self._bench.labels), self._bench.scored)
                found = self._bench.scores(scores.predictions)
            except Exception as error:
                training.error = error
                continue
            record.scores.append((len(training.losses), found))
            record.predictions = scores.predictions
            record.metrics["eval_seconds"] = scores.seconds
            ready.watch.epoch(epoch, ready.trial.spec.epochs, training.epoch_losses[-1], found[score])

    def _is_scored(self, position: int, epoch: int) -> bool:
        trial = self._trials[position].trial
        return trial.config.train.score_epochs == "all" or epoch == trial.spec.epochs

    def _scores(self, models: Sequence[AdaptedModel], below: Stored | None) -> list[Scores | Exception]:
        """Each model's scores on the held-out split, or what its scoring fails of alone."""
        bounds = scoring_bounds(self._config, self._bench.device)
        try:
            return [*score_cohort(models, self._held_out, **bounds, below=below)]
        except Exception as error:
            free_memory(error)
            if len(models) == 1:
                return [error]
        half = len(models) // 2
        return [*self._scores(models[:half], below), *self._scores(models[half:], below)]
