import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from kept import Kept
from mlflow import MlflowClient
from mlflow.entities import ViewType

from adapter_sweep.records import StudyView, TrialState, TrialView
from adapter_sweep.tracking import Tracker, remove_runs

MakeTrial = Callable[..., TrialView]
MakeStudy = Callable[..., StudyView]


def client_of(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder}/mlflow.db", registry_uri=f"sqlite:///{folder}/mlflow.db")


def runs_of(client: MlflowClient, view: int = ViewType.ACTIVE_ONLY) -> list:
    experiment = client.get_experiment_by_name("quick study")
    return list(client.search_runs([experiment.experiment_id], run_view_type=view))


def artifacts_of(client: MlflowClient, run_id: str, folder: str | None = None) -> set[str]:
    return {item.path for item in client.list_artifacts(run_id, folder)}


def test_every_value_of_a_trial_reads_back_equal(
    store_dir: Path, tmp_path: Path, make_trial: MakeTrial, make_study: MakeStudy
) -> None:
    weights = tmp_path / "trial 7" / "adapter.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"\x00weights")
    weights.with_suffix(".json").write_text('{"width": 64}')
    trial = make_trial(weights_path=str(weights))
    study = make_study(trial)
    tracker = Tracker(store_dir, study.name)
    parent = tracker.publish_study(study)
    run_id = tracker.publish_trial(study, trial)

    client = client_of(store_dir)
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "007 placement=both width=64 lr=0.0013 flag=true"
    assert (run.info.start_time, run.info.end_time) == (1893553445250, 1893553565750)
    assert run.data.params == {name: str(value) for name, value in trial.params.items()}
    assert run.data.metrics == trial.metrics
    history = {(m.step, m.value) for m in client.get_metric_history(run_id, "train_loss")}
    assert history == set(trial.curves["train_loss"]) | {(2499, 0.4012)}
    points = client.get_metric_history(run_id, "accuracy")
    assert [(m.step, m.value) for m in points] == trial.curves["accuracy"]
    assert all(run.info.start_time <= m.timestamp <= run.info.end_time for m in points)
    assert points[0].timestamp < points[1].timestamp

    tags = run.data.tags
    assert tags["mlflow.parentRunId"] == parent
    assert tags["adapter_sweep.trial"] == "7"
    assert tags["adapter_sweep.state"] == "complete"
    assert tags["adapter_sweep.overrides"] == "method.width=64 method.placement=both"
    assert {k.removeprefix("provenance."): v for k, v in tags.items() if k.startswith("provenance.")} == dict(
        trial.provenance
    )
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("movies", "d" * 36)

    assert artifacts_of(client, run_id) == {"config.yaml", "adapter"}
    assert artifacts_of(client, run_id, "adapter") == {"adapter/adapter.safetensors", "adapter/adapter.json"}
    home = Path(client.download_artifacts(run_id, ""))
    assert home.is_relative_to(store_dir / "mlartifacts")
    assert (home / "adapter" / "adapter.safetensors").read_bytes() == b"\x00weights"
    config = yaml.safe_load((home / "config.yaml").read_text())
    assert config["task"] == {"name": "movies", "columns": ["text", "label"]}
    assert config["study"] == {"storage": "postgresql://***@db/ledger"}


