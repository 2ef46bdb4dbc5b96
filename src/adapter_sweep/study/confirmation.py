"""Finalists on the test split: a study of their own beside the one they come from."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from adapter_sweep.durable import write_text
from adapter_sweep.errors import UserInputError
from adapter_sweep.records import Confirmation, ConfirmedRun, ParamValue, Prediction, StudyView, TrialState, TrialView
from adapter_sweep.study.grid import params_key
from adapter_sweep.study.ledger import PREDICTIONS_FILE, Ledger
from adapter_sweep.study.names import CONFIRMED

__all__ = ["CONFIRMED", "SEED", "confirming_study", "lost_runs", "read_study", "write_anchors"]

SEED = "train.seed"
_ANCHORS_FILE = "anchors.json"
_log = logging.getLogger(__name__)


def confirming_study(name: str) -> str:
    """The name of the study that holds another one's finalists."""
    return name + CONFIRMED


def write_anchors(
    ledger: Ledger, labels: Sequence[Prediction], metric: str, predictions: Mapping[str, Sequence[Prediction]]
) -> None:
    """Keep what the finalists stand beside on the test split."""
    about = {"metric": metric, "labels": labels, "anchors": predictions}
    write_text(ledger.folder / _ANCHORS_FILE, json.dumps(about))


def read_study(name: str, *, url: str, results_dir: Path) -> StudyView:
    """A study as it stands, with its confirmation where it has one; makes no file.

    Raises:
        UserInputError: there is no such study, or it holds another one's finalists.
        AdapterSweepError: the database cannot be used.
    """
    view = Ledger.read(name, url=url, results_dir=results_dir).view()
    if "confirmed" in view.config:
        raise UserInputError(
            f"study {name!r} holds another one's finalists, and is told with it: name {name.removesuffix(CONFIRMED)!r}"
        )
    try:
        ledger = Ledger.read(confirming_study(name), url=url, results_dir=results_dir)
    except UserInputError:
        return view
    return replace(view, confirmation=_confirmation(ledger, name))


def lost_runs(ledger: Ledger) -> list[dict[str, ParamValue]]:
    """The parameters of finalists' runs that are complete and whose predictions are gone: nothing is known of them."""
    complete = ledger.view().in_state(TrialState.COMPLETE)
    known = {params_key(trial.params) for trial in complete if _predictions(ledger, trial) is not None}
    lost = {params_key(trial.params): dict(trial.params) for trial in complete if params_key(trial.params) not in known}
    return list(lost.values())


def _confirmation(ledger: Ledger, name: str) -> Confirmation | None:
    file, view = ledger.folder / _ANCHORS_FILE, ledger.view()
    kept = _read(file)
    if not isinstance(kept, dict):
        if view.in_state(TrialState.COMPLETE):  # else begun, and interrupted before anything was scored
            _log.warning(
                "%s is missing or damaged, so the finalists of %s are left out; adapter-sweep confirm %s mends it",
                *(file, name, name),
            )
        return None
    own: Any = view.config["confirmed"]
    # An entry with a trial of the study's own tells more than another study's name for the same configuration.
    names = {params_key(entry["params"]): entry for entry in sorted(own, key=lambda entry: entry["trial"] is not None)}
    ended = view.in_state(TrialState.COMPLETE, TrialState.FAILED, TrialState.REFUSED)
    found = [_run(ledger, trial, entry) for trial in ended if (entry := names.get(params_key(_configuration(trial))))]
    once: dict[tuple[str, int], ConfirmedRun] = {}
    for run in found:  # one that was done again stands for the one that was lost, and no seed counts twice
        known = once.setdefault((run.configuration, run.seed), run)
        if known.state is not TrialState.COMPLETE:
            once[run.configuration, run.seed] = run
    runs = tuple(once.values())
    return Confirmation(
        metric=kept["metric"],
        labels=tuple(kept["labels"]),
        seeds=tuple(sorted({run.seed for run in runs})),
        runs=runs,
        anchors={anchor: tuple(found) for anchor, found in kept["anchors"].items()},
    )


def _run(ledger: Ledger, trial: TrialView, entry: Mapping[str, Any]) -> ConfirmedRun:
    predictions = _predictions(ledger, trial) if trial.state is TrialState.COMPLETE else ()
    gone = predictions is None
    return ConfirmedRun(
        configuration=entry["configuration"],
        trial=entry["trial"],
        params=_configuration(trial),
        seed=int(str(trial.params[SEED])),
        state=TrialState.FAILED if gone else trial.state,
        metrics=trial.metrics if predictions else {},
        predictions=predictions or (),
        reason=f"its predictions are gone: {_predictions_file(ledger, trial)}" if gone else trial.reason,
        mlflow_run_id=trial.mlflow_run_id,
    )


def _predictions(ledger: Ledger, trial: TrialView) -> tuple[Prediction, ...] | None:
    kept = _read(_predictions_file(ledger, trial))
    return tuple(kept) if kept else None


def _predictions_file(ledger: Ledger, trial: TrialView) -> Path:
    return ledger.trial_folder(trial.number) / PREDICTIONS_FILE


def _read(file: Path) -> Any:
    """What a file holds; None where it is missing or damaged."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _configuration(trial: TrialView) -> dict[str, ParamValue]:
    return {key: value for key, value in trial.params.items() if key != SEED}
