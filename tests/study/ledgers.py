"""Ledgers to test with, and what other processes do with them. Imports no torch: each process would pay for it."""

import time
from pathlib import Path
from typing import Any

from adapter_sweep.config.space import parse_space
from adapter_sweep.records import TrialState
from adapter_sweep.study.ledger import Ledger, storage_url

SPACE = {
    "method.width": "tag(log, int(interval(4, 256)))",
    "method.placement": "choice(post_attention, post_ffn, both)",
    "train.lr": "tag(log, interval(1e-4, 1e-2))",
}
GRID = {"method.width": "choice(8, 64, 256)", "method.placement": "choice(post_attention, both)"}
OBJECTIVES = {"accuracy": "maximize", "trainable_params": "minimize"}


def start(results_dir: Path, space: dict[str, str] | None = None, **changes: Any) -> Ledger:
    space = SPACE if space is None else space
    values: dict[str, Any] = {
        "name": "toy",
        "url": storage_url(None, results_dir),
        "results_dir": results_dir,
        "definition": {"search_space": space, "task": {"name": "movies"}},
        "objectives": OBJECTIVES,
        "space": parse_space(space),
        "sampler": "random",
        "seed": 0,
    }
    return Ledger.start(**(values | changes))


def finish(ledger: Ledger, n_trials: int, seconds: float = 0.0) -> list[int]:
    """Run trials that do nothing until there are `n_trials`; their numbers."""
    numbers = []
    while (asked := ledger.ask(n_trials)) is not None:
        trial, slot = asked
        time.sleep(seconds)
        width = float(trial.params.get("method.width", 1))
        ledger.tell(trial, TrialState.COMPLETE, metrics={"accuracy": 0.5, "trainable_params": width})
        slot.close()
        numbers.append(trial.number)
    return numbers


def finish_elsewhere(results_dir: Path, n_trials: int, space: dict[str, str], changes: dict[str, Any]) -> list[int]:
    return finish(start(results_dir, space, **changes), n_trials, seconds=0.01)


def hang_in_a_trial(results_dir: Path, space: dict[str, str], sampler: str) -> None:
    asked = start(results_dir, space, sampler=sampler).ask(10)
    assert asked is not None
    (results_dir / "asked").write_text(str(asked[0].number))
    time.sleep(600)


def hang_then_tell(results_dir: Path, url: str) -> None:
    """Ask for a trial, wait for a file named `go`, and tell that it is complete; what the ledger says is in `told`."""
    ledger = start(results_dir, url=url, heartbeat_seconds=1)
    asked = ledger.ask(10)
    assert asked is not None
    (results_dir / "asked").touch()
    while not (results_dir / "go").exists():
        time.sleep(0.05)
    told = ledger.tell(asked[0], TrialState.COMPLETE, metrics={"accuracy": 0.9, "trainable_params": 1.0})
    asked[1].close()
    (results_dir / "told").write_text(told)
