"""Studies whose processes are killed again and again, at points of their own and at any moment."""

from collections import Counter
from pathlib import Path

import pytest

from kill_study import POINTS, kill_study

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the workers in /proc")


def test_a_few_kills_lose_nothing(tmp_path: Path) -> None:
    tally = kill_study(tmp_path / "study", 3, 2, points=("step", "weights", "told"), parents=False)
    assert tally.faults == []
    assert tally.kills == Counter({"worker-step": 1, "worker-weights": 1, "worker-told": 1})
    # What was told before its process died is not repeated.
    assert tally.states == Counter({"complete": tally.wanted, "interrupted": 2})


@pytest.mark.slow
def test_fifty_kills_lose_nothing(tmp_path: Path) -> None:
    tally = kill_study(tmp_path / "study", 50, 20)
    print("\n".join(tally.lines()))
    assert tally.faults == []
    assert tally.kills.total() == 50
    assert tally.kills.keys() == {f"{role}-{point}" for role, point, _ in POINTS}
