"""Do the stated intervals cover, and are the labels right, where the truth is known?

The figures of the slow run, 2,000 studies a kind, are in its output (`pytest -m slow -s` shows them).
"""

from dataclasses import dataclass

import numpy as np
import pytest
from confirmed_studies import Truth
from other_tasks import OtherTruth

from adapter_sweep.report.evidence import Label, evidence

COSTS5 = {"params": (1e4, 3e4, 1e5, 3e5, 1e6), "ratio": (1.01, 1.012, 1.02, 1.05, 1.1)}
COSTS8 = {
    "params": (1e4, 1e4, 3e4, 3e4, 1e5, 1e5, 3e5, 1e6),
    "ratio": (1.02, 1.022, 1.02, 1.05, 1.03, 1.05, 1.04, 1.1),
}

KINDS: dict[str, Truth] = {
    "even seeds": Truth((0.80, 0.80, 0.82, 0.81, 0.83), (0.01,) * 5, **COSTS5, rows=400, seeds=3),
    "uneven seeds": Truth(
        (0.80, 0.81, 0.82, 0.82, 0.80), (0.003, 0.003, 0.01, 0.02, 0.03), **COSTS5, rows=400, seeds=3
    ),
    "no seed effect": Truth((0.85, 0.87, 0.87, 0.86, 0.88), (0.0,) * 5, **COSTS5, rows=500, seeds=3),
    "exact ties": Truth((0.85,) * 8, (0.007,) * 8, **COSTS8, rows=300, seeds=3),
    "just on the front": Truth(
        (0.85, 0.8501, 0.8502, 0.8503, 0.8504, 0.8505, 0.8506, 0.8507),
        (0.01, 0.005, 0.02, 0.01, 0.0, 0.01, 0.015, 0.01),
        params=(1e4, 2e4, 3e4, 4e4, 5e4, 6e4, 7e4, 8e4), ratio=(1.02,) * 8, rows=400, seeds=3,
    ),
    "unstable, just on the front": Truth(
        (0.82, 0.8201, 0.8202, 0.8203, 0.8204), (0.0, 0.0, 0.03, 0.03, 0.03),
        params=(1e4, 2e4, 3e4, 4e4, 5e4), ratio=(1.02,) * 5, rows=1_000, seeds=3,
    ),
    "few errors": Truth(
        (0.97, 0.975, 0.98, 0.97), (0.004,) * 4, params=(1e4, 2e4, 3e4, 4e4), ratio=(1.01, 1.02, 1.03, 1.04),
        rows=300, seeds=3,
    ),
    "many rows": Truth(
        (0.85, 0.86, 0.87, 0.86, 0.885, 0.84, 0.89, 0.90), (0.01, 0.01, 0.01, 0.005, 0.005, 0.005, 0.01, 0.01),
        **COSTS8, rows=1_000, seeds=5,
    ),
    "three finalists": Truth(
        (0.75, 0.77, 0.77), (0.01, 0.015, 0.005), params=(1e4, 2e4, 3e4), ratio=(1.01, 1.02, 1.03), rows=300, seeds=3
    ),
    "macro F1": Truth(
        (0.78, 0.82, 0.80, 0.82), (0.01,) * 4, params=(1e4, 2e4, 3e4, 4e4), ratio=(1.01, 1.02, 1.03, 1.04),
        rows=500, seeds=3, metric="macro_f1", classes=(0.6, 0.3, 0.1),
    ),
    "failed runs": Truth((0.80, 0.80, 0.82, 0.81, 0.83), (0.01,) * 5, **COSTS5, rows=400, seeds=4, fails=0.2),
}  # fmt: skip


OTHER_KINDS: dict[str, OtherTruth] = {
    "spearman": OtherTruth("spearman", (0.80, 0.82, 0.85), 0.05, rows=200, seeds=3),
    "spearman, low": OtherTruth("spearman", (0.1, 0.2, 0.3), 0.0, rows=200, seeds=3),
    "pearson, high": OtherTruth("pearson", (0.97, 0.95, 0.90), 0.05, rows=200, seeds=3),
    "micro F1": OtherTruth("micro_f1", (0.80, 0.85, 0.90), 0.05, rows=200, seeds=3),
    "entity F1": OtherTruth("entity_f1", (0.90, 0.95, 0.97), 0.05, rows=200, seeds=3),
}


@dataclass
class Tally:
    """Sums over studies of one kind."""

    studies: int = 0
    scores: int = 0
    scores_covered: int = 0
    pairs: int = 0
    pairs_covered: int = 0
    anchors_covered: int = 0  # one a study
    on_front: int = 0  # finalists truly on the front
    wrongly_dominated: int = 0
    studies_wrong: int = 0  # studies with one or more of those
    dominated: int = 0  # finalists truly dominated
    rightly_dominated: int = 0
    wrongly_on_front: int = 0

    def add(self, truth: Truth, random: np.random.Generator) -> None:
        """Draw a study, and compare what is said of it with the truth."""
        found = evidence(truth.study(random))
        assert found is not None
        expected, dominated = truth.scores(), truth.dominated()
        wrong = 0
        for each in found.finalists:
            index = int(each.configuration)
            self.scores += 1
            self.scores_covered += bool(each.score.low <= expected[index] <= each.score.high)
            self.dominated += bool(dominated[index])
            self.on_front += not dominated[index]
            self.rightly_dominated += bool(dominated[index]) and each.label is Label.DOMINATED
            self.wrongly_on_front += bool(dominated[index]) and each.label is Label.ON_FRONT
            wrong += not dominated[index] and each.label is Label.DOMINATED
        for pair in (*found.differences, *found.over_anchors):
            other = truth.anchor_score() if pair.second == "probe" else expected[int(pair.second)]
            self.pairs += 1
            self.pairs_covered += bool(pair.gain.low <= expected[int(pair.first)] - other <= pair.gain.high)
        (anchor,) = found.anchors
        self.anchors_covered += bool(anchor.score.low <= truth.anchor_score() <= anchor.score.high)
        self.studies += 1
        self.wrongly_dominated += wrong
        self.studies_wrong += wrong > 0

    def __str__(self) -> str:
        parts = [
            f"{self.studies} studies: scores cover {self.scores_covered / self.scores:.1%}",
            f"anchors {self.anchors_covered / self.studies:.1%}",
            f"differences {self.pairs_covered / self.pairs:.1%}",
            f"wrongly dominated {self.wrongly_dominated}/{self.on_front}, in {self.studies_wrong / self.studies:.1%}",
            f"dominated found {self.rightly_dominated}/{self.dominated}, called on the front {self.wrongly_on_front}",
        ]
        return "; ".join(parts)


