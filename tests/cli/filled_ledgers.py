"""Real ledgers, filled with trials nobody ran."""

import itertools
from pathlib import Path

from adapter_sweep.config.space import parse_space
from adapter_sweep.records import TrialState
from adapter_sweep.study.ledger import Ledger, storage_url

GRID = {"method.width": "choice(8, 64)", "method.placement": "choice(post_ffn, both)"}


def fill(results: Path, name: str, *, task: str = "movies", gains: tuple[float, ...] = (0, 0.05, 0.02, 0.06)) -> Ledger:
    """A complete grid of four configurations; `gains` over 0.8 by (width, placement)."""
    ledger = Ledger.start(
        name,
        url=storage_url(None, results),
        results_dir=results,
        definition={"task": {"name": task}},
        objectives={"accuracy": "maximize", "trainable_params": "minimize", "latency_ratio": "minimize"},
        space=parse_space(GRID),
        sampler="grid",
        seed=0,
    )
    ledger.set_facts(
        config={"task": {"name": task, "metric": "accuracy"}},
        search_space=GRID,
        n_trials=4,
        provenance={"data_fingerprint": task, "model_fingerprint": "m"},
    )
    order = list(itertools.product((8, 64), ("post_ffn", "both")))
    while (asked := ledger.ask(4)) is not None:
        trial, slot = asked
        width, placement = trial.params["method.width"], trial.params["method.placement"]
        sites = 12 if placement == "both" else 6
        weights = ledger.trial_folder(trial.number) / "adapter.safetensors"
        weights.parent.mkdir(parents=True)
        weights.touch()
        ledger.note(
            trial,
            params=dict(trial.params),
            overrides=(f"task={task}", *(f"{key}={value}" for key, value in trial.params.items())),
            weights_path=str(weights.relative_to(ledger.folder)),
        )
        metrics = {
            "accuracy": 0.8 + gains[order.index((width, placement))],
            "trainable_params": sites * (2 * width * 384 + width + 384),
            "latency_ratio": 1 + 0.01 * sites,
            "eval_examples": 400,
        }
        ledger.tell(trial, TrialState.COMPLETE, metrics=metrics)
        slot.close()
    return ledger
