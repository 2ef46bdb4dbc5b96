"""The findings of one study's confirmation."""

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adapter_sweep.errors import AdapterSweepError
from adapter_sweep.records import Confirmation, ConfirmedRun, StudyView, TrialState
from adapter_sweep.report.evidence.draws import joint_draws
from adapter_sweep.report.evidence.findings import Anchor, Difference, Estimate, Evidence, Finalist
from adapter_sweep.report.evidence.intervals import middle_95, score_interval
from adapter_sweep.report.evidence.scores import resampled_scores, run_scores
from adapter_sweep.report.evidence.standing import Standing, standings
from adapter_sweep.report.front import cost_objective
from adapter_sweep.report.intervals import wilson
from adapter_sweep.report.wording import one_line
from adapter_sweep.resampling import grain, row_table
from adapter_sweep.scores import METRICS

__all__ = ["gather"]

Floats = npt.NDArray[np.float64]
Runs = Mapping[str, list[ConfirmedRun]]

_DRAWS = 2_000  # an interval's ends move by about 2 % of its width from one set of draws to another
_SEED = 0  # the same study gives the same figures


@dataclass(frozen=True)
class _Known:
    """What is known of a score: its value, its interval, and its joint draws [draws] with the others."""

    score: Estimate
    draws: Floats


def gather(study: StudyView, confirmed: Confirmation) -> Evidence | None:
    """What `confirmed` shows of the study; see `evidence`."""
    runs: dict[str, list[ConfirmedRun]] = {}
    for run in confirmed.runs:
        runs.setdefault(run.configuration, []).append(run)
    scored = {name: done for name, each in runs.items() if (done := _complete(each))}
    if not scored:
        return None
    _check(confirmed, scored)
    groups = _groups([len(each) for each in scored.values()])
    seeds_known = any(len(group) > 1 for group in groups)
    by_run, draws, unit = _draw(confirmed, scored, groups)
    known = _known(confirmed, by_run, draws, groups, unit, seeds_known=seeds_known)
    by_name = dict(zip(scored, known, strict=False))
    by_anchor = dict(zip(confirmed.anchors, known[len(groups) :], strict=True))
    metrics = [_medians(each) for each in scored.values()]
    stands = standings(
        np.array([each.score.value for each in by_name.values()]),
        draws[:, : len(groups)] if seeds_known else None,
        metrics,
        study.objectives,
        ("accuracy", confirmed.metric),
    )
    finalists = [
        _finalist(runs[name], by_name[name].score, by_run[group], each, stand, list(scored))
        for name, group, each, stand in zip(scored, groups, metrics, stands, strict=True)
    ]
    paid = cost_objective(study)
    finalists.sort(key=lambda each: (each.metrics.get(paid, math.inf), -each.score.value))
    order = [each.configuration for each in finalists]
    return Evidence(
        metric=confirmed.metric,
        rows=len(confirmed.labels),
        finalists=tuple(finalists),
        lost={name: _why(each[0]) for name, each in runs.items() if name not in scored},
        differences=tuple(
            _difference(confirmed.metric, one, two, by_name[one], by_name[two])
            for one, two in itertools.combinations(order, 2)
        ),
        anchors=tuple(Anchor(name, each.score) for name, each in by_anchor.items()),
        over_anchors=tuple(
            _difference(confirmed.metric, one, two, by_name[one], by_anchor[two])
            for one, two in itertools.product(order, by_anchor)
        ),
        seeds_known=seeds_known,
    )


def _complete(runs: Sequence[ConfirmedRun]) -> list[ConfirmedRun]:
    return [run for run in runs if run.state is TrialState.COMPLETE]


