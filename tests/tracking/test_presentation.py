import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from adapter_sweep.records import StudyView, TrialState, TrialView
from adapter_sweep.tracking import Tracker
from adapter_sweep.tracking.presentation import VIEW_TAG, saved_view, study_note, trial_name, trial_note

NOTE = "mlflow.note.content"
MakeTrial = Callable[..., TrialView]
MakeStudy = Callable[..., StudyView]


def client_of(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder}/mlflow.db", registry_uri=f"sqlite:///{folder}/mlflow.db")


def state_of(tags: dict[str, str]) -> dict[str, object]:
    state = json.loads(json.loads(tags[VIEW_TAG])["state"])
    assert isinstance(state, dict)
    return state


def test_names_tell_the_parameters_and_sort_as_the_trials_do(make_trial: MakeTrial, make_study: MakeStudy) -> None:
    trials = [make_trial(number, params={"method.width": 8, "train.lr": 0.00123456}) for number in (2, 10)]
    study = make_study(*trials)
    names = [trial_name(study, trial) for trial in trials]
    assert names == ["002 width=8 lr=0.00123", "010 width=8 lr=0.00123"]
    assert sorted(names) == names
    alike = make_trial(3, params={"train.seed": None, "task.seed": 1})
    assert trial_name(make_study(search_space={}), alike) == "003 train.seed=null task.seed=1"


def test_a_trials_description_tells_its_outcome_and_its_command(make_trial: MakeTrial, make_study: MakeStudy) -> None:
    trial = make_trial(metrics={"accuracy": 0.8125, "trainable_params": 313_536.0})
    assert trial_note(make_study(trial), trial)[NOTE] == (
        "**complete**: accuracy = 0\\.8125, trainable\\_params = 313,536\n\nRepeat it with\n\n"
        "    adapter-sweep trial method.width=64 method.placement=both"
    )
    failed = make_trial(state=TrialState.FAILED, reason="at http://ann:s3cret@host | <b>\n# x", overrides=("a=1\n b",))
    assert trial_note(make_study(failed), failed)[NOTE] == (
        "**failed**: at http&#58;//\\*\\*\\*&#64;host \\| &lt;b&gt; \\# x\n\nRepeat it with\n\n"
        "    adapter-sweep trial 'a=1\n     b'"
    )


def test_the_saved_view_is_of_the_studys_own_objectives_and_parameters(make_study: MakeStudy) -> None:
    study = make_study(objectives={"train_seconds": "minimize", "accuracy": "maximize", "latency_ratio": "minimize"})
    state = state_of(saved_view(study))
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`train_seconds`", True)
    parallel, *fronts = state["compareRunCharts"]  # type: ignore[misc]
    assert parallel["selectedParams"] == ["method.width", "train.lr"]
    assert parallel["selectedMetrics"] == ["accuracy", "latency_ratio", "train_seconds"]
    axes = [(chart["xaxis"]["key"], chart["yaxis"]["key"]) for chart in fronts]
    assert axes == [("accuracy", "train_seconds"), ("latency_ratio", "train_seconds")]
    one = state_of(saved_view(make_study(objectives={"accuracy": "maximize"})))
    assert [chart["type"] for chart in one["compareRunCharts"]] == ["PARALLEL"]  # type: ignore[attr-defined]


def test_what_mlflow_would_not_take_is_cut_or_left_out(store_dir: Path, make_study: MakeStudy) -> None:
    study = make_study(search_space={f"task.{'x' * 240}{number}": "y" * 500 for number in range(20)})
    assert saved_view(study) == {}
    note = study_note(study, "1", "2")[NOTE]
    assert len(note) == 5000
    assert note.endswith("characters in all)")
    Tracker(store_dir, study.name).publish_study(study)
    experiment = client_of(store_dir).get_experiment_by_name(study.name)
    assert experiment.tags[NOTE].startswith("**Study quick study**: no trial yet")
    assert VIEW_TAG not in experiment.tags


@pytest.mark.parametrize("written", ["my own words", ""])
def test_a_description_that_the_user_wrote_stays(
    store_dir: Path, make_trial: MakeTrial, make_study: MakeStudy, written: str
) -> None:
    running = make_trial(state=TrialState.RUNNING, ended=None, metrics={}, curves={})
    study = make_study(running)
    tracker = Tracker(store_dir, study.name)
    parent = tracker.publish_study(study)
    run_id = tracker.publish_trial(study, running)
    client = client_of(store_dir)
    experiment = client.get_run(parent).info.experiment_id
    first = client.get_run(run_id).data.tags
    assert first[NOTE].startswith("**running**")
    assert client.get_run(parent).data.tags[NOTE] == client.get_experiment(experiment).tags[NOTE]
    view = state_of(client.get_experiment(experiment).tags)
    assert view["searchFilter"] == "tags.`adapter_sweep.kind` = 'trial'"

    done = replace(running, state=TrialState.COMPLETE, metrics={"accuracy": 0.75})
    tracker.publish_study(make_study(done))
    tracker.publish_trial(make_study(done), done)
    assert client.get_run(run_id).data.tags[NOTE].startswith("**complete**: accuracy = 0\\.75")
    assert "1 complete" in client.get_experiment(experiment).tags[NOTE]

    for run in (run_id, parent):
        client.set_tag(run, NOTE, written)
    client.set_experiment_tag(experiment, NOTE, written)
    other = make_trial(8, curves={}, metrics={"accuracy": 0.5})
    again = replace(done, metrics={"accuracy": 0.875})
    tracker.publish_study(make_study(again, other))
    tracker.publish_trial(make_study(again, other), again)
    assert client.get_run(run_id).data.metrics == {"accuracy": 0.875}
    assert client.get_run(parent).data.tags["adapter_sweep.trials.complete"] == "2"
    texts = [client.get_run(run).data.tags[NOTE] for run in (run_id, parent)]
    assert [*texts, client.get_experiment(experiment).tags[NOTE]] == [written] * 3
