import json

import pytest
from report_studies import make_study, make_trial, usual_study

from adapter_sweep.records import Confirmation, ConfirmedRun, StudyView, TrialState
from adapter_sweep.report import Budget, choice_json, choice_lines, choose, nothing_fits
from adapter_sweep.report.choosing import Choice, Option
from adapter_sweep.report.noise import noise_floor

EVIL = "<b>\x1b[31m=1+1\n"


def numbers(*options: Option | None) -> list[int | None]:
    return [None if option is None else option.trial.number for option in options]


def line(study: StudyView, choice: Choice, label: str) -> str:
    return dict(choice_lines(study, choice))[label]


def test_a_cheaper_trial_within_one_standard_error_is_recommended_and_said() -> None:
    study = usual_study()
    choice = choose(study, Budget())
    assert numbers(choice.recommended, choice.best, choice.cheaper, choice.dearer) == [0, 1, 3, 1]
    assert line(study, choice, "Recommended") == (
        "trial 0 (placement post_attention, width 8): accuracy 0.800 ± 0.020, 50,000 trainable parameters, "
        "latency ratio 1.020 (1.010 to 1.040)"
    )
    assert line(study, choice, "Why") == (
        "trial 1 (placement post_ffn, width 9) scores best of all 4 trials, 0.812 ± 0.019; trial 0 is within one "
        "standard error of it and cheaper: trainable parameters 11 times fewer, latency ratio 0.06 lower"
    )
    assert line(study, choice, "Next cheaper") == (
        "trial 3 (placement post_attention, width 11): accuracy 0.750 ± 0.021 (5.0 points less), 20,000 trainable "
        "parameters (2.5 times fewer), latency ratio 1.010 (1.010 to 1.040) (0.01 lower)"
    )
    assert "(1.2 points more, within one standard error)" in line(study, choice, "Next dearer")
    assert "within one standard error of it" in line(study, choice, "Rule")
    assert line(study, choice, "Command").startswith("adapter-sweep trial task=movies")


def test_beyond_one_standard_error_the_best_is_recommended() -> None:
    study = make_study(make_trial(0, 0.80, 10_000, 1.0), make_trial(1, 0.83, 50_000, 1.0))
    choice = choose(study, Budget())
    assert numbers(choice.recommended, choice.cheaper, choice.dearer) == [1, 0, None]
    assert "none within one standard error of it is cheaper" in line(study, choice, "Why")
    assert line(study, choice, "Next dearer") == "none: no dearer trial scores better"


def test_fewer_parameters_for_more_latency_is_no_cheaper_trial() -> None:
    fast, small = make_trial(0, 0.81, 50_000, 1.02), make_trial(1, 0.80, 10_000, 1.09)
    assert numbers(choose(make_study(fast, small), Budget()).recommended) == [0]
    floor = {"latency_noise_floor": 0.1}
    alike = make_study(make_trial(0, 0.81, 50_000, 1.02, **floor), make_trial(1, 0.80, 10_000, 1.09, **floor))
    choice = choose(alike, Budget())
    assert numbers(choice.recommended) == [1]
    assert "no different beyond the noise floor of 0.100" in line(alike, choice, "Why")


def test_a_latency_limit_alone_does_not_let_noise_choose() -> None:
    floor = {"latency_noise_floor": 0.01}
    trials = [
        make_trial(0, 0.81, 90_000, 1.020, **floor),
        make_trial(1, 0.81, 10_000, 1.021, **floor),
        make_trial(2, 0.81, 50_000, 1.019, **floor),
    ]
    study = make_study(*trials)
    choice = choose(study, Budget(max_latency_ratio=1.025))
    assert numbers(choice.recommended) == [1]
    assert choice.costs[0] == "latency_ratio"
    assert numbers(choice.cheaper, choice.dearer) == [None, None]  # the others differ by less than the noise
    assert "within the noise floor (± 0.010) of the limit" in line(study, choice, "Note")


def test_a_budget_bounds_what_is_recommended_and_shows_what_more_would_buy() -> None:
    study = usual_study()
    choice = choose(study, Budget(max_params=30_000))
    assert numbers(choice.recommended, choice.cheaper, choice.dearer, choice.knee) == [3, None, 0, None]
    assert line(study, choice, "Next dearer").endswith("; it breaks trainable parameters at most 30,000")
    assert "Knee" not in dict(choice_lines(study, choice))
    assert numbers(choose(study, Budget(max_latency_ratio=1.02)).recommended) == [0]
    assert numbers(choose(study, Budget(min_accuracy=0.81)).recommended) == [1]


