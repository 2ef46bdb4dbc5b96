"""A cluster's study is followed by the rules: who is replaced, when it is given up, and who is told to leave."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from adapter_sweep.cli import following, joining, on_slurm
from adapter_sweep.cli.confirming import run_confirm
from adapter_sweep.cli.display import Display
from adapter_sweep.cli.elsewhere import run_elsewhere
from adapter_sweep.cli.errand import Errand
from adapter_sweep.cli.following import Follower, Seen
from adapter_sweep.cli.joining import Here, join_study
from adapter_sweep.cli.on_slurm import SlurmCrew
from adapter_sweep.cli.publishing import Publisher
from adapter_sweep.cli.selecting import Selection
from adapter_sweep.config.compose import compose
from adapter_sweep.config.schema import SlurmWorkers
from adapter_sweep.config.space import parse_space
from adapter_sweep.errors import (
    AdapterSweepError,
    DiskError,
    GuardError,
    LedgerAwayError,
    SpoiltProcessError,
    UserInputError,
)
from adapter_sweep.records import TrialState
from adapter_sweep.study.ledger import Ledger, storage_url
from adapter_sweep.study.ownership import MARK
from adapter_sweep.study.stopping import Stopped

Look = Callable[["Crew"], Sequence[Exception | str]]
METRICS = {"accuracy": 0.5, "trainable_params": 1.0, "latency_ratio": 1.0}
FACTS = {"data_name": "toy", "train_examples": "8", "validation_examples": "8", "threads": "1", "model": "m"}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(following, "_RETRY_SECONDS", 0.0)


class Crew:
    """Workers of a script: what each look finds, and how those ended that it no longer counts."""

    def __init__(self, ledger: Ledger, places: int, *looks: Look) -> None:
        self.ledger, self.places, self.looks = ledger, places, list(looks)
        self.alive = self.started = 0
        self.refusals: list[AdapterSweepError] = []
        self.told: list[str] = []

    def begin(self, waiting: Callable[[], None]) -> None:
        waiting()

    def start(self, most: int) -> int:
        if self.refusals:
            raise self.refusals.pop(0)
        count = min(most, self.places - self.alive)
        self.alive += count
        self.started += count
        return count

    def look(self) -> Seen:
        ends = self.looks.pop(0)(self) if self.looks and not self.told else ()
        self.alive = 0 if self.told else self.alive - len(ends)
        return Seen.of(self.alive, ends)

    def leave(self) -> None:
        self.told.append("leave")

    def close(self) -> None:
        self.told.append("close")


def ends(*how: Exception | str) -> Look:
    return lambda _: how


def trial(state: TrialState, *how: Exception | str) -> Look:
    """A trial begins and ends so, and then workers do."""

    def look(crew: Crew) -> Sequence[Exception | str]:
        asked = crew.ledger.ask(None)
        assert asked is not None
        crew.ledger.tell(asked[0], state, metrics=METRICS, reason="as scripted")
        asked[1].close()
        return how

    return look


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return begun(tmp_path)


def begun(results: Path) -> Ledger:
    found = Ledger.start(
        "toy",
        url=storage_url(None, results),
        results_dir=results,
        definition={"task": {"name": "toy"}},
        objectives={"accuracy": "maximize"},
        space=parse_space({"method.width": "choice(2, 4, 8)"}),
        sampler="random",
        seed=0,
    )
    found.set_facts(n_trials=2, provenance={**FACTS, "device": "cpu"}, config={"task": {"metric": "accuracy"}})
    return found


def follow(crew: Crew, ledger: Ledger, results: Path, trials: int = 2, **more: Any) -> str:
    console = Console(width=200, record=True, force_terminal=False)
    publisher = Publisher(ledger, results, None, False, console)
    follower = Follower(ledger, crew, publisher, console, Display(console))
    follower.run(storage_url(None, results), results, trials, **more)
    return console.export_text()


@pytest.mark.parametrize("spoilt", [SpoiltProcessError("the GPU is gone"), DiskError("full"), LedgerAwayError("away")])
def test_a_worker_whose_host_failed_it_is_followed_by_another(
    ledger: Ledger, tmp_path: Path, spoilt: Exception
) -> None:
    crew = Crew(ledger, 1, ends(spoilt), trial(TrialState.COMPLETE), trial(TrialState.COMPLETE))
    shown = follow(crew, ledger, tmp_path)
    assert crew.started == 2
    assert f"warning: a worker stopped, and another one takes its place: {spoilt}" in shown


def test_one_that_failed_as_another_would_is_not(ledger: Ledger, tmp_path: Path) -> None:
    crew = Crew(ledger, 1, ends(GuardError("as another would")))
    with pytest.raises(GuardError, match="as another would"):
        follow(crew, ledger, tmp_path)
    assert crew.started == 1
    more = Crew(ledger, 2, ends(GuardError("postgresql://me:secret@host/db")))
    more.looks += [trial(TrialState.COMPLETE)] * 2
    shown = follow(more, ledger, tmp_path)
    assert more.started == 2
    assert "the others went on: postgresql://***@host/db" in shown


def test_a_disk_that_stays_full_ends_the_study_though_trials_begin(ledger: Ledger, tmp_path: Path) -> None:
    crew = Crew(ledger, 1, *[trial(TrialState.INTERRUPTED, DiskError("no room"))] * 9)
    with pytest.raises(AdapterSweepError, match=r"3 workers ended one after another before a trial was done.* no room"):
        follow(crew, ledger, tmp_path)
    assert crew.started == 3


def test_a_bad_node_starts_no_more_while_others_train(ledger: Ledger, tmp_path: Path) -> None:
    crew = Crew(ledger, 2, *[ends("lost")] * 6, *[ends()] * 3)
    started: list[int] = []

    def later(crew: Crew) -> Sequence[Exception | str]:
        started.append(crew.started)
        return trial(TrialState.COMPLETE)(crew)

    crew.looks += [later, ends(), trial(TrialState.COMPLETE)]
    follow(crew, ledger, tmp_path)
    assert started == [2 + 5]  # the sixth that was lost is not followed, until a trial begins
    assert crew.started == 2 + 5 + 1
    assert crew.told == []


def test_a_refusal_costs_nothing_while_some_go_on_and_is_told_once(ledger: Ledger, tmp_path: Path) -> None:
    crew = Crew(ledger, 2)

    def lost(crew: Crew) -> Sequence[Exception | str]:
        crew.refusals += [AdapterSweepError("workers=slurm: QOSMaxSubmitJobPerUserLimit")] * 3
        return ("lost",)

    crew.looks += [lost, *[ends()] * 5, trial(TrialState.COMPLETE), trial(TrialState.COMPLETE)]
    shown = follow(crew, ledger, tmp_path)
    assert crew.refusals == []
    assert crew.started == 3
    assert shown.count("QOSMaxSubmitJobPerUserLimit") == 1


def test_where_none_is_left_a_refusal_ends_the_study(ledger: Ledger, tmp_path: Path) -> None:
    crew = Crew(ledger, 1)
    crew.refusals.append(AdapterSweepError("no partition"))
    with pytest.raises(AdapterSweepError, match="no partition"):
        follow(crew, ledger, tmp_path)
    assert crew.told == ["leave"]


@pytest.mark.parametrize("error", [LedgerAwayError("away"), RuntimeError("a fault"), KeyboardInterrupt()])
def test_whatever_ends_the_following_lets_workers_mark_their_trials(
    ledger: Ledger, tmp_path: Path, error: BaseException
) -> None:
    def gone(crew: Crew) -> Sequence[Exception | str]:
        raise error

    crew = Crew(ledger, 2, gone)
    with pytest.raises(type(error)):
        follow(crew, ledger, tmp_path)
    assert crew.told == ["leave"]


def test_a_stop_that_was_asked_for_while_a_cluster_began_is_heard(ledger: Ledger, tmp_path: Path) -> None:
    assert ledger.stop_sign is not None
    before = ledger.stop_sign.before
    ledger.ask_to_stop()
    crew = Crew(ledger, 1)
    with pytest.raises(Stopped):
        follow(crew, ledger, tmp_path, stops_before=before)
    assert crew.started == 0


@pytest.fixture
def settings(tiny_settings: list[str], tmp_path: Path) -> list[str]:
    given = [text for text in tiny_settings if not text.startswith("workers")]
    return [*given, "workers=slurm", "workers.cluster=local", "study.name=toy", f"results_dir={tmp_path}"]


def test_a_stop_ends_the_waiting_for_a_cluster_to_begin(ledger: Ledger, settings: list[str]) -> None:
    crew = Crew(ledger, 1)
    waited: list[str] = []

    def begin(waiting: Callable[[], None]) -> None:
        waiting()
        waited.append("an hour")
        ledger.ask_to_stop()
        assert ledger.stop_sign is not None
        while True:
            waiting()

    crew.begin = begin  # type: ignore[method-assign]
    with pytest.raises(Stopped):
        run_elsewhere(compose(settings, default_sweep="quickstart").for_sweep(), lambda _: crew)
    assert waited
    assert crew.told == ["close"]


def test_anothers_folder_is_told_before_anything_begins(ledger: Ledger, settings: list[str]) -> None:
    (ledger.folder / MARK).write_text("another's")
    crew = Crew(ledger, 1)
    crew.begin = lambda _: pytest.fail("it began")  # type: ignore[method-assign]
    with pytest.raises(UserInputError, match="holds what is not this study's"):
        run_elsewhere(compose(settings, default_sweep="quickstart").for_sweep(), lambda _: crew)
    with pytest.raises(UserInputError, match="holds what is not this study's"):
        ledger.attend()


def test_anothers_folder_is_told_before_finalists_are_trained(ledger: Ledger, settings: list[str]) -> None:
    (ledger.folder / MARK).write_text("another's")
    selection = Selection((ledger.view(),), {"toy": ()})
    with pytest.raises(UserInputError, match="holds another study of that name"):
        run_confirm(selection, compose(settings, default_sweep="quickstart"))


def test_a_worker_that_begins_while_the_ledger_is_away_waits_for_it(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, tried = Ledger.read, list[str]()

    def read(name: str, **place: Any) -> Ledger:
        tried.append(name)
        if len(tried) == 1:
            raise LedgerAwayError("it is started again")
        return reads(name, **place)

    monkeypatch.setattr(Ledger, "read", read)
    here = Here(storage_url(None, tmp_path), None, 1, {"results_dir": str(tmp_path)})
    with pytest.raises(UserInputError, match="cannot be joined"):  # it has been read: it is no sweep's
        join_study("toy", here)
    assert tried == ["toy", "toy"]


@pytest.mark.parametrize("shared", [True, False])
def test_a_study_that_does_not_know_its_store_can_be_joined(shared: bool) -> None:
    assert joining._tracking({}, Here(None, None, 1, {}), shared=shared) == {"enabled": shared, "uri": None}


class _Refusing:
    """In submitit's place: takes so many jobs, and then raises what its own does where sbatch refuses."""

    def __init__(self, takes: int) -> None:
        self.takes = takes

    def submit(self, *_: object) -> object:
        from submitit.core.utils import FailedJobError

        if not self.takes:
            print("sbatch: error", file=sys.stderr)
            raise FailedJobError("sbatch: error: invalid partition specified: gpus")
        self.takes -= 1
        return object()


