"""Matthews correlation of classes, as an `evaluate` module that loads from this file, without the hub."""

import datasets
import evaluate
from sklearn.metrics import matthews_corrcoef


class Matthews(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """Matthews correlation, for any number of classes; 0 where all predictions, or all references, are one class."""

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")})
        return evaluate.MetricInfo(
            description="The correlation of predicted and true classes, from -1 to 1.",
            citation="",
            inputs_description="predictions, references: class indices, one an example.",
            features=features,
        )

    def _compute(self, predictions: list[int], references: list[int]) -> dict[str, float]:
        if len({*predictions, *references}) == 1:
            return {"matthews": 0.0}  # scikit-learn says so as well, with a warning
        return {"matthews": float(matthews_corrcoef(references, predictions))}
