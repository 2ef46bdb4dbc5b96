import math

import pytest
from report_studies import make_trial, usual_study

from adapter_sweep.report.intervals import score_interval


def test_wilsons_interval() -> None:
    study = usual_study()
    # R. G. Newcombe, Statistics in Medicine 17, 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for hits, examples, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611)):
        interval = score_interval(study, make_trial(0, hits / examples, eval_examples=examples), "accuracy")
        assert interval == pytest.approx((low, high), abs=5e-5)
    full = score_interval(study, make_trial(0, 1.0), "accuracy")
    assert full is not None
    assert full[1] == 1
    assert score_interval(study, make_trial(0, math.nan), "accuracy") is None
    assert score_interval(study, make_trial(0, 0.8), "latency_ratio") is None
