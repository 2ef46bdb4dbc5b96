"""The ledger: Optuna's storage, and the single source of truth for a study."""

import functools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from adapter_sweep.config import Dimension, with_params
from adapter_sweep.config.definitions import as_defined_now
from adapter_sweep.config.naming import METHOD, applying, named_params
from adapter_sweep.errors import UserInputError
from adapter_sweep.records import Direction, ParamValue, StudyView, TrialState, TrialView
from adapter_sweep.study.facts import PREFIX, differences, facts_of, planned_params, state_of, study_view, trial_view
from adapter_sweep.study.grid import first_left, grid_points_in_order
from adapter_sweep.study.presence import enter, leave, processes_at_work, study_lock
from adapter_sweep.study.samplers import make_sampler, suggest
from adapter_sweep.study.slots import Slot, is_abandoned
from adapter_sweep.study.stopping import StopSign, ask_to_stop
from adapter_sweep.study.storage import (
    ledger_errors,
    locks_folder,
    open_storage,
    sqlite_file,
    storage_to_read,
    storage_url,
)

__all__ = ["CURVES_FILE", "DELETING", "PREDICTIONS_FILE", "Ledger", "open_storage", "storage_url"]

CURVES_FILE = "curves.json"
PREDICTIONS_FILE = "predictions.json"  # of trials scored on the test split
DELETING = "deleting"  # the fact of a study that is being deleted
_FOLDER = "trials"
_RUNS_TOGETHER = 100  # so many MLflow run ids share a fact: a fact each would be read with every other, every time


