"""`confirm`, on real studies: the ledger, MLflow and the report afterwards."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from adapter_sweep import data
from adapter_sweep.bench import Bench
from adapter_sweep.engine.tasks import TaskData
from adapter_sweep.records import Confirmation, StudyView, TrialState
from adapter_sweep.study.confirmation import read_study
from adapter_sweep.study.ledger import storage_url
from tiny_bert import save_toy_csv

Cli = Callable[..., subprocess.CompletedProcess[str]]
SPACE = ["method.width=choice(2,4)", "method.placement=choice(post_ffn,both)", "train.lr=tag(log,interval(1e-3,1e-2))"]
ONE = ["workers.count=1"]
CONFIRM = ["confirm.seeds=2", "confirm.finalists=2"]


def read(folder: Path, name: str = "toy") -> StudyView:
    results = folder / "results"
    return read_study(name, url=storage_url(None, results), results_dir=results)


def confirmation(folder: Path, name: str = "toy") -> Confirmation:
    found = read(folder, name).confirmation
    assert found is not None
    return found


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test that asks for a study leaves it for the others, each of which gets a copy."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def settings(tiny_settings: list[str]) -> list[str]:
    """With the data named by where they lie beside the results: a copy finds its own."""
    return [*(text for text in tiny_settings if not text.startswith("task.path=")), "task.path=toy.csv"]


@pytest.fixture
def searched(cli: Cli, settings: list[str], kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study of four trials, in whose search nobody looked at the test split."""
    if not (kept / "searched").exists():
        save_toy_csv(kept / "toy.csv")
        monkeypatch.chdir(kept)
        _search(cli, settings)
        monkeypatch.chdir(tmp_path)
        (kept / "results").rename(kept / "searched")
    shutil.copytree(kept / "searched", tmp_path / "results")


def _search(cli: Cli, settings: list[str]) -> None:
    real, loading = TaskData.__getattribute__, data.load_local

    def unread(self: TaskData, name: str) -> object:
        assert name != "test", "the search reads the test split"
        return real(self, name)

    with pytest.MonkeyPatch.context() as patch:

        def loaded_and_closed(*args: Any, **options: Any) -> TaskData:
            loaded = loading(*args, **options)
            patch.setattr(TaskData, "__getattribute__", unread)  # from here on
            return loaded

        patch.setattr(data, "load_local", loaded_and_closed)
        done = cli("run", *settings, *SPACE, *ONE, "study.n_trials=4", "study.name=toy")
        assert TaskData.__getattribute__ is unread
    assert done.returncode == 0, done.stderr


@pytest.fixture
def confirmed(cli: Cli, searched: None, kept: Path, tmp_path: Path) -> None:
    """The study with two runs of each of its two finalists, which MLflow does not show."""
    if not (kept / "confirmed").exists():
        done = cli("confirm", "toy", *CONFIRM, *ONE, "tracking=none")
        assert done.returncode == 0, done.stderr
        shutil.copytree(tmp_path / "results", kept / "confirmed")
    else:
        shutil.rmtree(tmp_path / "results")
        shutil.copytree(kept / "confirmed", tmp_path / "results")


def test_finalists_are_scored_once_on_the_test_split(cli: Cli, searched: None, tmp_path: Path) -> None:
    before = read(tmp_path)
    assert before.confirmation is None
    done = cli("confirm", "toy", *CONFIRM, *ONE)
    assert done.returncode == 0, done.stderr
    assert "Finalists of toy on the test split" in done.stdout

    found = confirmation(tmp_path)
    assert found.metric == "accuracy"
    assert found.seeds == (1001, 1002)
    assert set(found.anchors) == {"majority class", "frozen backbone", "head-only probe"}
    own = {str(trial.number): trial.params for trial in before.trials}
    assert len({run.configuration for run in found.runs}) == 2
    assert len(found.runs) == 4
    for run in found.runs:
        assert run.state is TrialState.COMPLETE
        assert run.params == own[run.configuration]
        right = sum(a == b for a, b in zip(run.predictions, found.labels, strict=True))
        assert run.metrics["test_accuracy"] == pytest.approx(right / len(found.labels))
        assert run.metrics["test_examples"] == len(found.labels)
        assert {"accuracy", "eval_examples"}.isdisjoint(run.metrics)
    assert [t.metrics for t in read(tmp_path).trials] == [t.metrics for t in before.trials]
    _mlflow_shows_them_under_the_study_and_the_report_tells_of_them(tmp_path)


