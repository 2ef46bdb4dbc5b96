"""How a trial ends in the ledger: once, whoever says so first."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState as OptunaState

from adapter_sweep.records import TrialState
from adapter_sweep.study.facts import state_of
from adapter_sweep.study.rows import Rows

__all__ = ["Ending", "TrialTakenError", "end_trial", "note_facts"]


class TrialTakenError(Exception):
    """A trial was ended by another process, which took this one for dead: what this one has of it is dropped."""

    def __init__(self, number: int) -> None:
        super().__init__(
            f"trial {number} is dropped here: this process was silent for so long that another one took it for dead "
            "and queued its configuration again"
        )


@dataclass(frozen=True)
class Ending:
    """How a trial is to end; see `Ledger.tell`."""

    state: TrialState
    metrics: Mapping[str, float] = field(default_factory=dict)
    reason: str | None = None
    constraints: Mapping[str, float] = field(default_factory=dict)


def end_trial(rows: Rows, trial: optuna.Trial, end: Ending, objectives: Iterable[str]) -> TrialState:
    """Write how a trial ended; where an objective was not measured, or is not finite, it has failed.

    Returns:
        Its state in the ledger: as it ended, where it had.
    """
    state, reason, names = end.state, end.reason, list(objectives)
    missing = [name for name in names if not math.isfinite(end.metrics.get(name, math.nan))]
    if state is TrialState.COMPLETE and missing:
        state, reason = TrialState.FAILED, f"not measured: {', '.join(missing)}"
    # Optuna's samplers learn a constraint from pruned trials, and nothing from failed ones.
    pruned = state in (TrialState.REFUSED, TrialState.PRUNED)
    try:
        rows.note(trial, "state", state)
        rows.note(trial, "metrics", dict(end.metrics))
        if reason is not None:
            rows.note(trial, "reason", reason)
        for name, over in end.constraints.items():
            trial.set_constraint(name, over)
        if state is TrialState.COMPLETE:
            rows.study.tell(trial, [end.metrics[name] for name in names], skip_if_finished=True)
        else:
            ended = OptunaState.PRUNED if pruned else OptunaState.FAIL
            rows.study.tell(trial, state=ended, skip_if_finished=True)
    except UpdateFinishedTrialError:  # by whoever found this process dead, though it lives
        pass
    return state_of(rows.trials()[trial.number])


def note_facts(rows: Rows, trial: optuna.Trial, facts: Mapping[str, object]) -> None:
    """Write facts of a running trial.

    Raises:
        TrialTakenError: it was ended by another process, which took this one for dead.
    """
    try:
        for name, value in facts.items():
            rows.note(trial, name, value)
    except UpdateFinishedTrialError:
        raise TrialTakenError(trial.number) from None