def test_the_parent_run_shows_the_study(store_dir: Path, make_trial: MakeTrial, make_study: MakeStudy) -> None:
    trials = [make_trial(0), make_trial(1, state=TrialState.REFUSED)]
    study = make_study(*trials)
    tracker = Tracker(store_dir, study.name)
    run = client_of(store_dir).get_run(tracker.publish_study(study, active=True))
    assert run.info.status == "RUNNING"
    assert run.data.params == {
        "search_space.method.width": "tag(log, int(interval(4, 256)))",
        "search_space.train.lr": "interval(1e-4, 1e-2)",
        "objectives.accuracy": "maximize",
        "objectives.trainable_params": "minimize",
    }
    assert run.data.metrics == {"anchors/majority class/accuracy": 0.5}
    assert run.data.tags["adapter_sweep.sweep"] == "quickstart"
    assert run.data.tags["adapter_sweep.trials.refused"] == "1"
    assert run.data.tags["provenance.device"] == "cpu"

    assert client_of(store_dir).get_run(tracker.publish_study(study)).info.status == "KILLED"
    finished = client_of(store_dir).get_run(tracker.publish_study(replace(study, n_trials=2)))
    assert finished.info.status == "FINISHED"
    assert finished.info.run_id == run.info.run_id
    assert finished.data.tags["adapter_sweep.n_trials"] == "2"
    assert finished.info.end_time == 1893553565750


@pytest.mark.parametrize(
    ("state", "status"),
    [("failed", "FAILED"), ("refused", "KILLED"), ("pruned", "KILLED"), ("interrupted", "KILLED")],
)
def test_states_are_told_apart(
    store_dir: Path, make_trial: MakeTrial, make_study: MakeStudy, state: str, status: str
) -> None:
    trial = make_trial(state=TrialState(state), reason="because of x", curves={}, metrics={"trainable_params": 9.0})
    run_id = Tracker(store_dir, "quick study").publish_trial(make_study(trial), trial)
    run = client_of(store_dir).get_run(run_id)
    assert run.info.status == status
    assert run.data.tags["adapter_sweep.state"] == state
    assert run.data.tags["adapter_sweep.reason"] == "because of x"
    assert run.data.metrics == {"trainable_params": 9.0}


def test_publishing_again_changes_nothing(store_dir: Path, make_trial: MakeTrial, make_study: MakeStudy) -> None:
    trial = make_trial()
    study = make_study(trial)
    ids = {Tracker(store_dir, study.name).publish_trial(study, trial) for _ in range(3)}
    client = client_of(store_dir)
    (run_id,) = ids
    client.delete_tag(run_id, "adapter_sweep.digest")  # as if it had been cut short: everything is sent again
    assert Tracker(store_dir, study.name).publish_trial(study, trial) == run_id
    assert len(runs_of(client)) == 2
    run = client.get_run(run_id)
    assert run.data.metrics == trial.metrics
    assert len(client.get_metric_history(run_id, "train_loss")) == 2501
    assert len(run.inputs.dataset_inputs) == 1


def test_a_running_trial_grows_into_a_finished_one(
    store_dir: Path, make_trial: MakeTrial, make_study: MakeStudy
) -> None:
    done = make_trial()
    curves = {"train_loss": done.curves["train_loss"][:100]}
    running = replace(done, state=TrialState.RUNNING, curves=curves, ended=None, metrics={"train_loss": 9.0})
    tracker = Tracker(store_dir, "quick study")
    run_id = tracker.publish_trial(make_study(running), running)
    client = client_of(store_dir)
    assert client.get_run(run_id).info.status == "RUNNING"
    assert client.get_run(run_id).info.end_time is None
    assert client.get_run(run_id).data.metrics == {"train_loss": 1.0 / 100}
    assert tracker.publish_trial(make_study(done), done) == run_id
    assert client.get_run(run_id).info.status == "FINISHED"
    assert client.get_run(run_id).data.metrics == done.metrics
    assert len(client.get_metric_history(run_id, "train_loss")) == 2501


def test_what_the_ledger_changes_the_view_follows(
    store_dir: Path, make_trial: MakeTrial, make_study: MakeStudy
) -> None:
    tracker = Tracker(store_dir, "quick study")
    for latency in (2.0, 1.0, 2.0):
        trial = make_trial(metrics={"latency_ratio": latency}, curves={})
        run_id = tracker.publish_trial(make_study(trial), trial)
        assert client_of(store_dir).get_run(run_id).data.metrics == {"latency_ratio": latency}
    moved = make_trial(params={"method.width": 65}, reason=None)
    run = client_of(store_dir).get_run(tracker.publish_trial(make_study(moved), moved))
    assert run.info.run_id == run_id
    assert run.data.tags["changed.method.width"] == "65"


