"""F1 over entities, as an `evaluate` module that loads from this file, without the hub."""

import json

import datasets
import evaluate

from adapter_sweep.scores import row_numbers


class EntityF1(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """Entity F1: an entity is right where its type and both ends are (Tjong Kim Sang and De Meulder 2003)."""

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")})
        return evaluate.MetricInfo(
            description="F1 of the entities found, counted over all examples together, from 0 to 1.",
            citation="",
            inputs_description="predictions, references: an example's entities, JSON [[first word, last word, type]].",
            features=features,
        )

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        pairs = zip(predictions, references, strict=True)
        rows = [row_numbers("entity_f1", json.loads(found), json.loads(true)) for found, true in pairs]
        right, wrong, missed = (sum(numbers) for numbers in zip(*rows, strict=True))
        return {"entity_f1": 2 * right / (2 * right + wrong + missed) if right else 0.0}