def test_nothing_fits_says_what_is_nearest_on_each_limit() -> None:
    study = usual_study()
    choice = choose(study, Budget(max_params=30_000, max_latency_ratio=1.05, min_accuracy=0.79))
    assert choice.recommended is None
    assert choice_lines(study, choice) == []
    assert nothing_fits(study, choice).splitlines() == [
        "none of the 4 trials fits the budget (trainable parameters at most 30,000, latency ratio at most 1.05, "
        "accuracy at least 0.79). What comes nearest:",
        "  --max-params 30,000: within the other limits, trial 0 (placement post_attention, width 8) has 50,000",
        "  --max-latency-ratio 1.05: 2 trials keep it, but none of them the other limits",
        "  --min-accuracy 0.79: within the other limits, trial 3 (placement post_attention, width 11) has "
        "0.750 ± 0.021",
    ]
    document = json.loads(choice_json(study, choice))
    assert document["recommended"] is None
    assert {key: option["trial"] for key, option in document["nearest"].items()} == {
        "max-params": 0,
        "max-latency-ratio": 3,
        "min-accuracy": 3,
    }


@pytest.mark.parametrize(
    ("study", "said"),
    [
        (make_study(), "study 'quickstart' has no complete trial yet"),
        (make_study(make_trial(0, state=TrialState.FAILED)), "study 'quickstart' has no complete trial yet"),
        (
            make_study(make_trial(0, 0.8, 10)),
            "none of the 1 complete trials has all of: accuracy, trainable parameters",
        ),
    ],
)
def test_nothing_to_choose_from(study: StudyView, said: str) -> None:
    choice = choose(study, Budget())
    assert choice.recommended is None
    assert nothing_fits(study, choice).startswith(said)
    assert json.loads(choice_json(study, choice))["considered"] == 0


def confirmed_study() -> StudyView:
    """Trial 1 was best in the search, trial 0 is on test; trial 3 was not confirmed."""

    def run(trial: int, seed: int, value: float) -> ConfirmedRun:
        right = round(value * 200)
        return ConfirmedRun(
            str(trial),
            trial,
            {"method.width": 8 + trial},
            seed,
            TrialState.COMPLETE,
            {"test_accuracy": right / 200},
            (1,) * right + (0,) * (200 - right),
        )

    runs = tuple(run(trial, seed, value) for trial, value in ((0, 0.86), (1, 0.75)) for seed in (11, 12, 13))
    return usual_study(confirmation=Confirmation("accuracy", (1,) * 200, (11, 12, 13), runs))


def test_confirmed_scores_come_first_and_are_named() -> None:
    study = confirmed_study()
    choice = choose(study, Budget())
    assert numbers(choice.recommended, choice.best) == [0, 0]
    assert choice.unconfirmed == 2
    assert line(study, choice, "Scores") == (
        "the test split of 200 examples, mean of 3 seeds, ± one standard error; 2 unconfirmed trials are left out"
    )
    assert "confirmed on the test split" in line(study, choice, "Why")


def test_where_no_confirmed_one_fits_validation_counts_and_is_named() -> None:
    study = confirmed_study()
    choice = choose(study, Budget(max_params=30_000))
    assert numbers(choice.recommended) == [3]
    assert line(study, choice, "Scores") == (
        "one run each on the validation split of 408 examples, ± one standard error; none of the 2 confirmed on the "
        "test split fits"
    )
    nothing = choose(study, Budget(max_params=10))
    assert "none of the 2 trials confirmed on the test split fits" in nothing_fits(study, nothing)


def test_the_knee_is_marked_without_a_budget_unless_it_is_noise() -> None:
    bend = [(0, 0.60, 10_000), (1, 0.80, 20_000), (2, 0.82, 40_000), (3, 0.83, 900_000)]
    study = make_study(*(make_trial(i, accuracy, params, 1.0) for i, accuracy, params in bend))
    choice = choose(study, Budget())
    assert numbers(choice.knee) == [1]
    assert "the point of the front farthest above the line" in line(study, choice, "Knee")
    flat = make_study(*(make_trial(i, 0.80 + 0.1 * (accuracy - 0.8), p, 1.0) for i, accuracy, p in bend[1:]))
    choice = choose(flat, Budget())
    assert choice.knee is None
    assert line(flat, choice, "Knee").startswith("none: the front of score over parameters does not bend")


def test_without_an_error_the_best_is_recommended_and_the_doubt_said() -> None:
    study = usual_study(config={"task": {"metric": "macro_f1"}})
    choice = choose(study, Budget())
    assert numbers(choice.recommended) == [1]
    assert "its error is not known" in line(study, choice, "Why")


