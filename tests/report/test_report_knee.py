import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter_sweep.report.knee import knee

FRONT = [(10_000, 0.70), (20_000, 0.80), (40_000, 0.81), (1_000_000, 0.83)]


def test_the_point_where_more_stops_paying() -> None:
    assert knee(FRONT) == 1


def test_order_and_units_do_not_matter() -> None:
    assert knee(list(reversed(FRONT))) == 2
    assert knee([(cost * 1e6, score * 100) for cost, score in FRONT]) == 1


@pytest.mark.parametrize(
    "points",
    [
        [],
        [(10, 0.5)],
        [(10, 0.5), (20, 0.6)],
        [(10, 0.5), (10, 0.5), (10, 0.5)],
        [(10, 0.5), (20, 0.5), (40, 0.5)],
        [(10, 0.5), (100, 0.6), (1000, 0.7)],  # straight on a logarithmic scale
        [(10, 0.5), (100, 0.52), (1000, 0.9)],  # bends the other way
        [(0, 0.5), (10, 0.6), (20, 0.7)],  # a logarithm needs costs above zero
    ],
)
def test_without_a_bend_there_is_no_knee(points: list[tuple[float, float]]) -> None:
    assert knee(points) is None


def test_three_members_and_ties_take_the_cheapest() -> None:
    assert knee([(10, 0.5), (20, 0.8), (1000, 0.9)]) == 1
    twins = [(10, 0.5), (20, 0.8), (20, 0.8), (1000, 0.9)]
    assert knee(twins) == 1
    low, high = math.log(1), math.log(1000)
    even = [(1, 0.0), (10, 0.5), (100, 0.5 + (math.log(100) - math.log(10)) / (high - low)), (1000, 1.0)]
    assert knee(even) == 1


@given(st.lists(st.tuples(st.integers(1, 10**6), st.integers(0, 1000)), max_size=12))
def test_the_knee_is_one_of_the_points_and_never_an_end(points: list[tuple[int, int]]) -> None:
    found = knee(points)
    if found is not None:
        costs = [cost for cost, _ in points]
        assert min(costs) < costs[found] < max(costs) or costs.count(costs[found]) > 1
