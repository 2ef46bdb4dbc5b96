"""The loop: ask the ledger for a trial, run it, tell the ledger how it ended; until the study has its trials."""

import json
import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError

from adapter_sweep.bench import Bench
from adapter_sweep.checkpoints import discard
from adapter_sweep.cohort import Ready, make_ready, train_trials
from adapter_sweep.cohort_size import cohort_size
from adapter_sweep.config import validate, with_params
from adapter_sweep.config.naming import overrides_of, plain_params
from adapter_sweep.config.quoting import literal
from adapter_sweep.credentials import mask_credentials
from adapter_sweep.durable import write_text
from adapter_sweep.engine.health import is_usable
from adapter_sweep.engine.memory import free_memory, is_out_of_memory
from adapter_sweep.errors import AdapterSweepError, DiskError, FrozenWeightsError, LedgerError, SpoiltProcessError
from adapter_sweep.interrupts import at_last
from adapter_sweep.records import ParamValue, TrialState
from adapter_sweep.resuming import checkpoint_key, of_key
from adapter_sweep.study.disk import disk_trouble
from adapter_sweep.study.ledger import CURVES_FILE, PREDICTIONS_FILE, Ledger, TrialTakenError
from adapter_sweep.study.storage import ledger_errors
from adapter_sweep.study.watching import CarefulWatcher, Watcher, WatcherOfTrial
from adapter_sweep.trial import Outcome, prepare_trial

__all__ = ["ERROR_FILE", "POLL_SECONDS", "run_trials"]

ERROR_FILE = "error.txt"
_INTERRUPTED = "interrupted by Ctrl-C or SIGTERM"
POLL_SECONDS = 2.0  # between two looks at the trials of other processes
_TRIAL_SECTIONS = ("method", "train", "latency", "budget")
_log = logging.getLogger(__name__)


def run_trials(
    ledger: Ledger,
    bench: Bench,
    values: Mapping[str, Any],
    n_trials: int | None,
    watch: Watcher,
    *,
    overrides: tuple[str, ...] = (),
    fixed: Mapping[str, ParamValue] | None = None,
    told: Callable[[int], None] = lambda _: None,
    wait: bool = False,
) -> list[int]:
    """Run trials until the ledger holds `n_trials`, however many processes take part; or one trial, whatever it holds.

    Args:
        ledger: the study.
        bench: its backbone and data.
        values: the study's configuration as plain values, in which each trial's parameters are set.
        n_trials: how many trials the study is to have in all, those before this call included; None for one more.
        watch: told of all that happens.
        overrides: what reproduces the study's fixed settings on the command line.
        fixed: parameters to show where nothing is searched.
        told: called with each trial's number once the ledger has it; what it raises is logged once and costs no trial.
        wait: whether to stay until the trials of other processes have ended, and take over from those that die.

    Returns:
        The numbers of the trials this call ran.

    Raises:
        KeyboardInterrupt: as it came; the running trial is marked interrupted and its configuration queued again.
        AdapterSweepError: the ledger cannot be read or written; the running trial is queued again at the next start.
        SpoiltProcessError: this process can train nothing any more; another one can go on.
    """
    loop = _Loop(ledger, bench, values, CarefulWatcher(watch, told), overrides, fixed or {})
    size = cohort_size(validate(values), bench) if n_trials is not None else 1
    ran: list[int] = []
    with ledger_errors("the ledger failed; the same command continues the study once it is back"):
        while True:
            numbers = loop.run_cohort(n_trials, size)
            ran += numbers
            if n_trials is None or not (numbers or (wait and ledger.awaited(n_trials))):
                return ran
            if not numbers:
                time.sleep(POLL_SECONDS)


@dataclass
class _Running:
    """A trial this process works on: whether the ledger knows how it ended, and whether that was passed on."""

    trial: optuna.Trial
    folder: Path
    before: Sequence[Path] = ()  # the folders of those it is a retry of, the newest first; found when it begins
    alone: bool = False  # a single trial, of a study that nothing is searched in
    ended: bool = False
    told: bool = False
    marking: threading.Lock = field(default_factory=threading.Lock)  # as interrupted: taken once


