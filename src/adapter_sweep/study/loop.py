"""The loop: ask the ledger for a trial, run it, tell the ledger how it ended; until the study has its trials."""

import json
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import optuna

from adapter_sweep.bench import Bench
from adapter_sweep.config import validate, with_params
from adapter_sweep.errors import AdapterSweepError
from adapter_sweep.records import ParamValue, TrialState, TrialView
from adapter_sweep.study.ledger import CURVES_FILE, Ledger
from adapter_sweep.trial import Outcome, TrialWatcher, run_trial

__all__ = ["Watcher", "run_trials"]

ERROR_FILE = "error.txt"


class Watcher(TrialWatcher, Protocol):
    """Whoever watches a study."""

    def begin(self, number: int, params: Mapping[str, ParamValue]) -> None:
        """A trial begins."""

    def end(self, trial: TrialView) -> None:
        """A trial ended, in whatever state; called after the ledger was told."""


def run_trials(
    ledger: Ledger,
    bench: Bench,
    values: Mapping[str, Any],
    n_trials: int,
    watch: Watcher,
    *,
    overrides: tuple[str, ...] = (),
    fixed: Mapping[str, ParamValue] | None = None,
    told: Callable[[int], None] = lambda _: None,
) -> None:
    """Run trials until the ledger holds `n_trials`, however many processes take part.

    Args:
        ledger: the study.
        bench: its backbone and data.
        values: the study's configuration as plain values, in which each trial's parameters are set.
        n_trials: how many trials the study is to have in all, those before this call included.
        watch: told of all that happens.
        overrides: what reproduces the study's fixed settings on the command line.
        fixed: parameters to show where nothing is searched.
        told: called with each trial's number once the ledger has it.

    Raises:
        KeyboardInterrupt: as it came; the running trial is marked interrupted and its configuration queued again.
    """
    while (asked := ledger.ask(n_trials)) is not None:
        trial, slot = asked
        try:
            watch.begin(trial.number, trial.params or fixed or {})
            if fixed and not trial.params:
                ledger.note(trial, params=dict(fixed))
            _run(ledger, bench, values, trial, watch, overrides)
            told(trial.number)
        except KeyboardInterrupt:
            told(trial.number)
            raise
        finally:
            slot.close()


def _run(
    ledger: Ledger,
    bench: Bench,
    values: Mapping[str, Any],
    trial: optuna.Trial,
    watch: Watcher,
    overrides: tuple[str, ...],
) -> None:
    """One trial, from its parameters to the ledger. Whatever goes wrong in it is its own end, not the study's."""
    folder = ledger.trial_folder(trial.number)
    try:
        ledger.note(
            trial,
            overrides=[*overrides, *(f"{key}={_literal(value)}" for key, value in trial.params.items())],
            provenance=bench.provenance(),
        )
        outcome = run_trial(validate(with_params(values, trial.params)), bench, ledger, folder, watch)
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
    except AdapterSweepError as error:
        ledger.tell(trial, TrialState.FAILED, reason=str(error))
    except Exception as error:  # torch, the file system, memory: the trial's end, with the whole story beside it
        (folder / ERROR_FILE).write_text(traceback.format_exc(), encoding="utf-8")
        ledger.tell(trial, TrialState.FAILED, reason=f"{type(error).__name__}: {error}")
    watch.end(ledger.view_trial(trial.number))


def _keep(ledger: Ledger, trial: optuna.Trial, outcome: Outcome, folder: Path) -> None:
    aside = folder / f".{CURVES_FILE}"
    aside.write_text(json.dumps(outcome.curves), encoding="utf-8")
    aside.replace(folder / CURVES_FILE)
    if outcome.weights is not None:
        ledger.note(trial, weights_path=str(outcome.weights.relative_to(ledger.folder)))


def _literal(value: ParamValue) -> str:
    """A value as Hydra's override grammar reads it back: full precision for numbers."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value) if isinstance(value, float) else str(value)
