"""Whether a command that has begun a study has anything to do."""

from pathlib import Path
from typing import Any

import pytest
from filled_ledgers import fill

from adapter_sweep.cli.beginning import Begun
from adapter_sweep.records import TrialState
from adapter_sweep.study.ledger import Ledger


def begun(ledger: Ledger, total: int, *, done: int) -> Begun:
    nothing: Any = None
    return Begun(ledger, {}, bench=nothing, capacity=nothing, done=done, total=total, recovered=0)


@pytest.mark.parametrize("mine", [True, False])
def test_a_run_goes_on_beside_the_last_trials_that_it_is_to_have(tmp_path: Path, mine: bool) -> None:
    ledger = fill(tmp_path, "movies")  # of four trials
    ledger.queue({"method.width": 8, "method.placement": "both"})
    asked = ledger.ask(5)
    assert asked is not None
    total = 5 if mine else 4
    assert begun(ledger, total, done=total).goes_on is mine
    ledger.tell(asked[0], TrialState.FAILED, reason="why")
    asked[1].close()
    assert not begun(ledger, total, done=total).goes_on
    assert begun(ledger, 6, done=5).goes_on
