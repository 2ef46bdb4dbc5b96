"""The ledger: Optuna's storage, and the single source of truth for a study."""

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from adapter_sweep.config import Dimension, with_params
from adapter_sweep.config.space import grid_points
from adapter_sweep.errors import AdapterSweepError, UserInputError
from adapter_sweep.records import Direction, ParamValue, StudyView, TrialState, TrialView
from adapter_sweep.study.samplers import distributions, make_sampler
from adapter_sweep.study.slots import Slot, is_abandoned

__all__ = ["CURVES_FILE", "Ledger", "open_storage", "storage_url"]

CURVES_FILE = "curves.json"
_PREFIX = "adapter_sweep:"
_FOLDER = "trials"
_ASK_LOCK = ".ask.lock"


def storage_url(storage: str | None, results_dir: Path) -> str:
    """The ledger's database URL: the user's, or SQLite in the results folder."""
    return storage or f"sqlite:///{(results_dir / 'optuna.db').absolute()}"


def open_storage(url: str, results_dir: Path) -> optuna.storages.RDBStorage:
    """Open the ledger's database, creating and migrating it once, however many processes start together.

    Raises:
        UserInputError: the URL is not one SQLAlchemy understands, or its driver is not installed.
        AdapterSweepError: the database cannot be opened. Neither names the URL's password.
    """
    try:
        shown = make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        raise UserInputError(
            "study.storage: not a database URL; expected e.g. sqlite:///file.db or postgresql://host/db"
        ) from None
    options: dict[str, Any] = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        results_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(results_dir / ".optuna.lock"):
            return optuna.storages.RDBStorage(url, engine_kwargs=options)
    except ImportError as error:
        raise UserInputError(f"study.storage={shown}: its driver is not installed: {error}") from None
    except PermissionError as error:
        raise AdapterSweepError(f"results_dir={results_dir}: cannot be written: {error.strerror}") from None
    except OSError as error:
        raise AdapterSweepError(f"results_dir={results_dir}: cannot be used: {error.strerror}") from None
    except (SQLAlchemyError, RuntimeError) as error:
        cause = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise AdapterSweepError(f"study.storage={shown}: the ledger cannot be opened: {cause}") from None


