"""The arithmetic beneath the findings, against figures worked out by hand or by others."""

import numpy as np
import pytest

from adapter_sweep.report.evidence import scores
from adapter_sweep.report.evidence.draws import joint_draws, seed_variances
from adapter_sweep.report.evidence.intervals import score_interval
from adapter_sweep.report.evidence.labels import compare_costs, front_probabilities, surely_higher
from adapter_sweep.report.evidence.scores import resampled_scores
from adapter_sweep.report.intervals import wilson
from adapter_sweep.resampling import row_table


@pytest.mark.parametrize(
    ("right", "rows", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_figures(right: int, rows: int, low: float, high: float) -> None:
    """Newcombe, Two-sided confidence intervals for the single proportion, 1998, table I, method 3."""
    assert wilson(right / rows, rows) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_a_score_interval_is_wilsons_where_rows_are_all_the_doubt() -> None:
    half = 1.959964 * np.sqrt(0.8 * 0.2 / 250)
    assert score_interval(0.8, half, 1 / 250) == pytest.approx(wilson(0.8, 250), abs=1e-6)
    assert score_interval(1.0, 0.001, 1 / 250) == wilson(1.0, 250)
    wide, narrow = score_interval(0.8, 2 * half, 1 / 250), wilson(0.8, 250)
    assert wide[0] < narrow[0] < 0.8 < narrow[1] < wide[1]


def test_an_interval_of_a_correlation_stays_within_minus_one_and_one() -> None:
    low, high = score_interval(0.9, 1.96 * (1 - 0.81) / 20, 2 / 400, -1.0)
    fisher = np.tanh(np.arctanh(0.9) + np.array([-1, 1]) * 1.96 / 20)
    assert (low, high) == pytest.approx(tuple(fisher), abs=0.001)
    assert 0.9 - low > high - 0.9
    low, high = score_interval(-0.2, 0.1, 2 / 400, -1.0)
    assert low < -0.25
    assert -0.15 < high < 0
    low, high = score_interval(1.0, 0.001, 2 / 400, -1.0)
    assert (low, high) == pytest.approx((2 * wilson(1.0, 400)[0] - 1, 1.0))
    assert score_interval(-0.9, 0.5, 2 / 400, -1.0)[0] >= -1


def test_a_class_that_a_resample_leaves_out_does_not_count() -> None:
    labels = [0] * 9 + [1]
    runs = row_table("macro_f1", labels, labels)[None]
    assert (resampled_scores("macro_f1", runs, 50, np.random.default_rng(0)) == 1).all()


def test_resampled_scores_vary_as_a_share_does_and_share_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "_CELLS", 3_000)  # many batches of draws
    labels, run = [0] * 200, [0] * 160 + [1] * 40
    runs = np.stack([row_table("accuracy", said, labels) for said in (run, run, [1 - each for each in run])])
    drawn = resampled_scores("accuracy", runs, 4_000, np.random.default_rng(0))
    assert drawn.shape == (4_000, 3)
    assert (drawn[:, 0] == drawn[:, 1]).all()
    assert drawn[:, 0] + drawn[:, 2] == pytest.approx(np.ones(4_000))
    assert drawn[:, 0].mean() == pytest.approx(0.8, abs=0.002)
    assert drawn[:, 0].var() == pytest.approx(0.8 * 0.2 / 200, rel=0.08)


def test_seed_variances_lean_on_the_other_configurations() -> None:
    uneven, even, alone = np.array([0.80, 0.82, 0.84]), np.array([0.7, 0.7, 0.7]), np.array([0.9])
    variances, degrees = seed_variances([uneven, even])
    assert variances == pytest.approx([0.0002, 0.0002])  # (2 x 0.0004 + 2 x 0) / 4, both ways
    assert degrees.tolist() == [4, 4]
    variances, degrees = seed_variances([uneven])
    assert (variances, degrees) == (pytest.approx([0.0004]), [2])
    variances, degrees = seed_variances([uneven, alone])
    assert variances == pytest.approx([0.0004, 0.0004])
    assert degrees.tolist() == [2, 2]
    assert seed_variances([alone, alone])[1].tolist() == [0, 0]
    assert seed_variances([even] * 8)[1].tolist() == [5] * 8  # two of its own, three of the others


def test_draws_hold_the_rows_and_the_seeds_variance() -> None:
    """Where runs differ by their seed alone, a mean of three of variance 0.0004 has Student's t with 2 degrees."""
    scores, rows = np.array([0.80, 0.82, 0.84]), np.random.default_rng(1).normal(0, 1e-4, size=(40_000, 1))
    draws = joint_draws(scores, scores + rows, [[0, 1, 2]], 1e-6, np.random.default_rng(0))[:, 0]
    low, high = np.quantile(draws, [0.025, 0.975])
    assert (low, high) == pytest.approx((0.82 - 4.303 * 0.02 / 3**0.5, 0.82 + 4.303 * 0.02 / 3**0.5), abs=0.003)


def test_what_rows_explain_between_runs_is_not_counted_twice() -> None:
    random = np.random.default_rng(0)
    noise = random.normal(0, 0.02, size=(40_000, 3))  # each run's own noise from its rows; no seed effect at all
    scores = np.array([0.8, 0.8, 0.8])
    draws = joint_draws(scores, scores + noise, [[0, 1, 2]], 1e-6, random)[:, 0]
    assert draws.std() == pytest.approx(0.02 / 3**0.5, rel=0.03)


def test_anchors_carry_no_seed_noise() -> None:
    resampled = np.full((5_000, 4), 0.8)
    draws = joint_draws(np.array([0.7, 0.8, 0.9, 0.8]), resampled, [[0, 1, 2]], 0.002, np.random.default_rng(0))
    assert draws.shape == (5_000, 2)
    assert draws[:, 1].std() == pytest.approx(0.002 / 2**0.5, rel=0.05)
    assert draws[:, 0].std() > 0.03


def test_costs_are_compared_exactly_and_latency_beyond_the_larger_floor() -> None:
    costs = [{"p": 10, "t": 1.02}, {"p": 10, "t": 1.03}, {"p": 20, "t": 1.00}, {"p": 5}]
    floors = [{"t": 0.005}, {"t": 0.02}, {"t": 0.005}, {}]
    no_worse, better = compare_costs(costs, floors, {"p": "minimize", "t": "minimize"})
    assert no_worse.astype(int).tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert not better.any()
    no_worse, better = compare_costs(costs, floors, {"p": "maximize"})
    assert no_worse.astype(int).tolist() == [[0, 1, 0, 1], [1, 0, 0, 1], [1, 1, 0, 1], [0, 0, 0, 0]]
    assert better.astype(int).tolist() == [[0, 0, 0, 1], [0, 0, 0, 1], [1, 1, 0, 1], [0, 0, 0, 0]]


def test_the_front_is_counted_over_joint_draws() -> None:
    draws = np.array([[0.8, 0.9], [0.8, 0.7], [0.8, 0.6], [0.8, 0.5]])
    rivals = np.array([[False, True], [False, False]])  # the first costs less
    assert front_probabilities(draws, rivals).tolist() == [1.0, 0.25]


def test_what_is_surely_higher_takes_account_of_how_many_were_compared() -> None:
    random = np.random.default_rng(0)
    one, many = 2, 20
    claims = {}
    for count in (one, many):
        scores = np.zeros(count)
        scores[0] = 3.0  # 2.1 standard errors of a difference ahead of each
        rivals = ~np.eye(count, dtype=bool)
        claims[count] = surely_higher(scores, scores + random.standard_normal((20_000, count)), rivals)
    assert claims[one].tolist() == [[False, True], [False, False]]
    assert not claims[many].any()
    nobody = np.zeros((2, 2), dtype=bool)
    assert not surely_higher(np.array([9.0, 0.0]), random.standard_normal((99, 2)), nobody).any()


def test_clear_leads_are_set_aside_before_the_rest_is_judged() -> None:
    """One lead of 2.1 standard errors beside ten clear ones: enough for one, too little for eleven."""
    random = np.random.default_rng(0)
    scores = np.array([0.0, *[-20.0] * 10, -3.0])
    rivals = np.zeros((12, 12), dtype=bool)
    rivals[0, 1:] = True
    draws = scores + random.standard_normal((20_000, 12))
    claims = surely_higher(scores, draws, rivals)
    assert claims[0, 1:].all()
