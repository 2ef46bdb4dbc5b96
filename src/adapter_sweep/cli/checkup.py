"""`doctor`: does what a study will need work here? Every check is made, whatever the others say."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from adapter_sweep.cli.anatomy import describe_backbone
from adapter_sweep.cli.printing import open_console
from adapter_sweep.config.schema import SweepConfig
from adapter_sweep.data import load_task
from adapter_sweep.engine.metrics import load_metric
from adapter_sweep.errors import AdapterSweepError
from adapter_sweep.opening import open_backbone
from adapter_sweep.provenance import code_provenance, cpu_name, physical_cores
from adapter_sweep.scores import TASK_METRICS, TaskType
from adapter_sweep.study.ledger import open_storage, storage_url
from adapter_sweep.tracking import Tracker

__all__ = ["check_all"]

_NAMES = {"classification": "classes", "multi_label": "labels", "tokens": "entity types"}
# Predictions and labels, in the form that metrics take them.
_EXAMPLES: dict[TaskType, tuple[list[Any], list[Any]]] = {
    "classification": ([0, 1, 1, 0], [0, 1, 1, 1]),
    "multi_label": ([[0], [1], [], [0]], [[0], [1], [], [0, 1]]),
    "regression": ([0.0, 1.0, 2.0, 0.0], [0.0, 1.0, 2.0, 3.0]),
    "tokens": ([[(0, 1, "a")], [], [], []], [[(0, 1, "a")], [], [], [(2, 2, "a")]]),
    "spans": (["one", "two", "", "four"], [["one"], ["two"], [""], ["five"]]),
}


def check_all(config: SweepConfig) -> int:
    """Check installation, results folder, stores, metric, data and backbone; 0 where all is well, else 1."""
    console = open_console()
    results_dir = Path(config.results_dir).expanduser()
    checks: dict[str, Callable[[], str]] = {
        "installation": _installation,
        "machine": _machine,
        "results": lambda: _writable(results_dir),
        "ledger": lambda: _ledger(config, results_dir),
        "tracking": lambda: _tracking(config, results_dir),
        "metric": lambda: _metric(config),
        "data": lambda: _data(config),
        "backbone": lambda: describe_backbone(open_backbone(config)),
    }
    failed = 0
    for name, check in checks.items():
        try:
            verdict, text = "ok", check()
        except AdapterSweepError as error:
            verdict, text = "FAILED", str(error)
            failed += 1
        except Exception as error:  # a check that breaks is an answer, and the others are still to be made
            verdict, text = "FAILED", f"{type(error).__name__}: {error}"
            failed += 1
        console.print(f"{name:<13}{verdict:<7}{text}")
    return 1 if failed else 0


def _installation() -> str:
    return ", ".join(f"{name} {value}" for name, value in code_provenance().items() if name != "platform")


def _machine() -> str:
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return f"{physical_cores()} cores of {cpu_name()}; GPUs: {', '.join(gpus) or 'none'}"


def _writable(results_dir: Path) -> str:
    try:
        results_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=results_dir):
            return str(results_dir.absolute())
    except OSError as error:
        raise AdapterSweepError(f"results_dir={results_dir}: cannot be written: {error.strerror}") from None


def _ledger(config: SweepConfig, results_dir: Path) -> str:
    storage = open_storage(storage_url(config.study.storage, results_dir), results_dir)
    return f"{len(storage.get_all_studies())} studies"


def _tracking(config: SweepConfig, results_dir: Path) -> str:
    if not config.tracking.enabled:
        return "off"
    tracker = Tracker(results_dir, "doctor", config.tracking.uri)
    tracker.check()
    return tracker.shown_uri


def _metric(config: SweepConfig) -> str:
    kind = next(kind for kind, names in TASK_METRICS.items() if config.task.metric in names)
    predictions, labels = _EXAMPLES[kind]
    value = load_metric(config.task.metric)(predictions, labels)
    return f"{config.task.metric} of 3 right in 4: {value:.3f}"


def _data(config: SweepConfig) -> str:
    data = load_task(config)
    sizes = f"{len(data.train)} training, {len(data.validation)} validation, {len(data.test)} test examples"
    names = (
        f"; {len(data.label_names)} {_NAMES[data.type]} ({_shortened(data.label_names)})" if data.label_names else ""
    )
    languages = sorted(
        {*(data.train.languages or ()), *(data.validation.languages or ()), *(data.test.languages or ())}
    )
    spoken = f"; {len(languages)} languages ({_shortened(languages)})" if languages else ""
    what = data.type if data.modality == "text" else f"{data.type} of images"
    return f"{data.name}: {what}, {sizes}{names}{spoken}; {data.source}"


def _shortened(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