class Ledger:
    """One study in the ledger.

    Use `Ledger.start` to begin or continue a study, `Ledger.read` to look at one.

    Guarantees: any number of processes may use one study at once. Those of one host never start more trials than there
    are to be; a trial that died with its process is found by the next one that asks.
    """

    def __init__(
        self,
        study: optuna.Study,
        url: str,
        results_dir: Path,
        space: Mapping[str, Dimension] | None = None,
        sampler: str = "random",
        seed: int = 0,
        points: Sequence[Mapping[str, ParamValue]] | None = None,
    ) -> None:
        self._study = study
        self._space = dict(space or {})
        self._sampler = sampler
        self._seed = seed
        if points is None and sampler == "grid":
            points = grid_points_in_order(self._space, seed)
        self._points = points
        self._latencies: dict[str, dict[str, float]] = {}
        self._only_this_host = sqlite_file(url) is not None
        self._locks = locks_folder(url, results_dir) / study.study_name
        self.folder = results_dir / study.study_name
        self.stop_sign: StopSign | None = None  # of a study that is worked on

    @classmethod
    def start(
        cls,
        name: str,
        *,
        url: str,
        results_dir: Path,
        definition: Mapping[str, Any],
        objectives: Mapping[str, Direction],
        space: Mapping[str, Dimension],
        sampler: str,
        seed: int,
        points: Sequence[Mapping[str, ParamValue]] | None = None,
        stops_before: int | None = None,
    ) -> "Ledger":
        """Create the study, or open it where it exists, and mark this process as one that works on it.

        Args:
            points: what the trials' parameters are to be, in this order, where nothing is to be sampled; all within
                the space.
            stops_before: how often the study had been asked to stop when the work was begun that this process is a
                part of; None where it begins it.

        Raises:
            UserInputError: a study of that name exists with another definition (says what differs), or is not ours.
            AdapterSweepError: the database cannot be used.
        """
        storage = open_storage(url, results_dir)
        wanted = json.loads(json.dumps(dict(definition)))  # as the ledger gives it back
        with ledger_errors(f"study {name!r} cannot be opened"):
            study = optuna.create_study(
                study_name=name, storage=storage, directions=list(objectives.values()), load_if_exists=True
            )
            ledger = cls(study, url, results_dir, space, sampler, seed, points)
            with ledger._locked():
                known = study.user_attrs.get(PREFIX + "definition")
                if known is None:
                    ledger._adopt(wanted, objectives)
                else:
                    ledger._refuse_changes(known, wanted)
                ledger.stop_sign = StopSign(study, stops_before)
                enter(ledger._locks)
        ledger.folder.mkdir(parents=True, exist_ok=True)
        return ledger

    @classmethod
    def read(cls, name: str, *, url: str, results_dir: Path) -> "Ledger":
        """Open a study that exists; makes no file.

        Raises:
            UserInputError: there is none of that name; lists those that exist.
            AdapterSweepError: the database cannot be used.
        """
        storage = storage_to_read(url, results_dir)
        with ledger_errors(f"study {name!r} cannot be read"):
            names = optuna.get_all_study_names(storage)
            if name not in names:
                raise UserInputError(f"there is no study {name!r}; there are: {', '.join(sorted(names)) or 'none'}")
            study = optuna.load_study(study_name=name, storage=storage)
            if PREFIX + "definition" not in study.user_attrs:
                raise UserInputError(f"study {name!r} was not made by adapter-sweep")
        return cls(study, url, results_dir)

    @classmethod
    def read_all(cls, *, url: str, results_dir: Path) -> list["Ledger"]:
        """Open every study of ours in a ledger, by name; makes no file.

        Raises:
            UserInputError: the database is not there, or is another program's.
            AdapterSweepError: it cannot be used.
        """
        storage = storage_to_read(url, results_dir)
        with ledger_errors("the ledger cannot be read"):
            own = [one.study_name for one in storage.get_all_studies() if PREFIX + "definition" in one.user_attrs]
            return [cls(optuna.load_study(study_name=name, storage=storage), url, results_dir) for name in sorted(own)]

    @property
    def name(self) -> str:
        """The study's name."""
        return str(self._study.study_name)

    @property
    def optuna_study(self) -> optuna.Study:
        """The study as Optuna has it."""
        return self._study

    def trial_folder(self, number: int) -> Path:
        """Where a trial keeps its files."""
        return self.folder / _FOLDER / f"{number:05d}"

    # -- the trials' way through the ledger

    def ask(self, n_trials: int | None) -> tuple[optuna.Trial, Slot] | None:
        """The next trial, its parameters suggested, and the slot that marks it as worked on; None where all have begun.

        `n_trials` is None where one more is wanted, whatever there is.

        Asking and counting happen under one lock, so several processes never start more trials than there are to be.
        Trials whose process died are queued again first, and do not count. Should suggesting fail or be interrupted,
        the trial is marked as interrupted.
        """
        with self._locked():
            self._recover()
            trials = self._trials()
            waiting = [t for t in trials if t.state == OptunaState.WAITING]
            counted = sum(1 for t in trials if t.state != OptunaState.WAITING and state_of(t).counts)
            if n_trials is not None and counted >= n_trials:
                return None
            if self._points is not None and not waiting and not self._enqueue_next_point(trials):
                return None
            trial = self._study.ask()
            with self._interrupted_on_error(trial):
                slot = Slot(self._slot(trial.number))
        with self._interrupted_on_error(trial, slot):
            choosing = METHOD in self._space
            self._study.sampler = make_sampler(self._sampler, self._seed, trial.number, choosing=choosing)
            suggest(trial, self._space)
        return trial, slot

    def tell(
        self,
        trial: optuna.Trial,
        state: TrialState,
        *,
        metrics: Mapping[str, float] | None = None,
        reason: str | None = None,
        constraints: Mapping[str, float] | None = None,
    ) -> TrialState:
        """Record how a trial ended, and queue an interrupted one's configuration again.

        A complete trial with an objective that was not measured, or is not finite, is recorded as failed. A trial that
        has ended stays as it ended.

        Returns:
            The trial's state in the ledger.
        """
        metrics = dict(metrics or {})
        objectives = self._objectives
        missing = [name for name in objectives if not math.isfinite(metrics.get(name, math.nan))]
        if state is TrialState.COMPLETE and missing:
            state, reason = TrialState.FAILED, f"not measured: {', '.join(missing)}"
        try:
            self._attr(trial, "state", state)
        except UpdateFinishedTrialError:
            return state_of(self._trials()[trial.number])
        self._attr(trial, "metrics", metrics)
        if reason is not None:
            self._attr(trial, "reason", reason)
        for name, over in (constraints or {}).items():
            trial.set_constraint(name, over)
        if state is TrialState.INTERRUPTED:
            self._queue_again(trial)  # before it is told, so that it is not lost should this process die in between
        if state is TrialState.COMPLETE:
            self._study.tell(trial, [metrics[name] for name in objectives])
        else:
            # Optuna's samplers learn a constraint from pruned trials, and nothing from failed ones.
            pruned = state in (TrialState.REFUSED, TrialState.PRUNED)
            self._study.tell(trial, state=OptunaState.PRUNED if pruned else OptunaState.FAIL)
        return state

    def note(self, trial: optuna.Trial, **facts: object) -> None:
        """Write facts of a running trial: `params`, `overrides`, `provenance`, `config`, `weights_path`."""
        for name, value in facts.items():
            self._attr(trial, name, value)

    def recover(self) -> int:
        """Mark the running trials whose process died as interrupted, and queue their configurations again.

        Returns:
            How many there were. Trials of other hosts are left alone.
        """
        with self._locked():
            return self._recover()

    def at_work(self) -> list[str]:
        """Who else works on the study, in words: processes of this host, and trials that run, here or elsewhere."""
        running = [trial.number for trial in self._trials() if trial.state == OptunaState.RUNNING]
        return [*processes_at_work(self._locks), *(f"trial {n}" for n in running if not self._is_abandoned(n))]

    def leave(self) -> None:
        """This process is done with the study."""
        leave(self._locks)

    def queued(self) -> list[dict[str, ParamValue]]:
        """The parameters of the trials that are asked for next: those of interrupted ones."""
        return [planned_params(trial) for trial in self._trials() if trial.state == OptunaState.WAITING]

    def queue(self, params: Mapping[str, ParamValue]) -> None:
        """Have a trial of these parameters asked for next, whatever there is."""
        self._enqueue(params)

    # -- facts beside the trials

    def latency(self, key: str) -> dict[str, float] | None:
        """The latency of an architecture, where it was measured before."""
        if key not in self._latencies:  # one that is kept never changes
            found: dict[str, float] | None = self.fact(f"latency:{key}")
            if found is None:
                return None
            self._latencies[key] = found
        return dict(self._latencies[key])

    def keep_latency(self, key: str, metrics: Mapping[str, float]) -> dict[str, float]:
        """Keep the latency of an architecture for every further trial of it; returns what is kept: the first one."""
        with self._locked():
            kept = self.latency(key)
            if kept is None:
                kept = dict(metrics)
                self._set(f"latency:{key}", kept)
        return kept

    def ask_to_stop(self) -> None:
        """Ask all who work on the study to leave it; see `StopSign`."""
        with self._locked():
            ask_to_stop(self._study)

    def set_facts(self, **facts: object) -> None:
        """Write facts of the study: `config`, `search_space`, `n_trials`, `provenance`, `anchors`, `mlflow_run_id`."""
        for name, value in facts.items():
            self._set(name, value)

    def set_mlflow_run(self, number: int, run_id: str) -> None:
        """Write which MLflow run shows a trial. Optuna keeps a finished trial as it is, so the study holds it.

        Should two hosts write at once, one's may be lost; the tracker then finds the run by its tags.
        """
        with self._locked():
            name = f"mlflow_runs:{number // _RUNS_TOGETHER}"
            self._set(name, {**(self.fact(name) or {}), str(number): run_id})

    # -- what others read

    def view(self) -> StudyView:
        """The study as it stands, without the trials' curves and configurations."""
        return study_view(self.name, self.folder, facts_of(self._attrs()), self._trials())

    def view_trial(self, number: int) -> TrialView:
        """One trial with all there is of it: its curves, and its configuration.

        Raises:
            IndexError: there is no such trial.
        """
        facts = facts_of(self._attrs())
        frozen = self._trials()[number]
        view = trial_view(frozen, self.folder, facts)
        own = frozen.user_attrs.get(PREFIX + "config")  # where nothing is searched
        config = facts.get("config", {})
        config = with_params(config, view.params) if config and own is None else {**config, **(own or {})}
        return replace(view, curves=self._curves(view), config=config)

    def _curves(self, trial: TrialView) -> dict[str, list[tuple[int, float]]]:
        # Only a complete trial wrote them: a file beside another is of a study that is no more.
        path = self.trial_folder(trial.number) / CURVES_FILE
        if trial.state is not TrialState.COMPLETE or not path.is_file():
            return {}
        return {
            name: [(int(step), float(value)) for step, value in points]
            for name, points in json.loads(path.read_text(encoding="utf-8")).items()
        }

    # -- inside

    def _adopt(self, definition: Mapping[str, Any], objectives: Mapping[str, Direction]) -> None:
        """Make a study ours that has no definition yet: one just created, or left so by a process that died."""
        directions = [direction.name.lower() for direction in self._study.directions]
        if self._trials() or directions != list(objectives.values()):
            raise UserInputError(
                f"study {self.name!r} exists and was not made by adapter-sweep; "
                "give this one a name of its own with study.name=NAME"
            )
        # The definition last: where it is, the rest is.
        self.set_facts(objectives=dict(objectives), definition=dict(definition))

    def _refuse_changes(self, known: Mapping[str, Any], definition: Mapping[str, Any]) -> None:
        if self.fact(DELETING):
            raise UserInputError(
                f"study {self.name!r} is half deleted; finish it first: adapter-sweep delete {self.name}"
            )
        changes = differences(as_defined_now(known), as_defined_now(definition))
        if changes:
            raise UserInputError(
                f"study {self.name!r} exists with another definition, and its trials would not be comparable; "
                "repeat its settings, or give this one a name of its own with study.name=NAME. What differs:",
                *(f"  {change}" for change in changes),
            )

    def _recover(self) -> int:
        found = 0
        for frozen in self._trials():
            if frozen.state == OptunaState.RUNNING and self._is_abandoned(frozen.number):
                # Its process may have ended it after the trials were read: then it stays as it was told.
                trial = optuna.Trial(self._study, frozen._trial_id)
                told = self.tell(trial, TrialState.INTERRUPTED, reason="its process ended without a word")
                found += told is TrialState.INTERRUPTED
                self._slot(frozen.number).unlink(missing_ok=True)
        return found

    def _queue_again(self, trial: optuna.Trial) -> None:
        trials = self._trials()
        params = planned_params(trials[trial.number])
        queued = any(t.user_attrs.get(PREFIX + "retry_of") == trial.number for t in trials)
        if params and params.keys() == applying(self._space, params.get(METHOD)).keys() and not queued:
            self._enqueue(params, retry_of=trial.number)

    def _enqueue_next_point(self, trials: Iterable[FrozenTrial]) -> bool:
        assert self._points is not None
        point = first_left(self._points, (planned_params(trial) for trial in trials))
        if point is not None:
            self._enqueue(point)
        return point is not None

    def _enqueue(self, params: Mapping[str, ParamValue], **facts: object) -> None:
        # What a queued trial is to have is told with it, or it would be lost should it die before it has it.
        attrs = {PREFIX + name: value for name, value in {"params": dict(params), **facts}.items()}
        self._study.enqueue_trial(named_params(self._space, params), user_attrs=attrs)

    @contextmanager
    def _interrupted_on_error(self, trial: optuna.Trial, slot: Slot | None = None) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self.tell(trial, TrialState.INTERRUPTED, reason=f"not begun: {type(error).__name__}")
            if slot is not None:
                slot.close()
            raise

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One at a time, among this host's processes."""
        self._locks.mkdir(parents=True, exist_ok=True)
        with FileLock(study_lock(self._locks)):
            yield

    def _slot(self, number: int) -> Path:
        return self._locks / f"{number}.lock"

    def _is_abandoned(self, number: int) -> bool:
        return is_abandoned(self._slot(number), only_this_host=self._only_this_host)

    def _trials(self) -> list[FrozenTrial]:
        """By number, which is each one's position; not to be changed."""
        with ledger_errors(f"study {self.name!r} cannot be read"):
            return self._study.get_trials(deepcopy=False)

    @functools.cached_property
    def _objectives(self) -> dict[str, Direction]:
        objectives: dict[str, Direction] = self.fact("objectives")
        return objectives

    def fact(self, name: str) -> Any:
        """A fact of the study (see `set_facts`); None where there is none of that name."""
        return self._attrs().get(PREFIX + name)

    def _attrs(self) -> dict[str, Any]:
        """The study's attributes as the database has them; Optuna's own property copies every one of them again."""
        with ledger_errors(f"study {self.name!r} cannot be read"):
            attrs: dict[str, Any] = self._study._storage.get_study_user_attrs(self._study._study_id)
        return attrs

    def _set(self, name: str, value: object) -> None:
        self._study.set_user_attr(PREFIX + name, value)

    @staticmethod
    def _attr(trial: optuna.Trial, name: str, value: object) -> None:
        trial.set_user_attr(PREFIX + name, value)
