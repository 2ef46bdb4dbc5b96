"""Reports of studies that are scored by another metric than accuracy: what the score is called, and how sure it is."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from other_tasks import OtherTruth
from report_studies import make_study, make_trial

from adapter_sweep.records import StudyView
from adapter_sweep.report import Budget, choice_lines, choose, evidence, front_rows, nothing_fits, write_report
from adapter_sweep.report.intervals import score_interval, standard_error
from adapter_sweep.report.scores import anchor_scores, confirmed_scores, paired_difference
from adapter_sweep.report.several import compare
from adapter_sweep.report.wording import metric_name, number
from metric_rows import REFERENCES

TRUTHS = {
    "spearman": OtherTruth("spearman", (0.70, 0.82, 0.83), 0.02, rows=150, seeds=2),
    "entity_f1": OtherTruth("entity_f1", (0.80, 0.90, 0.91), 0.02, rows=150, seeds=2),
}
TITLES = {"spearman": "Spearman correlation", "entity_f1": "entity F1"}


def study_of(metric: str) -> StudyView:
    return TRUTHS[metric].study(np.random.default_rng(1))


def scored_by(metric: str, value: float, examples: float = 400.0) -> StudyView:
    trial = make_trial(0, value, 10_000, 1.0, eval_examples=examples)
    return make_study(trial, config={"task": {"metric": metric}})


@pytest.mark.parametrize("metric", TRUTHS)
def test_the_score_is_called_by_its_own_name_everywhere(metric: str, tmp_path: Path) -> None:
    study, title = study_of(metric), TITLES[metric]
    found = evidence(study)
    written = write_report(study, tmp_path, found)
    text = (tmp_path / "report.md").read_text()
    page = written.report_html.read_text()
    assert f"test {title} 0." in text
    assert f"Each {title} is one training run on the validation split" in text
    assert "ccuracy" not in text.replace("- accuracy: maximize", "")  # the objective, as the user wrote it
    assert f"{title} (higher is better)" in page
    assert f">{metric}<" in page  # the table's column
    for budget in (Budget(), Budget(min_accuracy=0.5)):
        told = " ".join(text for _, text in choice_lines(study, choose(study, budget)))
        assert f"{title} 0." in told
        assert "points" in told
        assert "ccuracy" not in told
    assert f"({title} at least 0.99)" in nothing_fits(study, choose(study, Budget(min_accuracy=0.99)))
    assert metric in front_rows(study).headers
    assert json.loads((tmp_path / "front.json").read_text())["confirmed"]["metric"] == metric


@pytest.mark.parametrize("metric", TRUTHS)
def test_confirmed_scores_and_differences_are_those_of_the_metric(metric: str) -> None:
    study = study_of(metric)
    confirmed = study.confirmation
    assert confirmed is not None
    expected: dict[int, list[float]] = {}
    for run in confirmed.runs:
        score = REFERENCES[metric](run.predictions, confirmed.labels)
        expected.setdefault(int(run.configuration), []).append(score)
    scores = confirmed_scores(study)
    assert {trial: each.value for trial, each in scores.items()} == pytest.approx(
        {trial: float(np.mean(values)) for trial, values in expected.items()}
    )
    assert all(each.error is not None and 0.005 < each.error < 0.06 for each in scores.values())
    assert anchor_scores(study) == {"constant": 0.0}
    gain = paired_difference(study, confirmed.runs[-1].params, confirmed.runs[0].params)
    assert gain is not None
    assert gain[0] == pytest.approx(scores[2].value - scores[0].value)
    assert 0 < gain[1] < math.hypot(scores[2].error or 0, scores[0].error or 0)


def test_a_difference_of_correlations_may_be_beyond_one() -> None:
    study = study_of("spearman")
    assert study.confirmation is not None
    against = {"upside down": tuple(-label for label in study.confirmation.labels)}
    found = evidence(replace(study, confirmation=replace(study.confirmation, anchors=against)))
    assert found is not None
    assert found.anchors[0].score.value == pytest.approx(-1.0)
    assert found.anchors[0].score.low == pytest.approx(-1.0)
    gain = found.difference("2", "upside down").gain
    assert 1.7 < gain.low < gain.value < gain.high <= 2


def test_the_error_on_validation_is_told_where_the_score_gives_it() -> None:
    def error(metric: str, value: float, examples: float = 400.0) -> float | None:
        study = scored_by(metric, value, examples)
        return standard_error(study, study.trials[0], "accuracy")

    binomial = math.sqrt(0.8 * 0.2 / 400)
    assert [error(metric, 0.8) for metric in ("accuracy", "subset_accuracy", "exact_match", "answer_f1")] == [
        binomial
    ] * 4
    assert error("pearson", 0.8) == pytest.approx(0.36 / math.sqrt(397))
    assert error("spearman", -0.8) == pytest.approx(0.36 * math.sqrt(1.32 / 397))
    unknown = ("macro_f1", "f1", "matthews", "micro_f1", "entity_f1")
    assert [error(metric, 0.8) for metric in unknown] == [None] * 5
    assert error("pearson", 1.0) is None
    assert error("pearson", 0.8, examples=3) is None


@pytest.mark.parametrize("metric", ["entity_f1", "micro_f1", "f1", "macro_f1", "matthews", "accuracy", "spearman"])
def test_a_recorded_error_is_used(metric: str) -> None:
    trials = [make_trial(n, 0.8 - n / 100, 10_000 - n, 1.0 - n / 100, accuracy_stderr=0.05) for n in range(2)]
    study = make_study(*trials, config={"task": {"metric": metric}})
    assert standard_error(study, trials[0], "accuracy") == 0.05
    assert standard_error(study, trials[0], metric) == (0.05 if metric == "accuracy" else None)  # not recorded as such
    low, high = score_interval(study, trials[0], "accuracy") or (0.0, 0.0)
    assert (high - low) / 2 == pytest.approx(1.96 * 0.05, rel=0.1)
    recommended = choose(study, Budget()).recommended
    assert recommended is not None
    assert recommended.trial.number == 1  # the cheaper one, within one standard error


@pytest.mark.parametrize(("metric", "level"), [("pearson", 0.8), ("spearman", 0.8), ("spearman", 0.0)])
def test_the_error_of_a_correlation_is_its_spread_over_samples(metric: str, level: float) -> None:
    random, found = np.random.default_rng(0), []
    for _ in range(400):
        labels = random.standard_normal(150)
        run = level * labels + math.sqrt(1 - level**2) * random.standard_normal(150)
        found.append(REFERENCES[metric](run.tolist(), labels.tolist()))
    study = scored_by(metric, float(np.mean(found)), 150.0)
    (trial,) = study.trials
    assert standard_error(study, trial, "accuracy") == pytest.approx(float(np.std(found)), rel=0.1)
    interval = score_interval(study, trial, "accuracy")
    assert interval == pytest.approx(tuple(np.quantile(found, [0.025, 0.975])), abs=0.025)


def test_studies_of_several_metrics_have_scores() -> None:
    one, other = scored_by("spearman", 0.8), replace(scored_by("accuracy", 0.8), name="b")
    assert metric_name("accuracy", one) == "Spearman correlation"
    assert metric_name("accuracy", one, one) == "Spearman correlation"
    assert metric_name("accuracy", one, other) == "score"
    data = [replace(s, provenance={"data_fingerprint": s.name}) for s in (one, other)]
    assert compare(data).headline.startswith("No one configuration") or "default" in compare(data).headline
    regret = compare(data).answers[1].notes
    assert any("in points of score on the validation split" in note for note in regret)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("entity_f1", "entity F1"),
        ("test_entity_f1", "test entity F1"),
        ("accuracy_de", "accuracy (de)"),
        ("test_macro_f1_zh-CN", "test macro F1 (zh-CN)"),
        ("latency_ratio", "latency ratio"),
        ("storage_bytes", "storage bytes"),
    ],
)
def test_names(key: str, name: str) -> None:
    assert metric_name(key) == name


def test_numbers() -> None:
    assert number("spearman", -0.12345) == "-0.123"
    assert number("test_entity_f1", 1.0) == "1.000"
    assert number("storage_bytes", 123_456.0) == "123,456"
