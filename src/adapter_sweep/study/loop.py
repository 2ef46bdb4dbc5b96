"""The loop: ask the ledger for a trial, run it, tell the ledger how it ended; until the study has its trials."""

import json
import logging
import traceback
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Protocol

import optuna
from optuna.exceptions import StorageInternalError

from adapter_sweep.bench import Bench
from adapter_sweep.config import validate, with_params
from adapter_sweep.config.quoting import literal
from adapter_sweep.engine.training import Progress
from adapter_sweep.errors import AdapterSweepError
from adapter_sweep.records import ParamValue, TrialState, TrialView
from adapter_sweep.study.ledger import CURVES_FILE, Ledger
from adapter_sweep.study.storage import ledger_errors
from adapter_sweep.trial import Outcome, run_trial

__all__ = ["ERROR_FILE", "Watcher", "run_trials"]

ERROR_FILE = "error.txt"
_TRIAL_SECTIONS = ("method", "train", "latency", "budget")
_log = logging.getLogger(__name__)


class Watcher(Protocol):
    """Whoever watches a study, in which several trials may run at once: each call says which trial it is about.

    What a watcher raises is logged once and costs no trial.
    """

    def begin(self, number: int, params: Mapping[str, ParamValue]) -> None:
        """A trial begins."""

    def stage(self, number: int, text: str) -> None:
        """What is being done, in a few words."""

    def step(self, number: int, progress: Progress) -> None:
        """A training step ended."""

    def epoch(self, number: int, epoch: int, epochs: int, loss: float, accuracy: float) -> None:
        """An epoch ended and the validation split was scored."""

    def end(self, trial: TrialView) -> None:
        """A trial ended, in whatever state; called after the ledger was told."""


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

    Returns:
        The numbers of the trials this call ran.

    Raises:
        KeyboardInterrupt: as it came; the running trial is marked interrupted and its configuration queued again.
        AdapterSweepError: the ledger cannot be read or written; the running trial is queued again at the next start.
    """
    careful = _Careful(watch, told)
    ran: list[int] = []
    with ledger_errors("the ledger failed; the same command continues the study once it is back"):
        while (asked := ledger.ask(n_trials)) is not None:
            trial, slot = asked
            try:
                with closing(slot):
                    _run(ledger, bench, values, trial, careful, overrides, fixed or {})
            except KeyboardInterrupt:
                careful.told(trial.number)
                raise
            careful.told(trial.number)
            ran.append(trial.number)
            if n_trials is None:
                break
    return ran


def _run(
    ledger: Ledger,
    bench: Bench,
    values: Mapping[str, Any],
    trial: optuna.Trial,
    watch: Watcher,
    overrides: tuple[str, ...],
    fixed: Mapping[str, ParamValue],
) -> None:
    """One trial, from its parameters to the ledger. Whatever goes wrong in it is its own end, not the study's."""
    folder = ledger.trial_folder(trial.number)
    params = trial.params
    try:
        watch.begin(trial.number, params or fixed)
        ledger.note(
            trial,
            params=params or dict(fixed),
            overrides=[*overrides, *(f"{key}={literal(value)}" for key, value in params.items())],
            provenance=bench.provenance(),
        )
        if not params:  # nothing is searched: the study's configuration is that of its newest trial alone
            ledger.note(trial, config={key: values[key] for key in _TRIAL_SECTIONS if key in values})
        folder.mkdir(parents=True, exist_ok=True)
        outcome = run_trial(validate(with_params(values, params)), bench, ledger, folder, _OfTrial(trial.number, watch))
        _keep(ledger, trial, outcome, folder)
        ledger.tell(
            trial,
            outcome.state,
            metrics=outcome.metrics,
            reason=outcome.reason,
            constraints=outcome.constraints,
        )
    except KeyboardInterrupt:
        ledger.tell(trial, TrialState.INTERRUPTED, reason="interrupted by the user")
        raise
    except StorageInternalError:
        raise
    except AdapterSweepError as error:
        ledger.tell(trial, TrialState.FAILED, reason=str(error))
    except Exception as error:  # torch, the file system, memory: the trial's end, with the whole story beside it
        with suppress(OSError):  # the disk may be what failed
            (folder / ERROR_FILE).write_text(traceback.format_exc(), encoding="utf-8")
        ledger.tell(trial, TrialState.FAILED, reason=f"{type(error).__name__}: {error}")
    watch.end(ledger.view_trial(trial.number))


def _keep(ledger: Ledger, trial: optuna.Trial, outcome: Outcome, folder: Path) -> None:
    aside = folder / f".{CURVES_FILE}"
    aside.write_text(json.dumps(outcome.curves), encoding="utf-8")
    aside.replace(folder / CURVES_FILE)
    if outcome.weights is not None:
        ledger.note(trial, weights_path=str(outcome.weights.relative_to(ledger.folder)))


class _Careful:
    """Passes on to a watcher what it is told; one that fails (a closed terminal, a full disk) is logged once."""

    def __init__(self, watch: Watcher, told: Callable[[int], None]) -> None:
        self._watch = watch
        self._told = told
        self._logged = False

    def begin(self, number: int, params: Mapping[str, ParamValue]) -> None:
        self._pass(self._watch.begin, number, params)

    def stage(self, number: int, text: str) -> None:
        self._pass(self._watch.stage, number, text)

    def step(self, number: int, progress: Progress) -> None:
        self._pass(self._watch.step, number, progress)

    def epoch(self, number: int, epoch: int, epochs: int, loss: float, accuracy: float) -> None:
        self._pass(self._watch.epoch, number, epoch, epochs, loss, accuracy)

    def end(self, trial: TrialView) -> None:
        self._pass(self._watch.end, trial)

    def told(self, number: int) -> None:
        self._pass(self._told, number)

    def _pass(self, call: Callable[..., None], *args: object) -> None:
        try:
            call(*args)
        except Exception:
            if not self._logged:
                _log.warning("whoever watches the study failed, and the study goes on", exc_info=True)
            self._logged = True


class _OfTrial:
    """Whoever watches one trial: tells the study's watcher which trial it is."""

    def __init__(self, number: int, watch: Watcher) -> None:
        self._number = number
        self._watch = watch

    def stage(self, text: str) -> None:
        self._watch.stage(self._number, text)

    def step(self, progress: Progress) -> None:
        self._watch.step(self._number, progress)

    def epoch(self, epoch: int, epochs: int, loss: float, accuracy: float) -> None:
        self._watch.epoch(self._number, epoch, epochs, loss, accuracy)
