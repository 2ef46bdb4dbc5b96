import csv
import io
import json
import math

from report_studies import make_study, make_trial, usual_study

from adapter_sweep.records import METRIC_HELP, TrialState
from adapter_sweep.report import front
from adapter_sweep.report.evidence import Evidence
from adapter_sweep.report.tables import columns, front_json, trials_csv
from adapter_sweep.report.wording import is_score
from adapter_sweep.scores import METRICS

OTHERS = set(METRICS) - {"accuracy"}


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_columns_are_stable_and_complete() -> None:
    expected = [
        "trial",
        "state",
        "method.placement",
        "method.width",
        *(key for key in METRIC_HELP if key not in OTHERS),
    ]
    expected += ["reason", "started", "ended", "mlflow_run_id", "command"]
    assert columns(make_study()) == columns(usual_study()) == expected
    extra = make_study(make_trial(0, 0.8, perplexity=0.7, swept={"seed": 1}))
    assert columns(extra)[2:5] == ["method.placement", "method.width", "seed"]
    assert columns(extra)[-6] == "perplexity"


def test_a_study_has_columns_for_its_metric_and_those_recorded() -> None:
    german = make_trial(0, 0.8, spearman=0.8, pearson=0.6, spearman_de=0.7)
    study = make_study(german, config={"task": {"metric": "spearman"}})
    found = [key for key in columns(study) if is_score(key) and not key.startswith("test_")]
    assert found == ["accuracy", "spearman", "pearson", "spearman_de"]


def test_every_trial_is_a_row_and_absent_is_empty() -> None:
    study = usual_study()
    rows = rows_of(trials_csv(study, study.trials))
    assert [row["state"] for row in rows] == ["complete"] * 4 + ["failed", "refused"]
    assert rows[0]["trainable_params"] == "50000"
    assert rows[0]["latency_ratio"] == "1.02"
    assert rows[4]["accuracy"] == rows[0]["train_seconds"] == rows[0]["ended"] == rows[0]["reason"] == ""
    assert rows[4]["reason"] == "GuardError: the loss is not finite"
    assert rows[0]["started"] == "2026-01-01T00:00:00+00:00"
    assert [row["trial"] for row in rows_of(trials_csv(study, front(study)))] == ["3", "0", "1"]


def test_text_never_becomes_a_formula_and_numbers_stay() -> None:
    swept = {
        "a": "=1+1",
        "b": "+x",
        "c": "-x",
        "d": "@x",
        "e": "\tx",
        "f": "\rx",
        "g": -1.5,
        "h": True,
        "i": None,
    }
    study = make_study(
        make_trial(0, 0.8, swept=swept, reason='=HYPERLINK("x"),\n"quoted"', train_loss=-2.0), search_space={}
    )
    (row,) = rows_of(trials_csv(study, study.trials))
    for key in "abcdef":
        assert row[key].startswith("'"), key
    assert (row["g"], row["h"], row["i"], row["train_loss"]) == ("-1.5", "true", "null", "-2.0")
    assert row["reason"] == '\'=HYPERLINK("x"),\n"quoted"'


def test_json_is_strict_and_reproduces() -> None:
    study = make_study(make_trial(0, 0.8, 10, 1.0, train_loss=math.nan, train_seconds=math.inf))
    document = json.loads(front_json(study), parse_constant=lambda word: (_ for _ in ()).throw(ValueError(word)))
    (member,) = document["front"]
    assert member["metrics"] == {
        "accuracy": 0.8, "trainable_params": 10, "latency_ratio": 1.0, "eval_examples": 408
    }  # fmt: skip
    assert member["command"].startswith("adapter-sweep trial task=movies method.placement=post_attention")
    assert document["objectives"]["accuracy"] == "maximize"
    assert list(document["search_space"]) == ["method.placement", "method.width"]
    assert document["provenance"] == {"torch": "2.11.0", "device": "cpu"}


def test_passwords_of_addresses_are_not_written() -> None:
    study = make_study(
        make_trial(0, state=TrialState.FAILED, reason="no route to postgresql://me:s3cret@host/db"),
        provenance={"storage": "postgresql://me:s3cret@host/db"},
    )
    assert "s3cret" not in trials_csv(study, study.trials) + front_json(study)
    lost = {"9": "no \ud800 route to postgresql://me:s3cret@host/db"}
    text = front_json(study, Evidence("accuracy", 1, (), lost, (), (), (), True))
    assert "s3cret" not in text
    assert text.encode("utf-8")
