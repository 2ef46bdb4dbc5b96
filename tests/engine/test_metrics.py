import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import rankdata

from adapter_sweep.engine.metrics import load_metric
from adapter_sweep.errors import UserInputError
from adapter_sweep.scores import METRICS, TASK_METRICS, Formula, TaskType, row_numbers

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


# -- every metric follows from its rows


def some_entities(draw: random.Random) -> list[tuple[int, int, str]]:
    starts = sorted(draw.sample(range(0, 12, 3), draw.randrange(4)))
    return [(start, start + draw.randrange(2), draw.choice("xy")) for start in starts]


WORDS = ("The", "a", "cat", "sat.", "Cat", "mat", "")
ROWS: dict[TaskType, Callable[[random.Random], tuple[Any, Any]]] = {
    "classification": lambda draw: (draw.randrange(2), draw.randrange(2)),
    "multi_label": lambda draw: tuple(tuple(sorted(draw.sample(range(4), draw.randrange(4)))) for _ in range(2)),
    "regression": lambda draw: (draw.choice([draw.random(), 0.5]), draw.choice([draw.random(), 0.5])),
    "tokens": lambda draw: (some_entities(draw), some_entities(draw)),
    "spans": lambda draw: (
        " ".join(draw.choices(WORDS, k=2)),
        [" ".join(draw.choices(WORDS, k=2)) for _ in range(1 + draw.randrange(2))],
    ),
}


def from_rows(metric: str, rows: Sequence[tuple[float, ...]]) -> float:
    """The score, by nothing but the contract's words for its formula."""
    numbers = np.array(rows)
    formula = METRICS[metric].formula
    if formula is Formula.MEAN:
        return float(numbers.mean())
    if formula is Formula.F1:
        right, wrong, missed = numbers.sum(axis=0)
        return float(2 * right / (2 * right + wrong + missed)) if right else 0.0
    found, true = numbers.T
    if metric != "macro_f1" and (np.ptp(found) == 0 or np.ptp(true) == 0):
        return 0.0
    if formula is Formula.CORRELATION and metric == "spearman":
        found, true = rankdata(found), rankdata(true)
    if metric == "macro_f1":
        classes = sorted({*found, *true})
        pairs = [(found == c, true == c) for c in classes]
        return float(np.mean([2 * (f & t).sum() / (f.sum() + t.sum()) for f, t in pairs]))
    return float(np.corrcoef(found, true)[0, 1])  # of two classes, Matthews' is the linear one


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in TASK_METRICS.items() for name in names])
def test_a_module_gives_what_follows_from_the_rows(kind: TaskType, name: str) -> None:
    draw, metric = random.Random(name), load_metric(name)
    for size in (40, 7, 40):
        predictions, labels = zip(*(ROWS[kind](draw) for _ in range(size)), strict=True)
        rows = [row_numbers(name, prediction, label) for prediction, label in zip(predictions, labels, strict=True)]
        value = metric(predictions, labels)
        assert type(value) is float
        assert value == pytest.approx(from_rows(name, rows), abs=1e-12)


def test_matthews_of_three_classes_is_that_of_the_formula() -> None:
    # Gorodkin 2004: (n * right - sum of p_k t_k) / sqrt((n^2 - sum p_k^2)(n^2 - sum t_k^2))
    value = load_metric("matthews")([0, 0, 1, 2, 2, 1], [0, 1, 1, 2, 0, 1])
    assert value == pytest.approx((6 * 4 - (2 * 2 + 2 * 3 + 2 * 1)) / ((36 - 12) * (36 - 14)) ** 0.5)


@pytest.mark.parametrize("name", ["spearman", "pearson", "matthews"])
@pytest.mark.parametrize("constant", [0, 1])
def test_a_constant_correlates_with_nothing_and_warns_of_nothing(name: str, constant: int) -> None:
    assert load_metric(name)([constant] * 3, [0, 1, 1]) == 0.0
    assert load_metric(name)([0, 1, 1], [constant] * 3) == 0.0
    assert load_metric(name)([constant], [1]) == 0.0


def test_nearly_constant_predictions_warn_of_nothing() -> None:
    assert -1 <= load_metric("pearson")([1e9, 1e9 + 1e-6, 1e9, 1e9], [0, 1, 2, 3]) <= 1


@pytest.mark.parametrize(
    ("name", "predictions", "labels", "expected"),
    [
        ("f1", [0, 0], [0, 0], 0.0),
        ("micro_f1", [(), ()], [(), ()], 0.0),
        ("micro_f1", [(0, 2), ()], [(2,), (1,)], 0.5),
        ("subset_accuracy", [(), (0,)], [(), (1,)], 0.5),
        ("entity_f1", [(), ()], [(), ()], 0.0),
        ("entity_f1", [((0, 1, "x"),), ()], [((0, 1, "x"), (3, 3, "y")), ()], 2 / 3),
        ("entity_f1", [((0, 1, "x"),)], [((0, 1, "y"),)], 0.0),
        ("answer_f1", ["the cat sat", ""], [["Cat."], [""]], (2 / 3 + 1) / 2),
        ("exact_match", ["The cat!", "x"], [["dog", "cat"], [""]], 0.5),
    ],
)
def test_metrics_by_hand(name: str, predictions: Sequence[Any], labels: Sequence[Any], expected: float) -> None:
    assert load_metric(name)(predictions, labels) == pytest.approx(expected)
    # As they are read back from where they are kept.
    assert load_metric(name)(json.loads(json.dumps(predictions)), json.loads(json.dumps(labels))) == pytest.approx(
        expected
    )


@pytest.mark.parametrize(("predictions", "references"), [([], []), ([1], [1, 0])])
def test_no_examples_or_another_number_of_them_is_an_error(predictions: list[int], references: list[int]) -> None:
    with pytest.raises(ValueError, match="predictions for"):
        load_metric("accuracy")(predictions, references)


def test_an_unknown_metric_lists_those_there_are() -> None:
    with pytest.raises(UserInputError, match=r"'f2': no such metric; there are accuracy, macro_f1, f1, "):
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