def simulate(name: str, studies: int, seed: int) -> Tally:
    tally, random = Tally(), np.random.default_rng([seed, list(KINDS).index(name)])
    for _ in range(studies):
        tally.add(KINDS[name], random)
    return tally


def power(rows: int, seeds: int, gap: float, studies: int) -> Tally:
    """Of four finalists, one scores `gap` less than a cheaper one and is truly dominated; the rest are on the front."""
    accuracy = (0.82, 0.85, 0.85 - gap, 0.87)
    costs = {"params": (1e4, 3e4, 1e5, 3e5), "ratio": (1.01, 1.02, 1.03, 1.04)}
    truth = Truth(accuracy, (0.01,) * 4, **costs, rows=rows, seeds=seeds)
    tally, random = Tally(), np.random.default_rng([rows, seeds, round(gap * 1_000)])
    for _ in range(studies):
        tally.add(truth, random)
    return tally


def test_intervals_cover_and_dominated_is_seldom_wrong() -> None:
    tallies = [simulate(name, 40, seed=1) for name in KINDS]
    scores, pairs = sum(each.scores for each in tallies), sum(each.pairs for each in tallies)
    assert 0.92 <= sum(each.scores_covered for each in tallies) / scores <= 0.98
    assert 0.92 <= sum(each.pairs_covered for each in tallies) / pairs <= 0.98
    assert 0.92 <= sum(each.anchors_covered for each in tallies) / sum(each.studies for each in tallies) <= 0.98
    true_front = [each for each in tallies if each.on_front]
    assert sum(each.studies_wrong for each in true_front) / sum(each.studies for each in true_front) <= 0.05
    assert sum(each.wrongly_dominated for each in tallies) / sum(each.on_front for each in tallies) <= 0.05
    assert sum(each.wrongly_on_front for each in tallies) / sum(each.dominated for each in tallies) <= 0.05


def test_a_finalist_that_is_far_behind_is_called_dominated() -> None:
    tally = power(rows=1_000, seeds=5, gap=0.06, studies=30)
    assert tally.rightly_dominated / tally.dominated >= 0.9


def covered(name: str, studies: int, seed: int) -> tuple[float, float]:
    """The shares of scores, and of differences, whose interval holds the truth."""
    truth, random = OTHER_KINDS[name], np.random.default_rng([seed, list(OTHER_KINDS).index(name)])
    expected, scores, gains = truth.scores(), [], []
    for _ in range(studies):
        found = evidence(truth.study(random))
        assert found is not None
        scores += [each.score.low <= expected[int(each.configuration)] <= each.score.high for each in found.finalists]
        for pair in (*found.differences, *found.over_anchors):
            other = 0.0 if pair.second == "constant" else expected[int(pair.second)]
            gains.append(pair.gain.low <= expected[int(pair.first)] - other <= pair.gain.high)
    return float(np.mean(scores)), float(np.mean(gains))


@pytest.mark.parametrize("name", ["spearman", "micro F1"])
def test_intervals_cover_whichever_the_metric(name: str) -> None:
    assert all(share >= 0.9 for share in covered(name, 40, seed=1))


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHER_KINDS)
def test_intervals_cover_for_each_metric(name: str) -> None:
    scores, gains = covered(name, 1_000, seed=2)
    print(f"\n{name}: scores cover {scores:.1%}, differences {gains:.1%}")
    assert 0.93 <= scores <= 0.985
    assert 0.93 <= gains <= 0.985


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_intervals_cover_and_dominated_is_seldom_wrong_in_each_kind(name: str) -> None:
    tally = simulate(name, 2_000, seed=2)
    print(f"\n{name}, {tally}")
    assert 0.92 <= tally.scores_covered / tally.scores <= 0.98
    assert 0.92 <= tally.pairs_covered / tally.pairs <= 0.98
    assert 0.92 <= tally.anchors_covered / tally.studies <= 0.98
    assert tally.studies_wrong / tally.studies <= 0.05
    assert tally.wrongly_on_front <= 0.05 * tally.dominated


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "seeds"), [(400, 3), (1_000, 3), (1_000, 5), (2_000, 5)])
def test_the_further_behind_the_more_often_called_dominated(rows: int, seeds: int) -> None:
    tallies = [power(rows, seeds, gap, 500) for gap in (0.02, 0.04, 0.06)]
    found = [each.rightly_dominated / each.dominated for each in tallies]
    print(f"\n{rows} rows, {seeds} seeds: 2, 4, 6 points behind: " + ", ".join(f"{share:.0%}" for share in found))
    assert found == sorted(found)
    assert all(each.studies_wrong / each.studies <= 0.05 for each in tallies)
