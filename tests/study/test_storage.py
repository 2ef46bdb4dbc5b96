import contextlib
import sqlite3
from pathlib import Path

import pytest

from adapter_sweep.errors import AdapterSweepError, UserInputError
from adapter_sweep.study.ledger import Ledger
from adapter_sweep.study.storage import locks_folder, open_storage, sqlite_file, storage_url


def test_the_ledger_is_in_the_results_unless_the_user_says_otherwise(tmp_path: Path) -> None:
    assert storage_url(None, tmp_path) == f"sqlite:///{tmp_path}/optuna.db"
    assert storage_url("postgresql://host/db", tmp_path) == "postgresql://host/db"


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite+pysqlite://",
        "sqlite:///file::memory:?uri=true",
        "sqlite:///file:x?mode=memory&uri=true",
    ],
)
def test_a_database_in_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    with pytest.raises(UserInputError, match=r"study\.storage=sqlite.*: a database in memory .* name a file"):
        storage_url(url, tmp_path)
    monkeypatch.setenv("ADAPTER_SWEEP_STORAGE", url)
    with pytest.raises(UserInputError, match=r"a database in memory"):
        storage_url(None, tmp_path)


def test_sqlite_files_are_told_from_servers(tmp_path: Path) -> None:
    assert sqlite_file(f"sqlite:///{tmp_path}/a.db") == tmp_path / "a.db"
    assert sqlite_file("sqlite:///a.db") == Path("a.db").absolute()
    for url in ("sqlite://", "sqlite:///:memory:", "postgresql://host/a.db"):
        assert sqlite_file(url) is None


def test_locks_lie_beside_the_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    assert locks_folder(url, tmp_path / "one") == locks_folder(url, tmp_path / "two") == tmp_path / ".a.db.locks"
    assert locks_folder("postgresql://host/db", tmp_path).parent == tmp_path


@pytest.mark.parametrize("url", ["nonsense", "postgresql://user:secret@host:port/db", "postgresql:/user:secret", ""])
def test_what_is_no_url_is_refused_without_its_password(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserInputError, match=r"study\.storage: not a database URL") as caught:
        open_storage(url, tmp_path)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["nosuchdatabase", "firebird", "sqlite+nosuchdriver"])
def test_a_missing_driver_is_named_without_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserInputError, match="its driver is not installed") as caught:
        open_storage(f"{scheme}://user:secret@host/db?password=secret", tmp_path)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match=f"there is no folder {tmp_path}/typo"):
        open_storage(f"sqlite:///{tmp_path}/typo/a.db", tmp_path)
    assert not (tmp_path / "typo").exists()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_text("not a database at all " * 100)
    with pytest.raises(AdapterSweepError, match="the ledger cannot be opened: file is not a database"):
        open_storage(f"sqlite:///{tmp_path}/a.db", tmp_path)


def test_a_database_of_another_optuna_is_named(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    open_storage(url, tmp_path)
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v0.9.0.a'")
    connection.close()
    with pytest.raises(AdapterSweepError, match="the ledger cannot be opened"):
        open_storage(url, tmp_path)


def test_results_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AdapterSweepError, match=f"{tmp_path}/file: cannot be written: File exists"):
        open_storage(storage_url(None, tmp_path / "file"), tmp_path / "file")
    with pytest.raises(AdapterSweepError, match="cannot be written: Not a directory"):
        open_storage(storage_url(None, tmp_path / "file" / "x"), tmp_path / "file" / "x")


def test_reading_writes_nothing_into_another_program_s_database(tmp_path: Path) -> None:
    file = tmp_path / "optuna.db"
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE mine (x)")
        database.commit()
    before = file.read_bytes()
    with pytest.raises(UserInputError, match="holds no study"):
        Ledger.read("any", url=storage_url(None, tmp_path), results_dir=tmp_path)
    assert file.read_bytes() == before
