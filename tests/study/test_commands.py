"""A command that is named finds the same studies, whoever repeats it."""

import shlex
from pathlib import Path

import pytest

from adapter_sweep.cli.reconciling import reconcile_command
from adapter_sweep.cli.standing import where_is
from adapter_sweep.config.compose import compose
from adapter_sweep.study.commands import command
from adapter_sweep.study.storage import STORAGE_VARIABLE, storage_url


def repeated(line: str, words: int) -> dict[str, object]:
    """Where the command looks, as the shell and Hydra read it."""
    return where_is(compose(shlex.split(line)[words:]).config)


@pytest.mark.parametrize("folder", ["results", "other", "a b", "it's", "$HOME", "a,b=[c]", "1e3"])
@pytest.mark.parametrize("storage", [None, "sqlite:///my studies.db", "postgresql://host/db?sslmode=require"])
def test_what_is_named_is_found_again(
    folder: str, storage: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = {"url": storage_url(storage, Path(folder)), "results_dir": Path(folder)}
    line = command("stop", "quick", **place)
    assert shlex.split(line)[:3] == ["adapter-sweep", "stop", "quick"]
    assert repeated(line, 3) == place
    if (folder, storage) == ("results", None):
        assert line == "adapter-sweep stop quick"


def test_no_password_is_in_it(tmp_path: Path) -> None:
    line = command("stop", "quick", url="postgresql://ann:s3cret@host/db", results_dir=tmp_path)
    assert "s3cret" not in line
    assert repeated(line, 3)["url"] == "postgresql://***@host/db"


def test_what_the_environment_says_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql://ann:s3cret@host/db"
    monkeypatch.setenv(STORAGE_VARIABLE, url)
    assert command("stop", "quick", url=url, results_dir=Path("results")) == "adapter-sweep stop quick"
    line = command("stop", "quick", url="postgresql://host/other", results_dir=Path("results"))
    assert repeated(line, 3)["url"] == "postgresql://host/other"
    own = f"sqlite:///{Path('results/optuna.db').absolute()}"
    assert repeated(command("stop", "quick", url=own, results_dir=Path("results")), 3)["url"] == own


def test_the_absolute_folder_is_the_usual_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    results = tmp_path / "results"
    line = command("report", "quick", url=storage_url(None, results), results_dir=results)
    assert line == "adapter-sweep report quick"


def test_the_command_that_brings_a_view_up_to_date(tmp_path: Path) -> None:
    line = reconcile_command(
        "quick.confirmed",
        url=storage_url(None, tmp_path),
        results_dir=tmp_path,
        tracking="http://ann:s3cret@host:80",
    )
    assert shlex.split(line)[:3] == ["adapter-sweep", "reconcile", "quick"]
    again = compose(shlex.split(line)[3:]).config
    assert (again.results_dir, again.tracking.uri) == (str(tmp_path), "http://***@host:80")