def _mlflow_shows_them_under_the_study_and_the_report_tells_of_them(tmp_path: Path) -> None:
    found, parent = confirmation(tmp_path), read(tmp_path).mlflow_run_id
    client = MlflowClient(f"sqlite:///{tmp_path}/results/mlflow.db")
    (experiment,) = [e for e in client.search_experiments() if e.name == "toy"]
    runs = client.search_runs([experiment.experiment_id], "tags.`adapter_sweep.kind` = 'confirmed'")
    assert {run.info.run_id for run in runs} == {run.mlflow_run_id for run in found.runs}
    assert {run.data.tags["mlflow.parentRunId"] for run in runs} == {parent}
    shown = {run.info.run_id: run.data.metrics["test_accuracy"] for run in runs}
    assert shown == {run.mlflow_run_id: run.metrics["test_accuracy"] for run in found.runs}
    assert all(run.info.run_name.startswith("confirmed 0") for run in runs)

    folder = tmp_path / "results" / "toy"
    told = json.loads((folder / "front.json").read_text())["confirmed"]
    assert {each["configuration"] for each in told["finalists"]} == {run.configuration for run in found.runs}
    assert "Finalists on the test split" in (folder / "report.html").read_text()
    assert "## Finalists on the test split" in (folder / "report.md").read_text()


def test_the_same_command_again_trains_nothing_and_more_seeds_go_on(cli: Cli, confirmed: None, tmp_path: Path) -> None:
    first = confirmation(tmp_path)
    anchors = tmp_path / "results" / "toy.confirmed" / "anchors.json"
    kept = anchors.stat().st_ino
    done = cli("confirm", "toy", *CONFIRM, *ONE, "tracking=none")
    assert "4 of 4 runs are done" in done.stdout
    assert confirmation(tmp_path) == first
    assert cli("confirm", "toy", "confirm.seeds=3", "confirm.finalists=2", *ONE, "tracking=none").returncode == 0
    more = confirmation(tmp_path)
    assert more.runs[:4] == first.runs
    assert [run.seed for run in more.runs[4:]] == [1003, 1003]
    assert anchors.stat().st_ino == kept  # not scored again


def test_running_a_confirmed_study_again_keeps_its_finalists(
    cli: Cli, confirmed: None, settings: list[str], tmp_path: Path
) -> None:
    report = tmp_path / "results" / "toy" / "report.md"
    before = report.read_text()
    done = cli("run", *settings, *SPACE, *ONE, "study.n_trials=4", "study.name=toy", "tracking=none")
    assert "Finalists of toy on the test split" in done.stdout
    assert "## Finalists on the test split" in before
    assert report.read_text() == before


def test_finalists_wait_for_what_they_stand_beside(
    cli: Cli, searched: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Bench) -> None:
        raise RuntimeError("no anchors today")

    with monkeypatch.context() as patch:
        patch.setattr(Bench, "anchor_predictions", fails)
        done = cli("confirm", "toy", *CONFIRM, "workers.count=2", "tracking=none")
    assert done.returncode == 1
    assert "could not be scored" in done.stderr
    assert read(tmp_path).confirmation is None
    done = cli("confirm", "toy", *CONFIRM, "workers.count=2", "tracking=none")
    assert done.returncode == 0, done.stderr
    assert "4 of 4 runs are done" in done.stdout
    assert len(confirmation(tmp_path).runs) == 4


def test_of_several_studies_each_best_is_tried_on_all(cli: Cli, searched: None, settings: list[str]) -> None:
    here = Path.cwd()
    done = cli("run", *settings, *SPACE, *ONE, "study.n_trials=2", "study.seed=1", "study.name=other")
    assert done.returncode == 0, done.stderr
    done = cli("confirm", "toy", "other", "confirm.seeds=1", "confirm.finalists=1", *ONE, "tracking=none")
    assert done.returncode == 0, done.stderr
    for name, another in (("toy", "other"), ("other", "toy")):
        runs = {run.configuration: run for run in confirmation(here, name).runs}
        (guest,) = [text for text in runs if text.startswith(f"{another}:")]
        assert runs[guest].trial is None
        assert runs[guest].params == read(here, another).trials[int(guest.partition(":")[2])].params


