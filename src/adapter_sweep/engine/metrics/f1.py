"""F1 of the second of two classes, as an `evaluate` module that loads from this file, without the hub."""

import datasets
import evaluate
from sklearn.metrics import f1_score


class F1(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """F1 of class 1, as GLUE scores MRPC and QQP; 0 where it is neither predicted nor true."""

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")})
        return evaluate.MetricInfo(
            description="The harmonic mean of precision and recall of class 1, from 0 to 1.",
            citation="",
            inputs_description="predictions, references: class indices, one an example.",
            features=features,
        )

    def _compute(self, predictions: list[int], references: list[int]) -> dict[str, float]:
        return {"f1": float(f1_score(references, predictions, labels=[1], average="micro", zero_division=0.0))}
