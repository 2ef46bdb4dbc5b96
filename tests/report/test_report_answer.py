import pytest
from report_studies import make_study, make_trial, usual_study

from adapter_sweep.records import TrialState
from adapter_sweep.report import answer
from adapter_sweep.report.intervals import standard_error


def test_the_answer_in_one_sentence() -> None:
    said = answer(usual_study())
    assert said.best is not None
    assert said.near is not None
    assert (said.best.number, said.near.number) == (1, 0)
    assert said.headline == (
        "Trial 1 (placement post_ffn, width 9) reaches accuracy 0.812 ± 0.019 (one standard error, "
        "408 examples) with 550,000 trainable parameters and latency ratio 1.080; trial 0 (placement "
        "post_attention, width 8), at 0.800, is within one standard error of it with 11 times fewer "
        "trainable parameters (50,000) and latency ratio 1.020."
    )
    assert said.details[0] == "6 trials of 12 planned: 4 complete, 1 refused, 1 failed."


def test_standard_error_is_binomial_and_never_zero() -> None:
    study = usual_study()
    assert standard_error(study, make_trial(0, 0.8, eval_examples=400.0), "accuracy") == pytest.approx(0.02)
    assert (standard_error(study, make_trial(0, 1.0), "accuracy") or 0) > 0.001
    assert standard_error(study, make_trial(0, 0.8, eval_examples=0.0), "accuracy") is None
    assert standard_error(usual_study(config={"task": {"metric": "f1"}}), make_trial(0, 0.8), "accuracy") is None


def test_without_an_error_bar_nothing_is_called_near() -> None:
    said = answer(usual_study(config={"task": {"metric": "f1"}}))
    assert said.near is None
    assert "its error is not known" in said.headline


def test_the_class_that_f1_is_of_is_named() -> None:
    provenance = {"f1_class": "spam"}
    said = answer(usual_study(config={"task": {"metric": "f1"}}, provenance=provenance))
    assert said.details[1].startswith("F1 is that of class “spam”")
    assert not any("F1 is" in each for each in answer(usual_study(provenance=provenance)).details)


def test_a_noisy_merged_reading_is_told() -> None:
    said = answer(make_study(make_trial(0, 0.9, 10, 1.0, merged_latency_noisy=1.0)))
    assert "Latency was read on a noisy machine for trial 0." in said.details


def test_nothing_cheaper_within_one_standard_error() -> None:
    said = answer(make_study(make_trial(0, 0.9, 10, 1.0), make_trial(1, 0.6, 5, 1.0)))
    assert said.near is None
    assert said.headline.endswith("no trial within one standard error of it has fewer trainable parameters.")


def test_latency_within_the_noise_floor_is_not_told_apart() -> None:
    trials = [make_trial(i, 0.8 + 0.001 * i, 10 + i, 1.02 + 0.002 * i, latency_noise_floor=0.01) for i in (0, 1)]
    assert "the noise floor cannot tell apart" in answer(make_study(*trials)).headline


def test_no_gain_over_an_anchor_is_said() -> None:
    said = answer(usual_study(anchors={"head-only probe": {"accuracy": 0.81}}))
    assert any("no gain over it" in sentence for sentence in said.details)
    assert not any("no gain" in sentence for sentence in answer(usual_study()).details)


def test_without_an_error_bar_too_a_better_anchor_is_said() -> None:
    anchors = {"known entities": {"accuracy": 0.9}, "majority class": {"accuracy": 0.1}}
    said = answer(usual_study(config={"task": {"metric": "entity_f1"}}, anchors=anchors))
    assert said.error is None
    assert "No trial is better than “known entities”: this study shows no gain over it." in said.details
    assert not any("majority class”" in sentence for sentence in said.details)


def test_zero_complete_trials_are_said() -> None:
    said = answer(make_study(make_trial(0, state=TrialState.FAILED)))
    assert said.headline == "No trial is complete, so there is no front yet."
    assert said.details == ("1 trial of 12 planned: 1 failed.",)
    assert answer(make_study()).details == ("0 trials of 12 planned: none started.",)


def test_missing_latency_is_said() -> None:
    said = answer(make_study(make_trial(0, 0.8, 10), make_trial(1, 0.9, 20)))
    assert said.headline == (
        "There is no front: of 2 complete trials, 2 lack latency ratio and cannot be on the front."
    )
    assert said.best is None


def test_minimised_score_and_no_objectives() -> None:
    said = answer(usual_study(objectives={"trainable_params": "minimize"}))
    assert said.headline.startswith("Trial 3 (placement post_attention, width 11) has the lowest trainable parameters")
    assert answer(usual_study(objectives={})).best is None
