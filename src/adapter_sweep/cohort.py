"""The training of trials, several in one pass through the backbone where they have the same batches."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from adapter_sweep.bench import Bench, scoring_bounds
from adapter_sweep.config import SweepConfig
from adapter_sweep.engine import guards
from adapter_sweep.engine.activations import Stored
from adapter_sweep.engine.adapters import AdaptedModel
from adapter_sweep.engine.batches import epoch_batches
from adapter_sweep.engine.latency import training_step
from adapter_sweep.engine.memory import free_memory
from adapter_sweep.engine.saving import save_adapted
from adapter_sweep.engine.scoring import Scores, score_cohort
from adapter_sweep.engine.stopping import Best, weights_of
from adapter_sweep.engine.training import Progress, Training, train_cohort
from adapter_sweep.records import TrialState
from adapter_sweep.trial import LatencyTable, Outcome, Prepared, TrialWatcher, prepare_trial

__all__ = ["Ready", "run_trial", "train_trials"]


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


def train_trials(trials: Sequence[Ready], bench: Bench) -> list[Outcome | Exception]:
    """Train trials of one `pass_key` together, score each on the bench's held-out split, and save them.

    Each is scored after its last epoch, and after every one where `train.score_epochs` is `all`. With
    `train.early_stopping` one ends after so many epochs without a better score on the validation split, and what is
    left is its best epoch: where the test split is scored, it is scored once, with that.

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
    final: dict[str, float] = field(default_factory=dict)
    predictions: tuple[Any, ...] = ()
    best: Best | None = None
    training: Training = field(default_factory=Training)
    error: Exception | None = None


class _Trials:
    """One run of `train_trials`."""

    def __init__(self, trials: Sequence[Ready], bench: Bench) -> None:
        self._trials, self._bench = trials, bench
        self._records = [_Record() for _ in trials]
        self._config = trials[0].trial.config
        length = self._config.train.max_length
        self._split = bench.encoded(bench.data.train, length)
        # What is stopped by a split has seen it: that is not to be the test split.
        stops = any(ready.trial.config.train.early_stopping is not None for ready in trials)
        self._watched = replace(bench, scored="validation") if stops else bench
        self._held_out = bench.encoded(self._watched.held_out, length)

    def train(self) -> None:
        """Train all of them; what goes wrong with one is kept with it."""
        sound = [position for position in range(len(self._trials)) if self._starts_well(position)]
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
            if record.error is None:
                self._finish(position)

    def _finish(self, position: int) -> None:
        """Go back to the best epoch of a trial that may be stopped, and score it on the split it is to be scored on."""
        ready, record = self._trials[position], self._records[position]
        try:
            if record.best is not None:
                record.best.restore(ready.trial.model)
                record.predictions, record.final = record.best.predictions, record.best.scores
                record.metrics["stopped_epoch"] = len(record.training.epoch_losses)
            if self._watched.scored != self._bench.scored:
                ready.watch.stage("scoring")
                held_out = self._bench.encoded(self._bench.held_out, self._config.train.max_length)
                bounds: Any = scoring_bounds(self._config, self._bench.device)
                (scored,) = score_cohort([ready.trial.model], held_out, **bounds)
                guards.check_whole_split(scored.predictions, len(self._bench.labels), self._bench.scored)
                record.predictions, record.final = scored.predictions, self._bench.scores(scored.predictions)
        except Exception as error:
            record.error = error

    def outcome(self, position: int) -> Outcome | Exception:
        """How a trial ended, once it is saved."""
        ready, record = self._trials[position], self._records[position]
        if record.error is not None:
            return record.error
        trial, training = ready.trial, record.training
        metrics = trial.metrics | record.metrics
        on_test = self._bench.scored == "test"
        examples = "test_examples" if on_test else "eval_examples"
        metrics |= record.final | {
            "train_loss": training.epoch_losses[-1],
            "train_seconds": training.seconds,
            examples: len(self._bench.labels),
            "cohort_size": training.together,
            "micro_batches": training.micro_batches,
        }
        name = self._score_name
        curves = {"train_loss": training.losses, name: [(step, scores[name]) for step, scores in record.scores]}
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
        for (position, training), scores in zip(trained.items(), scored, strict=True):
            ready, record = self._trials[position], self._records[position]
            try:
                if isinstance(scores, Exception):
                    raise scores
                guards.check_whole_split(scores.predictions, len(self._watched.labels), self._watched.scored)
                found = self._watched.scores(scores.predictions) | self._watched.score_error(scores.predictions)
            except Exception as error:
                training.error = error
                continue
            record.scores.append((len(training.losses), found))
            record.predictions, record.final = scores.predictions, found
            record.metrics["eval_seconds"] = scores.seconds
            value = found[self._score_name]
            ready.watch.epoch(epoch, ready.trial.spec.epochs, training.epoch_losses[-1], value)
            patience = ready.trial.config.train.early_stopping
            if patience is None:
                continue
            if record.best is None or value > record.best.value:
                record.best = Best(epoch, value, found, scores.predictions, weights_of(ready.trial.model))
            elif epoch - record.best.epoch >= patience:
                training.stopped = True

    def _is_scored(self, position: int, epoch: int) -> bool:
        trial = self._trials[position].trial
        train = trial.config.train
        return train.score_epochs == "all" or train.early_stopping is not None or epoch == trial.spec.epochs

    @property
    def _score_name(self) -> str:
        return "test_accuracy" if self._watched.scored == "test" else "accuracy"

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