def test_long_odd_and_infinite_values(store_dir: Path, make_trial: MakeTrial, make_study: MakeStudy) -> None:
    trial = make_trial(
        state=TrialState.FAILED,
        params={"task.note": "x" * 9000, "task@a//../b": None},
        metrics={"train_loss": math.nan, "latency_p50_ms": math.inf},
        curves={"loss": [(0, 1.0), (1, math.inf), (2, math.nan)]},
        reason="mlflow at http://ann:s3cret@host:1/ " + "y" * 9000,
        config={},
    )
    tracker = Tracker(store_dir, "quick study")
    for _ in range(2):
        run_id = tracker.publish_trial(make_study(trial), trial)
        client_of(store_dir).delete_tag(run_id, "adapter_sweep.digest")
    run = client_of(store_dir).get_run(run_id)
    assert len(run.data.params["task.note"]) == 6000
    assert run.data.params["task.note"].endswith("x … (9000 characters in all)")
    assert run.data.params["task_a/__/b"] == "None"
    assert len(run.data.tags["adapter_sweep.reason"]) == 8000
    assert "s3cret" not in str(run.to_dictionary())
    assert math.isnan(run.data.metrics["train_loss"])
    assert math.isnan(run.data.metrics["latency_p50_ms"])
    points = client_of(store_dir).get_metric_history(run_id, "loss")
    assert [(m.step, repr(m.value)) for m in points] == [(0, "1.0"), (1, "nan"), (2, "nan")]


def test_reconcile_sends_what_is_missing_and_closes_what_is_open(
    store_dir: Path, make_trial: MakeTrial, make_study: MakeStudy
) -> None:
    trials = [make_trial(number, curves={}) for number in range(4)]
    tracker = Tracker(store_dir, "quick study")
    study = make_study(*trials)
    parent = tracker.publish_study(study, active=True)
    kept = tracker.publish_trial(study, trials[0])
    open_run = tracker.publish_trial(study, replace(trials[1], state=TrialState.RUNNING, ended=None))
    client = client_of(store_dir)
    experiment = client.get_run(kept).info.experiment_id
    second = client.create_run(
        experiment,
        tags={"mlflow.parentRunId": parent, "adapter_sweep.kind": "trial", "adapter_sweep.trial": "0"}
        | {"adapter_sweep.published": str(2**62)},
    ).info.run_id
    unknown = client.create_run(
        experiment,
        tags={"mlflow.parentRunId": parent, "adapter_sweep.kind": "trial", "adapter_sweep.trial": "99"},
    ).info.run_id

    found = Tracker(store_dir, "quick study").reconcile(Kept(study))
    assert found.parent_run_id == parent
    assert found.unchanged == (0,)
    assert found.published == (1, 2, 3)
    assert found.run_ids[0] == kept
    assert found.run_ids[1] == open_run
    assert found.duplicates == (second,)
    assert found.closed == (unknown,)
    assert found.failed == {}
    assert {run.info.status for run in runs_of(client)} == {"FINISHED", "KILLED"}
    assert len(runs_of(client)) == 1 + 4 + 1

    again = Tracker(store_dir, "quick study").reconcile(Kept(study))
    assert again.unchanged == (0, 1, 2, 3)
    assert (again.published, again.closed, again.duplicates) == ((), (), ())
    assert again.run_ids == found.run_ids


