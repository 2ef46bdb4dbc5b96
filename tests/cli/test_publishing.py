import logging
import threading
from pathlib import Path

import pytest
from rich.console import Console

from adapter_sweep.cli.publishing import Publisher
from adapter_sweep.config.space import parse_space
from adapter_sweep.records import TrialState
from adapter_sweep.study.ledger import Ledger, storage_url


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    space = {"method.width": "int(interval(2, 9))"}
    return Ledger.start(
        "toy",
        url=storage_url(None, tmp_path),
        results_dir=tmp_path,
        definition={},
        objectives={"accuracy": "maximize"},
        space=parse_space(space),
        sampler="random",
        seed=0,
    )


def finish(ledger: Ledger) -> int:
    asked = ledger.ask(None)
    assert asked is not None
    trial, slot = asked
    ledger.tell(trial, TrialState.COMPLETE, metrics={"accuracy": 0.5})
    slot.close()
    return trial.number


def test_trials_are_shown_in_the_background_and_what_was_missed_at_the_end(ledger: Ledger, tmp_path: Path) -> None:
    publisher = Publisher(ledger, tmp_path, None, True, Console(quiet=True))
    publisher.soon_study(active=True)
    publisher.soon_trial(finish(ledger))
    assert publisher.drain()
    (shown,) = ledger.view().trials
    assert shown.mlflow_run_id is not None
    finish(ledger)
    publisher.all()
    assert [trial.mlflow_run_id is not None for trial in ledger.view().trials] == [True, True]


def test_waiting_is_bounded_and_jobs_are_done_in_order(ledger: Ledger, tmp_path: Path) -> None:
    publisher = Publisher(ledger, tmp_path, None, False, Console(quiet=True))
    go = threading.Event()
    done: list[int] = []
    publisher.soon(lambda: done.append(int(go.wait(60))))
    publisher.soon(lambda: done.append(2))
    assert not publisher.drain(0.01)
    assert done == []
    go.set()
    assert publisher.drain(60)
    assert done == [1, 2]


def test_a_job_that_fails_is_logged_and_the_next_is_done(
    ledger: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = Publisher(ledger, tmp_path, None, False, Console(quiet=True))
    done: list[int] = []

    def broken() -> None:
        raise RuntimeError("no")

    for job in (broken, broken, lambda: done.append(1)):
        publisher.soon(job)
    assert publisher.drain(60)
    assert done == [1]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_store_that_cannot_be_opened_is_told_once(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").mkdir()
    console = Console(record=True, quiet=False, file=(tmp_path / "out").open("w"), width=1000)
    publisher = Publisher(ledger, tmp_path, None, True, console)
    publisher.soon_study(active=True)
    publisher.soon_trial(finish(ledger))
    publisher.drain()
    assert console.export_text().count("warning: MLflow: ") == 1
    console.file.close()
