"""Share of exact answers, as an `evaluate` module that loads from this file, without the hub."""

import datasets
import evaluate
import numpy as np

from adapter_sweep.scores import row_numbers


class ExactMatch(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """Share of exact answers, as SQuAD scores them (Rajpurkar et al. 2016, section 6.1)."""

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features(
            {"predictions": datasets.Value("string"), "references": datasets.List(datasets.Value("string"))}
        )
        return evaluate.MetricInfo(
            description="The share of answers that match, but for case, punctuation, articles and spacing.",
            citation="",
            inputs_description="predictions: an answer a question; references: the accepted ones, '' for none.",
            features=features,
        )

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict[str, float]:
        rows = [row_numbers("exact_match", found, true) for found, true in zip(predictions, references, strict=True)]
        return {"exact_match": float(np.mean(rows))}
