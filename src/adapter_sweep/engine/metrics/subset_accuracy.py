"""The share of exactly right sets of labels, as an `evaluate` module that loads from this file, without the hub."""

import datasets
import evaluate
import numpy as np


class SubsetAccuracy(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """Subset accuracy: an example counts where its labels are all found and no other is."""

    def _info(self) -> evaluate.MetricInfo:
        labels = datasets.List(datasets.Value("int64"))
        return evaluate.MetricInfo(
            description="The share of examples with exactly the right labels, from 0 to 1.",
            citation="",
            inputs_description="predictions, references: the indices of the labels that hold, a list an example.",
            features=datasets.Features({"predictions": labels, "references": labels}),
        )

    def _compute(self, predictions: list[list[int]], references: list[list[int]]) -> dict[str, float]:
        right = [set(found) == set(true) for found, true in zip(predictions, references, strict=True)]
        return {"subset_accuracy": float(np.mean(right))}
