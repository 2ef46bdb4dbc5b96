import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from mlflow.store.db.utils import _get_alembic_config
from mlflow.store.tracking.dbmodels.initial_models import Base
from sqlalchemy import create_engine

from adapter_sweep.records import StudyView
from adapter_sweep.tracking import Tracker, TrackingError, store

STUDY = StudyView("s", {"accuracy": "maximize"}, {}, 1, ())


def make_older_store(path: Path) -> None:
    uri = f"sqlite:///{path}"
    config = _get_alembic_config(uri)
    scripts = ScriptDirectory.from_config(config)
    head = scripts.get_revision("head")
    assert head is not None
    engine = create_engine(uri)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, str(head.down_revision))
    engine.dispose()


@pytest.mark.parametrize("tables_there", [False, True])
def test_the_store_of_an_older_mlflow_is_migrated(
    tmp_path: Path, cold_store: Path, monkeypatch: pytest.MonkeyPatch, tables_there: bool
) -> None:
    make_older_store(tmp_path / "mlflow.db")
    if tables_there:  # MLflow would migrate by itself were one missing
        monkeypatch.setattr("mlflow.store.db.utils._all_tables_exist", lambda _: True)
    run_id = Tracker(tmp_path, "s").publish_study(STUDY)
    with (
        closing(sqlite3.connect(tmp_path / "mlflow.db")) as new,
        closing(sqlite3.connect(cold_store)) as cold,
    ):
        assert new.execute("select run_uuid from runs").fetchall() == [(run_id,)]
        revision = "select version_num from alembic_version"
        assert new.execute(revision).fetchall() == cold.execute(revision).fetchall()


def test_a_migration_that_fails_is_reported(tmp_path: Path, cold_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_older_store(tmp_path / "mlflow.db")
    monkeypatch.setattr("mlflow.store.db.utils._all_tables_exist", lambda _: True)
    monkeypatch.setattr(store.sys, "executable", "false")
    with pytest.raises(TrackingError, match="older MLflow could not be migrated"):
        Tracker(tmp_path, "s").publish_study(STUDY)
