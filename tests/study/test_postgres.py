"""A ledger on a real PostgreSQL server, used by processes that share nothing else: hosts, as far as the ledger sees."""

import multiprocessing
import threading
import time
from pathlib import Path

import optuna
import pytest
from ledgers import finish, finish_elsewhere, start

from adapter_sweep.errors import AdapterSweepError, UserInputError
from adapter_sweep.records import TrialState
from adapter_sweep.study import locking
from adapter_sweep.study.locking import one_using
from adapter_sweep.study.presence import exclusively
from adapter_sweep.study.storage import open_storage
from postgres import PASSWORD, Server

pytestmark = pytest.mark.postgres
HOSTS = 4
SPACE = {"method.width": "int(interval(4, 256))"}


def test_hosts_that_start_together_on_an_empty_database_run_the_trials_exactly(
    postgres: Server, tmp_path: Path
) -> None:
    changes = {"url": postgres.database("cold")}
    arguments = [(tmp_path / f"host{i}", 30, SPACE, changes) for i in range(HOSTS)]
    with multiprocessing.get_context("spawn").Pool(HOSTS) as pool:
        ran = pool.starmap(finish_elsewhere, arguments, chunksize=1)
    assert sorted(number for numbers in ran for number in numbers) == list(range(30))
    trials = start(tmp_path / "another", SPACE, **changes).view().trials
    assert [(trial.number, trial.state) for trial in trials] == [(i, TrialState.COMPLETE) for i in range(30)]


def test_whoever_asks_waits_for_whoever_asks_on_another_host(postgres: Server, tmp_path: Path) -> None:
    url = postgres.database("turns")
    here, there = start(tmp_path / "here", url=url), start(tmp_path / "there", url=url)
    inside = threading.Event()
    order = []

    def hold() -> None:
        with here._locked():
            inside.set()
            time.sleep(0.5)
            order.append("here")

    holder = threading.Thread(target=hold)
    holder.start()
    inside.wait()
    finish(there, 1)
    order.append("there")
    holder.join()
    assert order == ["here", "there"]


def test_a_study_that_is_archived_is_kept_for_as_long_as_that_takes(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locking, "_IDLE_SECONDS", 1)
    url = postgres.database("archived")
    storage = open_storage(url, tmp_path)
    begins = threading.Event()

    def begin_elsewhere() -> None:
        with one_using(open_storage(url, tmp_path / "there"), tmp_path / "there", "toy"):
            begins.set()

    with exclusively(storage, tmp_path / "here", "toy"):
        other = threading.Thread(target=begin_elsewhere)
        other.start()
        assert not begins.wait(3)
    assert begins.wait(10)
    other.join()


def test_two_studies_do_not_wait_for_each_other(postgres: Server, tmp_path: Path) -> None:
    url = postgres.database("two")
    one, other = start(tmp_path, url=url, name="one"), start(tmp_path, url=url, name="other")
    with one._locked():
        assert finish(other, 2) == [0, 1]


def test_facts_written_from_two_hosts_at_once_are_all_kept(postgres: Server, tmp_path: Path) -> None:
    url = postgres.database("facts")
    ledgers = [start(tmp_path / f"host{i}", url=url) for i in range(2)]
    finish(ledgers[0], 40)
    threads = [
        threading.Thread(target=lambda i=i: [ledgers[i].set_mlflow_runs({n: f"run{n}"}) for n in range(i, 40, 2)])
        for i in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [trial.mlflow_run_id for trial in ledgers[0].view().trials] == [f"run{n}" for n in range(40)]


def test_a_study_outlives_a_connection_that_the_server_ended(postgres: Server, tmp_path: Path) -> None:
    url = postgres.database("cut")
    ledger = start(tmp_path, url=url)
    finish(ledger, 1)
    with ledger._rows.database.engine.connect() as connection:  # type: ignore[attr-defined]
        everyone = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        connection.exec_driver_sql(f"{everyone} AND datname = 'cut'")
    assert finish(ledger, 2) == [1]


def test_the_url_may_stand_in_the_environment(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.database("environment")
    monkeypatch.setenv("ADAPTER_SWEEP_STORAGE", url)
    finish(start(tmp_path), 1)
    assert optuna.get_all_study_names(open_storage(url, tmp_path)) == ["toy"]
    assert not (tmp_path / "optuna.db").exists()


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [("sweeper:never-shown-too", AdapterSweepError), ("nobody", AdapterSweepError)],
)
def test_a_refused_connection_names_no_password(
    postgres: Server, tmp_path: Path, wrong: str, kind: type[Exception]
) -> None:
    url = postgres.database("refused").replace(f"sweeper:{PASSWORD}", wrong)
    with pytest.raises(kind, match=r"study\.storage=postgresql://.*cannot be opened") as caught:
        start(tmp_path, url=url)
    assert "never-shown" not in str(caught.value)


def test_a_driver_that_is_not_installed_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match="its driver is not installed"):
        start(tmp_path, url="postgresql+asyncpg://127.0.0.1/none")
