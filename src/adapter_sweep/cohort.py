"""The training of trials, several in one pass through the backbone where they have the same batches."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from adapter_sweep.bench import Bench, scoring_bounds
from adapter_sweep.checkpoints import discard
from adapter_sweep.config import SweepConfig
from adapter_sweep.engine import guards
from adapter_sweep.engine.activations import Stored
from adapter_sweep.engine.adapters import AdaptedModel
from adapter_sweep.engine.batches import epoch_batches
from adapter_sweep.engine.latency import training_step
from adapter_sweep.engine.memory import free_memory
from adapter_sweep.engine.progress import Progress, Standing, Training
from adapter_sweep.engine.saving import save_adapted
from adapter_sweep.engine.scoring import Scores, score_cohort
from adapter_sweep.engine.stopping import Best, weights_of
from adapter_sweep.engine.training import train_cohort
from adapter_sweep.errors import GuardError
from adapter_sweep.records import TrialState
from adapter_sweep.resuming import Gathered, Kept, TrialsKeeper, checkpoint_key, newest
from adapter_sweep.trial import LatencyTable, Outcome, Prepared, TrialWatcher, prepare_trial

__all__ = ["Ready", "make_ready", "run_trial", "train_trials"]


@dataclass(frozen=True)
class Ready:
    """A trial to be trained: what it is, where its files go, and who watches it.

    Attributes:
        before: the folders of the trials it is a retry of, the newest first.
        key: of its checkpoints.
        kept: what it goes on from; None where it begins.
    """

    trial: Prepared
    folder: Path
    watch: TrialWatcher
    before: tuple[Path, ...] = ()
    key: str = ""
    kept: Kept | None = None

    @property
    def pass_key(self) -> tuple[object, ...]:
        """What trials must have in common to go through the backbone together: also where they go on from."""
        return *self.trial.pass_key, self.kept and self.kept.standing.place


def make_ready(trial: Prepared, bench: Bench, folder: Path, watch: TrialWatcher, before: Sequence[Path] = ()) -> Ready:
    """Make a trial ready to be trained, from its newest checkpoint where it is a retry and there is one.

    Args:
        trial: what it is.
        bench: what it trains on.
        folder: where its files go.
        watch: who watches it.
        before: the folders of the trials it is a retry of, the newest first.
    """
    key = checkpoint_key(trial, bench)
    return Ready(trial, folder, watch, tuple(before), key, newest((folder, *before), key, trial.model))


def run_trial(config: SweepConfig, bench: Bench, table: LatencyTable, folder: Path, watch: TrialWatcher) -> Outcome:
    """Run one configuration. What it costs is known before the first step, and over the budget it is not trained.

    Raises:
        GuardError: a guard fired, so the result cannot be trusted.
        UserInputError: the trial's texts are longer than the backbone can take, or it has no such layers.
    """
    prepared = prepare_trial(config, bench, table, watch)
    if isinstance(prepared, Outcome):
        return prepared
    outcome = train_trials([make_ready(prepared, bench, folder, watch)], bench)[0]
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def train_trials(trials: Sequence[Ready], bench: Bench) -> list[Outcome | Exception]:
    """Train trials of one `Ready.pass_key` together, score each on the bench's held-out split, and save them.

    Each is scored after its last epoch, and after every one where `train.score_epochs` is `all`. With
    `train.early_stopping` one ends after so many epochs without a better score on the validation split, and what is
    left is its best epoch: where the test split is scored, it is scored once, with that.

    While they train, and where an interrupt comes between two steps, each keeps a checkpoint in its folder, by
    `train.checkpoint_every`. A trial that goes on from one ends, on a CPU, bit for bit as if it had never stopped; of
    trials that share a pass that holds where they shared it before. Whoever has recorded how a trial ended deletes it
    with `discard`.

    Returns:
        How each ended: complete, or what ended it, which is its own end only.
    """
    cohort = _Trials(trials, bench)
    cohort.train()
    try:
        guards.check_frozen(bench.backbone)
    except GuardError:
        for ready in trials:  # whose checkpoints were trained on who knows what
            discard((ready.folder, *ready.before))
        raise
    return [cohort.outcome(position) for position in range(len(trials))]


class _Trials:
    """One run of `train_trials`."""

    def __init__(self, trials: Sequence[Ready], bench: Bench) -> None:
        self._trials, self._bench = trials, bench
        self._gathered = [Gathered() if r.kept is None else r.kept.gathered.copy() for r in trials]
        self._scoring, self._before_scoring = 0, self._gathered  # the epoch scored last, and what there was before
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
            self._before_scoring, self._scoring = [own.copy() for own in self._gathered], epoch
            self._score(epoch, {sound[place]: training for place, training in trained.items()}, below_held_out)

        members = [self._trials[position] for position in sound]
        keeper = TrialsKeeper(
            [(ready.key, (ready.folder, *ready.before)) for ready in members],
            self._config.train.checkpoint_every,
            sum(ready.trial.model.count_params().total for ready in members),
            lambda place, standing: self._gathered_at(sound[place], standing),
        )
        results = train_cohort(
            [ready.trial.model for ready in members],
            self._split,
            [ready.trial.spec for ready in members],
            below=below,
            on_step=on_step,
            on_epoch=on_epoch,
            starts=[None if ready.kept is None else ready.kept.standing for ready in members],
            keeper=keeper,
        )
        for position, training in zip(sound, results, strict=True):
            gathered = self._gathered[position]
            gathered.training = training
            gathered.error = training.error
            if gathered.error is None:
                self._finish(position)

    def _gathered_at(self, position: int, standing: Standing) -> Gathered:
        """What was gathered of a trial when it stood there: not yet the scores of an epoch that is being scored."""
        own = (self._before_scoring if standing.epochs < self._scoring else self._gathered)[position]
        over = standing.training.stopped or standing.epochs >= self._trials[position].trial.spec.epochs
        return own if over else replace(own, predictions=())  # what the next epoch will find anew

    def _finish(self, position: int) -> None:
        """Go back to the best epoch of a trial that may be stopped, and score it on the split it is to be scored on."""
        ready, gathered = self._trials[position], self._gathered[position]
        try:
            if gathered.best is not None:
                gathered.best.restore(ready.trial.model)
                gathered.predictions, gathered.final = gathered.best.predictions, gathered.best.scores
                gathered.metrics["stopped_epoch"] = len(gathered.training.epoch_losses)
            if self._watched.scored != self._bench.scored:
                ready.watch.stage("scoring")
                held_out = self._bench.encoded(self._bench.held_out, self._config.train.max_length)
                bounds: Any = scoring_bounds(self._config, self._bench.device)
                (scored,) = score_cohort([ready.trial.model], held_out, **bounds)
                guards.check_whole_split(scored.predictions, len(self._bench.labels), self._bench.scored)
                gathered.predictions, gathered.final = scored.predictions, self._bench.scores(scored.predictions)
        except Exception as error:
            gathered.error = error

    def outcome(self, position: int) -> Outcome | Exception:
        """How a trial ended, once it is saved."""
        ready, gathered = self._trials[position], self._gathered[position]
        if gathered.error is not None:
            return gathered.error
        trial, training = ready.trial, gathered.training
        metrics = trial.metrics | gathered.metrics
        on_test = self._bench.scored == "test"
        examples = "test_examples" if on_test else "eval_examples"
        metrics |= gathered.final | {
            "train_loss": training.epoch_losses[-1],
            "train_seconds": training.seconds,
            examples: len(self._bench.labels),
            "cohort_size": training.together,
            "micro_batches": training.micro_batches,
        }
        name = self._score_name
        curves = {"train_loss": training.losses, name: [(step, scores[name]) for step, scores in gathered.scores]}
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
            predictions=gathered.predictions,
        )

    def _starts_well(self, position: int) -> bool:
        """The guards before the first step."""
        ready, gathered = self._trials[position], self._gathered[position]
        ready.watch.stage("training")
        order = ready.trial.spec.order._asdict()
        try:
            with training_step():
                first = next(epoch_batches(self._split, **order, epoch=0))
                gathered.metrics["identity_gap"] = guards.check_identity(ready.trial.model, first)
        except Exception as error:
            gathered.error = error
        if gathered.error is None and ready.kept is not None:
            ready.watch.resumed(len(ready.kept.standing.training.losses))
        return gathered.error is None

    def _score(self, epoch: int, trained: dict[int, Training], below: Stored | None) -> None:
        """Score those of the trials in training that are to be scored after this epoch."""
        trained = {position: training for position, training in trained.items() if self._is_scored(position, epoch)}
        if not trained:
            return
        for position in trained:
            self._trials[position].watch.stage("scoring")
        scored = self._scores([self._trials[position].trial.model for position in trained], below)
        for (position, training), scores in zip(trained.items(), scored, strict=True):
            ready, gathered = self._trials[position], self._gathered[position]
            try:
                if isinstance(scores, Exception):
                    raise scores
                guards.check_whole_split(scores.predictions, len(self._watched.labels), self._watched.scored)
                found = self._watched.scores(scores.predictions) | self._watched.score_error(scores.predictions)
            except Exception as error:
                training.error = error
                continue
            gathered.scores.append((len(training.losses), found))
            gathered.predictions, gathered.final = scores.predictions, found
            gathered.metrics["eval_seconds"] = scores.seconds
            value = found[self._score_name]
            ready.watch.epoch(epoch, ready.trial.spec.epochs, training.epoch_losses[-1], value)
            patience = ready.trial.config.train.early_stopping
            if patience is None:
                continue
            if gathered.best is None or value > gathered.best.value:
                gathered.best = Best(epoch, value, found, scores.predictions, weights_of(ready.trial.model))
            elif epoch - gathered.best.epoch >= patience:
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
