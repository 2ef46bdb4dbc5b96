from dataclasses import replace

import pytest
from report_studies import make_study, make_trial, usual_study
from task_groups import make_task

from adapter_sweep.errors import UserInputError
from adapter_sweep.records import StudyView
from adapter_sweep.report.several.overlay import overlay
from adapter_sweep.report.several.studies import put_together, settings_that_differ

FLAT = (0.8, 0.8, 0.8, 0.8)


def test_a_task_group_is_one_space_on_data_of_their_own() -> None:
    group = put_together([make_task("movies", FLAT), make_task("tweets", FLAT)])
    assert (group.tasks, group.same_data, group.labels) == (True, False, ("movies", "tweets"))
    assert any("not comparable in absolute terms" in warning for warning in group.warnings)
    spaced = replace(make_task("tweets", FLAT), search_space={"method.width": "choice(8,64)"})
    assert not put_together([make_task("movies", FLAT), spaced]).tasks
    mixed = [make_task("movies", FLAT), replace(make_task("movies", FLAT), name="b"), make_task("tweets", FLAT)]
    assert put_together(mixed).tasks is False
    assert put_together(mixed).labels == ("tasks-movies", "b", "tasks-tweets")


def test_the_same_data_is_laid_over_without_a_warning() -> None:
    together = put_together([usual_study(name="a"), usual_study(name="b")])
    assert (together.same_data, together.tasks, together.warnings) == (True, False, ())


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"name": "a"}, "a: named twice"),
        ({"objectives": {"accuracy": "maximize"}}, "fronts of other objectives cannot be compared"),
        (
            {"objectives": {"accuracy": "minimize", "trainable_params": "minimize", "latency_ratio": "minimize"}},
            "other",
        ),
    ],
)
def test_what_cannot_stand_side_by_side_is_refused(other: dict[str, object], said: str) -> None:
    with pytest.raises(UserInputError, match=said):
        put_together([usual_study(name="a"), usual_study(**{"name": "b", **other})])


def test_one_metric_on_the_same_data() -> None:
    f1 = usual_study(name="b", config={"task": {"metric": "macro_f1"}}, provenance={"data_fingerprint": "d"})
    plain = usual_study(name="a", provenance={"data_fingerprint": "d"})
    with pytest.raises(UserInputError, match="a by accuracy, b by macro_f1"):
        put_together([plain, f1])
    elsewhere = replace(f1, provenance={"data_fingerprint": "e"})
    assert any("different metrics" in warning for warning in put_together([plain, elsewhere]).warnings)
    with pytest.raises(UserInputError, match="two studies or more"):
        put_together([plain])


def test_what_makes_a_comparison_unfair_is_said() -> None:
    first = usual_study(name="a", provenance={"data_fingerprint": "d", "model": "x", "device": "cpu: A"})
    second = make_study(
        make_trial(0, 0.8, 10, 1.0),
        name="b",
        provenance={"data_fingerprint": "d", "model": "y", "device": "cuda: B"},
    )
    warnings = " ".join(put_together([first, second]).warnings)
    for words in ("different backbones (a: x, b: y)", "different devices (a: cpu: A, b: cuda: B)", "(a: 4, b: 1)"):
        assert words in warnings


def test_settings_that_differ() -> None:
    together = put_together(
        [
            usual_study(name="a", config={"task": {"metric": "accuracy"}, "train": {"epochs": 2}, "results_dir": "x"}),
            usual_study(name="b", config={"task": {"metric": "accuracy"}, "train": {"epochs": 3}, "results_dir": "y"}),
        ]
    )
    assert settings_that_differ(together) == [("train.epochs", ("2", "3"))]


def overlaid(*studies: StudyView):
    return overlay(studies, [study.name for study in studies], same_data=True)


def test_hypervolumes_are_of_one_box() -> None:
    better = make_study(make_trial(0, 0.85, 20_000, 1.01), name="b")
    laid = overlaid(usual_study(name="a"), better)
    first, second = laid.standings
    assert laid.box is not None
    assert laid.box.best["accuracy"] == 0.85
    assert 0 < (first.hypervolume or 0) < (second.hypervolume or 0) <= 1
    assert (first.combined, second.combined) == (frozenset(), frozenset({0}))
    alone = overlaid(usual_study(name="a"), usual_study(name="b"))
    assert alone.standings[0].hypervolume == alone.standings[1].hypervolume
    assert alone.standings[0].combined == {0, 1, 3}


def test_a_study_without_a_front_stands_empty() -> None:
    laid = overlaid(usual_study(name="a"), make_study(name="b"))
    empty = laid.standings[1]
    assert (empty.front, empty.hypervolume, empty.best, empty.score) == ((), None, None, None)
    assert laid.standings[0].best is not None
    assert laid.standings[0].best.number == 1
    assert overlaid(make_study(name="a"), make_study(name="b")).box is None
