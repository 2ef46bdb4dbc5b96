"""A study's rows in Optuna's storage, with our facts under our names."""

import warnings
from collections.abc import Sequence
from typing import Any, cast

import optuna
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb.models import TrialHeartbeatModel
from optuna.trial import FrozenTrial
from sqlalchemy import select

from adapter_sweep.study.facts import PREFIX
from adapter_sweep.study.storage import ledger_errors

__all__ = ["Rows"]


class Rows:
    """One study as the database has it now; nothing is kept here."""

    def __init__(self, study: optuna.Study) -> None:
        self.study = study

    @property
    def name(self) -> str:
        """The study's name."""
        return str(self.study.study_name)

    @property
    def database(self) -> RDBStorage:
        """What lies under Optuna's cache."""
        return cast(_CachedStorage, self.study._storage)._backend

    def trials(self) -> list[FrozenTrial]:
        """By number, which is each one's position; not to be changed."""
        with ledger_errors(f"study {self.name!r} cannot be read"):
            return self.study.get_trials(deepcopy=False)

    def attrs(self) -> dict[str, Any]:
        """The study's attributes; Optuna's own property copies every one of them again."""
        with ledger_errors(f"study {self.name!r} cannot be read"):
            attrs: dict[str, Any] = self.study._storage.get_study_user_attrs(self.study._study_id)
        return attrs

    def fact(self, name: str) -> Any:
        """A fact of the study; None where it has none of that name."""
        return self.attrs().get(PREFIX + name)

    def set(self, name: str, value: object) -> None:
        """Write a fact of the study."""
        with ledger_errors(f"study {self.name!r} cannot be written; the same command continues it once it can be"):
            self.study.set_user_attr(PREFIX + name, value)

    def ask(self) -> optuna.Trial:
        """Begin the first trial that waits, or a new one."""
        # Optuna supposes that nobody but its own loop lets trials beat. The filter stays: to put the old filters back
        # would take away those that a thread has set meanwhile for what it imports.
        warnings.filterwarnings("ignore", message="Heartbeat of storage", category=UserWarning)
        return self.study.ask()

    @staticmethod
    def note(trial: optuna.Trial, name: str, value: object) -> None:
        """Write a fact of a trial.

        Raises:
            UpdateFinishedTrialError: it has ended, and stays as it is.
        """
        trial.set_user_attr(PREFIX + name, value)

    def trial(self, frozen: FrozenTrial) -> optuna.Trial:
        """What a trial that was read is written with."""
        return optuna.Trial(self.study, frozen._trial_id)

    # -- heartbeats, all by the database's clock

    def beat(self, trial_id: int) -> None:
        """Say that a trial is worked on."""
        self.database.record_heartbeat(trial_id)

    def silent(self, trials: Sequence[FrozenTrial], grace: int) -> list[int]:
        """The numbers of those running trials that were not heard of for `grace` seconds, or never."""
        if not trials:
            return []
        self.database.grace_period = grace  # each study's own, of those that share the database
        with ledger_errors(f"study {self.name!r} cannot be read"):
            stale = set(self.database._get_stale_trial_ids(self.study._study_id))
            ids = [trial._trial_id for trial in trials]
            heard = select(TrialHeartbeatModel.trial_id).where(TrialHeartbeatModel.trial_id.in_(ids))
            with self.database.engine.connect() as connection:
                heard_of = set(connection.execute(heard).scalars())
        return [trial.number for trial in trials if trial._trial_id in stale or trial._trial_id not in heard_of]
