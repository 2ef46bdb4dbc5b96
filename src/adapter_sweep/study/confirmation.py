"""Finalists on the test split: a study of their own beside the one they come from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from adapter_sweep.errors import UserInputError
from adapter_sweep.records import Confirmation, ConfirmedRun, ParamValue, StudyView, TrialState, TrialView
from adapter_sweep.study.grid import params_key
from adapter_sweep.study.ledger import PREDICTIONS_FILE, Ledger

__all__ = ["CONFIRMED", "SEED", "confirming_study", "read_study", "write_anchors"]

CONFIRMED = ".confirmed"  # what a study's name is followed by in that of its finalists'
SEED = "train.seed"
_ANCHORS_FILE = "anchors.json"


def confirming_study(name: str) -> str:
    """The name of the study that holds another one's finalists."""
    return name + CONFIRMED


def write_anchors(ledger: Ledger, labels: Sequence[int], metric: str, predictions: Mapping[str, Sequence[int]]) -> None:
    """Keep what the finalists stand beside on the test split."""
    aside = ledger.folder / f".{_ANCHORS_FILE}"
    aside.write_text(json.dumps({"metric": metric, "labels": labels, "anchors": predictions}), encoding="utf-8")
    aside.replace(ledger.folder / _ANCHORS_FILE)


def read_study(name: str, *, url: str, results_dir: Path) -> StudyView:
    """A study as it stands, with its confirmation where it has one; makes no file.

    Raises:
        UserInputError: there is no such study.
        AdapterSweepError: the database cannot be used.
    """
    view = Ledger.read(name, url=url, results_dir=results_dir).view()
    try:
        ledger = Ledger.read(confirming_study(name), url=url, results_dir=results_dir)
    except UserInputError:
        return view
    return replace(view, confirmation=_confirmation(ledger))


def _confirmation(ledger: Ledger) -> Confirmation | None:
    file = ledger.folder / _ANCHORS_FILE
    if not file.is_file():  # begun, and interrupted before anything was scored
        return None
    kept = json.loads(file.read_text(encoding="utf-8"))
    view = ledger.view()
    own: Any = view.config["confirmed"]
    # An entry with a trial of the study's own tells more than another study's name for the same configuration.
    names = {params_key(entry["params"]): entry for entry in sorted(own, key=lambda entry: entry["trial"] is not None)}
    ended = view.in_state(TrialState.COMPLETE, TrialState.FAILED, TrialState.REFUSED)
    runs = tuple(
        _run(ledger, trial, entry) for trial in ended if (entry := names.get(params_key(_configuration(trial))))
    )
    return Confirmation(
        metric=kept["metric"],
        labels=tuple(kept["labels"]),
        seeds=tuple(sorted({run.seed for run in runs})),
        runs=runs,
        anchors={name: tuple(found) for name, found in kept["anchors"].items()},
    )


def _run(ledger: Ledger, trial: TrialView, entry: Mapping[str, Any]) -> ConfirmedRun:
    file = ledger.trial_folder(trial.number) / PREDICTIONS_FILE
    complete = trial.state is TrialState.COMPLETE and file.is_file()
    gone = trial.state is TrialState.COMPLETE and not complete
    return ConfirmedRun(
        configuration=entry["configuration"],
        trial=entry["trial"],
        params=_configuration(trial),
        seed=int(str(trial.params[SEED])),
        state=TrialState.FAILED if gone else trial.state,
        metrics=trial.metrics if complete else {},
        predictions=tuple(json.loads(file.read_text(encoding="utf-8"))) if complete else (),
        reason=f"its predictions are gone: {file}" if gone else trial.reason,
        mlflow_run_id=trial.mlflow_run_id,
    )


def _configuration(trial: TrialView) -> dict[str, ParamValue]:
    return {key: value for key, value in trial.params.items() if key != SEED}
