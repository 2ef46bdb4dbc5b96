"""Task groups to report on, made up: one grid of configurations on several tasks."""

import itertools
from collections.abc import Mapping

from report_studies import OBJECTIVES, make_trial

from adapter_sweep.records import Confirmation, ConfirmedRun, StudyView, TrialState

WIDTHS, PLACEMENTS = (8, 64), ("post_attention", "both")
GRID = [
    {"method.width": width, "method.placement": placement} for width, placement in itertools.product(WIDTHS, PLACEMENTS)
]
SPACE = {"method.width": "choice(8, 64)", "method.placement": "choice(post_attention, both)"}


def make_task(name: str, accuracies: tuple[float, ...], *, seed: int = 0, **more: object) -> StudyView:
    """A study of task `name` with an accuracy for each configuration of `GRID`; `seed` shuffles the numbers."""
    order = list(range(len(GRID)))[seed:] + list(range(len(GRID)))[:seed]
    trials = tuple(
        make_trial(
            number,
            accuracies[place],
            1000.0 * GRID[place]["method.width"] * (1 + (GRID[place]["method.placement"] == "both")),
            1.0 + 0.02 * (1 + (GRID[place]["method.placement"] == "both")),
            swept=GRID[place],
            latency_noise_floor=0.005,
        )
        for number, place in enumerate(order)
        if place < len(accuracies)
    )
    fields: dict[str, object] = {
        "objectives": OBJECTIVES,
        "search_space": SPACE,
        "n_trials": 4,
        "config": {"task": {"name": name, "metric": "accuracy"}},
        "provenance": {"data_fingerprint": name, "model_fingerprint": "m", "device": "cpu: some"},
        **more,
    }
    return StudyView(name=f"tasks-{name}", trials=trials, **fields)  # type: ignore[arg-type]


def confirm(right: Mapping[int, tuple[int, ...]], examples: int = 1000, seeds: tuple[int, ...] = (7, 8, 9)):
    """A confirmation of places in `GRID`, each with how many examples it gets right on each seed, the first ones."""
    runs = tuple(
        ConfirmedRun(
            configuration=f"tasks-elsewhere:{place}",
            trial=None,
            params=GRID[place],
            seed=seed,
            state=TrialState.COMPLETE,
            metrics={"test_accuracy": hits / examples},
            predictions=(1,) * hits + (0,) * (examples - hits),
        )
        for place, counts in right.items()
        for seed, hits in zip(seeds, counts, strict=True)
    )
    return Confirmation("accuracy", (1,) * examples, seeds, runs)
