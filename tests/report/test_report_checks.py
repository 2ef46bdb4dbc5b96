import inspect
from dataclasses import replace

import optuna
import pytest
from report_studies import make_study, make_trial, usual_study

from adapter_sweep.records import Confirmation, ConfirmedRun, StudyView, TrialState
from adapter_sweep.report.checks import Check, Verdict, checks
from adapter_sweep.report.checks_space import _BLIND

PASSED, LOOK, UNKNOWN = Verdict.PASSED, Verdict.LOOK, Verdict.UNKNOWN


def check(study: StudyView, name: str) -> Check:
    (found,) = [one for one in checks(study) if one.name == name]
    return found


def with_width(*widths: object, space: str, key: str = "method.width") -> StudyView:
    """Trials of one front; the first is the best and the dearest."""
    trials = (make_trial(i, 0.9 - 0.1 * i, 100 - i, 1.0, swept={key: w}) for i, w in enumerate(widths))  # type: ignore[dict-item]
    return make_study(*trials, search_space={key: space})


@pytest.mark.parametrize(
    ("width", "space", "verdict"),
    [
        (32, "tag(log,int(interval(4,256)))", PASSED),
        (256, "tag(log,int(interval(4,256)))", LOOK),
        (215, "tag(log,int(interval(4,256)))", LOOK),  # 96 % of the way by logarithm
        (215, "int(interval(4,256))", PASSED),  # 84 % of the way
        (4, "range(4,9)", LOOK),
        (8, "range(4,9)", LOOK),
        (64, "choice(8,64,256)", PASSED),
        (256, "choice(8,64,256)", LOOK),
        (16, "choice(4,8,16,32,64,128,256,512)", PASSED),  # in the outer 5 % of the numbers, and no end
        (256, "choice(8,256)", UNKNOWN),
        ("both", "choice(a,b,both)", UNKNOWN),
        (8, "nonsense(", UNKNOWN),
    ],
)
def test_a_best_trial_at_the_edge(width: object, space: str, verdict: Verdict) -> None:
    found = check(with_width(width, space=space), "Edge of the search space")
    assert found.verdict is verdict, found.sentence


def test_the_edge_is_named() -> None:
    found = check(with_width(256, space="tag(log,int(interval(4,256)))"), "Edge of the search space")
    assert found.sentence.startswith("The best trial, 0, lies at the high end of width (256).")
    found = check(with_width(30, 4, 4, space="tag(log,int(interval(4,256)))"), "Edge of the search space")
    assert found.sentence.startswith("2 of the 3 trials on the front lie at the low end of width (4).")


def test_a_searched_seed_has_no_edge_and_is_no_parameter_to_cover() -> None:
    study = with_width(2, space="choice(0,1,2)", key="train.seed")
    assert check(study, "Edge of the search space").verdict is UNKNOWN
    assert check(study, "Trials for the search space").sentence == "Nothing was searched."
    assert check(study, "Differences and seeds").sentence.startswith("Seeds were searched like other parameters")


def sized(count: int, sampler: str, **space: str) -> Check:
    trials = (make_trial(i, 0.8, 10, 1.0) for i in range(count))
    space = space or {"method.width": "range(8,20)", "method.placement": "choice(post_attention,post_ffn,both)"}
    return check(
        make_study(*trials, config={"study": {"sampler": sampler}}, search_space=space), "Trials for the search space"
    )


def test_too_few_trials_for_the_space() -> None:
    assert sized(20, "tpe").verdict is PASSED
    assert sized(19, "tpe").sentence.startswith("19 complete trials for 2 searched parameters: 20 or more")
    assert "draws its first 10 at random" in sized(10, "tpe").sentence
    assert "draws its first 50 at random" in sized(50, "nsga2").sentence
    assert sized(51, "nsga2").verdict is PASSED
    assert sized(12, "grid", width="range(0,12)").verdict is PASSED
    assert sized(11, "grid", width="range(0,12)").sentence == "11 of the grid's 12 points are complete."
    assert sized(12, "grid", width="interval(0,1)").verdict is UNKNOWN


def test_what_samplers_draw_at_random_is_what_optuna_says() -> None:
    def default(sampler: type, name: str) -> object:
        return inspect.signature(sampler).parameters[name].default

    samplers = optuna.samplers
    assert {
        "tpe": default(samplers.TPESampler, "n_startup_trials"),
        "gp": default(samplers.GPSampler, "n_startup_trials"),
        "nsga2": default(samplers.NSGAIISampler, "population_size"),
    } == _BLIND


def test_failed_and_refused_shares() -> None:
    study = usual_study()
    assert check(study, "Failed trials").verdict is LOOK
    assert check(study, "Failed trials").sentence.startswith("1 of 6 trials (16.7 %) failed")
    assert check(study, "Refused trials").verdict is PASSED
    more = tuple(make_trial(i, state=TrialState.REFUSED) for i in range(6, 14))
    assert check(replace(study, trials=study.trials + more), "Refused trials").verdict is LOOK
    clean = make_study(make_trial(0, 0.8, 1, 1.0), make_trial(1, state=TrialState.INTERRUPTED))
    assert {check(clean, name).verdict for name in ("Failed trials", "Refused trials")} == {PASSED}


