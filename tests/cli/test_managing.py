"""Studies as a whole, as a user handles them: listed, shown, deleted, packed and unpacked."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filled_ledgers import GRID, fill
from mlflow import MlflowClient
from mlflow.entities import ViewType

from adapter_sweep.config.space import parse_space
from adapter_sweep.records import TrialState
from adapter_sweep.study.ledger import Ledger, storage_url

Cli = Callable[..., subprocess.CompletedProcess[str]]

COMMAND = [sys.executable, "-c", "from adapter_sweep.cli import main; main()"]


def read(results: Path, name: str) -> Ledger:
    return Ledger.read(name, url=storage_url(None, results), results_dir=results)


def confirmed(results: Path, name: str) -> Ledger:
    """A study of finalists with one run, as far as it matters to whoever handles the whole."""
    ledger = Ledger.start(
        f"{name}.confirmed",
        url=storage_url(None, results),
        results_dir=results,
        definition={"confirms": name},
        objectives={"test_accuracy": "maximize"},
        space=parse_space(GRID),
        sampler="random",
        seed=0,
    )
    ledger.set_facts(config={"confirmed": []}, n_trials=1)
    asked = ledger.ask(1)
    assert asked is not None
    ledger.tell(asked[0], TrialState.COMPLETE, metrics={"test_accuracy": 0.5})
    asked[1].close()
    (ledger.folder / "anchors.json").write_text("{}")
    return ledger


def test_list_tells_each_study_in_a_line(cli: Cli, tmp_path: Path) -> None:
    results = tmp_path / "results"
    fill(results, "movies")
    confirmed(results, "movies")
    started = fill(results, "tweets", task="tweets")
    started.set_facts(n_trials=9)
    done = cli("list")
    assert done.returncode == 0, done.stderr
    header, movies, tweets = done.stdout.splitlines()
    names = ("study", "sweep", "done", "running", "failed", "best", "confirmed", "changed", "worked on")
    assert " ".join(header.split()) == " ".join(names)
    assert movies.split()[:8] == ["movies", "-", "4/4", "0", "0", "0.8600", "accuracy", "1/1"]
    assert tweets.split()[:8] == ["tweets", "-", "4/9", "0", "0", "0.8600", "accuracy", "-"]
    assert movies.endswith("  no")
    told = json.loads(cli("list", "--json").stdout)
    assert [(one["study"], one["done"], one["states"]) for one in told] == [
        ("movies", 4, {"complete": 4}),
        ("tweets", 4, {"complete": 4}),
    ]
    assert told[0]["best"] == {"trial": told[0]["best"]["trial"], "accuracy": pytest.approx(0.86), "metric": "accuracy"}


def test_show_tells_what_a_study_is_and_what_failed(cli: Cli, tmp_path: Path) -> None:
    ledger = fill(tmp_path / "results", "movies")
    for reason in ("too wide", "too wide", "NaN"):
        ledger.queue({"method.width": 8, "method.placement": "both"})
        asked = ledger.ask(None)
        assert asked is not None
        ledger.tell(asked[0], TrialState.FAILED, reason=reason)
        asked[1].close()
    done = cli("show", "movies")
    assert done.returncode == 0, done.stderr
    assert "Task        movies\n" in done.stdout
    assert (
        "Searched    method.width: choice(8, 64)\n            method.placement: choice(post_ffn, both)\n" in done.stdout
    )
    assert "Failed      trials 4, 5: too wide\nFailed      trial 6: NaN\n" in done.stdout
    assert "Pareto front of movies" in done.stdout
    assert "Worked on   by nobody\n" in done.stdout
    assert "Choose      adapter-sweep best movies\n" in done.stdout
    told = json.loads(cli("show", "movies", "--json").stdout)
    assert told["reasons"] == [
        {"state": "failed", "reason": "too wide", "trials": [4, 5]},
        {"state": "failed", "reason": "NaN", "trials": [6]},
    ]
    assert cli("show", "nosuch").stderr == "error: there is no study 'nosuch'; there are: movies\n"


def test_delete_removes_all_of_one_study_and_nothing_else(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "results"
    for name in ("movies", "movies2"):
        fill(results, name)
        confirmed(results, name)
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    asked = cli("delete", "movies")
    assert asked.returncode == 130
    assert "Delete study movies for ever, with 4 trials and 1 of its finalists, its runs in MLflow" in asked.stdout
    assert (results / "movies").exists()
    done = cli("delete", "movies", "--yes", "tracking=none")
    assert (done.returncode, done.stderr) == (0, "")
    assert not (results / "movies").exists()
    assert not (results / "movies.confirmed").exists()
    assert {ledger.name for ledger in Ledger.read_all(url=storage_url(None, results), results_dir=results)} == {
        "movies2",
        "movies2.confirmed",
    }
    assert len(read(results, "movies2").view().trials) == 4
    again = cli("delete", "movies", "--yes", "tracking=none")
    assert again.returncode == 2
    assert again.stderr.startswith("error: there is no study 'movies'")


def test_delete_says_what_it_leaves_of_another_ledgers_study(cli: Cli, tmp_path: Path) -> None:
    results = tmp_path / "results"
    fill(tmp_path / "elsewhere", "movies")
    fill(results, "movies")
    storage = f"study.storage=sqlite:///{tmp_path / 'elsewhere' / 'optuna.db'}"
    done = cli("delete", "movies", "--yes", "tracking=none", storage)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "Deleted movies: 4 trials",
        "warning: results/movies was left: nothing says that it is this study's and not another ledger's",
    ]
    assert len(list(results.glob("movies/trials/*/adapter.safetensors"))) == 4
    assert "holds no study" not in cli("show", "movies").stderr


def test_delete_takes_the_runs_and_artifacts_of_that_study_alone(cli: Cli, tmp_path: Path) -> None:
    results = tmp_path / "results"
    for name in ("movies", "movies2"):
        fill(results, name).set_facts(config={"task": {"name": "movies"}, "method": {}, "train": {}})
        cli("archive", name)
        assert cli("delete", name, "--yes", "tracking=none").returncode == 0
        restored = cli("restore", f"{name}.zip")
        assert restored.returncode == 0, restored.stderr
    client = MlflowClient(f"sqlite:///{results / 'mlflow.db'}")
    kept = {run.info.run_id for run in runs(client, "movies2")}
    gone = {run.info.run_id for run in runs(client, "movies")}
    assert len(kept) == len(gone) == 5
    done = cli("delete", "movies", "--yes")
    assert done.stdout.endswith("Deleted movies: 4 trials, 5 runs in MLflow, its files\n"), done.stderr
    assert {one.name for one in client.search_experiments(ViewType.ALL)} == {"Default", "movies2"}
    assert {run.info.run_id for run in runs(client, "movies2")} == kept
    assert {path.name for path in (results / "mlartifacts").iterdir()} == kept


def tracked(results: Path, name: str, uri: str) -> Ledger:
    ledger = fill(results, name)
    config = {"task": {"name": "movies"}, "method": {}, "train": {}}
    ledger.set_facts(config={**config, "tracking": {"enabled": True, "uri": uri}})
    return ledger


def test_delete_finds_the_runs_where_the_study_has_them(cli: Cli, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mine.db'}"
    tracked(tmp_path / "results", "movies", uri)
    assert cli("reconcile", "movies", f"tracking.uri={uri}").returncode == 0
    done = cli("delete", "movies", "--yes")
    assert done.stdout.endswith("Deleted movies: 4 trials, 5 runs in MLflow, its files\n"), done.stderr
    assert MlflowClient(uri).get_experiment_by_name("movies") is None


def test_a_study_whose_runs_cannot_be_deleted_is_left_as_it_was(cli: Cli, tmp_path: Path) -> None:
    results = tmp_path / "results"
    ledger = tracked(results, "movies", "http://***@127.0.0.1:9")
    refused = cli("delete", "movies", "--yes")
    assert refused.returncode == 2
    assert "has its runs at http://***@127.0.0.1:9, and the password is not kept; name that store" in refused.stderr
    down = cli("delete", "movies", "--yes", "tracking.uri=http://ann:s3cret@127.0.0.1:9")
    assert down.returncode == 1
    assert "Nothing else was deleted" in down.stderr
    assert "half deleted" not in cli("list").stdout
    archived = cli("archive", "movies")
    assert archived.returncode == 0, archived.stderr
    assert ledger.folder.exists()
    assert cli("delete", "movies", "--yes", "tracking=none").returncode == 0
    assert cli("restore", "movies.zip").returncode == 0  # which shows it in the results folder's store
    assert "5 runs in MLflow" in cli("delete", "movies", "--yes").stdout


def runs(client: MlflowClient, name: str) -> list[object]:
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], "", ViewType.ALL))


def test_archive_tells_what_it_leaves_out(cli: Cli, tmp_path: Path) -> None:
    folder = fill(tmp_path / "results", "movies").folder
    (folder / os.fsdecode(b"caf\xe9")).write_text("odd")
    done = cli("archive", "movies")
    assert (done.returncode, done.stderr) == (0, "")
    assert "caf\\udce9' was left out: " in done.stdout.replace("\n", "")


def test_a_delete_that_was_cut_short_is_finished_by_another(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "results"
    fill(results, "movies")
    from adapter_sweep.study import management

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(management, "forget", killed)  # files gone, ledger there
        assert cli("delete", "movies", "--yes", "tracking=none").returncode == 130
    assert "half deleted" in cli("list").stdout
    with pytest.raises(Exception, match="is half deleted; finish it first: adapter-sweep delete movies"):
        fill(results, "movies")
    assert "half deleted" in cli("archive", "movies").stderr
    assert cli("delete", "movies", "--yes", "tracking=none").returncode == 0
    assert not (results / "movies").exists()
    assert len(fill(results, "movies").view().trials) == 4


@contextmanager
def running(folder: Path, settings: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """`run`, once a trial is in training."""
    process = subprocess.Popen(
        [*COMMAND, "run", *settings],
        cwd=folder,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if ": epoch 1/" in line:
                break
        yield process
    finally:
        process.kill()
        process.communicate()


def test_stop_makes_all_leave_and_run_continues(cli: Cli, tiny_settings: list[str], tmp_path: Path) -> None:
    settings = [*tiny_settings, "method.width=choice(2,4,8)", "study.sampler=random", "tracking=none"]
    settings += ["study.n_trials=2", "train.epochs=1000"]
    with running(tmp_path, settings) as process:
        listed = json.loads(cli("list", "--json").stdout)
        assert listed[0]["at_work"][0].startswith(f"process {process.pid} on ")
        assert listed[0]["at_work"][1] == "trial 0"
        for command in (["delete", "quickstart", "--yes"], ["archive", "quickstart"]):
            refused = cli(*command)
            assert refused.returncode == 2
            assert "is being worked on: process" in refused.stderr
        impatient = cli("stop", "quickstart", "--timeout", "0")
        assert impatient.returncode == 1
        assert "after 0 s these have not left: process" in impatient.stderr
        began = time.monotonic()
        stopped = cli("stop", "quickstart")
        assert stopped.returncode == 0, stopped.stderr
        assert time.monotonic() - began < 60
        out, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "")
    assert "Stopped. The study is kept; the same command continues it." in out
    (trial,) = read(tmp_path / "results", "quickstart").view().trials
    assert (trial.state, trial.reason) == (TrialState.INTERRUPTED, "stopped by adapter-sweep stop")
    assert "it was last asked to stop on" in cli("show", "quickstart").stdout
    with running(tmp_path, settings) as process:  # which takes the stop back, and can be stopped again
        assert cli("stop", "quickstart").returncode == 0
        process.communicate(timeout=60)
    trials = read(tmp_path / "results", "quickstart").view().trials
    assert (trials[0].state, trials[-1].state) == (TrialState.INTERRUPTED, TrialState.INTERRUPTED)
    assert trials[0].params == trials[1].params  # which went on at its checkpoint, and may have ended


def test_a_process_that_was_killed_is_not_at_work(cli: Cli, tmp_path: Path) -> None:
    results = tmp_path / "results"
    fill(results, "movies")
    script = (
        "import sys, time; sys.path[:0] = sys.argv[2:]; from pathlib import Path; from filled_ledgers import fill; "
        "fill(Path(sys.argv[1]), 'movies'); print('there', flush=True); time.sleep(600)"
    )
    paths = [str(Path(__file__).parent)]
    process = subprocess.Popen([sys.executable, "-c", script, str(results), *paths], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    assert f"process {process.pid} on " in cli("show", "movies").stdout
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert "by nobody" in cli("show", "movies").stdout
