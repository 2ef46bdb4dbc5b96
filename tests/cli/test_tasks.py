"""`run` with `study.tasks`: a study for each task, and the report of the group."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from adapter_sweep.records import StudyView
from adapter_sweep.study.confirmation import read_study
from adapter_sweep.study.ledger import storage_url
from tiny_bert import save_toy_csv

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def settings(tiny_settings: list[str], tmp_path: Path) -> list[str]:
    """A configuration folder with two tasks of the user's own, and a sweep over them."""
    local = {"kind": "local", "text": "text", "label": "label", "metric": "accuracy", "delimiter": None}
    rest = {"validation_path": None, "test_path": None, "split_seed": 0, "max_train_examples": None}
    folder = tmp_path / "mine"
    for name in ("first", "second"):
        path = save_toy_csv(tmp_path / f"{name}.csv")
        if name == "second":
            path.write_text(path.read_text().replace("pos", "good").replace("neg", "bad"))
        (folder / "task").mkdir(parents=True, exist_ok=True)
        (folder / "task" / f"{name}.yaml").write_text(
            yaml.safe_dump({**local, **rest, "name": name, "path": str(path)})
        )
    (folder / "sweeps").mkdir()
    sweep = {
        "study": {"n_trials": 2, "sampler": "random", "tasks": ["first", "second"]},
        "search_space": {"method.width": "choice(2,4,8)", "train.lr": "tag(log,interval(1e-3,1e-2))"},
    }
    (folder / "sweeps" / "both.yaml").write_text(yaml.safe_dump(sweep))
    own = [text for text in tiny_settings if not text.startswith("task")]
    return ["sweep=both", *own, f"--config-dir={folder}", "tracking=none"]


def read(folder: Path, name: str) -> StudyView:
    results = folder / "results"
    return read_study(name, url=storage_url(None, results), results_dir=results)


def test_each_task_is_a_study_of_the_same_configurations(cli: Cli, settings: list[str], tmp_path: Path) -> None:
    done = cli("run", *settings)
    assert done.returncode == 0, done.stderr
    one, other = read(tmp_path, "both-first"), read(tmp_path, "both-second")
    assert [trial.params for trial in one.trials] == [trial.params for trial in other.trials]
    assert one.provenance["data_fingerprint"] != other.provenance["data_fingerprint"]
    assert "adapter-sweep confirm both-first both-second" in done.stdout
    group = tmp_path / "results" / "compare-both-first+both-second"
    assert (group / "regret.csv").is_file()
    assert (group / "report.html").is_file()

    done = cli("run", *settings)  # nothing is left to do
    assert done.returncode == 0, done.stderr
    assert len(read(tmp_path, "both-first").trials) == 2


def test_a_task_that_is_not_there_is_told_before_anything_runs(cli: Cli, settings: list[str], tmp_path: Path) -> None:
    done = cli("run", *settings, "study.tasks=[first,third]")
    assert done.returncode == 2
    assert "task=third: there is no such task" in done.stderr
    assert not (tmp_path / "results").exists()


def test_a_task_named_twice_is_refused(cli: Cli, settings: list[str], tmp_path: Path) -> None:
    done = cli("run", *settings, "study.tasks=[first,second,first]")
    assert done.returncode == 2
    assert "error: study.tasks=" in done.stderr
    assert "each task once; named twice: first" in done.stderr
    assert not (tmp_path / "results").exists()
