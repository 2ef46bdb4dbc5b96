"""Every metric beside a reference, on whole splits, on resampled ones and with each row left out."""

from typing import Any

import numpy as np
import pytest

from adapter_sweep.errors import AdapterSweepError
from adapter_sweep.report.evidence import scores
from adapter_sweep.report.evidence.scores import resampled_scores, run_scores
from adapter_sweep.resampling import grain, left_out, row_table
from adapter_sweep.scores import METRICS
from metric_rows import REFERENCES, rows_of


def test_every_metric_has_a_reference() -> None:
    assert set(REFERENCES) == set(METRICS)


@pytest.mark.parametrize("metric", METRICS)
def test_scores_are_those_of_the_reference(metric: str) -> None:
    random = np.random.default_rng(1)
    for rows in (3, 12, 50):
        labels, runs = rows_of(metric, rows, random, runs=3)
        tables = np.stack([row_table(metric, run, labels) for run in runs])
        found = run_scores(metric, tables)
        assert found == pytest.approx([REFERENCES[metric](run, labels) for run in runs], abs=1e-12)
        assert len(set(found)) > 1 or rows == 3


@pytest.mark.parametrize("metric", METRICS)
def test_a_resampled_score_is_that_of_the_drawn_rows(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of each draw are written out one by one and scored by the reference."""
    drawn: list[np.ndarray] = []
    whole = scores._row_counts

    def kept(*args: Any) -> Any:
        for counts in whole(*args):
            drawn.extend(counts.astype(int))
            yield counts

    monkeypatch.setattr(scores, "_row_counts", kept)
    monkeypatch.setattr(scores, "_CELLS", 200)  # many batches of draws
    random = np.random.default_rng(2)
    labels, runs = rows_of(metric, 25, random, runs=2)
    found = resampled_scores(metric, np.stack([row_table(metric, run, labels) for run in runs]), 30, random)
    assert found.shape == (30, 2)
    for scored, counts in zip(found, drawn, strict=True):
        rows = np.repeat(np.arange(25), counts).tolist()
        again = [REFERENCES[metric]([run[row] for row in rows], [labels[row] for row in rows]) for run in runs]
        assert scored == pytest.approx(again, abs=1e-5)


@pytest.mark.parametrize("metric", METRICS)
def test_each_row_is_left_out_in_turn(metric: str) -> None:
    labels, (run,) = rows_of(metric, 200, np.random.default_rng(3), runs=1)
    found = left_out(metric, row_table(metric, run, labels))
    rows = range(len(labels))
    expected = np.array(
        [REFERENCES[metric]([run[i] for i in rows if i != j], [labels[i] for i in rows if i != j]) for j in rows]
    )
    if metric == "spearman":  # to first order
        assert np.corrcoef(found, expected)[0, 1] > 0.9995
        assert found.std() == pytest.approx(expected.std(), rel=0.01)
    else:
        assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", ["spearman", "pearson", "matthews"])
def test_what_is_constant_has_no_correlation(metric: str) -> None:
    varied, alike = [0, 1, 0, 1, 1], [1] * 5
    if metric == "pearson":
        varied, alike = [0.1, 0.5, 0.2, 0.7, 0.7], [0.1] * 5  # type: ignore[list-item]
    for run, labels in ((varied, alike), (alike, varied), (alike, alike)):
        table = row_table(metric, run, labels)
        assert run_scores(metric, table[None]) == [0]
        assert (resampled_scores(metric, table[None], 50, np.random.default_rng(0)) == 0).all()
        assert (left_out(metric, table) == 0).all()


def test_a_correlation_keeps_its_digits_far_from_zero() -> None:
    random = np.random.default_rng(0)
    labels = random.normal(size=100)
    run = labels + random.normal(size=100)
    near, far = (run_scores("pearson", row_table("pearson", run + by, labels - by)[None])[0] for by in (0.0, 1e6))
    assert far == pytest.approx(near, abs=1e-9)


def test_nothing_to_find_and_nothing_found_is_zero() -> None:
    table = row_table("entity_f1", [[], []], [[], []])
    assert run_scores("entity_f1", table[None]) == [0]
    assert left_out("entity_f1", table).tolist() == [0, 0]
    assert left_out("answer_f1", row_table("answer_f1", ["a b"], [["b"]])).tolist() == [1]


def test_what_one_row_is_worth() -> None:
    assert grain("accuracy", row_table("accuracy", [0] * 10, [0] * 9 + [1])) == 1 / 10
    assert grain("macro_f1", row_table("macro_f1", [0] * 10, [0] * 9 + [1])) == 1 / 2
    assert grain("matthews", row_table("matthews", [0] * 10, [0] * 8 + [1] * 2)) == 2 / 4
    assert grain("spearman", row_table("spearman", [0.5] * 10, [0.1] * 10)) == 2 / 10
    assert grain("f1", row_table("f1", [1] * 10, [0] * 8 + [1] * 2)) == 1 / 2
    assert grain("micro_f1", row_table("micro_f1", [[0]] * 10, [[]] * 6 + [[1, 2]] * 4)) == 1 / 4
    assert grain("entity_f1", row_table("entity_f1", [[]] * 10, [[]] * 10)) == 1 / 10


def test_rows_that_a_metric_is_not_of_are_refused() -> None:
    with pytest.raises(AdapterSweepError, match="metric 'f2': no such metric; there are accuracy, macro_f1"):
        row_table("f2", [0], [0])
    with pytest.raises(AdapterSweepError, match="the rows are not what entity_f1 is of"):
        row_table("entity_f1", [1], [[[0, 1, "PER"]]])
    with pytest.raises(AdapterSweepError, match="spearman: a prediction or a label is not finite"):
        row_table("spearman", [float("nan"), 1.0], [0.0, 1.0])
