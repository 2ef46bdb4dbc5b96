"""A bench whose trials take a fraction of a second, and watchers that keep what they are told."""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from adapter_sweep.bench import Bench
from adapter_sweep.config import SweepConfig, validate, with_params
from adapter_sweep.engine.loading import load_backbone
from adapter_sweep.engine.tasks import Split, TaskData
from adapter_sweep.engine.training import Progress
from adapter_sweep.records import ParamValue, TrialView

_WORDS = {1: ("good", "great", "lovely", "fine"), 0: ("bad", "awful", "dull", "poor")}


def _split(*things: str) -> Split:
    rows = [
        (f"the {thing} is {how} {word}", label)
        for thing, how, label in itertools.product(things, ("really", "quite"), (1, 0))
        for word in _WORDS[label]
    ]
    texts, labels = zip(*rows, strict=True)
    return Split(texts, None, labels)


@contextlib.contextmanager
def undisturbed(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[None]:
    """One thread, and a lock for the quiet host that no other program on this machine holds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr("adapter_sweep.engine.latency._LOCK", folder / "quiet.lock")
    yield
    torch.set_num_threads(threads)


def toy_data() -> TaskData:
    """48 training and 16 validation texts."""
    return TaskData("toy", ("neg", "pos"), _split("film", "story", "cast"), _split("scene"), _split("ending"), "here")


def toy_values(tiny_bert: Path) -> dict[str, Any]:
    return {
        "backbone": {"kind": "local", "path": str(tiny_bert), "pooling": "mean", "attention": "eager"},
        "task": {"kind": "local", "path": "toy.csv", "text": "text", "label": "label"},
        "method": {
            "kind": "bottleneck",
            "width": 4,
            "placement": "both",
            "activation": "gelu",
            "init_std": 0.01,
            "layer_norms": "adapted_layers",
        },
        "train": {
            "epochs": 2,
            "lr": 1e-2,
            "batch_size": 8,
            "max_tokens_per_batch": 256,
            "max_length": 16,
            "weight_decay": 0.0,
            "warmup_fraction": 0.1,
            "max_grad_norm": 1.0,
            "seed": 0,
            "cohort": 1,
            "threads": 1,
            "precision": "fp32",
            "device": "cpu",
        },
        "latency": {
            "tokens": 8,
            "batch_size": 2,
            "pairs": 5,
            "batch_pairs": 5,
            "warmup_seconds": 0,
            "threads": 1,
        },
        "workers": {"count": 1},
        "tracking": {"enabled": False, "uri": None},
        "study": {"name": None, "n_trials": 3, "sampler": "random", "seed": 0, "storage": None},
        "confirm": {"seeds": 2, "finalists": 3},
        "budget": {"max_trainable_params": None, "max_latency_ratio": None},
        "objectives": {"accuracy": "maximize", "trainable_params": "minimize", "latency_ratio": "minimize"},
        "search_space": {},
        "results_dir": "results",
    }


def toy_config(tiny_bert: Path, **params: Any) -> SweepConfig:
    """The toy settings, with some of them set: `train__lr=1e-3`."""
    values = toy_values(tiny_bert)
    if "method" in params:  # all of its settings
        values["method"] = params.pop("method")
    return validate(with_params(values, {key.replace("__", "."): value for key, value in params.items()}))


def toy_bench(tiny_bert: Path, data: TaskData | None = None) -> Bench:
    backbone = load_backbone(tiny_bert, pooling="mean", attention="eager")
    return Bench(toy_config(tiny_bert), backbone, data or toy_data(), torch.device("cpu"), 1)


class Table(dict[str, dict[str, float]]):
    """A latency table in memory."""

    def latency(self, key: str) -> dict[str, float] | None:
        return self.get(key)

    def keep_latency(self, key: str, metrics: Mapping[str, float]) -> dict[str, float]:
        return self.setdefault(key, dict(metrics))


class Watch:
    """Keeps what it is told of a trial, and calls `at` with each event's name."""

    def __init__(self, at: Callable[[str], None] = lambda _: None) -> None:
        self.at = at
        self.stages: list[str] = []
        self.steps: list[Progress] = []
        self.epochs: list[tuple[int, int, float, float]] = []
        self.resumes: list[int] = []

    def stage(self, text: str) -> None:
        self.stages.append(text)
        self.at(text)

    def step(self, progress: Progress) -> None:
        self.steps.append(progress)
        self.at("step")

    def epoch(self, epoch: int, epochs: int, loss: float, accuracy: float) -> None:
        self.epochs.append((epoch, epochs, loss, accuracy))
        self.at("epoch")

    def resumed(self, step: int) -> None:
        self.resumes.append(step)


class StudyWatch:
    """Keeps what it is told of a study, and calls `at` with each event's name."""

    def __init__(self, at: Callable[[str], None] = lambda _: None) -> None:
        self.at = at
        self.begun: list[tuple[int, dict[str, ParamValue]]] = []
        self.stages: list[tuple[int, str]] = []
        self.steps: list[tuple[int, Progress]] = []
        self.epochs: list[tuple[int, int]] = []
        self.resumes: list[tuple[int, int]] = []
        self.ended: list[TrialView] = []
        self.started: list[dict[str, float]] = []
        self.warnings: list[str] = []

    def begin(self, number: int, params: Mapping[str, ParamValue]) -> None:
        self.begun.append((number, dict(params)))
        self.at("begin")

    def stage(self, number: int, text: str) -> None:
        self.stages.append((number, text))
        self.at(text)

    def step(self, number: int, progress: Progress) -> None:
        self.steps.append((number, progress))
        self.at("step")

    def epoch(self, number: int, epoch: int, epochs: int, loss: float, accuracy: float) -> None:
        self.epochs.append((number, epoch))
        self.at("epoch")

    def resumed(self, number: int, step: int) -> None:
        self.resumes.append((number, step))

    def end(self, trial: TrialView) -> None:
        self.ended.append(trial)
        self.at("end")

    def ready(self, worker: int, seconds: Mapping[str, float]) -> None:
        self.started.append(dict(seconds))
        self.at("ready")

    def warn(self, text: str) -> None:
        self.warnings.append(text)
        self.at("warn")
