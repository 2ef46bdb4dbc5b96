"""Confirmed studies of other tasks than classification, drawn by chance from a known truth."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from confirmed_studies import confirmed_study, make_run
from report_studies import make_trial
from scipy.special import ndtr, ndtri

from adapter_sweep.records import StudyView
from adapter_sweep.report.evidence.scores import run_scores
from adapter_sweep.resampling import row_table

Floats = npt.NDArray[np.float64]

_KINDS = ("LOC", "ORG", "PER")


@dataclass(frozen=True)
class OtherTruth:
    """Configurations on rows that some find easier than others, as in `confirmed_studies.Truth`.

    Attributes:
        metric: `pearson` or `spearman`, of numbers; `micro_f1` of three labels, `entity_f1` of three entities a row.
        levels: per configuration, the correlation, or the share of items that it is right about, in the middle seed.
        spread: of a seed's effect on it, on the scale of Fisher's z or of a normal quantile.
    """

    metric: str
    levels: tuple[float, ...]
    spread: float
    rows: int
    seeds: int

    @property
    def _numbers(self) -> bool:
        return self.metric in ("pearson", "spearman")

    def scores(self) -> Floats:
        """Per configuration, the expected score over all rows and seeds."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(40)
        levels = self._moved(np.array(self.levels)[:, None], nodes)
        if self.metric == "spearman":
            levels = 6 / np.pi * np.arcsin(levels / 2)  # of a bivariate normal
        elif not self._numbers:
            true, wrong = 0.4 * levels, 1 - levels
            levels = 2 * true / (2 * true + wrong)
        return np.asarray(levels @ weights / weights.sum())

    def study(self, random: np.random.Generator) -> StudyView:
        """A study drawn from this truth, with an anchor that knows nothing."""
        shape = (self.rows,) if self._numbers else (self.rows, 3)
        truth = random.standard_normal(shape) if self._numbers else (random.random(shape) < 0.4).astype(float)
        common = random.standard_normal(self.rows)
        runs = []
        for index, level in enumerate(self.levels):
            own = random.standard_normal(self.rows)
            for seed in range(self.seeds):
                at = float(self._moved(np.array(level), random.standard_normal()))
                ease = np.sqrt(0.5) * common + np.sqrt(0.2) * own
                # An item's own part makes the whole of variance 1; a row's items share the rest.
                noise = (ease if self._numbers else ease[:, None]) + np.sqrt(0.3) * random.standard_normal(shape)
                if self._numbers:
                    said = at * truth + np.sqrt(1 - at**2) * noise
                else:
                    said = np.where(ndtri(at) + noise > 0, truth, 1 - truth)
                costs = {"trainable_params": 1e4 * (index + 1), "latency_ratio": 1.01 + 0.01 * index}
                runs.append(make_run(str(index), seed, self._rows(said), **costs))
        nothing = [0.5] * self.rows if self._numbers else [[]] * self.rows
        study = confirmed_study(
            self._rows(truth),
            [self._tested(run, self._rows(truth)) for run in runs],
            metric=self.metric,
            anchors={"constant": nothing},
            config={"task": {"metric": self.metric}},
        )
        return replace(study, trials=self._trials())

    def _moved(self, levels: Floats, by: Any) -> Floats:
        if self._numbers:
            return np.tanh(np.arctanh(levels) + self.spread * by)
        return np.asarray(ndtr(ndtri(levels) + self.spread * by))

    def _rows(self, values: Floats) -> list[Any]:
        if self._numbers:
            return [float(value) for value in values]
        if self.metric == "micro_f1":
            return [np.flatnonzero(row).tolist() for row in values]
        return [[[int(i), int(i), _KINDS[i]] for i in np.flatnonzero(row)] for row in values]

    def _tested(self, run: Any, labels: Sequence[Any]) -> Any:
        (score,) = run_scores(self.metric, row_table(self.metric, run.predictions, labels)[None])
        tested = {"test_accuracy": float(score), f"test_{self.metric}": float(score), "test_examples": len(labels)}
        return replace(run, metrics={**run.metrics, **tested})

    def _trials(self) -> tuple[Any, ...]:
        return tuple(
            make_trial(index, score, 1e4 * (index + 1), 1.01 + 0.01 * index, **{self.metric: score})
            for index, score in enumerate(self.scores())
        )
