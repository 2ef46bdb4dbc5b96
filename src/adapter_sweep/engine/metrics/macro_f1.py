"""The mean of the classes' F1, as an `evaluate` module that loads from this file, without the hub."""

import datasets
import evaluate
from sklearn.metrics import f1_score


class MacroF1(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """Macro F1: each class that occurs counts the same, however rare; one never predicted counts 0."""

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")})
        return evaluate.MetricInfo(
            description="The unweighted mean of F1 over the classes that occur, from 0 to 1.",
            citation="",
            inputs_description="predictions, references: class indices, one an example.",
            features=features,
        )

    def _compute(self, predictions: list[int], references: list[int]) -> dict[str, float]:
        return {"macro_f1": float(f1_score(references, predictions, average="macro", zero_division=0.0))}
