"""What `confirm` keeps of each test row, for every type of task."""

import json
from pathlib import Path
from typing import Any

import pytest
from ledgers import start

from adapter_sweep.records import TrialState
from adapter_sweep.report import evidence
from adapter_sweep.study.confirmation import SEED, confirming_study, read_study, write_anchors
from adapter_sweep.study.grid import params_key
from adapter_sweep.study.ledger import PREDICTIONS_FILE, storage_url

SPACE = {"method.width": "choice(8, 64)"}
ROWS: dict[str, tuple[list[Any], list[Any], float]] = {
    "accuracy": ([0, 1, 1, 0], [0, 1, 0, 0], 0.75),
    "subset_accuracy": ([[0, 2], [], [1], [0]], [[0, 2], [], [1, 2], [0]], 0.75),
    "micro_f1": ([[0, 2], [], [1], [0]], [[0, 2], [], [1, 2], [0]], 8 / 9),
    "spearman": ([0.5, 1.5, 2.0, 4.25], [1.0, 2.0, 1.5, 3.0], 0.8),
    "entity_f1": ([[[0, 1, "PER"]], [], [[2, 2, "LOC"]]], [[[0, 1, "PER"]], [[0, 0, "LOC"]], []], 0.5),
    "exact_match": ([["Bonn"], [""], ["1848", "in 1848"]], ["the bonn.", "", "1848 war"], 2 / 3),
}


@pytest.mark.parametrize("metric", ROWS)
def test_rows_of_every_kind_are_kept_and_scored(metric: str, tmp_path: Path) -> None:
    labels, predictions, score = ROWS[metric]
    start(tmp_path, SPACE)
    params = {"method.width": 8}
    ledger = start(
        tmp_path,
        {**SPACE, SEED: "range(0, 10)"},
        name=confirming_study("toy"),
        objectives={"test_accuracy": "maximize"},
        points=[{**params, SEED: 3}],
    )
    ledger.set_facts(config={"confirmed": [{"configuration": "0", "trial": 0, "params": params}]})
    asked = ledger.ask(1)
    assert asked is not None
    trial, slot = asked
    ledger.trial_folder(trial.number).mkdir(parents=True)
    (ledger.trial_folder(trial.number) / PREDICTIONS_FILE).write_text(json.dumps(predictions))
    ledger.tell(trial, TrialState.COMPLETE, metrics={"test_accuracy": score, f"test_{metric}": score})
    slot.close()
    write_anchors(ledger, labels, metric, {"all right": [row[0] if metric == "exact_match" else row for row in labels]})

    study = read_study("toy", url=storage_url(None, tmp_path), results_dir=tmp_path)
    assert study.confirmation is not None
    (run,) = study.confirmation.runs
    assert (list(run.predictions), list(study.confirmation.labels)) == (predictions, labels)
    assert params_key(run.params) == params_key(params)
    found = evidence(study)
    assert found is not None
    assert found.finalists[0].score.value == pytest.approx(score)
    assert found.anchors[0].score.value == pytest.approx(1.0)
    assert found.metric == metric
