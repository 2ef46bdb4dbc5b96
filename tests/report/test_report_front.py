import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_studies import OBJECTIVES, make_study, make_trial

from adapter_sweep.records import Direction, StudyView, TrialState, TrialView
from adapter_sweep.report import front

VALUES = [0.0, 1.0, 2.0, math.inf, -math.inf, math.nan]
DIRECTIONS: list[Direction] = ["maximize", "minimize"]


def study_of(rows: list[tuple[float, ...]], directions: tuple[Direction, ...]) -> StudyView:
    names = [f"m{i}" for i in range(len(directions))]
    trials = [TrialView(i, TrialState.COMPLETE, {}, dict(zip(names, row, strict=True))) for i, row in enumerate(rows)]
    return StudyView("s", dict(zip(names, directions, strict=True)), {}, len(rows), tuple(trials))


def by_definition(rows: list[tuple[float, ...]], directions: tuple[Direction, ...]) -> set[int]:
    signs = [1 if direction == "minimize" else -1 for direction in directions]
    losses = {
        i: [s * v for s, v in zip(signs, row, strict=True)]
        for i, row in enumerate(rows)
        if all(math.isfinite(v) for v in row)
    }
    return {
        i
        for i, mine in losses.items()
        if not any(all(a <= b for a, b in zip(other, mine, strict=True)) and other != mine for other in losses.values())
    }


@pytest.mark.parametrize("directions", list(itertools.product(DIRECTIONS, repeat=2)))
def test_every_set_of_three_points_on_a_small_grid(directions: tuple[Direction, ...]) -> None:
    grid = list(itertools.product([0.0, 1.0, math.inf, math.nan], repeat=2))
    for rows in itertools.combinations_with_replacement(grid, 3):
        found = {trial.number for trial in front(study_of(list(rows), directions))}
        assert found == by_definition(list(rows), directions), rows


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_points_in_one_to_four_dimensions(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 4))
    directions = tuple(data.draw(st.sampled_from(DIRECTIONS)) for _ in range(size))
    rows = data.draw(st.lists(st.tuples(*[st.sampled_from(VALUES)] * size), max_size=12))
    found = {trial.number for trial in front(study_of(rows, directions))}
    assert found == by_definition(rows, directions)


def test_equal_trials_are_both_on_the_front() -> None:
    study = make_study(make_trial(0, 0.8, 10, 1.0), make_trial(1, 0.8, 10, 1.0), make_trial(2, 0.8, 11, 1.0))
    assert [trial.number for trial in front(study)] == [0, 1]


def test_cheapest_first_then_by_number() -> None:
    study = make_study(make_trial(0, 0.9, 30, 1.0), make_trial(1, 0.8, 10, 1.0), make_trial(2, 0.8, 10, 1.0))
    assert [trial.number for trial in front(study)] == [1, 2, 0]


def test_only_complete_trials_with_every_objective() -> None:
    others = [
        make_trial(i, 0.99, 1, 0.5, state=state)
        for i, state in enumerate(TrialState)
        if state is not TrialState.COMPLETE
    ]
    study = make_study(*others, make_trial(10, 0.99, 1, None), make_trial(11, 0.5, 100, 2.0))
    assert [trial.number for trial in front(study)] == [11]


def test_single_objective_empty_study_and_no_objectives() -> None:
    trials = (make_trial(0, 0.8, 5, 1.0), make_trial(1, 0.9, 9, 1.0), make_trial(2, 0.9, 7, 1.0))
    assert [t.number for t in front(make_study(*trials, objectives={"accuracy": "maximize"}))] == [2, 1]
    assert front(make_study()) == []
    assert front(make_study(*trials, objectives={})) == []


def test_a_front_of_two_of_three_objectives() -> None:
    study = make_study(make_trial(0, 0.8, 10, 1.5), make_trial(1, 0.8, 20, 1.0))
    two: dict[str, Direction] = {key: OBJECTIVES[key] for key in ("accuracy", "trainable_params")}
    assert [trial.number for trial in front(study)] == [0, 1]
    assert [trial.number for trial in front(study, two)] == [0]
