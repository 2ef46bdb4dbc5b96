import shlex

import pytest
from report_studies import make_study, make_trial, usual_study

from adapter_sweep.records import ParamValue, StudyView, TrialState
from adapter_sweep.report.columns import trial_columns
from adapter_sweep.report.runs import runs_address
from adapter_sweep.report.wording import command


def column(encoded: dict) -> list:  # type: ignore[type-arg]
    if "v" in encoded:
        return list(encoded["v"])
    found = encoded.get("d", encoded.get("words"))
    return [None if place < 0 else found[place] for place in encoded["at"]]


def commands(study: StudyView) -> list[str]:
    """As the page's script puts them together."""
    data: dict = trial_columns(study)  # type: ignore[type-arg]
    lines = []
    for trial, words in enumerate(column(data["commands"])):
        shown = ["adapter-sweep trial"]
        for word in words:
            if isinstance(word, int):
                told = data["params"][word]
                number = "tokens" not in told
                word = f"{told['key']}={column(told)[trial]!r}" if number else told["tokens"][told["at"][trial]]
            shown.append(word)
        lines.append(" ".join(shown))
    return lines


def test_every_trials_command_is_that_of_the_other_files() -> None:
    study = usual_study()
    assert commands(study) == [command(trial) for trial in study.trials]


@pytest.mark.parametrize(
    "values",
    [
        (1e-05, 0.5),
        (1, True),
        (True, False),
        ("1", 1),
        (None, 2),
        ("a b", "$(reboot)"),
        ("[0,1]", "top:2"),
        (2**60, 3),
        (-1.5, 2),
    ],
    ids=str,
)
def test_values_of_any_kind_are_repeated_as_they_were(values: tuple[ParamValue, ...]) -> None:
    study = make_study(*(make_trial(i, 0.8, 10, 1.0, swept={"method.x": v}) for i, v in enumerate(values)))
    assert commands(study) == [command(trial) for trial in study.trials]


def test_a_key_or_an_override_of_another_kind_is_told_word_for_word() -> None:
    odd = make_trial(0, 0.8, 10, 1.0, swept={"a b": 1, "method.width": 8})
    moved = make_trial(1, 0.8, 10, 1.0, swept={"a b": 2, "method.width": 8})
    object.__setattr__(moved, "overrides", ("method.width=9", "++a b=2", "extra='x'"))
    study = make_study(odd, moved)
    assert commands(study) == [command(trial) for trial in study.trials]
    assert shlex.split(commands(study)[1])[2:] == ["method.width=9", "++a b=2", "extra='x'"]


def test_what_was_not_measured_is_absent() -> None:
    study = make_study(make_trial(0, 0.8, 10, float("nan")), make_trial(1, state=TrialState.FAILED, reason="out"))
    data: dict = trial_columns(study)  # type: ignore[type-arg]
    metrics = {told["key"]: column(told) for told in data["metrics"]}
    assert metrics == {"accuracy": [0.8, None], "trainable_params": [10, None], "latency_ratio": [None, None]}
    assert column(data["state"]) == ["complete", "failed"]
    assert column(data["reason"]) == ["", "out"]
    assert data["run"] == ["run0", "run1"]


def test_the_score_has_its_interval_and_the_ratio_its_own() -> None:
    data: dict = trial_columns(usual_study())  # type: ignore[type-arg]
    accuracy, _, ratio = data["metrics"]
    assert column(accuracy["low"])[0] == pytest.approx(0.7585, abs=1e-4)
    assert column(accuracy["high"])[0] == pytest.approx(0.8359, abs=1e-4)
    assert (column(ratio["low"])[0], column(ratio["high"])[0]) == (1.01, 1.04)
    assert column(ratio["low"])[4] is None


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        (None, "http://127.0.0.1:5000/#/runs/"),
        ("sqlite:///store.db", "http://127.0.0.1:5000/#/runs/"),
        ("javascript:alert(1)", "http://127.0.0.1:5000/#/runs/"),
        ("https://me:s3cret@mlflow.example:8443/base/", "https://mlflow.example:8443/base/#/runs/"),
        ("http://***@host", "http://host/#/runs/"),
        ('http://host"><script>', "http://127.0.0.1:5000/#/runs/"),
        ("http://[", "http://127.0.0.1:5000/#/runs/"),
    ],
)
def test_where_runs_are_shown(uri: str | None, address: str) -> None:
    assert runs_address(make_study(config={"tracking": {"uri": uri}})) == address
    assert runs_address(make_study(config={})) == "http://127.0.0.1:5000/#/runs/"
