"""A ledger that is away while workers train: for seconds it costs nothing, for long it is told in one line."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from ledgers import start
from rooms import Room
from sqlalchemy import event

from adapter_sweep.errors import LedgerAwayError
from adapter_sweep.records import TrialState
from adapter_sweep.study import patience
from postgres import PASSWORD, Server, find_binaries, serving

AWAY_SECONDS = 4.0


@pytest.fixture
def own_server(postgres: Server) -> Iterator[Server]:
    """A server that no other test has; skipped where there is none."""
    binaries = find_binaries()
    assert binaries is not None
    with serving(binaries, "fsync=off") as server:
        yield server


@pytest.mark.postgres
def test_a_database_that_is_started_again_costs_no_trial_and_one_that_stays_away_is_told(
    own_server: Server, tiny_bert: Path, toy_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = Room(tiny_bert, toy_csv, tmp_path, own_server.database("away"))
    room.values["train"]["epochs"] = 20
    restarts: list[threading.Thread] = []

    def restart() -> None:
        own_server.stop()
        time.sleep(AWAY_SECONDS)
        own_server.start()

    def at(event: str) -> None:
        if event == "epoch" and not restarts:
            restarts.append(threading.Thread(target=restart))
            restarts[0].start()
        elif event == "end" and len(room.watch.ended) == 1:
            restarts[0].join()
            own_server.stop()
            monkeypatch.setattr(patience, "AWAY_SECONDS", 1.0)  # here; the workers wait for as long as ever

    room.watch.at = at
    with pytest.raises(LedgerAwayError) as caught:
        room.run(2, 3)  # a worker more than trials: the parent looks at the ledger again and again
    assert len(str(caught.value).splitlines()) == 1
    assert PASSWORD not in str(caught.value)
    assert not [text for text in room.watch.warnings if "died" in text]
    own_server.start()
    monkeypatch.undo()
    room.ledger.recover()
    told = room.watch.ended[0].number
    states = {trial.number: trial.state for trial in room.ledger.view().trials}
    assert (len(states), states.pop(told)) == (2, TrialState.COMPLETE)
    assert set(states.values()) <= {TrialState.COMPLETE, TrialState.INTERRUPTED}


def test_a_database_that_is_locked_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = start(tmp_path)
    engine = ledger._rows.database.engine
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout = 50"))
    engine.dispose()  # SQLite itself waits for a minute, and no longer from here on
    asked = ledger.ask(1)
    assert asked is not None
    with closing(sqlite3.connect(tmp_path / "optuna.db", check_same_thread=False, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        release = threading.Timer(1.0, lambda: other.execute("ROLLBACK"))
        release.start()
        told = ledger.tell(asked[0], TrialState.COMPLETE, metrics={"accuracy": 0.5, "trainable_params": 1.0})
        assert told is TrialState.COMPLETE
        assert release.finished.is_set()
        release.join()
        other.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(patience, "AWAY_SECONDS", 0.2)
        with pytest.raises(LedgerAwayError, match="database is locked"):
            ledger.left(2)
    asked[1].close()
