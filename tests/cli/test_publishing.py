import io
from pathlib import Path

import pytest
from rich.console import Console

from adapter_sweep.cli.publishing import Publisher
from adapter_sweep.config.space import parse_space
from adapter_sweep.records import TrialState
from adapter_sweep.study.ledger import CURVES_FILE, Ledger, storage_url
from adapter_sweep.tracking import Tracker
from agreement import assert_agreement, disagreements
from processes import wait_for


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
    ledger.set_facts(n_trials=2)
    publisher = Publisher(ledger, tmp_path, None, True, Console(quiet=True))
    publisher.open()
    publisher.begin()
    publisher.soon_trial(finish(ledger))
    wait_for(lambda: ledger.view().trials[0].mlflow_run_id is not None)
    finish(ledger)  # by another worker, say
    publisher.catch_up()
    publisher.finish()
    assert_agreement("toy", tmp_path)
    assert publisher._thread is not None
    assert not publisher._thread.is_alive()


def test_an_interrupted_study_is_shown_at_rest(ledger: Ledger, tmp_path: Path) -> None:
    ledger.set_facts(n_trials=9)
    publisher = Publisher(ledger, tmp_path, None, True, Console(quiet=True))
    publisher.open()
    publisher.begin()
    finish(ledger)
    publisher.interrupted()
    wait_for(lambda: disagreements("toy", tmp_path) == [])
    publisher.finish()


def test_without_tracking_there_is_no_thread(ledger: Ledger, tmp_path: Path) -> None:
    publisher = Publisher(ledger, tmp_path, None, False, Console(quiet=True))
    publisher.open()
    publisher.begin()
    publisher.soon_trial(finish(ledger))
    publisher.catch_up()
    publisher.finish(tmp_path)
    assert publisher._thread is None
    assert not (tmp_path / "mlflow.db").exists()


def test_a_store_that_cannot_be_opened_is_told_once_and_what_is_missing_at_the_end(
    ledger: Ledger, tmp_path: Path
) -> None:
    (tmp_path / "mlflow.db").mkdir()
    said = io.StringIO()
    publisher = Publisher(ledger, tmp_path, None, True, Console(file=said, width=1000), reconcile="send it")
    publisher.open()
    publisher.begin()
    publisher.soon_trial(finish(ledger))
    publisher.catch_up()
    publisher.finish()
    warning, missing = said.getvalue().splitlines()
    assert warning.startswith("warning: MLflow: ")
    assert missing.startswith("MLflow      1 of 1 trials not sent to sqlite:///")
    assert missing.endswith(": send it")


def test_a_trial_whose_files_are_damaged_does_not_keep_the_others(ledger: Ledger, tmp_path: Path) -> None:
    ledger.set_facts(n_trials=3)
    for _ in range(3):
        finish(ledger)
    curves = ledger.trial_folder(1) / CURVES_FILE
    curves.parent.mkdir(parents=True)
    curves.write_text("{")
    tracker = Tracker(tmp_path, "toy")
    found = tracker.reconcile(ledger)
    assert found.published == (0, 2)
    assert found.failed[1].startswith("trial 1 cannot be read: JSONDecodeError: ")
    curves.unlink()
    assert tracker.reconcile(ledger).published == (1,)


def test_an_error_of_the_ledger_is_logged_without_its_password(
    ledger: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def view_trial(_: int) -> None:
        raise RuntimeError("no answer of postgresql://ann:s3cret@db/ledger")

    monkeypatch.setattr(ledger, "view_trial", view_trial)
    publisher = Publisher(ledger, tmp_path, None, True, Console(quiet=True))
    publisher.soon_trial(0)
    wait_for(lambda: "RuntimeError: no answer of postgresql://***@db/ledger" in caplog.text)
    publisher.finish()
    assert "s3cret" not in caplog.text
