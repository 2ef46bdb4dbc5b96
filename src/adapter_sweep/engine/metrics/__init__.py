"""Our metrics: `evaluate` modules in this folder, loaded by path, so no metric comes from the network."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from adapter_sweep.engine.assets import cache_dir
from adapter_sweep.errors import UserInputError
from adapter_sweep.scores import METRICS

__all__ = ["load_metric"]


def load_metric(name: str) -> Callable[[Sequence[Any], Sequence[Any]], float]:
    """A function from (predictions, references), in the same order, to the metric's value.

    What they are, for each type of task, is in `adapter_sweep.scores`.

    Safe in several processes at once and without network. `evaluate` copies the module into the HF modules
    cache; where that cannot be written, our own cache folder takes its place for this process.

    Raises:
        UserInputError: no such metric.
        ValueError: (by the function) no examples, or not one prediction a reference.
    """
    if name not in METRICS:
        raise UserInputError(f"metric {name!r}: no such metric; there are {', '.join(METRICS)}")
    import evaluate

    _make_modules_cache_writable()
    # In memory, and with a folder of our own: evaluate's default makes one below HF_HOME even when unused.
    metric = evaluate.load(
        str(Path(__file__).parent / f"{name}.py"),
        cache_dir=str(cache_dir() / "evaluate"),
        keep_in_memory=True,
    )

    def score(predictions: Sequence[Any], references: Sequence[Any]) -> float:
        if len(predictions) != len(references) or len(references) == 0:
            raise ValueError(f"{name}: {len(predictions)} predictions for {len(references)} references")
        if name == "entity_f1":  # entities are no column of one type
            predictions, references = ([json.dumps(row) for row in rows] for rows in (predictions, references))
        return float(metric.compute(predictions=predictions, references=references)[name])

    return score


def _make_modules_cache_writable() -> None:
    from evaluate import config  # its own copy of the setting, apart from that of datasets

    try:
        Path(config.HF_MODULES_CACHE).mkdir(parents=True, exist_ok=True)
        writable = os.access(config.HF_MODULES_CACHE, os.W_OK | os.X_OK)
    except OSError:
        writable = False
    if not writable:
        config.HF_MODULES_CACHE = cache_dir() / "hf_modules"
