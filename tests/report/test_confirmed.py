"""The confirmed finalists in words: what a reader is told, and what not."""

from dataclasses import replace

import numpy as np
from confirmed_studies import confirmed_study, guesses, make_run
from report_studies import make_trial

from adapter_sweep.records import StudyView, TrialState
from adapter_sweep.report import (
    Budget,
    Evidence,
    choice_lines,
    choose,
    confirmed_rows,
    confirmed_sentences,
    evidence,
)
from adapter_sweep.report.confirmed import to_ship
from adapter_sweep.report.scores import outdone_trials

LABELS = [0, 1] * 200
GOOD = [range(0, 40), range(2, 42), range(1, 43)]
LIKE_GOOD = [range(0, 41), range(3, 42), range(1, 42)]  # one error in 1,200 less
POOR = [range(0, 120), range(2, 124), range(1, 119)]
COSTS = {"0": (1e4, 1.01), "1": (1e5, 1.03), "2": (2e5, 1.05), "quick:4": (2e3, 1.0)}


def study_of(wrong: dict[str, list[range]], *more: object, seeds: int = 3, **fields: object) -> StudyView:
    runs = [
        make_run(
            name,
            seed,
            guesses(LABELS, rows),
            trainable_params=COSTS[name][0],
            latency_ratio=COSTS[name][1],
            test_accuracy=1 - len(rows) / len(LABELS),
        )
        for name, each in wrong.items()
        for seed, rows in enumerate(each[:seeds])
    ]
    study = confirmed_study(LABELS, [*runs, *more], **fields)  # type: ignore[list-item, arg-type]
    searched = [make_trial(int(name), 0.8, *COSTS[name]) for name in sorted(wrong) if name.isdigit()]
    return replace(study, trials=tuple(searched))


def found_in(study: StudyView) -> Evidence:
    found = evidence(study)
    assert found is not None
    return found


def test_the_table_of_finalists_anchors_and_failures() -> None:
    failed = make_run("9", 0, state=TrialState.FAILED, reason="the loss\nis not finite")
    study = study_of({"1": POOR, "0": GOOD}, failed, anchors={"majority class": [0] * 400})
    rows = confirmed_rows(study, found_in(study))
    assert rows.headers == (
        *("trial", "placement", "width", "test accuracy", "standing", "P(on the front)"),
        *("trainable parameters", "latency ratio", "seed sd", "seeds"),
    )
    assert all(len(line) == len(rows.headers) == len(rows.numeric) for line in rows.cells)
    good, poor, anchor, lost = rows.cells
    assert good[:3] == ("0", "both", "8")
    assert good[3].startswith("0.898 (0.86")
    assert good[4:] == ("on the front", ">0.99", "10,000", "1.010", "0.003", "3")
    assert poor[4:6] == ("dominated", "<0.01")
    assert anchor == ("majority class", "", "", "0.500 (0.451 to 0.549)", "anchor", *[""] * 5)
    assert lost == ("9", "", "", "", "no score: the loss is not finite", *[""] * 5)
    assert [name for name, numeric in zip(rows.headers, rows.numeric, strict=True) if not numeric] == [
        "trial", "placement", "standing"
    ]  # fmt: skip


def test_the_cheapest_within_an_error_of_the_best_is_to_be_shipped() -> None:
    study = study_of({"0": GOOD, "1": LIKE_GOOD, "2": POOR}, anchors={"majority class": [0] * 400})
    found = found_in(study)
    ship, why, standing, anchors, caution = confirmed_sentences(study, found)
    chosen = to_ship(study, found)
    assert chosen is not None
    assert chosen.configuration == "0"
    assert ship.startswith("Ship trial 0 (placement both, width 8): test accuracy 0.898 (95 % interval 0.8")
    assert ship.endswith("3 fresh seeds, 400 test rows) with 10,000 trainable parameters and latency ratio 1.010.")
    assert "within one standard error of the best score, 0.899 of trial 1 (placement both, width 9)" in why
    assert f"may be up to {found.difference('1', '0').gain.high:.3f} lower" in why
    assert standing.endswith("on the front: 0; indistinguishable from it: 1; dominated: 2.")
    assert anchors.startswith("On the same rows: majority class 0.500 (gain 0.398, ")
    assert "at most 5 %" in caution


def test_a_cheaper_one_that_is_surely_worse_is_not_shipped() -> None:
    study = study_of({"0": POOR, "1": GOOD})
    said = confirmed_sentences(study, found_in(study))
    assert said[0].startswith("Ship trial 1 ")
    assert said[1] == (
        "It has the best score; no finalist within one standard error is cheaper without being dearer elsewhere."
    )
    study = study_of({"0": GOOD, "1": POOR})
    assert confirmed_sentences(study, found_in(study))[1] == "It has the best score, and no finalist is cheaper."


def test_none_is_shipped_where_a_reference_point_is_above_it_beyond_chance() -> None:
    study = study_of({"0": POOR}, anchors={"head-only probe": guesses(LABELS, range(20))})
    said = confirmed_sentences(study, found_in(study))[0]
    assert said.startswith("No finalist is worth shipping: head-only probe scores higher beyond chance. First among")


def test_one_seed_recommends_nobody() -> None:
    study = study_of({"0": POOR, "1": GOOD}, seeds=1)
    found = found_in(study)
    said = " ".join(confirmed_sentences(study, found))
    assert to_ship(study, found) is None
    assert said.startswith("Trial 1 (placement both, width 9) has the highest test accuracy")
    assert "one seed only" in said
    assert "Ship" not in said
    assert "other seeds;" not in said


