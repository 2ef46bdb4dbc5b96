"""`report` of several studies, on real ledgers."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from filled_ledgers import fill

Cli = Callable[..., subprocess.CompletedProcess[str]]

FILES = {"report.html", "report.md", "compare.json", "compare.csv", "front.png", "front.svg"}


def test_studies_of_the_same_data_are_laid_over_one_another(cli: Cli, tmp_path: Path) -> None:
    results = tmp_path / "results"
    fill(results, "a")
    fill(results, "b", gains=(0.1, 0.15, 0.12, 0.16))
    before = {path: path.read_bytes() for path in (results / "a").rglob("*") if path.is_file()}
    done = cli("report", "a", "tracking=none", "b")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("b scores best: 0.960 ± 0.010 by trial ")
    assert "a is further below" in done.stdout
    folder = results / "compare-a+b"
    assert {path.name for path in folder.iterdir()} == FILES
    document = json.loads((folder / "compare.json").read_text())
    first, second = document["studies"]
    assert second["hypervolume"] > first["hypervolume"]
    assert first["on_common_front"] == []
    assert document["tasks"] is None
    assert {path: path.read_bytes() for path in before} == before


def test_one_search_space_on_several_tasks_is_a_group(cli: Cli, tmp_path: Path) -> None:
    results = tmp_path / "results"
    fill(results, "tasks-movies")
    fill(results, "tasks-questions", task="questions", gains=(0.0, 0.0, 0.15, 0.1))
    done = cli("report", "tasks-movies", "tasks-questions", "results_dir=results")
    assert done.returncode == 0, done.stderr
    assert "loses at most" in done.stdout or "loses least at worst" in done.stdout
    folder = results / "compare-tasks-movies+tasks-questions"
    assert {path.name for path in folder.iterdir()} == FILES | {"regret.csv"}
    tasks = json.loads((folder / "compare.json").read_text())["tasks"]
    assert tasks["best"]["questions"]["params"] == {"method.width": 64, "method.placement": "post_ffn"}
    assert abs(tasks["regret"]["movies"]["questions"]["loss"] - 0.05) < 1e-9


def test_what_cannot_be_compared(cli: Cli, tmp_path: Path) -> None:
    results = tmp_path / "results"
    fill(results, "a")
    assert cli("report", "a", "a").stderr == "error: a: named twice\n"
    done = cli("report", "a", "gone", "lost")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: there is no study 'gone'; there are: a",
        "error: there is no study 'lost'; there are: a",
    ]
    done = cli("report", "tracking=none")
    assert done.returncode == 2
    assert done.stderr == "error: report: name a study, or several, e.g. adapter-sweep report quickstart\n"
    done = cli("report", "a", "b", "x=1")
    assert done.returncode == 2
    assert "x=1: there is no such key" in done.stderr


def test_one_study_is_reported_as_before(cli: Cli, tmp_path: Path) -> None:
    fill(tmp_path / "results", "a")
    done = cli("report", "tracking=none", "a", "~objectives.latency_ratio")
    assert done.returncode == 0, done.stderr
    assert "results/a/report.html" in done.stdout
    assert not list((tmp_path / "results").glob("compare-*"))
