"""A study of the ledger as plain JSON values, and a study made of such values: numbers, states and times as they were.

Nothing is pickled: what is read comes from a file that anybody may have written.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import optuna
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from adapter_sweep.errors import UserInputError
from adapter_sweep.records import TrialState
from adapter_sweep.study.facts import IDENTITY, PREFIX, facts_of, study_view
from adapter_sweep.study.opening import DELETING
from adapter_sweep.study.stopping import STOP

__all__ = ["complete_import", "exported", "import_study", "imported_identity", "is_half_imported"]

_RESTORING = PREFIX + "restoring"
_DEFINITION = PREFIX + "definition"
# MLflow's runs are those of a store that stays behind; they are made again from the ledger.
_OF_THE_STORE = re.compile(re.escape(PREFIX) + r"mlflow_run.*", re.DOTALL)
_SECTIONS = {"backbone", "task", "method", "train", "latency", "workers", "tracking", "study", "confirm", "budget"}


def exported(study: optuna.Study) -> dict[str, Any]:
    """A study with all its trials, as JSON values; times are in UTC, with their zone."""
    return {
        "directions": [direction.name for direction in study.directions],
        "user_attrs": {name: value for name, value in study.user_attrs.items() if not _OF_THE_STORE.fullmatch(name)},
        "system_attrs": study._storage.get_study_system_attrs(study._study_id),
        "trials": [_exported_trial(trial) for trial in study.get_trials(deepcopy=False)],
    }


def import_study(storage: optuna.storages.RDBStorage, name: str, told: Mapping[str, Any], identity: str) -> None:
    """Make a study of what `exported` told; until `complete_import` it is nobody's, and may be removed again.

    It has an identity of its own, as a copy's runs and files are its own.
    Where this fails, the study that it made is gone, and one that was there before is left as it is.

    Raises:
        UserInputError: the values are no study's, or there is a study of that name.
    """
    directions, trials, user_attrs, system_attrs = _read(told)
    try:
        study = optuna.create_study(study_name=name, storage=storage, directions=directions)
    except optuna.exceptions.DuplicatedStudyError:  # another host has begun one since the name was looked up
        raise UserInputError(f"there is a study {name!r} already; restore into another results_dir") from None
    try:
        study.set_user_attr(_RESTORING, True)
        study.set_user_attr(PREFIX + IDENTITY, identity)
        for trial in trials:
            study.add_trial(trial)
        for key, value in user_attrs.items():
            if key not in (_DEFINITION, PREFIX + IDENTITY):
                study.set_user_attr(key, value)
        for key, value in system_attrs.items():
            study._storage.set_study_system_attr(study._study_id, key, value)
    except BaseException:
        storage.delete_study(study._study_id)
        raise


def complete_import(storage: optuna.storages.RDBStorage, name: str, told: Mapping[str, Any]) -> None:
    """Make an imported study one of ours; its files are in their place."""
    study = optuna.load_study(study_name=name, storage=storage)
    study.set_user_attr(_DEFINITION, told["user_attrs"][_DEFINITION])
    study.set_user_attr(_RESTORING, False)


def is_half_imported(storage: optuna.storages.RDBStorage, name: str) -> bool:
    """Whether a study is what a restore left that was cut short."""
    attrs = storage.get_study_user_attrs(storage.get_study_id_from_name(name))
    return bool(attrs.get(_RESTORING)) and _DEFINITION not in attrs


def imported_identity(storage: optuna.storages.RDBStorage, name: str) -> str | None:
    """The identity of a study that is perhaps half imported; None where it has none yet."""
    attrs = storage.get_study_user_attrs(storage.get_study_id_from_name(name))
    found: str | None = attrs.get(PREFIX + IDENTITY)
    return found


def _exported_trial(trial: FrozenTrial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state.name,
        "values": trial.values,
        "started": _utc(trial.datetime_start),
        "ended": _utc(trial.datetime_complete),
        "params": trial.params,
        "distributions": {name: json.loads(distribution_to_json(own)) for name, own in trial.distributions.items()},
        "user_attrs": trial.user_attrs,
        "system_attrs": trial.system_attrs,
        "intermediate_values": {str(step): value for step, value in trial.intermediate_values.items()},
    }


def _read(
    told: Mapping[str, Any],
) -> tuple[list[optuna.study.StudyDirection], list[FrozenTrial], dict[str, Any], dict[str, Any]]:
    try:
        directions = [optuna.study.StudyDirection[name] for name in told["directions"]]
        user_attrs = {key: value for key, value in _named(told["user_attrs"]).items() if not _stays_behind(key)}
        system_attrs = _named(told["system_attrs"])
        trials = [_trial(number, one) for number, one in enumerate(told["trials"])]
        _check_facts(user_attrs, trials, len(directions))
        study_view("restored", Path(), facts_of(user_attrs), trials)  # what cannot be shown is refused here
    except UserInputError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserInputError(f"its ledger is damaged: {type(error).__name__}: {error}") from None
    return directions, trials, _without_store(user_attrs), system_attrs


def _without_store(user_attrs: dict[str, Any]) -> dict[str, Any]:
    """No store shows the study yet; and a file does not say which server `delete` goes to, with the user's password."""
    config = user_attrs.get(PREFIX + "config", {})
    return user_attrs | ({PREFIX + "config": {**config, "tracking": {}}} if "tracking" in config else {})


