"""A study that chooses between methods, end to end: searched, repeated, confirmed, on two tasks."""

import csv
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from adapter_sweep.records import StudyView, TrialState
from adapter_sweep.study.confirmation import read_study
from adapter_sweep.study.ledger import storage_url
from tiny_bert import save_toy_csv

Cli = Callable[..., subprocess.CompletedProcess[str]]

CHOICE = [
    "method=choice(bottleneck,narrow,head)",
    "bottleneck.method.width=choice(8,16)",
    "method.init_std=0.02",
    "method.placement=both",
]
REST = [
    "narrow.method.width=2",
    "narrow.method.activation=relu",
    "head.train.lr=0.05",
    "train.lr=choice(0.001,0.01)",
    "study.sampler=grid",
]
KEYS = {
    "bottleneck": {"method", "method.width", "train.lr"},
    "narrow": {"method", "train.lr"},
    "head": {"method", "train.lr"},
}


@pytest.fixture
def settings(tiny_settings: list[str], tmp_path: Path) -> list[str]:
    folder = tmp_path / "mine"
    (folder / "method").mkdir(parents=True)
    (folder / "method" / "narrow.yaml").write_text("defaults:\n  - bottleneck\n  - _self_\nwidth: 2\n")
    return [*tiny_settings, f"--config-dir={folder}"]


def read(folder: Path, name: str = "toy") -> StudyView:
    results = folder / "results"
    return read_study(name, url=storage_url(None, results), results_dir=results)


def test_methods_are_searched_repeated_and_confirmed(cli: Cli, settings: list[str], tmp_path: Path) -> None:
    given = [*settings, *CHOICE, *REST, "study.name=toy"]
    done = cli("run", *given, "study.n_trials=4", "workers.count=1")
    assert done.returncode == 0, done.stderr
    assert "Search      method = choice(bottleneck,narrow,head)" in done.stdout
    assert "Search      bottleneck.method.width = choice(8,16)" in done.stdout

    # It goes on in two workers, up to the grid's seven points: 2 · 2 of bottleneck, 2 of narrow, 1 of head.
    done = cli("run", *given, "study.n_trials=20", "workers.count=2")
    assert done.returncode == 0, done.stderr
    view = read(tmp_path)
    assert [trial.state for trial in view.trials] == [TrialState.COMPLETE] * 7
    assert len({frozenset(trial.params.items()) for trial in view.trials}) == 7
    for trial in view.trials:
        assert trial.params.keys() == KEYS[str(trial.params["method"])]
    by_method = {str(trial.params["method"]): trial for trial in view.trials}
    assert by_method["head"].metrics["adapter_params"] == 0
    assert by_method["head"].params["train.lr"] == 0.05
    assert by_method["narrow"].metrics["adapter_params"] < by_method["bottleneck"].metrics["adapter_params"]

    with (tmp_path / "results" / "toy" / "trials.csv").open(newline="") as file:
        rows = {row["trial"]: row for row in csv.DictReader(file)}
    assert rows[str(by_method["head"].number)]["method.width"] == ""
    client = MlflowClient(f"sqlite:///{tmp_path / 'results' / 'mlflow.db'}")
    run = client.get_run(str(by_method["head"].mlflow_run_id))
    assert run.data.params == {"method": "head", "train.lr": "0.05"}
    assert run.info.run_name == f"{by_method['head'].number:03d} method=head lr=0.05"

    for method, trial in by_method.items():
        overrides = trial.overrides
        assert f"method={method}" in overrides
        assert ("method.init_std=0.02" in overrides) == (method != "head")
        assert ("method.activation=relu" in overrides) == (method == "narrow")
        done = cli("trial", *overrides, *_around(settings), f"study.name=again-{method}", "tracking=none")
        assert done.returncode == 0, done.stderr
        (again,) = read(tmp_path, f"again-{method}").trials
        assert again.metrics["accuracy"] == trial.metrics["accuracy"]
        assert again.metrics["trainable_params"] == trial.metrics["trainable_params"]
        assert again.params["method"] == method

    done = cli("confirm", "toy", "confirm.seeds=1", "confirm.finalists=6", "workers.count=1")
    assert done.returncode == 0, done.stderr
    confirmed = read(tmp_path).confirmation
    assert confirmed is not None
    own = {str(trial.number): trial.params for trial in view.trials}
    assert {run.params["method"] for run in confirmed.runs} > {"head"}
    assert all(run.state is TrialState.COMPLETE and run.params == own[run.configuration] for run in confirmed.runs)
    for overrides in _confirmed_overrides(tmp_path):
        assert ("method.init_std=0.02" in overrides) == ("method=head" not in overrides)
        assert ("method.activation=relu" in overrides) == ("method=narrow" in overrides)
    done = cli("best", "toy")
    assert done.returncode == 0, done.stderr
    assert " method=" in done.stdout.split("adapter-sweep trial ")[1].splitlines()[0]