def _check(confirmed: Confirmation, scored: Runs) -> None:
    rows = len(confirmed.labels)
    if not rows:
        raise AdapterSweepError("the confirmation has runs but no test rows: confirm the study again")
    whose = [(f"trial {r.configuration}, seed {r.seed}", len(r.predictions)) for each in scored.values() for r in each]
    whose += [(f"anchor {one_line(name, 60)!r}", len(classes)) for name, classes in confirmed.anchors.items()]
    for name, count in whose:
        if count != rows:
            raise AdapterSweepError(f"{name}: {count:,} predictions for {rows:,} test rows: confirm the study again")


def _groups(sizes: Sequence[int]) -> list[list[int]]:
    """The positions of each configuration's runs, one configuration after the other."""
    return [list(range(end - size, end)) for size, end in zip(sizes, itertools.accumulate(sizes), strict=True)]


def _draw(confirmed: Confirmation, scored: Runs, groups: Sequence[Sequence[int]]) -> tuple[Floats, Floats, float]:
    """Scores of all runs, then the anchors; the joint draws of all configurations, then the anchors; and the grain."""
    metric = confirmed.metric
    runs = [row_table(metric, run.predictions, confirmed.labels) for each in scored.values() for run in each]
    anchors = [row_table(metric, predictions, confirmed.labels) for predictions in confirmed.anchors.values()]
    table, unit = np.stack([*runs, *anchors]), grain(metric, runs[0])
    random = np.random.default_rng(_SEED)
    scores, resampled = run_scores(metric, table), resampled_scores(metric, table, _DRAWS, random)
    return scores, joint_draws(scores, resampled, groups, unit, random), unit


def _known(
    confirmed: Confirmation,
    scores: Floats,
    draws: Floats,
    groups: Sequence[Sequence[int]],
    unit: float,
    *,
    seeds_known: bool,
) -> list[_Known]:
    """What is known of each configuration, then each anchor."""
    rows, metric = len(confirmed.labels), METRICS[confirmed.metric]
    low, high = middle_95(draws)
    anchors = [[int(scores.size) - len(confirmed.anchors) + index] for index in range(len(confirmed.anchors))]
    found = []
    for column, group in enumerate([*groups, *anchors]):
        value = float(scores[group].mean())
        if metric.share and (column >= len(groups) or not seeds_known):
            ends = wilson(value, rows)
        else:
            ends = score_interval(value, float(high[column] - low[column]) / 2, unit, metric.low)
        found.append(_Known(Estimate(value, *ends), draws[:, column]))
    return found


def _finalist(
    runs: Sequence[ConfirmedRun],
    score: Estimate,
    by_seed: Floats,
    metrics: Mapping[str, float],
    stand: Standing,
    names: Sequence[str],
) -> Finalist:
    done = _complete(runs)
    return Finalist(
        configuration=done[0].configuration,
        trial=done[0].trial,
        params=done[0].params,
        seeds=tuple(run.seed for run in done),
        lost={run.seed: _why(run) for run in runs if run.state is not TrialState.COMPLETE},
        score=score,
        seed_sd=float(by_seed.std(ddof=1)) if len(done) > 1 else None,
        metrics=metrics,
        label=stand.label,
        front_probability=stand.probability,
        dominated_by=tuple(names[position] for position in stand.dominated_by),
    )


def _difference(metric: str, first: str, second: str, one: _Known, two: _Known) -> Difference:
    apart = (one.draws - two.draws)[:, None]
    low, high = middle_95(apart)
    most = 1 - METRICS[metric].low
    gain = Estimate(one.score.value - two.score.value, max(-most, float(low[0])), min(most, float(high[0])))
    return Difference(first, second, gain, float((apart > 0).mean()))


def _medians(runs: Sequence[ConfirmedRun]) -> dict[str, float]:
    """Recorded number -> median over the runs that have it."""
    values: dict[str, list[float]] = {}
    for run in runs:
        for key, value in run.metrics.items():
            if math.isfinite(value):
                values.setdefault(key, []).append(value)
    return {key: statistics.median(each) for key, each in values.items()}


def _why(run: ConfirmedRun) -> str:
    return run.reason or run.state.value
