"""The ledger: Optuna's storage, and the single source of truth for a study."""

import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from adapter_sweep.config import Dimension
from adapter_sweep.config.naming import METHOD
from adapter_sweep.records import Direction, ParamValue, StudyView, TrialState, TrialView
from adapter_sweep.study.commands import command
from adapter_sweep.study.ending import Ending, TrialTakenError, end_trial, note_facts
from adapter_sweep.study.facts import IDENTITY, PREFIX, deaths, predecessors, state_of
from adapter_sweep.study.grid import grid_points_in_order
from adapter_sweep.study.heart import Heart
from adapter_sweep.study.kept import Latencies, keep_runs
from adapter_sweep.study.locking import folder_errors, one_using
from adapter_sweep.study.names import CONFIRMED, check_new_name, study_folder
from adapter_sweep.study.opening import define, existing_study
from adapter_sweep.study.ownership import claim, folder_taken, is_taken
from adapter_sweep.study.patience import patient
from adapter_sweep.study.presence import enter, leave, processes_at_work
from adapter_sweep.study.queue import Queue
from adapter_sweep.study.reading import CURVES_FILE, PREDICTIONS_FILE, trial_folder, view_study, view_trial
from adapter_sweep.study.recovery import Recovery
from adapter_sweep.study.rows import Rows
from adapter_sweep.study.samplers import make_sampler, suggest
from adapter_sweep.study.slots import Hold
from adapter_sweep.study.stopping import StopSign, ask_to_stop
from adapter_sweep.study.storage import (
    HEARTBEAT_SECONDS,
    ledger_errors,
    locks_folder,
    open_storage,
    sqlite_file,
    storage_to_read,
    storage_url,
)

__all__ = ["CURVES_FILE", "PREDICTIONS_FILE", "Ledger", "TrialTakenError", "open_storage", "storage_url"]

MAX_RETRIES = 2


