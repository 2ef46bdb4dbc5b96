"""The error of a score beside its spread over samples, with and without rows that go together."""

import math

import numpy as np
import pytest

from adapter_sweep.jackknife import is_defined, score_error
from adapter_sweep.scores import METRICS
from metric_rows import REFERENCES, rows_of


@pytest.mark.parametrize("metric", METRICS)
def test_the_error_is_the_spread_over_samples(metric: str) -> None:
    random, errors, found = np.random.default_rng(0), [], []
    for _ in range(150):
        labels, (run,) = rows_of(metric, 120, random, runs=1)
        found.append(REFERENCES[metric](run, labels))
        errors.append(score_error(metric, run, labels) or 0)
    assert np.mean(errors) == pytest.approx(np.std(found), rel=0.15)


def test_rows_of_one_group_count_as_one() -> None:
    labels, (run,) = rows_of("exact_match", 50, np.random.default_rng(1), runs=1)
    alone = score_error("exact_match", run, labels)
    groups = [row for row in range(50) for _ in range(4)]
    four = score_error("exact_match", [r for r in run for _ in range(4)], [one for one in labels for _ in range(4)])
    together = score_error(
        "exact_match", [r for r in run for _ in range(4)], [one for one in labels for _ in range(4)], groups
    )
    assert alone is not None
    assert together == pytest.approx(alone)
    assert four == pytest.approx(alone / 2, rel=0.02)
    with pytest.raises(ValueError, match="entity_f1 is no mean"):
        score_error("entity_f1", [[]] * 2, [[[0, 0, "PER"]]] * 2, [0, 1])


def test_what_is_all_right_is_not_certain() -> None:
    assert score_error("accuracy", [1] * 100, [1] * 100) == pytest.approx(math.sqrt(0.005 * 0.995 / 100))
    assert (score_error("entity_f1", [[[0, 0, "PER"]]] * 9, [[[0, 0, "PER"]]] * 9) or 0) > 0.01


def test_what_is_not_defined_has_no_error() -> None:
    assert score_error("spearman", [0.5, 0.5, 0.5], [0.1, 0.2, 0.3]) is None
    assert score_error("matthews", [0, 1, 1], [1, 1, 1]) is None
    assert score_error("micro_f1", [[0], []], [[], []]) is None
    assert score_error("accuracy", [1], [1]) is None
    assert score_error("exact_match", ["a", "b"], [["a"], ["a"]], ["one", "one"]) is None
    assert not is_defined("f1", [0, 0])
    assert is_defined("f1", [0, 1])
    assert is_defined("macro_f1", [1])
