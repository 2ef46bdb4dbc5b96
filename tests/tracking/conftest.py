from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from adapter_sweep.records import StudyView, TrialState, TrialView

STARTED = datetime(2030, 1, 2, 3, 4, 5, 250_000, tzinfo=UTC)
ENDED = datetime(2030, 1, 2, 3, 6, 5, 750_000, tzinfo=UTC)


@pytest.fixture
def make_trial() -> Callable[..., TrialView]:
    def make(number: int = 7, **changes: Any) -> TrialView:
        trial = TrialView(
            number=number,
            state=TrialState.COMPLETE,
            params={"method.placement": "both", "method.width": 64, "train.lr": 0.0013, "train.flag": True},
            metrics={
                "accuracy": 0.8125,
                "trainable_params": 313_536.0,
                "latency_ratio": 1.0731,
                "train_loss": 0.4012,
            },
            curves={
                "train_loss": [(step, 1.0 / (step + 1)) for step in range(2500)],
                "accuracy": [(999, 0.75), (1999, 0.8125)],
            },
            started=STARTED,
            ended=ENDED,
            overrides=("method.width=64", "method.placement=both"),
            config={
                "task": {"name": "movies", "columns": ("text", "label")},
                "method": {"width": 64},
                "study": {"storage": "postgresql://ann:s3cret@db/ledger"},
            },
            provenance={
                "code_version": "0.1.0+abc",
                "dirty": "false",
                "torch": "2.11.0",
                "data_fingerprint": "d" * 64,
                "device": "cpu",
            },
        )
        return replace(trial, **changes)

    return make


@pytest.fixture
def make_study(make_trial: Callable[..., TrialView]) -> Callable[..., StudyView]:
    def make(*trials: TrialView, **changes: Any) -> StudyView:
        study = StudyView(
            name="quick study",
            objectives={"accuracy": "maximize", "trainable_params": "minimize"},
            search_space={
                "method.width": "tag(log, int(interval(4, 256)))",
                "train.lr": "interval(1e-4, 1e-2)",
            },
            n_trials=12,
            trials=trials,
            created=STARTED,
            config={"sweep": "quickstart", "study": {"n_trials": 12}},
            provenance={"code_version": "0.1.0+abc", "device": "cpu"},
            anchors={"majority class": {"accuracy": 0.5}},
        )
        return replace(study, **changes)

    return make


@pytest.fixture
def store_dir(tmp_path: Path, cold_store: Path) -> Path:
    """A results folder with an empty, ready store: making one takes seconds, copying none."""
    import shutil

    folder = tmp_path / "results"
    folder.mkdir()
    shutil.copy(cold_store, folder / "mlflow.db")
    return folder


@pytest.fixture(scope="session")
def cold_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from adapter_sweep.tracking.store import open_client

    folder = tmp_path_factory.mktemp("cold")
    open_client(f"sqlite:///{folder}/mlflow.db", folder)
    return folder / "mlflow.db"
