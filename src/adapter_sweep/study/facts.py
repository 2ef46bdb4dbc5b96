"""How the ledger's facts lie in Optuna's studies and trials, and the views made of them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from adapter_sweep.config.naming import plain_params
from adapter_sweep.records import ParamValue, StudyView, TrialState, TrialView
from adapter_sweep.study.names import inside

__all__ = [
    "IDENTITY",
    "PREFIX",
    "death_of",
    "deaths",
    "differences",
    "facts_of",
    "planned_params",
    "predecessors",
    "retry_of",
    "state_of",
    "study_view",
    "told_of",
    "trial_view",
]

PREFIX = "adapter_sweep:"  # of our names among the user attributes
IDENTITY = "identity"  # the fact that tells a study from all others, of this name too
_RUNS = "mlflow_runs:"
_ABSENT = object()  # unlike any value: a key set to null is not an absent one

# Optuna's word is changed in one step, and at most once; ours is written before it. Where they do not fit, another
# process has ended the trial in between.
_FITTING = {
    OptunaState.COMPLETE: (TrialState.COMPLETE,),
    OptunaState.PRUNED: (TrialState.PRUNED, TrialState.REFUSED),
    OptunaState.FAIL: (TrialState.FAILED, TrialState.INTERRUPTED),
}


def facts_of(user_attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Our facts among a study's or a trial's attributes, under our names; `mlflow_runs` is number -> run id."""
    facts = {name.removeprefix(PREFIX): value for name, value in user_attrs.items() if name.startswith(PREFIX)}
    groups = [facts.pop(name) for name in list(facts) if name.startswith(_RUNS)]
    return {**facts, "mlflow_runs": {number: run for group in groups for number, run in group.items()}}


def state_of(trial: FrozenTrial) -> TrialState:
    """How a trial that was begun stands."""
    if trial.state not in _FITTING:  # told, perhaps, but not yet ended
        return TrialState.RUNNING
    if (death := death_of(trial)) is not None:
        return TrialState(death["state"])
    fitting, told = _FITTING[trial.state], told_of(trial)
    return told if told in fitting else fitting[0]


def told_of(trial: FrozenTrial) -> TrialState | None:
    """What its own process has told, or was about to tell, of a trial."""
    told = trial.user_attrs.get(PREFIX + "state")
    return None if told is None else TrialState(told)


def death_of(trial: FrozenTrial) -> dict[str, str] | None:
    """What others say of a trial whose process died: its `state` and the `reason`; None of any other.

    Kept apart from what its own process says, which may live after all and speak at the same moment.
    """
    found: dict[str, str] | None = trial.user_attrs.get(PREFIX + "death")
    return found if trial.state == OptunaState.FAIL else None


def retry_of(trial: FrozenTrial) -> int | None:
    """The number of the trial whose configuration this one was queued again for."""
    found: int | None = trial.user_attrs.get(PREFIX + "retry_of")
    return found


def deaths(trials: Sequence[FrozenTrial], number: int) -> int:
    """How often a process died with a trial's configuration: with the trial itself, and with those it is a retry of."""
    return sum(death_of(trials[one]) is not None for one in (number, *predecessors(trials, number)))


def predecessors(trials: Sequence[FrozenTrial], number: int) -> list[int]:
    """The trials that a trial is a retry of, the newest first: those that were interrupted or died."""
    found: list[int] = []
    while (before := retry_of(trials[number])) is not None:
        number = before
        found.append(number)
    return found


def planned_params(trial: FrozenTrial) -> dict[str, ParamValue]:
    """A trial's parameters under their Hydra keys: those it has, else those it is to have."""
    planned: dict[str, ParamValue] = dict(trial.user_attrs.get(PREFIX + "params", {}))
    return planned | plain_params(trial.params)


def study_view(name: str, folder: Path, facts: Mapping[str, Any], trials: Sequence[FrozenTrial]) -> StudyView:
    """A study's facts and trials as the contract has them; trials that wait in the queue are not shown."""
    begun = [trial for trial in trials if trial.state != OptunaState.WAITING]
    # That of the first trial by number, and not the earliest: clocks of hosts differ, and jump.
    created = next((trial.datetime_start for trial in begun if trial.datetime_start), None)
    return StudyView(
        name=name,
        objectives=facts["objectives"],
        search_space=facts.get("search_space", {}),
        n_trials=facts.get("n_trials", len(begun)),
        trials=tuple(trial_view(trial, folder, facts) for trial in begun),
        created=_aware(created),
        config=facts.get("config", {}),
        provenance=facts.get("provenance", {}),
        anchors=facts.get("anchors", {}),
        mlflow_run_id=facts.get("mlflow_run_id"),
        identity=facts.get(IDENTITY),
    )


def trial_view(trial: FrozenTrial, folder: Path, facts: Mapping[str, Any]) -> TrialView:
    """A trial as the contract has it, without what lies in files."""
    own = facts_of(trial.user_attrs)
    weights = inside(folder, own["weights_path"]) if own.get("weights_path") else None
    death = death_of(trial)
    return TrialView(
        number=trial.number,
        state=state_of(trial),
        params=planned_params(trial),
        metrics=own.get("metrics", {}) if death is None else {},
        reason=own.get("reason") if death is None else death["reason"],
        started=_aware(trial.datetime_start),
        ended=_aware(trial.datetime_complete),
        overrides=tuple(own.get("overrides", ())),
        provenance=own.get("provenance", {}),
        weights_path=str(weights) if weights else None,
        mlflow_run_id=facts["mlflow_runs"].get(str(trial.number)),
    )


def _aware(moment: datetime | None) -> datetime | None:
    """Optuna keeps local time without a zone."""
    return moment.astimezone() if moment else None


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What differs between two definitions, a line a key: `train.epochs: 2 -> 3`."""
    old, new = _flat(before), _flat(after)
    return [
        f"{key}: {old.get(key, 'absent')!r} -> {new.get(key, 'absent')!r}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key, _ABSENT) != new.get(key, _ABSENT)
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + str(key)] = value
    return flat
