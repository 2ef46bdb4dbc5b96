import pickle

import pytest

from adapter_sweep.errors import UserInputError
from adapter_sweep.records import METRIC_HELP, StudyView, TrialState, TrialView


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
