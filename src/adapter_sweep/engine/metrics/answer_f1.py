"""Mean overlap of answers' words, as an `evaluate` module that loads from this file, without the hub."""

import datasets
import evaluate
import numpy as np

from adapter_sweep.scores import row_numbers


class AnswerF1(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """Mean overlap of answers' words, as SQuAD scores them (Rajpurkar et al. 2016, section 6.1)."""

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features(
            {"predictions": datasets.Value("string"), "references": datasets.List(datasets.Value("string"))}
        )
        return evaluate.MetricInfo(
            description="The mean F1 of an answer's words with those of the best accepted one, from 0 to 1.",
            citation="",
            inputs_description="predictions: an answer a question; references: the accepted ones, '' for none.",
            features=features,
        )

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict[str, float]:
        rows = [row_numbers("answer_f1", found, true) for found, true in zip(predictions, references, strict=True)]
        return {"answer_f1": float(np.mean(rows))}