def test_studies_of_other_spaces_are_confirmed_each_for_itself(cli: Cli, searched: None, settings: list[str]) -> None:
    space = ["method.width=choice(8,16)", "train.lr=tag(log,interval(1e-3,1e-2))", "train.epochs=choice(1,2)"]
    done = cli("run", *settings, *space, *ONE, "study.n_trials=2", "study.name=other", "tracking=none")
    assert done.returncode == 0, done.stderr
    done = cli("confirm", "toy", "other", "confirm.seeds=1", "confirm.finalists=1", *ONE, "tracking=none")
    assert done.returncode == 0, done.stderr
    assert "toy: the best of other is not tried here, as they differ in " in done.stdout
    assert "search_space.train.epochs" in done.stdout
    for name in ("toy", "other"):
        (run,) = confirmation(Path.cwd(), name).runs
        assert run.trial is not None


def test_a_run_whose_predictions_are_gone_costs_no_report(cli: Cli, confirmed: None, tmp_path: Path) -> None:
    files = sorted((tmp_path / "results" / "toy.confirmed").rglob("predictions.json"))
    kept = files[0].read_text()
    files[0].unlink()
    done = cli("report", "toy", "tracking=none")
    assert done.returncode == 0, done.stderr
    lost = [run for run in confirmation(tmp_path).runs if run.state is TrialState.FAILED]
    assert [run.reason for run in lost] == [f"its predictions are gone: {files[0]}"]

    done = cli("confirm", "toy", *CONFIRM, *ONE, "tracking=none")  # which trains it again, and once
    assert done.returncode == 0, done.stderr
    again = confirmation(tmp_path).runs
    assert [run.state for run in again] == [TrialState.COMPLETE] * 4
    assert len({(run.configuration, run.seed) for run in again}) == 4
    assert "5 of 5 runs are done" in cli("confirm", "toy", *CONFIRM, *ONE, "tracking=none").stdout
    files[0].write_text(kept)  # found again: no seed counts twice
    assert len(confirmation(tmp_path).runs) == 4


def test_damaged_files_of_a_confirmation_are_told_and_mended(cli: Cli, confirmed: None, tmp_path: Path) -> None:
    first = confirmation(tmp_path)
    folder = tmp_path / "results" / "toy.confirmed"
    (folder / "anchors.json").write_text("{")
    done = cli("best", "toy")
    assert done.returncode == 0, done.stderr
    assert read(tmp_path).confirmation is None
    assert cli("confirm", "toy", *CONFIRM, *ONE, "tracking=none").returncode == 0
    assert confirmation(tmp_path) == first


def test_finalists_are_no_study_to_choose_from(cli: Cli, confirmed: None, settings: list[str]) -> None:
    for command in (["confirm", "toy.confirmed", *ONE], ["best", "toy.confirmed"], ["report", "toy.confirmed"]):
        done = cli(*command)
        assert done.returncode == 2
        assert done.stderr.strip() == (
            "error: study 'toy.confirmed' holds another one's finalists, and is told with it: name 'toy'"
        )
    done = cli("run", *settings, *SPACE, "study.name=mine.confirmed")
    assert done.returncode == 2
    assert "a name that ends in .confirmed" in done.stderr


def test_two_workers_confirm(cli: Cli, searched: None, tmp_path: Path) -> None:
    done = cli("confirm", "toy", *CONFIRM, "workers.count=2", "tracking=none")
    assert done.returncode == 0, done.stderr
    assert len({(run.configuration, run.seed) for run in confirmation(tmp_path).runs}) == 4
    assert set(confirmation(tmp_path).anchors) == {"majority class", "frozen backbone", "head-only probe"}


def test_wrong_input(cli: Cli, searched: None, tmp_path: Path, settings: list[str]) -> None:
    done = cli("confirm", "toy", "nosuch", *ONE)
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no study 'nosuch'; there are: toy")
    done = cli("confirm", "toy", "train.epochs=9", "method.width=3")
    assert done.returncode == 2
    assert [line.partition(":")[2].split(":")[0].strip() for line in done.stderr.splitlines()] == [
        "train.epochs",
        "method.width",
    ]
    assert "allowed here: confirm, workers" in done.stderr
    assert cli("trial", *settings, "method.width=2", "study.name=one", "tracking=none").returncode == 0
    done = cli("confirm", "one", *ONE)
    assert (done.returncode, done.stderr.count("study 'one' holds single trials; only what")) == (2, 1)
    (tmp_path / "toy.csv").write_text("text,label\n" + "".join(f"word {i},{'ab'[i % 2]}\n" for i in range(60)))
    done = cli("confirm", "toy", *ONE)
    assert done.returncode == 2
    assert "study 'toy' was run with another data set" in done.stderr
    assert read(tmp_path).confirmation is None