def slurm_crew(settings: list[str], tmp_path: Path) -> SlurmCrew:
    composed = compose([*settings, "workers.count=3"], default_sweep="quickstart").for_sweep()
    assert isinstance(composed.config.workers, SlurmWorkers)
    url = storage_url(None, tmp_path)
    return SlurmCrew(Errand(composed, "toy", url, str(tmp_path)), composed.config.workers)


def test_what_sbatch_refuses_is_told_and_the_jobs_before_it_are_known(
    settings: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    crew = slurm_crew(settings, tmp_path)
    crew._executor = _Refusing(2)
    with pytest.raises(AdapterSweepError, match=r"^workers=slurm: the job .*: sbatch: error: invalid partition") as e:
        crew.start(3)
    assert not isinstance(e.value, UserInputError)
    assert len(crew._jobs) == 2
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "trace",
    ["ValueError: a fault of ours", "…UncompletedJobError: Job not requeued because: timed-out", None],
)
def test_a_fault_in_a_job_is_no_job_that_was_lost(trace: str | None) -> None:
    from submitit.core.utils import FailedJobError, UncompletedJobError

    class Job:
        job_id = "7"

        class paths:  # noqa: N801
            stderr = Path("nothing")

        def result(self) -> None:
            if trace is None:
                raise UncompletedJobError("it wrote nothing")
            raise FailedJobError(trace)

    end = on_slurm._end(Job())
    if trace is None or "not requeued" in trace:
        assert end == "job 7 was cancelled or lost"
    else:
        assert isinstance(end, AdapterSweepError)
        assert trace in str(end)