class Ledger:
    """One study in the ledger.

    Use `Ledger.start` to begin or continue a study, `Ledger.read` to look at one.
    """

    def __init__(
        self,
        study: optuna.Study,
        results_dir: Path,
        space: Mapping[str, Dimension] | None = None,
        grid: list[dict[str, ParamValue]] | None = None,
    ) -> None:
        self._study = study
        self._space = dict(space or {})
        self._grid = grid
        self.folder = results_dir / study.study_name

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
    ) -> "Ledger":
        """Create the study, or open it where it exists.

        Raises:
            UserInputError: a study of that name exists with another definition; says what differs.
        """
        storage = open_storage(url, results_dir)
        study = optuna.create_study(
            study_name=name, storage=storage, directions=list(objectives.values()), load_if_exists=True
        )
        ledger = cls(study, results_dir, space, _shuffled_grid(space, seed) if sampler == "grid" else None)
        known = study.user_attrs.get(_PREFIX + "definition")
        if known is None:
            ledger.set_facts(definition=dict(definition), objectives=dict(objectives))
        else:
            ledger._refuse_changes(known, definition)
        # The same seed at each start would suggest the first trials again.
        study.sampler = make_sampler(sampler, seed + len(study.get_trials(deepcopy=False)))
        ledger.folder.mkdir(parents=True, exist_ok=True)
        return ledger

    @classmethod
    def read(cls, name: str, *, url: str, results_dir: Path) -> "Ledger":
        """Open a study that exists.

        Raises:
            UserInputError: there is none of that name; lists those that exist.
        """
        if (
            url.startswith("sqlite")
            and not (results_dir / "optuna.db").exists()
            and url == storage_url(None, results_dir)
        ):
            raise UserInputError(f"{results_dir} holds no study; start one with: adapter-sweep run")
        storage = open_storage(url, results_dir)
        names = [summary.study_name for summary in optuna.get_all_study_summaries(storage)]
        if name not in names:
            raise UserInputError(f"there is no study {name!r}; there are: {', '.join(sorted(names)) or 'none'}")
        return cls(optuna.load_study(study_name=name, storage=storage), results_dir)

    @property
    def name(self) -> str:
        """The study's name."""
        return str(self._study.study_name)

    def trial_folder(self, number: int) -> Path:
        """Where a trial keeps its files."""
        return self.folder / _FOLDER / f"{number:05d}"

    # -- the trials' way through the ledger

    def ask(self, n_trials: int) -> tuple[optuna.Trial, Slot] | None:
        """The next trial, its parameters suggested, and the slot that marks it as worked on; None where all have begun.

        Asking and counting happen under one lock, so several processes never start more trials than there are to be.
        """
        with FileLock(self.folder / _ASK_LOCK):
            trials = self._study.get_trials(deepcopy=False)
            counted = sum(1 for t in trials if t.state != OptunaState.WAITING and _state(t).counts)
            if counted >= n_trials:
                return None
            waiting = any(t.state == OptunaState.WAITING for t in trials)
            if self._grid is not None and not waiting and not self._enqueue_next_point(trials):
                return None
            trial = self._study.ask(distributions(self._space))
            return trial, Slot(self.trial_folder(trial.number))

    def tell(
        self,
        trial: optuna.Trial,
        state: TrialState,
        *,
        metrics: Mapping[str, float] | None = None,
        reason: str | None = None,
        constraints: Mapping[str, float] | None = None,
    ) -> TrialState:
        """Record how a trial ended; returns its state, which is failed where an objective was not measured."""
        metrics = dict(metrics or {})
        objectives: dict[str, Direction] = self._get("objectives")
        missing = [name for name in objectives if name not in metrics]
        if state is TrialState.COMPLETE and missing:
            state, reason = TrialState.FAILED, f"not measured: {', '.join(missing)}"
        self._attr(trial, "state", state)
        self._attr(trial, "metrics", metrics)
        if reason is not None:
            self._attr(trial, "reason", reason)
        for name, over in (constraints or {}).items():
            trial.set_constraint(name, over)
        if state is TrialState.COMPLETE:
            self._study.tell(trial, [metrics[name] for name in objectives])
        else:
            # Optuna's samplers learn a constraint from pruned trials, and nothing from failed ones.
            pruned = state in (TrialState.REFUSED, TrialState.PRUNED)
            self._study.tell(trial, state=OptunaState.PRUNED if pruned else OptunaState.FAIL)
        if state is TrialState.INTERRUPTED and trial.params and trial.params.keys() == self._space.keys():
            self._study.enqueue_trial(trial.params)
        return state

    def note(self, trial: optuna.Trial, **facts: object) -> None:
        """Write facts of a running trial: `params`, `overrides`, `provenance`, `weights_path`."""
        for name, value in facts.items():
            self._attr(trial, name, value)

    def recover(self) -> int:
        """Mark the running trials whose process died as interrupted, and queue their configurations again."""
        found = 0
        with FileLock(self.folder / _ASK_LOCK):
            for frozen in self._study.get_trials(deepcopy=False, states=(OptunaState.RUNNING,)):
                if is_abandoned(self.trial_folder(frozen.number), only_this_host=self._is_sqlite()):
                    trial = optuna.Trial(self._study, frozen._trial_id)
                    self.tell(trial, TrialState.INTERRUPTED, reason="its process ended without a word")
                    found += 1
        return found

    # -- facts beside the trials

    def latency(self, key: str) -> dict[str, float] | None:
        """The latency of an architecture, where it was measured before."""
        found: dict[str, float] | None = self._study.user_attrs.get(f"{_PREFIX}latency:{key}")
        return found

    def keep_latency(self, key: str, metrics: Mapping[str, float]) -> None:
        """Keep the latency of an architecture for every further trial of it."""
        self._set(f"latency:{key}", dict(metrics))

    def set_facts(self, **facts: object) -> None:
        """Write facts of the study: `config`, `search_space`, `n_trials`, `provenance`, `anchors`, `mlflow_run_id`."""
        for name, value in facts.items():
            self._set(name, value)

    def set_mlflow_run(self, number: int, run_id: str) -> None:
        """Write which MLflow run shows a trial. Optuna keeps a finished trial as it is, so the study holds it."""
        self._set(f"mlflow_run:{number}", run_id)

    # -- what others read

    def view(self) -> StudyView:
        """The study as it stands, without the trials' curves and configurations."""
        facts = {k.removeprefix(_PREFIX): v for k, v in self._study.user_attrs.items() if k.startswith(_PREFIX)}
        trials = [t for t in self._study.get_trials(deepcopy=False) if t.state != OptunaState.WAITING]
        started = [t.datetime_start for t in trials if t.datetime_start]
        return StudyView(
            name=self.name,
            objectives=facts["objectives"],
            search_space=facts.get("search_space", {}),
            n_trials=facts.get("n_trials", len(trials)),
            trials=tuple(self._view_trial(t, facts) for t in trials),
            created=_aware(min(started, default=None)),
            config=facts.get("config", {}),
            provenance=facts.get("provenance", {}),
            anchors=facts.get("anchors", {}),
            mlflow_run_id=facts.get("mlflow_run_id"),
        )

    def view_trial(self, number: int) -> TrialView:
        """One trial with all there is of it: its curves, and its configuration."""
        facts = {k.removeprefix(_PREFIX): v for k, v in self._study.user_attrs.items() if k.startswith(_PREFIX)}
        frozen = next(t for t in self._study.get_trials(deepcopy=False) if t.number == number)
        view = self._view_trial(frozen, facts)
        config = with_params(facts.get("config", {}), view.params)
        return replace(view, curves=self.curves(number), config=config)

    def curves(self, number: int) -> dict[str, list[tuple[int, float]]]:
        """The per-step values of a trial; empty where it kept none."""
        path = self.trial_folder(number) / CURVES_FILE
        if not path.is_file():
            return {}
        curves: dict[str, list[tuple[int, float]]] = {
            name: [(int(step), float(value)) for step, value in points]
            for name, points in json.loads(path.read_text(encoding="utf-8")).items()
        }
        return curves

    def _view_trial(self, trial: FrozenTrial, facts: Mapping[str, Any]) -> TrialView:
        attrs = {k.removeprefix(_PREFIX): v for k, v in trial.user_attrs.items()}
        weights = attrs.get("weights_path")
        return TrialView(
            number=trial.number,
            state=_state(trial),
            params=dict(trial.params) or attrs.get("params", {}),
            metrics=attrs.get("metrics", {}),
            reason=attrs.get("reason"),
            started=_aware(trial.datetime_start),
            ended=_aware(trial.datetime_complete),
            overrides=tuple(attrs.get("overrides", ())),
            provenance=attrs.get("provenance", {}),
            weights_path=str(self.folder / weights) if weights else None,
            mlflow_run_id=facts.get(f"mlflow_run:{trial.number}"),
        )

    # -- inside

    def _refuse_changes(self, known: Mapping[str, Any], definition: Mapping[str, Any]) -> None:
        before, after = _flat(known), _flat(definition)
        changes = [
            f"{key}: {before.get(key, 'absent')!r} -> {after.get(key, 'absent')!r}"
            for key in sorted(before.keys() | after.keys())
            if before.get(key) != after.get(key)
        ]
        if changes:
            raise UserInputError(
                f"study {self.name!r} exists with another definition, and its trials would not be comparable; "
                "repeat its settings, or give this one a name of its own with study.name=NAME. What differs:",
                *(f"  {change}" for change in changes),
            )

    def _enqueue_next_point(self, trials: list[FrozenTrial]) -> bool:
        assert self._grid is not None
        done = [dict(t.params) for t in trials]
        point = next((p for p in self._grid if p not in done), None)
        if point is not None:
            self._study.enqueue_trial(point)
        return point is not None

    def _is_sqlite(self) -> bool:
        storage: Any = self._study._storage
        backend = getattr(storage, "_backend", storage)  # a study puts a cache around its storage
        return bool(backend.engine.dialect.name == "sqlite")

    def _set(self, name: str, value: object) -> None:
        self._study.set_user_attr(_PREFIX + name, value)

    def _get(self, name: str) -> Any:
        return self._study.user_attrs[_PREFIX + name]

    @staticmethod
    def _attr(trial: optuna.Trial, name: str, value: object) -> None:
        trial.set_user_attr(_PREFIX + name, value)


def _state(trial: FrozenTrial) -> TrialState:
    told = trial.user_attrs.get(_PREFIX + "state")
    if trial.state == OptunaState.RUNNING:
        return TrialState.RUNNING
    if told in (None, TrialState.RUNNING):
        return {OptunaState.COMPLETE: TrialState.COMPLETE, OptunaState.PRUNED: TrialState.PRUNED}.get(
            trial.state, TrialState.FAILED
        )
    return TrialState(told)


def _shuffled_grid(space: Mapping[str, Dimension], seed: int) -> list[dict[str, ParamValue]]:
    """Every point once; shuffled, so that a part of the grid is a fair sample of it."""
    points = grid_points(space)
    random.Random(seed).shuffle(points)
    return points


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + str(key)] = value
    return flat


def _aware(moment: datetime | None) -> datetime | None:
    """Optuna keeps local time without a zone."""
    return moment.astimezone() if moment else None
