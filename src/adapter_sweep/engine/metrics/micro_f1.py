"""F1 over all pairs of example and label, as an `evaluate` module that loads from this file, without the hub."""

import datasets
import evaluate
from sklearn.metrics import f1_score
from sklearn.preprocessing import MultiLabelBinarizer


class MicroF1(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """Micro F1: each pair of an example and a label counts the same; 0 where none holds or is predicted."""

    def _info(self) -> evaluate.MetricInfo:
        labels = datasets.List(datasets.Value("int64"))
        return evaluate.MetricInfo(
            description="F1 of the labels that hold, counted over all examples together, from 0 to 1.",
            citation="",
            inputs_description="predictions, references: the indices of the labels that hold, a list an example.",
            features=datasets.Features({"predictions": labels, "references": labels}),
        )

    def _compute(self, predictions: list[list[int]], references: list[list[int]]) -> dict[str, float]:
        table = MultiLabelBinarizer().fit([*predictions, *references])
        if not len(table.classes_):
            return {"micro_f1": 0.0}
        true, found = table.transform(references), table.transform(predictions)
        return {"micro_f1": float(f1_score(true, found, average="micro", zero_division=0.0))}
