"""The share of right predictions, as an `evaluate` module that loads from this file, without the hub."""

import datasets
import evaluate
import numpy as np


class Accuracy(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """Accuracy: predictions equal to their reference, over all of them."""

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")})
        return evaluate.MetricInfo(
            description="The share of predictions that equal their reference, from 0 to 1.",
            citation="",
            inputs_description="predictions, references: class indices, one an example.",
            features=features,
        )

    def _compute(self, predictions: list[int], references: list[int]) -> dict[str, float]:
        return {"accuracy": float(np.mean(np.asarray(predictions) == np.asarray(references)))}