class Ledger:
    """One study in the ledger.

    Use `Ledger.start` to begin or continue a study, `Ledger.read` to look at one.

    Guarantees: any number of processes may use one study at once, on one host and, where the database is a PostgreSQL
    server's, on many; together they never start more trials than there are to be. A trial that died with its process
    is found by the next one that asks, and its configuration is queued again, at most `max_retries` times. A trial that
    has ended stays as it ended: a process that was taken for dead and lives cannot change it. Once a study is open, a
    ledger that is away is waited for, up to a minute; see `patient`.
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
        max_retries: int = MAX_RETRIES,
        heartbeat_seconds: int = HEARTBEAT_SECONDS,
    ) -> None:
        self._study = study
        self._url = url
        self._rows = Rows(study)
        self._space = dict(space or {})
        self._sampler = sampler
        self._seed = seed
        if points is None and sampler == "grid":
            points = grid_points_in_order(self._space, seed)
        self._queue = Queue(self._rows, self._space, points)
        self._latencies = Latencies(self._rows)
        self.folder = study_folder(results_dir, study.study_name)
        self._locks = locks_folder(url, results_dir) / self.folder.name
        self._heart = Heart(self._rows.beat, heartbeat_seconds)
        self._recovery = Recovery(
            self._rows,
            self._slot,
            self.trial_folder,
            only_this_host=sqlite_file(url) is not None,
            seconds=heartbeat_seconds,
            max_retries=max_retries,
        )
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
        max_retries: int = MAX_RETRIES,
        heartbeat_seconds: int = HEARTBEAT_SECONDS,
    ) -> "Ledger":
        """Create the study, or open it where it exists, and mark this process as one that works on it.

        Args:
            points: what the trials' parameters are to be, in this order, where nothing is to be sampled; all within
                the space.
            stops_before: how often the study had been asked to stop when the work was begun that this process is a
                part of; None where it begins it.
            max_retries: how often a configuration is queued again after a process died with it; then it has failed.
            heartbeat_seconds: between two heartbeats of a trial. Those who share a study have the same.

        Raises:
            UserInputError: a study of that name exists with another definition (says what differs), or is not ours; or
                another ledger's has its folder.
            AdapterSweepError: the database or the folder cannot be used.
        """
        storage = open_storage(url, results_dir, heartbeat_seconds)
        wanted = json.loads(json.dumps(dict(definition)))  # as the ledger gives it back
        with ledger_errors(f"study {name!r} cannot be opened"):
            folder = study_folder(results_dir, name)
            taken = is_taken(folder)  # looked at first: who begins the same study makes it, and then its folder
            names = optuna.get_all_study_names(storage)
            check_new_name(name, names)
            if taken and name not in names:
                raise folder_taken(folder, begun=False)
            study = optuna.create_study(
                study_name=name, storage=storage, directions=list(objectives.values()), load_if_exists=True
            )
            ledger = cls(study, url, results_dir, space, sampler, seed, points, max_retries, heartbeat_seconds)
            with ledger._locked():
                delete = command("delete", name.removesuffix(CONFIRMED), url=url, results_dir=results_dir)
                define(ledger._rows, wanted, objectives, delete=delete)
                claim(folder, ledger._rows.fact(IDENTITY), url, begun=bool(ledger._rows.trials()))
                ledger._enter(stops_before)
        return ledger

    @classmethod
    def read(cls, name: str, *, url: str, results_dir: Path) -> "Ledger":
        """Open a study that exists; makes no file. Heartbeats and retries are those that it was begun with.

        Raises:
            UserInputError: there is none of that name; lists those that exist.
            AdapterSweepError: the database cannot be used.
        """
        study = existing_study(name, url, results_dir)
        with ledger_errors(f"study {name!r} cannot be read"):
            return cls._opened(study, url, results_dir)

    @classmethod
    def read_all(cls, *, url: str, results_dir: Path) -> list["Ledger"]:
        """Open every study of ours in a ledger, by name, each as `read` does; makes no file.

        Raises:
            UserInputError: the database is not there, or is another program's.
            AdapterSweepError: it cannot be used.
        """
        storage = storage_to_read(url, results_dir)
        with ledger_errors("the ledger cannot be read"):
            own = [one.study_name for one in storage.get_all_studies() if PREFIX + "definition" in one.user_attrs]
            studies = [optuna.load_study(study_name=name, storage=storage) for name in sorted(own)]
            return [cls._opened(study, url, results_dir) for study in studies]

    @classmethod
    def _opened(cls, study: optuna.Study, url: str, results_dir: Path) -> "Ledger":
        known: Mapping[str, Any] = (Rows(study).fact("config") or {}).get("study", {})
        seconds, retries = known.get("heartbeat_seconds", HEARTBEAT_SECONDS), known.get("max_retries", MAX_RETRIES)
        return cls(study, url, results_dir, max_retries=retries, heartbeat_seconds=seconds)

    @property
    def name(self) -> str:
        """The study's name."""
        return self._rows.name

    @property
    def optuna_study(self) -> optuna.Study:
        """The study as Optuna has it."""
        return self._study

    def trial_folder(self, number: int) -> Path:
        """Where a trial keeps its files."""
        return trial_folder(self.folder, number)

    # -- the trials' way through the ledger

    @patient
    def ask(self, n_trials: int | None, *, in_company: bool = False) -> tuple[optuna.Trial, Hold] | None:
        """The next trial, its parameters suggested, and what marks it as worked on; None where all have begun.

        Asking and counting happen under one lock, so several processes never start more trials than there are to be.
        Trials whose process died are queued again first, and do not count. Should suggesting fail or be interrupted,
        the trial is marked as interrupted.

        Args:
            n_trials: how many there are to be; None where one more is wanted, whatever there is.
            in_company: whether it is to be trained with others. Then it is None as well where the next one goes alone;
                see `goes_alone`.
        """
        with self._locked():
            self._recover()
            trials = self._rows.trials()
            if n_trials is not None and _counted(trials) >= n_trials:
                return None
            if (in_company and self._queue.next_goes_alone(trials)) or not self._queue.prepare(trials):
                return None
            trial = self._rows.ask()
            with self._interrupted_on_error(trial):
                hold = Hold(self._slot(trial.number), self._heart, trial._trial_id)
        with self._locked_on_error(trial, hold):
            choosing = METHOD in self._space
            self._study.sampler = make_sampler(self._sampler, self._seed, trial.number, choosing=choosing)
            suggest(trial, self._space)
        return trial, hold

    @patient
    def predecessors(self, number: int) -> tuple[int, ...]:
        """The trials that a trial is a retry of, the newest first: those that were interrupted or died."""
        return tuple(predecessors(self._rows.trials(), number))

    @patient
    def interrupted(self) -> list[int]:
        """The numbers of the trials that were interrupted or died and may be tried again, the newest first."""
        trials = self._rows.trials()
        return [trial.number for trial in reversed(trials) if state_of(trial) is TrialState.INTERRUPTED]

    @patient
    def goes_alone(self, trial: optuna.Trial) -> bool:
        """Whether a process died with this trial's configuration before.

        It may be what killed it, or have been in bad company: what happens to it alone tells, and costs no other.
        """
        return deaths(self._rows.trials(), trial.number) > 0

    @patient
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
        end = Ending(state, dict(metrics or {}), reason, dict(constraints or {}))
        with ExitStack() as held:
            if state is TrialState.INTERRUPTED:
                held.enter_context(self._locked())
            return self._end(trial, end)

    @patient
    def note(self, trial: optuna.Trial, **facts: object) -> None:
        """Write facts of a running trial: `params`, `overrides`, `provenance`, `config`, `weights_path`.

        Raises:
            TrialTakenError: it was ended by another process, which took this one for dead.
        """
        note_facts(self._rows, trial, facts)

    @patient
    def recover(self) -> int:
        """Mark the running trials whose process died, and queue their configurations again.

        Those whose configuration was retried `max_retries` times have failed; the others are interrupted.

        Returns:
            How many there were. A trial of another host is found at a later call than the first that could have.
        """
        with self._locked():
            return self._recover()

    def at_work(self) -> list[str]:
        """Who else works on the study, in words: processes of this host, and trials that run, here or elsewhere."""
        return [*processes_at_work(self._locks), *(f"trial {number}" for number in self._recovery.living())]

    @patient
    def attend(self, stops_before: int | None = None) -> None:
        """Make the study's folder its own, mark this process as one that works on it, and look whether it is to stop.

        Args:
            stops_before: as `start` has it.

        Raises:
            UserInputError: the study's folder is another one's.
            AdapterSweepError: it cannot be written.
        """
        with self._locked():
            claim(self.folder, self._rows.fact(IDENTITY), self._url, begun=bool(self._rows.trials()))
            self._enter(stops_before)

    def leave(self) -> None:
        """This process is done with the study."""
        leave(self._locks)

    @patient
    def lose(self, trial: optuna.Trial, reason: str) -> TrialState:
        """Mark a running trial as one whose process died: this one, which can go on with none.

        Returns:
            Its state: interrupted, and its configuration queued again, or failed where that was done often enough.
        """
        with self._locked():
            trials = self._rows.trials()
            self._recovery.mark(trials, trials[trial.number], reason)
            self._queue.restore()
        return state_of(self._rows.trials()[trial.number])

    @patient
    def left(self, n_trials: int) -> int:
        """How many of `n_trials` are still to begin; those whose process has died are found first."""
        with self._locked():
            self._recover()
            return max(0, n_trials - _counted(self._rows.trials()))

    @patient
    def awaited(self, n_trials: int) -> list[int]:
        """The numbers of the trials that run, whoever works on them, where fewer than `n_trials` have ended."""
        trials = self._rows.trials()
        running = [trial.number for trial in trials if trial.state == OptunaState.RUNNING]
        return running if _counted(trials) - len(running) < n_trials else []

    def queued(self) -> list[dict[str, ParamValue]]:
        """The parameters of the trials that are asked for next: those of interrupted ones."""
        return self._queue.waiting()

    def queue(self, params: Mapping[str, ParamValue]) -> None:
        """Have a trial of these parameters asked for next, whatever there is."""
        with ledger_errors("the ledger failed; the same command continues the study once it is back"):
            self._queue.add(params)

    # -- facts beside the trials

    @patient
    def latency(self, key: str) -> dict[str, float] | None:
        """The latency of an architecture, where it was measured before."""
        return self._latencies.find(key)

    @patient
    def keep_latency(self, key: str, metrics: Mapping[str, float]) -> dict[str, float]:
        """Keep the latency of an architecture for every further trial of it; returns what is kept: the first one."""
        with self._locked():
            return self._latencies.keep(key, metrics)

    @patient
    def ask_to_stop(self) -> None:
        """Ask all who work on the study to leave it; see `StopSign`."""
        with self._locked():
            ask_to_stop(self._study)

    @patient
    def set_facts(self, **facts: object) -> None:
        """Write facts of the study: `config`, `search_space`, `n_trials`, `provenance`, `anchors`, `mlflow_run_id`.

        And `job`, what whoever joins it needs besides.
        """
        for name, value in facts.items():
            self._rows.set(name, value)

    @patient
    def fact(self, name: str) -> Any:
        """A fact of the study; None where it has none of that name."""
        return self._rows.fact(name)

    @patient
    def set_mlflow_runs(self, runs: Mapping[int, str]) -> None:
        """Write which MLflow runs show trials. Optuna keeps a finished trial as it is, so the study holds them.

        Should two hosts write at once, one's may be lost; the tracker then finds the run by its tags.
        """
        with self._locked():
            keep_runs(self._rows, runs)

    # -- what others read

    @patient
    def view(self) -> StudyView:
        """The study as it stands, without the trials' curves and configurations."""
        return view_study(self._rows, self.folder)

    @patient
    def view_trial(self, number: int) -> TrialView:
        """One trial with all there is of it: its curves, and its configuration.

        Raises:
            IndexError: there is no such trial.
        """
        return view_trial(self._rows, self.folder, number)

    # -- inside

    def _end(self, trial: optuna.Trial, end: Ending) -> TrialState:
        found = end_trial(self._rows, trial, end, self._objectives)
        if end.state is TrialState.INTERRUPTED:
            self._queue.restore()
        return found

    def _enter(self, stops_before: int | None = None) -> None:
        self.stop_sign = StopSign(self._study, stops_before)
        enter(self._locks)

    def _recover(self) -> int:
        found = self._recovery.mark_dead()
        self._queue.restore()
        return found

    @contextmanager
    def _interrupted_on_error(self, trial: optuna.Trial) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self._end(trial, Ending(TrialState.INTERRUPTED, reason=f"not begun: {type(error).__name__}"))
            raise

    @contextmanager
    def _locked_on_error(self, trial: optuna.Trial, hold: Hold) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            try:
                self.tell(trial, TrialState.INTERRUPTED, reason=f"not begun: {type(error).__name__}")
            finally:
                hold.close()
            raise

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One at a time, among the study's processes; see `one_using`."""
        with ExitStack() as held:
            with folder_errors(str(self._locks)):
                held.enter_context(one_using(self._rows.database, self._locks, self.name))
            yield

    def _slot(self, number: int) -> Path:
        return self._locks / f"{number}.lock"

    @functools.cached_property
    def _objectives(self) -> dict[str, Direction]:
        objectives: dict[str, Direction] = self._rows.fact("objectives")
        return objectives


def _counted(trials: Iterable[FrozenTrial]) -> int:
    """How many of a study's trials have begun and count."""
    return sum(1 for trial in trials if trial.state != OptunaState.WAITING and state_of(trial).counts)