def test_one_trial_that_cannot_be_sent_does_not_keep_the_others(
    store_dir: Path, make_trial: MakeTrial, make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Tracker._trial

    def broken(self: Tracker, runs: object, study: StudyView, trial: TrialView, kind: str) -> str:
        if trial.number == 1:
            raise OSError("no space left")
        return original(self, runs, study, trial, kind)  # type: ignore[arg-type]

    monkeypatch.setattr(Tracker, "_trial", broken)
    study = make_study(*(make_trial(number, curves={}) for number in range(3)))
    found = Tracker(store_dir, study.name).reconcile(Kept(study))
    assert found.published == (0, 2)
    assert "no space left" in found.failed[1]


def test_two_may_remove_one_tag(store_dir: Path, make_trial: MakeTrial, make_study: MakeStudy) -> None:
    trial = make_trial(curves={})
    tracker = Tracker(store_dir, "quick study")
    seen_by_both = client_of(store_dir).get_run(tracker.publish_trial(make_study(trial), trial))
    assert any(name.startswith("adapter_sweep.") for name in seen_by_both.data.tags)
    for _ in "both":
        with tracker.writing("the same") as runs:
            runs.write(seen_by_both, {}, {})
    assert "adapter_sweep.state" not in client_of(store_dir).get_run(seen_by_both.info.run_id).data.tags


def test_two_studies_of_one_name_keep_apart(store_dir: Path, make_trial: MakeTrial, make_study: MakeStudy) -> None:
    trial = make_trial(curves={})
    mine = make_study(trial)
    theirs = make_study(trial, created=mine.created.replace(year=2031))  # type: ignore[union-attr]
    tracker = [Tracker(store_dir, "quick study").publish_trial(study, trial) for study in (mine, theirs)]
    assert len(set(tracker)) == 2
    assert Tracker(store_dir, "quick study").publish_trial(mine, trial) == tracker[0]


def test_a_study_may_learn_when_it_was_made(store_dir: Path, make_trial: MakeTrial, make_study: MakeStudy) -> None:
    trial = make_trial(curves={})
    tracker = Tracker(store_dir, "quick study")
    dated = make_study(trial)
    parents = {tracker.publish_study(study) for study in (replace(dated, created=None), dated)}
    assert len(parents) == 1
    # What does not know when it was made cannot know that a dated run is its own.
    assert Tracker(store_dir, "quick study").publish_study(replace(dated, created=None)) not in parents


def test_a_study_without_a_trial_takes_and_removes_no_run_of_another(
    store_dir: Path, make_trial: MakeTrial, make_study: MakeStudy
) -> None:
    trial = make_trial(curves={})
    theirs = make_study(trial, identity="b" * 32)
    their_runs = {Tracker(store_dir, "quick study").publish_trial(theirs, trial)}
    their_runs |= {Tracker(store_dir, "quick study").publish_study(theirs)}
    mine = make_study(created=None, identity="a" * 32)
    for unseen in (mine, replace(mine, identity=None)):
        assert remove_runs(unseen, store_dir, None) == 0
    found = Tracker(store_dir, "quick study").reconcile(Kept(mine), active=True)
    assert found.parent_run_id not in their_runs
    assert (found.closed, found.duplicates) == ((), ())
    # The first trial of a copy began when that of the original did.
    copy = make_study(trial, identity="a" * 32)
    assert Tracker(store_dir, "quick study").publish_study(copy) == found.parent_run_id
    assert remove_runs(copy, store_dir, None) == 1
    assert remove_runs(replace(copy, identity=None), store_dir, None) == 0
    assert {run.info.run_id for run in runs_of(client_of(store_dir))} == their_runs


def test_the_ledgers_run_id_is_a_hint_and_no_more(
    store_dir: Path, make_trial: MakeTrial, make_study: MakeStudy
) -> None:
    trial = make_trial(curves={})
    tracker = Tracker(store_dir, "quick study")
    run_id = tracker.publish_trial(make_study(trial), trial)
    for hint in (run_id, "0" * 32, "../x"):
        hinted = replace(trial, mlflow_run_id=hint)
        assert tracker.publish_trial(make_study(hinted), hinted) == run_id
    other = make_trial(8, curves={}, mlflow_run_id=run_id)
    assert tracker.publish_trial(make_study(trial, other), other) != run_id


def test_a_deleted_experiment_comes_back(store_dir: Path, make_trial: MakeTrial, make_study: MakeStudy) -> None:
    trial = make_trial(curves={})
    study = make_study(trial)
    run_id = Tracker(store_dir, study.name).publish_trial(study, trial)
    client = client_of(store_dir)
    client.delete_experiment(client.get_run(run_id).info.experiment_id)
    assert Tracker(store_dir, study.name).publish_trial(study, trial) == run_id


def test_a_report_becomes_artifacts_of_the_parent(store_dir: Path, tmp_path: Path, make_study: MakeStudy) -> None:
    report = tmp_path / "report"
    (report / "inner").mkdir(parents=True)
    names = {"report.html", "report.md", "front.png", "front.svg", "trials.csv", "front.csv", "front.json"}
    for name in [*names, "half.tmp"]:
        (report / name).write_text(name)
    tracker = Tracker(store_dir, "quick study")
    run_id = tracker.publish_study(make_study())
    assert set(tracker.publish_report(run_id, report)) == names
    assert tracker.publish_report(run_id, [report / "front.csv"]) == ["front.csv"]
    assert artifacts_of(client_of(store_dir), run_id) == names | {"config.yaml"}


def test_odd_folders_and_no_trace_elsewhere(
    tmp_path: Path,
    cold_store: Path,
    make_trial: MakeTrial,
    make_study: MakeStudy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    folder = tmp_path / "my #1 results 100%é"
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(cold_store.read_bytes())
    trial = make_trial(curves={})
    run_id = Tracker(folder, "quick study").publish_trial(make_study(trial), trial)
    assert artifacts_of(client_of(folder), run_id) == {"config.yaml"}
    assert list((folder / "mlartifacts").glob("*/artifacts/config.yaml"))
    assert list(elsewhere.iterdir()) == []
    assert {item.name for item in folder.iterdir()} == {"mlflow.db", "mlartifacts", "mlflow.lock"}


# MLflow sends no telemetry where it sees a test or a CI: here it shall be us who forbid it.
NO_TELEMETRY = (
    "MLFLOW",
    "DO_NOT_TRACK",
    "PYTEST",
    "CI",
    "GITHUB",
    "GITLAB",
    "BUILDKITE",
    "JENKINS",
    "TF_BUILD",
)

SCRIPT = """
import os, sys
sys.addaudithook(lambda event, _: os._exit(9) if event in ("socket.connect", "socket.getaddrinfo") else None)
from adapter_sweep.records import StudyView, TrialState, TrialView
from adapter_sweep.tracking import Tracker
from kept import Kept
assert "mlflow" not in sys.modules
folder, mine = sys.argv[1], int(sys.argv[2])
sys.stdin.readline()
trials = tuple(TrialView(n, TrialState.COMPLETE, {"method.width": n}, {"accuracy": 0.5}) for n in range(4))
study = StudyView("quick study", {"accuracy": "maximize"}, {"method.width": "choice(1, 2)"}, 4, trials)
tracker = Tracker(folder, study.name)
for trial in (trials[mine], trials[3]):
    print(trial.number, tracker.publish_trial(study, trial))
import threading
assert [thread.name for thread in threading.enumerate()] == ["MainThread"]  # nothing sends telemetry
"""


def test_processes_that_start_at_once_on_an_empty_folder(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(folder), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={name: value for name, value in environment.items() if not name.startswith(NO_TELEMETRY)},
        )
        for number in range(3)
    ]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    answers = [worker.communicate(timeout=120) for worker in workers]
    assert [(worker.returncode, errors) for worker, (_, errors) in zip(workers, answers, strict=True)] == [
        (0, "")
    ] * 3  # and nothing printed on the user's terminal
    ids = dict(line.split() for out, _ in answers for line in out.splitlines())
    lines = {line for out, _ in answers for line in out.splitlines()}
    assert len(lines) == len(ids) == 4  # trial 3 is one run, whoever made it
    assert len(runs_of(client_of(folder))) == 5
