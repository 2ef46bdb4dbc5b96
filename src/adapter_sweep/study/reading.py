"""What others read of a study: the views of the contract, with what lies in the trials' files."""

import json
from dataclasses import replace
from pathlib import Path

from adapter_sweep.config import with_params
from adapter_sweep.records import StudyView, TrialState, TrialView
from adapter_sweep.study.facts import PREFIX, facts_of, study_view, trial_view
from adapter_sweep.study.rows import Rows

__all__ = ["CURVES_FILE", "PREDICTIONS_FILE", "trial_folder", "view_study", "view_trial"]

CURVES_FILE = "curves.json"
PREDICTIONS_FILE = "predictions.json"  # of trials scored on the test split


def trial_folder(study: Path, number: int) -> Path:
    """Where a trial keeps its files: a folder of its own, for a number is given once."""
    return study / "trials" / f"{number:05d}"


def view_study(rows: Rows, folder: Path) -> StudyView:
    """The study as it stands, without the trials' curves and configurations."""
    return study_view(rows.name, folder, facts_of(rows.attrs()), rows.trials())


def view_trial(rows: Rows, folder: Path, number: int) -> TrialView:
    """One trial with all there is of it: its curves, and its configuration.

    Raises:
        IndexError: there is no such trial.
    """
    facts = facts_of(rows.attrs())
    frozen = rows.trials()[number]
    view = trial_view(frozen, folder, facts)
    own = frozen.user_attrs.get(PREFIX + "config")  # where nothing is searched
    config = facts.get("config", {})
    config = with_params(config, view.params) if config and own is None else {**config, **(own or {})}
    return replace(view, curves=_curves(view, folder), config=config)


def _curves(trial: TrialView, folder: Path) -> dict[str, list[tuple[int, float]]]:
    # Only a complete trial wrote them: a file beside another is of a study that is no more.
    path = trial_folder(folder, trial.number) / CURVES_FILE
    if trial.state is not TrialState.COMPLETE or not path.is_file():
        return {}
    return {
        name: [(int(step), float(value)) for step, value in points]
        for name, points in json.loads(path.read_text(encoding="utf-8")).items()
    }