def _around(settings: list[str]) -> list[str]:
    """What a trial's command does not tell: where its results go."""
    return [text for text in settings if text.startswith("results_dir")]


def _confirmed_overrides(folder: Path) -> list[tuple[str, ...]]:
    from adapter_sweep.study.ledger import Ledger

    results = folder / "results"
    ledger = Ledger.read("toy.confirmed", url=storage_url(None, results), results_dir=results)
    return [trial.overrides for trial in ledger.view().trials]


def test_other_methods_or_ranges_are_another_study(cli: Cli, settings: list[str]) -> None:
    start = [
        *settings,
        "tracking=none",
        "study.name=toy",
        "study.n_trials=1",
        "workers.count=1",
        "study.sampler=random",
    ]
    done = cli("run", *start, "method=choice(bottleneck,head)", "method.width=choice(2,4)")
    assert done.returncode == 0, done.stderr
    for changed in (["method=choice(bottleneck,narrow)"], ["method=choice(bottleneck,head)", "head.train.lr=0.1"]):
        done = cli("run", *start, *changed, "method.width=choice(2,4)")
        assert done.returncode == 2
        assert "exists with another definition" in done.stderr
        assert "search_space." in done.stderr


def test_config_prints_methods_and_ranges(cli: Cli, settings: list[str]) -> None:
    done = cli("config", *settings, *CHOICE, *REST)
    assert done.returncode == 0, done.stderr
    shown = yaml.safe_load(done.stdout)
    assert list(shown["methods"]) == ["bottleneck", "narrow", "head"]
    assert shown["methods"]["head"] == {"kind": "head"}
    assert shown["search_space"]["head.train.lr"] == "choice(0.05)"


def test_one_choice_of_methods_on_two_tasks(cli: Cli, settings: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "task").mkdir()
    for name in ("first", "second"):
        path = save_toy_csv(tmp_path / f"{name}.csv")
        if name == "second":
            path.write_text(path.read_text().replace("pos", "good").replace("neg", "bad"))
        task = {"kind": "local", "name": name, "path": str(path), "text": "text", "label": "label"}
        (folder / "task" / f"{name}.yaml").write_text(yaml.safe_dump(task))
    own = [text for text in settings if not text.startswith("task")]
    space = ["method=choice(bottleneck,head)", "method.width=choice(2,4)", "method.placement=both", "train.lr=0.01"]
    done = cli(
        "run",
        *own,
        *space,
        "study.name=both",
        "study.tasks=[first,second]",
        "study.n_trials=3",
        "study.sampler=grid",
        "tracking=none",
    )
    assert done.returncode == 0, done.stderr
    one, other = read(tmp_path, "both-first"), read(tmp_path, "both-second")
    assert [trial.params for trial in one.trials] == [trial.params for trial in other.trials]
    assert [len(trial.params) for trial in one.trials if trial.params["method"] == "head"] == [1]
    group = tmp_path / "results" / "compare-both-first+both-second"
    with (group / "regret.csv").open(newline="") as file:
        assert {row["method"]: row["method.width"] for row in csv.DictReader(file)}["head"] == ""