def test_an_only_finalist_is_said_to_be_one() -> None:
    study = study_of({"0": GOOD})
    said = confirmed_sentences(study, found_in(study))
    assert said[1] == "It is the only finalist with a score."
    assert not any("stand" in sentence for sentence in said)


def test_no_gain_over_an_anchor_is_said() -> None:
    study = study_of({"0": GOOD, "1": POOR}, anchors={"head-only probe": guesses(LABELS, GOOD[0])})
    said = confirmed_sentences(study, found_in(study))
    assert "No gain over “head-only probe” is shown." in said


def test_what_failed_is_said() -> None:
    one = make_run("0", 7, state=TrialState.FAILED, reason="out of memory")
    all_of_it = make_run("8", 0, state=TrialState.FAILED, reason="out of memory")
    study = study_of({"0": GOOD, "1": POOR}, one, all_of_it)
    said = confirmed_sentences(study, found_in(study))
    assert "1 run of scored finalists failed or did not end, and is left out." in said
    assert "Without any score, and left out: 8." in said
    assert confirmed_rows(study, found_in(study)).cells[0][-1] == "3 of 4"


def test_a_finalist_of_another_study_and_hostile_words_stay_on_one_line() -> None:
    evil = "two\nlines \u202e https://me:secret@host"
    foreign = [
        make_run("quick:4", seed, guesses(LABELS, rows), params={"method.rank\n": evil}, trainable_params=2e3)
        for seed, rows in enumerate(GOOD)
    ]
    study = study_of({"0": POOR}, *foreign, anchors={evil: np.zeros(400, dtype=int).tolist()})
    found = found_in(study)
    rows = confirmed_rows(study, found)
    shown = [*rows.headers, *(cell for line in rows.cells for cell in line), *confirmed_sentences(study, found)]
    assert not any(mark in text for text in shown for mark in ("\n", "\u202e", "secret"))
    assert rows.cells[0][0] == "quick:4"
    assert rows.cells[0][rows.headers.index("standing")] == "not comparable: a cost was not measured"
    assert any("not comparable, as a cost was not measured: quick:4" in text for text in shown)


def test_a_configuration_of_another_study_is_not_chosen_from_and_said() -> None:
    study = study_of({"0": POOR, "quick:4": GOOD})
    said = confirmed_sentences(study, found_in(study))
    assert said[0].startswith("Ship trial 0 ")
    assert "standard error of the best score" not in said[1]
    assert any(s.startswith("Trial quick:4 ") and "of another study, scores 0.898 here" in s for s in said)


def test_one_that_a_reference_point_outdoes_is_passed_over_for_one_that_none_does() -> None:
    near = [range(0, 52), range(0, 53), range(0, 51)]  # cheaper, within one standard error of the best
    probe = guesses(LABELS, range(0, 42))
    study = study_of({"0": near, "1": GOOD}, anchors={"head-only probe": probe})
    choice = choose(study, Budget())
    assert choice.recommended is not None
    assert (choice.recommended.trial.number, choice.outdone) == (1, 1)
    said = confirmed_sentences(study, found_in(study))
    assert said[0].startswith("Ship trial 1 ")
    assert "Passed over, as a reference point scores higher beyond chance: 0." in said
    assert "so is 1 confirmed trial that a reference point outdoes" in dict(choice_lines(study, choice))["Scores"]


def test_best_says_what_the_report_says_where_nothing_is_worth_shipping_or_known() -> None:
    study = study_of({"0": POOR}, anchors={"head-only probe": guesses(LABELS, range(20))})
    notes = [text for label, text in choice_lines(study, choose(study, Budget())) if label == "Note"]
    assert notes == ["“head-only probe” scores 0.950: no confirmed trial is as good, so none is worth shipping"]
    study = study_of({"0": POOR}, seeds=1)
    notes = [text for label, text in choice_lines(study, choose(study, Budget())) if label == "Note"]
    assert notes[0].startswith("it was confirmed on one seed only")


def test_within_a_budget_one_that_a_reference_point_outdoes_is_chosen_where_all_are() -> None:
    study = study_of({"0": POOR, "1": GOOD}, anchors={"head-only probe": guesses(LABELS, range(60))})
    assert [o.trial.number for o in choose(study, Budget()).fitting] == [1]
    choice = choose(study, Budget(max_params=5e4))
    assert choice.recommended is not None
    assert (choice.recommended.trial.number, choice.recommended.score.source) == (0, "test")
    assert (choice.confirmed_misses, choice.outdone) == (0, 0)
    notes = [text for label, text in choice_lines(study, choice) if label == "Note"]
    assert notes == [
        "“head-only probe” scores 0.850: no confirmed trial that fits is as good, so none is worth shipping"
    ]


def test_two_seeds_tell_little_of_their_spread() -> None:
    unstable = [range(0, 40), range(0, 120)]  # .90 and .70: the mean of other seeds may well be above .85
    anchors = {"head-only probe": guesses(LABELS, range(60))}
    assert outdone_trials(study_of({"0": unstable}, anchors=anchors, seeds=2)) == frozenset()
    assert outdone_trials(study_of({"0": POOR}, anchors=anchors)) == {0}
