import os
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from adapter_sweep import provenance


@pytest.fixture(autouse=True)
def _unread() -> Iterator[None]:
    provenance.code_provenance.cache_clear()
    yield
    provenance.code_provenance.cache_clear()


def git(tree: Path, *arguments: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(
        ["git", "-C", str(tree), *who, *arguments], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_versions_of_code_and_packages() -> None:
    facts = provenance.code_provenance()
    assert facts["torch"] == version("torch")
    assert facts["optuna"] == version("optuna")
    assert {"adapter-sweep", "python", "platform"} <= facts.keys()
    assert all(isinstance(value, str) and value for value in facts.values())


def test_the_commit_and_whether_the_tree_was_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "src" / "adapter_sweep"
    package.mkdir(parents=True)
    (package / "provenance.py").write_text("")
    monkeypatch.setattr(provenance, "__file__", str(package / "provenance.py"))
    assert provenance._git() == {}  # an installed wheel
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert provenance._git() == {"code_commit": commit, "code_dirty": "false"}
    (package / "new.py").write_text("")
    assert provenance._git() == {"code_commit": commit, "code_dirty": "true"}


def test_another_repositorys_environment_does_not_mislead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ours", "theirs"):
        git(tmp_path, "init", "-q", name)
        (tmp_path / name / "file").write_text(name)
        git(tmp_path / name, "add", ".")
        git(tmp_path / name, "commit", "-qm", name)
    module = tmp_path / "ours" / "src" / "adapter_sweep" / "provenance.py"
    monkeypatch.setattr(provenance, "__file__", str(module))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "theirs" / ".git"))  # as within a git hook
    assert provenance._git()["code_commit"] == git(tmp_path / "ours", "rev-parse", "HEAD")


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert "code_commit" not in provenance.code_provenance()


def test_the_machine() -> None:
    assert provenance.cpu_name()
    assert 1 <= provenance.physical_cores() <= (os.cpu_count() or 1)