def test_an_anchor_as_good_and_a_noisy_reading_are_said() -> None:
    study = make_study(make_trial(0, 0.80, 10, 1.0, latency_noisy=1.0), anchors={"head-only probe": {"accuracy": 0.79}})
    notes = [text for label, text in choice_lines(study, choose(study, Budget())) if label == "Note"]
    assert notes[0] == "its latency was read on a noisy machine"
    assert notes[1].startswith("“head-only probe” scores 0.790")


@pytest.mark.parametrize(
    ("anchor", "said"),
    [
        (0.9, "“head-only probe” scores 0.900, which is better than the trial does"),
        (0.8, "“head-only probe” scores 0.800: the trial is no better"),
        (0.79, None),
    ],
)
def test_without_an_error_an_anchor_as_good_is_said(anchor: float, said: str | None) -> None:
    study = make_study(
        make_trial(0, 0.80, 10, 1.0),
        anchors={"head-only probe": {"accuracy": anchor}},
        config={"task": {"metric": "entity_f1"}},
    )
    notes = [text for label, text in choice_lines(study, choose(study, Budget())) if label == "Note"]
    assert notes == ([said] if said else [])


def test_other_objectives() -> None:
    loss = make_study(
        make_trial(0, 0.8, 10, 1.0, train_loss=0.3),
        make_trial(1, 0.9, 20, 1.0, train_loss=0.2),
        objectives={"train_loss": "minimize", "trainable_params": "minimize"},
    )
    choice = choose(loss, Budget(min_accuracy=0.7))
    assert numbers(choice.recommended, choice.cheaper) == [1, 0]
    assert "(0.1 more)" in line(loss, choice, "Next cheaper")
    alone = usual_study(objectives={"accuracy": "maximize"})
    assert numbers(choose(alone, Budget()).recommended) == [0]


def test_hostile_words_stay_on_their_line() -> None:
    study = make_study(
        make_trial(0, 0.8, 10, 1.0, swept={EVIL: EVIL}), name=EVIL, anchors={EVIL: {"accuracy": 0.8}}, search_space={}
    )
    choice = choose(study, Budget())
    told = choice_lines(study, choice)
    assert all("\x1b" not in text for _, text in told)
    assert all("\n" not in text for label, text in told if label != "Command")
    assert json.loads(choice_json(study, choice))["recommended"]["score"]["value"] == 0.8


def test_the_least_accuracy_is_one_of_the_score_where_that_has_another_name() -> None:
    trials = [make_trial(i, 0.82, 10_000 * (i + 1), 1.0, macro_f1=0.82) for i in range(2)]
    runs = tuple(
        ConfirmedRun(
            str(i), i, trials[i].params, seed, TrialState.COMPLETE, {"test_accuracy": 0.65}, (0,) * 65 + (1,) * 35
        )
        for i in range(2)
        for seed in range(2)
    )
    study = make_study(
        *trials,
        objectives={"macro_f1": "maximize", "trainable_params": "minimize"},
        config={"task": {"metric": "macro_f1"}},
        confirmation=Confirmation("macro_f1", (0,) * 100, (0, 1), runs),
    )
    choice = choose(study, Budget(min_accuracy=0.7))
    assert choice.recommended is not None
    assert choice.recommended.score.source == "validation"  # on test none reaches it
    assert choose(study, Budget(min_accuracy=0.6)).recommended.score.source == "test"  # type: ignore[union-attr]
    assert "--min-accuracy 0.9:" in nothing_fits(study, choose(study, Budget(min_accuracy=0.9)))


def test_a_merged_reading_has_its_own_noise_floor() -> None:
    floors = {"latency_noise_floor": 0.02, "merged_latency_noise_floor": 0.05, "merged_latency_p50_ms": 10.0}
    keys = ("latency_ratio", "merged_latency_ratio", "merged_latency_p50_ms", "merged_latency_noisy")
    assert [noise_floor(floors, key) for key in keys] == [0.02, 0.05, 0.5, 0.0]
    assert noise_floor({"latency_noise_floor": 0.02}, "merged_latency_ratio") == 0.02  # a reading of the first ones


def test_milliseconds_have_a_noise_floor_too() -> None:
    floor = {"latency_noise_floor": 0.02}
    small = make_trial(0, 0.80, 5_000, latency_p50_ms=10.0, **floor)
    large = make_trial(1, 0.805, 50_000, latency_p50_ms=9.99, **floor)
    objectives = {"accuracy": "maximize", "trainable_params": "minimize", "latency_p50_ms": "minimize"}
    assert numbers(choose(make_study(small, large, objectives=objectives), Budget()).recommended) == [0]
