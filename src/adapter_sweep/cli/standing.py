"""How a study stands, for the terminal and for scripts, and where commands find it."""

from datetime import datetime
from pathlib import Path
from typing import Any

from adapter_sweep.config import SweepConfig
from adapter_sweep.records import StudyView, TrialState, TrialView
from adapter_sweep.study.ledger import storage_url
from adapter_sweep.study.management import Overview

__all__ = ["best_score", "counts", "done", "metric_name", "told", "where_is"]


def where_is(config: SweepConfig) -> dict[str, Any]:
    """The database and the results folder of a command."""
    results_dir = Path(config.results_dir).expanduser()
    return {"url": storage_url(config.study.storage, results_dir), "results_dir": results_dir}


def best_score(view: StudyView) -> tuple[TrialView, float] | None:
    """The complete trial of the highest score on the validation split, and that score."""
    scored = [
        (trial, trial.metrics["accuracy"])
        for trial in view.in_state(TrialState.COMPLETE)
        if "accuracy" in trial.metrics
    ]
    return max(scored, key=lambda one: one[1], default=None)


def counts(view: StudyView) -> dict[str, int]:
    """How many trials are in each state; only of states that there are trials in."""
    found = {state: len(view.in_state(state)) for state in TrialState}
    return {str(state): count for state, count in found.items() if count}


def metric_name(view: StudyView) -> str:
    """What the study calls accuracy."""
    task: Any = view.config.get("task", {})
    return str(task.get("metric", "accuracy"))


def done(view: StudyView) -> int:
    """Trials that have ended and count."""
    return sum(trial.state is not TrialState.RUNNING for trial in view.counted())


def told(one: Overview) -> dict[str, Any]:
    """A study for scripts, as plain values."""
    best = best_score(one.view)
    return {
        "study": one.view.name,
        "sweep": one.view.config.get("sweep"),
        "n_trials": one.view.n_trials,
        "done": done(one.view),
        "states": counts(one.view),
        "best": None
        if best is None
        else {"trial": best[0].number, "accuracy": best[1], "metric": metric_name(one.view)},
        "confirmed": None if one.confirmed is None else {"done": done(one.confirmed), "runs": one.confirmed.n_trials},
        "changed": _iso(one.changed),
        "at_work": list(one.at_work),
        "half_deleted": one.deleting,
        "stop_asked": _iso(one.stopped),
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
