import json

import pytest
from report_studies import make_study, make_trial, usual_study

from adapter_sweep.records import TrialState
from adapter_sweep.report.hypervolume import box, hypervolume
from adapter_sweep.report.tables import front_json


def test_the_reference_is_beyond_the_worst_seen_and_parameters_go_by_logarithm() -> None:
    study = make_study(make_trial(0, 0.7, 1_000, 1.0), make_trial(1, 0.9, 100_000, 1.2))
    found = box([study])
    assert found is not None
    assert found.log == ("trainable_params",)
    assert found.best == pytest.approx({"accuracy": 0.9, "trainable_params": 1_000, "latency_ratio": 1.0})
    reference = {"accuracy": 0.5 - 0.04, "trainable_params": 10**5.2, "latency_ratio": 1.22}
    assert found.reference == pytest.approx(reference)


def test_the_share_is_what_the_boxes_cover() -> None:
    objectives = {"accuracy": "maximize", "latency_ratio": "minimize"}
    trials = (make_trial(0, 0.8, 1, 1.2), make_trial(1, 0.7, 1, 1.1), make_trial(2, 0.9, 1, 1.0))
    study = make_study(*trials, objectives=objectives, anchors={})
    found = hypervolume(study)
    assert found is not None
    # The reference is (0.68, 1.22), the box 0.22 by 0.22.
    areas = [0.12 * 0.02, 0.12 * 0.02 + 0.02 * 0.12 - 0.02 * 0.02, 0.22 * 0.22]
    assert [trial for trial, _ in found.over_trials] == [0, 1, 2]
    assert [share for _, share in found.over_trials] == pytest.approx([area / 0.22**2 for area in areas])
    assert found.value == pytest.approx(1)


def test_it_never_falls_and_dominated_trials_add_nothing() -> None:
    trials = [make_trial(i, 0.5 + 0.37 * i % 0.4, 1_000 + 313 * i % 977, 1 + 0.11 * i % 0.2) for i in range(40)]
    found = hypervolume(make_study(*trials, make_trial(40, 0.5, 10_000, 1.9)))
    assert found is not None
    shares = [share for _, share in found.over_trials]
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] <= 1
    assert shares[-1] == shares[-2]
    assert [trial for trial, _ in found.gains()] == sorted({shares.index(share) for share in shares})


def test_a_common_box_compares_studies() -> None:
    good, poor = make_study(make_trial(0, 0.9, 100, 1.0)), make_study(make_trial(0, 0.6, 100, 1.1))
    common = box([good, poor])
    first, second = hypervolume(good, common), hypervolume(poor, common)
    assert first is not None
    assert second is not None
    assert first.value > second.value


@pytest.mark.parametrize(
    "study",
    [
        make_study(),
        make_study(make_trial(0, state=TrialState.FAILED)),
        make_study(make_trial(0, 0.8, 10)),
        usual_study(objectives={}),
        usual_study(objectives={f"m{i}": "minimize" for i in range(5)}),
    ],
    ids=["empty", "failed", "no-latency", "no-objectives", "five"],
)
def test_nothing_to_measure(study: object) -> None:
    assert hypervolume(study) is None  # type: ignore[arg-type]


def test_equal_trials_and_zero_counts_are_measured() -> None:
    for params in (0, 10):
        found = hypervolume(make_study(make_trial(0, 0.8, params, 1.0), make_trial(1, 0.8, params, 1.0), anchors={}))
        assert found is not None
        assert found.value == pytest.approx(1)


def test_it_is_recorded_with_its_reference() -> None:
    document = json.loads(front_json(usual_study(importance={"accuracy": {"method.width": 1.0}})))
    volume = document["hypervolume"]
    assert volume["reference"].keys() == {"accuracy", "trainable_params", "latency_ratio"}
    assert volume["over_trials"][-1]["value"] == volume["value"]
    assert volume["logarithmic"] == ["trainable_params"]
    assert document["importance"] == {"accuracy": {"method.width": 1.0}}
    assert document["checks"][0].keys() == {"check", "verdict", "sentence"}
    assert json.loads(front_json(make_study()))["hypervolume"] is None