class _Loop:
    """Takes trials from the ledger, a cohort at a time, and tells it how each ended."""

    def __init__(
        self,
        ledger: Ledger,
        bench: Bench,
        values: Mapping[str, Any],
        watch: CarefulWatcher,
        overrides: tuple[str, ...],
        fixed: Mapping[str, ParamValue],
    ) -> None:
        self._ledger, self._bench, self._values, self._watch = ledger, bench, values, watch
        self._overrides, self._fixed = overrides, fixed

    def run_cohort(self, n_trials: int | None, size: int) -> list[int]:
        """Run up to `size` trials; their numbers. Whatever goes wrong in one is its own end, not the study's."""
        running: list[_Running] = []
        with ExitStack() as slots, at_last(lambda: self._interrupted(running)):
            try:
                self._look()
                while len(running) < size:
                    asked = self._ledger.ask(n_trials, in_company=bool(running))
                    if asked is None:
                        break
                    trial, slot = asked
                    slots.callback(slot.close)
                    folder = self._ledger.trial_folder(trial.number)
                    running.append(_Running(trial, folder, alone=n_trials is None))
                    if size > 1 and self._ledger.goes_alone(trial):
                        break
                self._train_all(running, self._begin)
            except SpoiltProcessError as error:
                # Each is tried again elsewhere, alone: it may have been the cause.
                for run in running:
                    if not run.ended:
                        self._ledger.lose(run.trial, f"its process could train no more: {error}")
                        self._pass_on(run)
                raise
            except (KeyboardInterrupt, DiskError) as interrupt:
                self._interrupted(running, str(interrupt) or _INTERRUPTED)
                raise
        return [run.trial.number for run in running]

    def _interrupted(self, running: Sequence[_Running], reason: str = _INTERRUPTED) -> None:
        """Mark the trials that run, and queue them again. At a deadline another thread comes, while the first waits."""
        for run in running:
            if run.marking.acquire(blocking=False):
                if not run.ended:
                    self._ledger.tell(run.trial, TrialState.INTERRUPTED, reason=reason)
                if not run.told:
                    self._watch.told(run.trial.number)

    def _look(self) -> None:
        if self._ledger.stop_sign is not None:
            self._ledger.stop_sign.check(now=True)

    def _begin(self, run: _Running) -> Ready | None:
        """Note what a trial is and find its cost; None where it is over the budget."""
        run.before = [self._ledger.trial_folder(number) for number in self._ledger.predecessors(run.trial.number)]
        self._note(run)
        return self._prepare(run)

    def _note(self, run: _Running) -> None:
        trial, params = run.trial, plain_params(run.trial.params)
        self._watch.begin(trial.number, params or self._fixed)
        if not params:  # nothing is searched: the study's configuration is that of its newest trial alone
            self._ledger.note(trial, config={key: self._values[key] for key in _TRIAL_SECTIONS if key in self._values})
        overrides = overrides_of(self._overrides, self._values.get("methods", {}), params)
        self._ledger.note(
            trial,
            params=params or dict(self._fixed),
            overrides=[*overrides, *(f"{key}={literal(value)}" for key, value in params.items())],
            provenance=self._bench.provenance(),
        )
        run.folder.mkdir(parents=True, exist_ok=True)

    def _prepare(self, run: _Running) -> Ready | None:
        trial, params = run.trial, plain_params(run.trial.params)
        watch = WatcherOfTrial(trial.number, self._watch, self._ledger.stop_sign)
        config = validate(with_params(self._values, params))
        prepared = prepare_trial(config, self._bench, self._ledger, watch)
        if isinstance(prepared, Outcome):
            self._end(run, prepared)
            return None
        if run.alone:  # nobody queued it again: the same settings are the same trial
            interrupted = map(self._ledger.trial_folder, self._ledger.interrupted())
            run.before = of_key(interrupted, checkpoint_key(prepared, self._bench))
        return make_ready(prepared, self._bench, run.folder, watch, run.before)

    def _train_all(self, runs: Sequence[_Running], prepare: Callable[[_Running], Ready | None]) -> None:
        """Prepare trials and train them, those together that can share a pass."""
        cohorts: dict[object, list[tuple[_Running, Ready]]] = {}
        for run in runs:
            with self._failing(run):
                ready = prepare(run)
                if ready is not None:
                    cohorts.setdefault(ready.pass_key, []).append((run, ready))
        for cohort in cohorts.values():
            self._train(cohort)

    def _train(self, cohort: list[tuple[_Running, Ready]]) -> None:
        try:
            outcomes = train_trials([ready for _, ready in cohort], self._bench)
        except Exception as error:  # nobody's own
            if is_out_of_memory(error) and len(cohort) > 1:
                free_memory(error)
                self._train_halves([run for run, _ in cohort])
                return
            if isinstance(error, FrozenWeightsError) and len(cohort) > 1:  # nobody knows by which of them
                raise SpoiltProcessError(str(error)) from error
            outcomes = [error for _ in cohort]
        for (run, _), outcome in zip(cohort, outcomes, strict=True):
            with self._failing(run):
                if isinstance(outcome, Exception):
                    raise outcome
                self._end(run, outcome)
            if isinstance(outcome, FrozenWeightsError):
                raise SpoiltProcessError(str(outcome)) from outcome

    def _train_halves(self, runs: list[_Running]) -> None:
        """What there was no memory for, from the last checkpoint or the start: the trials' weights may have changed."""
        half = len(runs) // 2
        for part in (runs[:half], runs[half:]):
            self._train_all(part, self._prepare)

    def _end(self, run: _Running, outcome: Outcome) -> None:
        """Keep what a trial left, and tell the ledger."""
        write_text(run.folder / CURVES_FILE, json.dumps(outcome.curves))
        if self._bench.scored == "test":
            write_text(run.folder / PREDICTIONS_FILE, json.dumps(outcome.predictions))
        if outcome.weights is not None:
            self._ledger.note(run.trial, weights_path=str(outcome.weights.relative_to(self._ledger.folder)))
        self._tell(run, outcome.state, metrics=outcome.metrics, reason=outcome.reason, constraints=outcome.constraints)

    @contextmanager
    def _failing(self, run: _Running) -> Iterator[None]:
        """What is raised inside is the trial's end."""
        try:
            yield
        except (StorageInternalError, LedgerError):
            raise
        except TrialTakenError as error:
            _log.warning("%s", error)
            self._pass_on(run)
        except AdapterSweepError as error:
            self._tell(run, TrialState.FAILED, reason=mask_credentials(str(error)))
        except Exception as error:  # torch, the file system, memory: with the whole story beside it
            if (trouble := disk_trouble(error)) is not None:  # every further trial would meet it
                raise DiskError(
                    f"{run.folder}: cannot be written: {trouble}. No trial that has ended is lost; once it can be "
                    "written, the same command continues the study"
                ) from error
            if not is_usable(self._bench.device):
                raise SpoiltProcessError(f"{self._bench.device} answers no more: {error}") from error
            with suppress(OSError):  # the disk may be what failed
                story = mask_credentials("".join(traceback.format_exception(error)))
                write_text(run.folder / ERROR_FILE, story)
            self._tell(run, TrialState.FAILED, reason=mask_credentials(f"{type(error).__name__}: {error}"))

    def _tell(self, run: _Running, state: TrialState, **outcome: Any) -> None:
        self._ledger.tell(run.trial, state, **outcome)
        self._pass_on(run)

    def _pass_on(self, run: _Running) -> None:
        """Tell whoever watches how a trial ended, by the ledger."""
        run.ended = True
        trial = self._ledger.view_trial(run.trial.number)
        if trial.state.counts:  # else another process goes on from there
            discard((run.folder, *run.before))
        self._watch.end(trial)
        run.told = True
        self._watch.told(run.trial.number)
