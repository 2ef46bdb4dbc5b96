import pickle

import pytest

from adapter_sweep.config import SweepConfig
from adapter_sweep.errors import UserInputError
from adapter_sweep.records import METRIC_HELP, StudyView, TrialState, TrialView, is_recorded, metric_help
from adapter_sweep.scores import METRICS, metric_and_language


def test_only_interrupted_trials_do_not_count() -> None:
    assert [state for state in TrialState if not state.counts] == [TrialState.INTERRUPTED]


def test_the_states_are_the_words_of_the_tables() -> None:
    assert set(TrialState) == {"complete", "pruned", "refused", "failed", "interrupted", "running"}


def test_a_study_tells_its_trials_by_state() -> None:
    trials = tuple(TrialView(number, state, {}) for number, state in enumerate(TrialState))
    study = StudyView("toy", {"accuracy": "maximize"}, {}, 10, trials)
    assert [trial.state for trial in study.counted()] == [s for s in TrialState if s is not TrialState.INTERRUPTED]
    found = study.in_state(TrialState.RUNNING, TrialState.COMPLETE)
    assert [trial.state for trial in found] == [TrialState.COMPLETE, TrialState.RUNNING]


def test_each_number_is_explained_in_a_line() -> None:
    assert all(text and "\n" not in text and text[-1] != "." for text in METRIC_HELP.values())
    assert len(set(METRIC_HELP.values())) == len(METRIC_HELP)


def test_a_user_input_error_crosses_processes() -> None:
    error = pickle.loads(pickle.dumps(UserInputError("one", "two")))
    assert error.problems == ("one", "two")
    assert str(error) == "one\ntwo"
    with pytest.raises(ValueError, match="at least one problem"):
        UserInputError()


def test_every_metric_may_be_recorded_by_language_and_on_test() -> None:
    assert metric_help("accuracy") == "the task's primary metric on the validation split"
    assert metric_help("entity_f1") == f"{METRICS['entity_f1'].help}, on the validation split"
    assert (
        metric_help("accuracy_de") == "share of examples with the right class, of language de, on the validation split"
    )
    assert metric_help("test_macro_f1_zh-CN") == (
        "unweighted mean of F1 over the classes that occur, of language zh-CN, on the test split, which only "
        "confirmation reads"
    )
    assert all(is_recorded(name) and is_recorded(f"test_{name}") for name in METRICS)
    assert not any(
        map(is_recorded, ["accuracy_", "entity_f2", "accuracy_of_all_languages", "test_latency_ratio", "de"])
    )


def test_a_metrics_name_is_told_from_its_language() -> None:
    assert metric_and_language("f1") == ("f1", "")
    assert metric_and_language("f1_de") == ("f1", "de")
    assert metric_and_language("entity_f1") == ("entity_f1", "")
    assert metric_and_language("exact_match_pt_BR") == ("exact_match", "pt_BR")
    assert metric_and_language("latency_ratio") is None


def test_an_objective_may_be_the_score_of_one_language() -> None:
    assert SweepConfig._known({"accuracy_de": "maximize", "entity_f1": "maximize"})
    with pytest.raises(ValueError, match="loss is not recorded; allowed: accuracy, macro_f1, "):
        SweepConfig._known({"loss": "minimize"})