def test_differences_below_one_standard_error() -> None:
    near = make_study(make_trial(0, 0.80, 10, 1.0), make_trial(1, 0.81, 20, 1.0), make_trial(2, 0.90, 30, 1.0))
    found = check(near, "Differences and chance")
    assert found.verdict is LOOK
    assert found.sentence.startswith("1 of 2 pairs (50 %) of neighbours on the front differ in accuracy")
    far = make_study(make_trial(0, 0.80, 10, 1.0), make_trial(2, 0.90, 30, 1.0))
    assert check(far, "Differences and chance").verdict is PASSED
    assert check(make_study(make_trial(0, 0.8, 1, 1.0)), "Differences and chance").verdict is UNKNOWN
    f1 = replace(far, config={"task": {"metric": "macro_f1"}})
    assert check(f1, "Differences and chance").verdict is UNKNOWN


def confirmed(*scores: tuple[float, float]) -> StudyView:
    runs = tuple(
        ConfirmedRun(str(i), i, {}, seed, TrialState.COMPLETE, {"test_accuracy": score})
        for i, pair in enumerate(scores)
        for seed, score in enumerate(pair)
    )
    return usual_study(confirmation=Confirmation("accuracy", (), (0, 1), runs))


def test_differences_below_the_seeds() -> None:
    assert check(usual_study(), "Differences and seeds").verdict is UNKNOWN
    assert check(confirmed((0.80, 0.81), (0.90, 0.91)), "Differences and seeds").verdict is PASSED
    found = check(confirmed((0.80, 0.84), (0.81, 0.85)), "Differences and seeds")
    assert found.verdict is LOOK
    assert "standard deviation 0.028" in found.sentence
    assert check(confirmed((0.8, 0.9)), "Differences and seeds").verdict is UNKNOWN
    assert check(confirmed((1.0, 1.0), (1.0, 1.0)), "Differences and seeds").verdict is LOOK


def test_noisy_latency() -> None:
    quiet = [make_trial(i, 0.8 + i / 10, 10 + i, 1.0, latency_noisy=0) for i in range(2)]
    assert check(make_study(*quiet), "Latency readings").verdict is PASSED
    found = check(make_study(*quiet, make_trial(2, 0.1, 99, 1.0, latency_noisy=1)), "Latency readings")
    assert found.sentence.endswith("; none of them is on the front.")
    found = check(make_study(*quiet, make_trial(2, 1.0, 99, 1.0, latency_noisy=1)), "Latency readings")
    assert found.sentence.endswith("; on the front: 2.")
    assert check(usual_study(), "Latency readings").verdict is UNKNOWN
    found = check(make_study(make_trial(0, 0.8, 10, 1.0, latency_noisy=0, batch_latency_noisy=1)), "Latency readings")
    assert found.verdict is LOOK
    found = check(make_study(make_trial(0, 0.8, 10, 1.0, latency_noisy=0, merged_latency_noisy=1)), "Latency readings")
    assert found.verdict is LOOK


def test_a_dirty_tree_of_any_trial() -> None:
    def told(**provenance: str) -> Check:
        return check(usual_study(provenance=provenance), "Code version")

    assert told(code_commit="abc", code_dirty="false") == Check(
        "Code version", PASSED, "The code was that of commit abc, unchanged."
    )
    assert told(code_commit="abc", code_dirty="true").verdict is LOOK
    assert "release 0.1.0" in told(**{"adapter-sweep": "0.1.0"}).sentence
    assert told().verdict is UNKNOWN
    trial = replace(make_trial(0, 0.8, 1, 1.0), provenance={"code_dirty": "true"})
    assert check(make_study(trial), "Code version").verdict is LOOK
    two = [replace(make_trial(i, 0.8, 1, 1.0), provenance={"code_commit": commit}) for i, commit in enumerate("ab")]
    assert check(make_study(*two), "Code version").sentence == "Trials are of several commits of the code: a, b."


def test_versions_that_differ_between_trials() -> None:
    def told(*torch: str) -> Check:
        trials = [make_trial(i, 0.8, 1, 1.0) for i in range(len(torch))]
        return check(
            make_study(
                *(
                    replace(t, provenance={"torch": v, "precision_reason": v})
                    for t, v in zip(trials, torch, strict=True)
                )
            ),
            "One setting for all trials",
        )

    assert told("2.13", "2.13").verdict is PASSED
    assert told("2.13", "2.12").sentence.startswith("Between trials these differ: torch.")
    assert told("2.13").verdict is UNKNOWN


def test_every_study_has_every_check() -> None:
    for study in (make_study(), usual_study(), usual_study(objectives={}, config={}, search_space={})):
        assert len(checks(study)) == len({one.name for one in checks(study)}) == 9