def _stays_behind(key: str) -> bool:
    return key in (PREFIX + DELETING, _RESTORING) or _OF_THE_STORE.fullmatch(key) is not None


def _trial(number: int, told: Mapping[str, Any]) -> FrozenTrial:
    if told["number"] != number:
        raise ValueError(f"trial {told['number']!r} stands in the place of trial {number}")
    distributions = {name: json_to_distribution(json.dumps(own)) for name, own in _named(told["distributions"]).items()}
    trial = FrozenTrial(
        number=number,
        trial_id=-1,
        state=OptunaState[told["state"]],
        value=None,
        values=_numbers(told["values"]),
        datetime_start=_local(told["started"]),
        datetime_complete=_local(told["ended"]),
        params=_named(told["params"]),
        distributions=distributions,
        user_attrs=_named(told["user_attrs"]),
        system_attrs=_named(told["system_attrs"]),
        intermediate_values={int(step): float(value) for step, value in _named(told["intermediate_values"]).items()},
    )
    trial._validate()
    return trial


def _check_facts(user_attrs: Mapping[str, Any], trials: Sequence[FrozenTrial], objectives: int) -> None:
    """What the ledger relies on when it reads, so that nothing fails, or reads elsewhere, later."""
    if not isinstance(user_attrs[_DEFINITION], dict):
        raise ValueError("no definition")
    named = _named(user_attrs[PREFIX + "objectives"])
    if len(named) != objectives or not set(named.values()) <= {"maximize", "minimize"}:
        raise ValueError("its objectives are not those of its trials")
    if any(trial.values is not None and len(trial.values) != objectives for trial in trials):
        raise ValueError("a trial has not as many values as there are objectives")
    for key in ("config", "search_space", "provenance", "anchors"):
        _named(user_attrs.get(PREFIX + key, {}))
    for key in _SECTIONS & user_attrs.get(PREFIX + "config", {}).keys():
        if (section := user_attrs[PREFIX + "config"][key]) is not None:
            _named(section)
    n_trials = user_attrs.get(PREFIX + "n_trials", 0)
    if type(n_trials) is not int or n_trials < 0:
        raise ValueError(f"its number of trials is {n_trials!r}")
    if (job := user_attrs.get(PREFIX + "job")) is not None and not _are_texts(_named(job)["overrides"]):
        raise ValueError("what reproduces its settings is no list of texts")
    if stop := _named(user_attrs.get(PREFIX + STOP, {})):
        datetime.fromisoformat(stop["asked"])
        int(stop.get("count", 0))
    for trial in trials:
        _check_chain(trial)
        own = {name: trial.user_attrs.get(PREFIX + name) for name in ("state", "params", "metrics", "weights_path")}
        if own["state"] is not None:
            TrialState(own["state"])
        _named(own["params"] or {})
        if not all(isinstance(value, int | float) for value in _named(own["metrics"] or {}).values()):
            raise ValueError(f"trial {trial.number} has a metric that is no number")
        weights = own["weights_path"]
        if weights is not None and (PurePosixPath(weights).is_absolute() or ".." in PurePosixPath(weights).parts):
            raise ValueError(f"trial {trial.number} names weights outside of its study: {weights!r}")


def _check_chain(trial: FrozenTrial) -> None:
    """What a trial is a retry of came before it: no chain of retries ends in itself."""
    death = trial.user_attrs.get(PREFIX + "death")
    if death is not None and not (TrialState(_named(death)["state"]) and isinstance(death["reason"], str)):
        raise ValueError(f"trial {trial.number} died of {death!r}")
    before = trial.user_attrs.get(PREFIX + "retry_of")
    if before is not None and (type(before) is not int or not 0 <= before < trial.number):
        raise ValueError(f"trial {trial.number} is a retry of {before!r}")
    overrides = trial.user_attrs.get(PREFIX + "overrides", [])
    if not _are_texts(overrides):
        raise ValueError(f"trial {trial.number} has overrides that are no list of texts")


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _named(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"a mapping was expected, not {type(value).__name__}")
    return value


def _numbers(values: Any) -> list[float] | None:
    if values is None:
        return None
    numbers = [float(value) for value in values]
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError("a value is not finite")
    return numbers


def _utc(moment: datetime | None) -> str | None:
    """Optuna keeps local time without a zone."""
    return None if moment is None else moment.astimezone(UTC).isoformat()


def _local(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone().replace(tzinfo=None)
