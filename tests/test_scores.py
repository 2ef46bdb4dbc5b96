"""What each row gives to a metric, by hand; whole splits are compared with other code in tests/report."""

import pytest

from adapter_sweep.scores import METRICS, TASK_METRICS, answer_f1, exact_match, row_numbers


def test_every_metric_is_one_types_own() -> None:
    assert sorted(name for names in TASK_METRICS.values() for name in names) == sorted(METRICS)


@pytest.mark.parametrize(
    ("answer", "accepted", "exact", "f1"),
    [
        ("Denver Broncos", "Denver Broncos", True, 1.0),
        ("the Denver Broncos!", "denver  broncos", True, 1.0),
        ("Broncos", "Denver Broncos", False, 2 / 3),
        ("Denver Denver", "Denver Broncos", False, 1 / 2),  # a bag: the second Denver finds nothing
        ("Carolina Panthers", "Denver Broncos", False, 0.0),
        ("", "", True, 1.0),
        ("", "Denver", False, 0.0),
        ("The", "", True, 1.0),  # an article alone is no word
        ("north-east", "northeast", True, 1.0),
        ("theatre", "atre", False, 0.0),  # articles are whole words
    ],
)
def test_answers_are_compared_as_squad_does(answer: str, accepted: str, exact: bool, f1: float) -> None:
    assert exact_match(answer, accepted) is exact
    assert answer_f1(answer, accepted) == pytest.approx(f1)
    assert answer_f1(accepted, answer) == pytest.approx(f1)


def test_the_best_of_the_accepted_answers_counts() -> None:
    assert row_numbers("answer_f1", "Broncos", ["Denver Broncos", "the Broncos"]) == (1.0,)
    assert row_numbers("exact_match", "Broncos", ["Denver Broncos", "Panthers"]) == (0.0,)
    assert row_numbers("answer_f1", "Broncos", []) == (0.0,)


@pytest.mark.parametrize("metric", ["answer_f1", "exact_match"])
def test_an_accepted_answer_without_a_word_counts_only_alone(metric: str) -> None:
    assert row_numbers(metric, "", ["the", "The Who"]) == (0.0,)
    assert row_numbers(metric, "who", ["the", "The Who"]) == (1.0,)
    assert row_numbers(metric, "", ["the", "-"]) == row_numbers(metric, "", [""]) == (1.0,)


@pytest.mark.parametrize(
    ("found", "true", "numbers"),
    [
        ([[0, 1, "PER"]], [[0, 1, "PER"]], (1, 0, 0)),
        ([[0, 1, "LOC"]], [[0, 1, "PER"]], (0, 1, 1)),  # the wrong type
        ([[0, 0, "PER"]], [[0, 1, "PER"]], (0, 1, 1)),  # the wrong end
        ([[0, 0, "PER"], [1, 1, "PER"]], [[0, 1, "PER"]], (0, 2, 1)),
        ([], [[0, 1, "PER"], [3, 3, "LOC"]], (0, 0, 2)),
        ([], [], (0, 0, 0)),
    ],
)
def test_an_entity_is_right_in_type_and_both_ends(found: list, true: list, numbers: tuple[int, ...]) -> None:
    assert row_numbers("entity_f1", found, true) == numbers
    assert row_numbers("entity_f1", tuple(map(tuple, found)), true) == numbers  # as the engine has them


def test_labels_and_classes() -> None:
    assert row_numbers("micro_f1", [0, 2], [2, 3]) == (1, 1, 1)
    assert row_numbers("subset_accuracy", (0, 2), [0, 2]) == (1,)
    assert row_numbers("subset_accuracy", [], [0]) == (0,)
    assert [row_numbers("f1", guess, label) for guess, label in ((1, 1), (1, 0), (0, 1), (0, 0))] == [
        (1, 0, 0),
        (0, 1, 0),
        (0, 0, 1),
        (0, 0, 0),
    ]
    assert row_numbers("pearson", 1, 2.5) == (1.0, 2.5)
    with pytest.raises(KeyError):
        row_numbers("f2", 1, 1)
