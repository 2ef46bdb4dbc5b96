"""Rank correlation, as an `evaluate` module that loads from this file, without the hub."""

import warnings

import datasets
import evaluate
import numpy as np
from scipy.stats import spearmanr


class Spearman(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """Rank correlation of predictions and references; 0 where one of them is constant and it is not defined."""

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features(
            {"predictions": datasets.Value("float64"), "references": datasets.Value("float64")}
        )
        return evaluate.MetricInfo(
            description="Rank correlation, from -1 to 1.",
            citation="",
            inputs_description="predictions, references: numbers, one an example.",
            features=features,
        )

    def _compute(self, predictions: list[float], references: list[float]) -> dict[str, float]:
        if np.ptp(predictions) == 0 or np.ptp(references) == 0:
            return {"spearman": 0.0}
        with warnings.catch_warnings(action="ignore"):  # nearly constant predictions are a poor model's, no mistake
            return {"spearman": float(spearmanr(predictions, references).statistic)}
