from pathlib import Path
from typing import Any

import pytest
import torch

from adapter_sweep.engine import precision
from adapter_sweep.engine.choices import FILE
from adapter_sweep.engine.precision import choose_precision

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADAPTER_SWEEP_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("wanted", ["bf16", "fp32"])
def test_a_forced_precision_is_taken_unmeasured(wanted: Any, cache: Path) -> None:
    choice = choose_precision(wanted, CPU)
    assert (choice.value, choice.reason) == (wanted, "set by train.precision")
    assert not (cache / FILE).exists()


def test_auto_is_measured_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = choose_precision("auto", CPU)
    assert first.value in ("bf16", "fp32")
    assert (cache / FILE).exists()
    monkeypatch.delattr(precision, "_time_products")
    assert choose_precision("auto", CPU) == first


@pytest.mark.parametrize(
    ("bf16_seconds", "value", "reason"),
    [
        (0.5, "bf16", "2.0x the speed of fp32 on this machine"),
        (0.9, "fp32", "bf16 has 1.1x its speed on this machine"),
        (4.0, "fp32", "bf16 has 0.2x its speed on this machine"),
    ],
)
def test_auto_takes_bf16_where_it_is_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, bf16_seconds: float, value: str, reason: str
) -> None:
    monkeypatch.setattr(precision, "_time_products", lambda _: {"bf16": bf16_seconds, "fp32": 1.0})
    choice = choose_precision("auto", CPU)
    assert (choice.value, choice.reason) == (value, reason)
