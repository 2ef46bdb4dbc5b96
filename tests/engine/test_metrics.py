import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from adapter_sweep.engine.metrics import METRICS, load_metric
from adapter_sweep.errors import UserInputError

# Reports any attempt to reach a network, below whatever library makes it.
NO_NETWORK = """
import sys
def audit(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        print("NETWORK", event, args, flush=True)
sys.addaudithook(audit)
from adapter_sweep.engine.metrics import load_metric
print(load_metric("accuracy")([0, 1, 1, 1], [0, 1, 0, 1]), load_metric("macro_f1")([0, 1], [0, 1]))
"""


def run_fresh(home: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    hidden = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE", "HF_MODULES_CACHE")
    env = {key: value for key, value in os.environ.items() if key not in hidden}
    env |= {
        "HF_HOME": str(home),
        "ADAPTER_SWEEP_CACHE": str(cache),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    return subprocess.run([sys.executable, "-c", NO_NETWORK], env=env, capture_output=True, text=True)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTER_SWEEP_CACHE", str(tmp_path))


@pytest.mark.parametrize(
    ("predictions", "references", "expected"),
    [([0, 1, 1, 1], [0, 1, 0, 1], 0.75), ([2], [2], 1.0), ([0, 0], [1, 1], 0.0)],
)
def test_accuracy(predictions: list[int], references: list[int], expected: float) -> None:
    assert load_metric("accuracy")(predictions, references) == expected


def test_macro_f1_counts_each_class_the_same() -> None:
    # F1: class 0 has 4/5 (2 of 3 right, all found), class 1 has 1/2 (1 of 1, of 3), class 2 has 0.
    value = load_metric("macro_f1")([0, 0, 1, 0, 2], [0, 0, 1, 1, 1])
    assert value == pytest.approx((4 / 5 + 1 / 2 + 0) / 3)


def test_macro_f1_of_a_class_never_predicted_is_zero_without_a_warning() -> None:
    assert load_metric("macro_f1")([0, 0], [0, 1]) == pytest.approx((2 / 3 + 0) / 2)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_can_be_used_again_and_returns_a_float(name: str) -> None:
    metric = load_metric(name)
    assert [metric([0, 1], [0, 1]), metric((0, 1), (1, 0)), metric([0, 1], [0, 1])] == [1.0, 0.0, 1.0]
    assert type(metric([1], [1])) is float


@pytest.mark.parametrize(("predictions", "references"), [([], []), ([1], [1, 0])])
def test_no_examples_or_another_number_of_them_is_an_error(predictions: list[int], references: list[int]) -> None:
    with pytest.raises(ValueError, match="predictions for"):
        load_metric("accuracy")(predictions, references)


def test_an_unknown_metric_lists_those_there_are() -> None:
    with pytest.raises(UserInputError, match=r"'f2': no such metric; there are accuracy, macro_f1"):
        load_metric("f2")


def test_every_module_in_the_folder_is_offered() -> None:
    folder = Path(sys.modules["adapter_sweep.engine.metrics"].__file__ or "").parent
    assert {path.stem for path in folder.glob("*.py")} - {"__init__"} == set(METRICS)


def test_processes_at_once_in_an_empty_cache_without_network(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(run_fresh, tmp_path / "hf", tmp_path / "own") for _ in range(2)]
    for job in jobs:
        assert job.result().stdout == "0.75 1.0\n", job.result()


def test_an_hf_cache_that_cannot_be_written_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run_fresh(tmp_path / "file" / "hf", tmp_path / "own")
    assert done.stdout == "0.75 1.0\n", done
