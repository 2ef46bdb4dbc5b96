import math
from dataclasses import replace

import pytest
from report_studies import make_trial
from task_groups import GRID, confirm, make_task

from adapter_sweep.records import StudyView
from adapter_sweep.report.several import compare
from adapter_sweep.report.several.sentences import group_details, group_headline, loss_text
from adapter_sweep.report.several.tasks import Regret, TaskGroup, group_tasks
from adapter_sweep.report.several.worth import worths


def grouped(*studies: StudyView) -> TaskGroup:
    group = group_tasks(studies, [study.name.removeprefix("tasks-") for study in studies])
    assert group is not None
    return group


MOVIES = make_task("movies", (0.80, 0.81, 0.79, 0.78))
QUESTIONS = make_task("questions", (0.70, 0.72, 0.86, 0.90), seed=2)


def test_the_best_of_each_task_whatever_its_number() -> None:
    group = grouped(MOVIES, QUESTIONS)
    assert [dict(group.settings[place].params) for place in group.best] == [GRID[1], GRID[3]]
    assert [group.settings[place].scores[task].value for task, place in enumerate(group.best)] == [0.81, 0.90]
    assert group.settings[3].trials[1][0].number == 1


def test_regret_on_validation() -> None:
    group = grouped(MOVIES, QUESTIONS)
    movies_best, questions_best = group.regret
    assert movies_best[0] == Regret(0.0, 0.0)
    assert movies_best[1].loss == pytest.approx(0.90 - 0.72)
    assert questions_best[0].loss == pytest.approx(0.81 - 0.78)
    own, other = (math.sqrt(p * (1 - p) / 408) for p in (0.90, 0.72))
    assert movies_best[1].error == pytest.approx(math.hypot(own, other))
    assert (movies_best[1].source, movies_best[1].paired) == ("validation", False)


def test_the_default_loses_least_at_worst_and_the_cheapest_is_within_error() -> None:
    group = grouped(MOVIES, QUESTIONS)
    assert dict(group.settings[group.default].params) == GRID[3]  # loses 3 and 0 points; the others up to 20
    assert group.cheapest is None  # 3 points are more than one standard error, and so are the others' losses
    flat = grouped(make_task("movies", (0.80, 0.81, 0.80, 0.80)), make_task("tweets", (0.70, 0.70, 0.70, 0.71)))
    assert flat.cheapest is not None
    assert dict(flat.settings[flat.cheapest].params) == GRID[0]
    assert [regret.beyond_error for regret in flat.cheapest_regret] == [False, False]


def test_regret_on_test_is_paired_where_both_were_confirmed() -> None:
    # On validation the best of questions is GRID[3]; on test movies' best does as well on one seed of three.
    questions = replace(QUESTIONS, confirmation=confirm({3: (900, 910, 905), 1: (900, 850, 855)}))
    group = grouped(MOVIES, questions)
    regret = group.regret[0][1]
    assert (regret.source, regret.paired) == ("test", True)
    assert regret.loss == pytest.approx((0 + 60 + 50) / 3000)
    assert 0 < (regret.error or 0) < 0.03
    assert group.tested[1] is not None
    assert group.tested[1].value == pytest.approx(0.905)
    assert (group.tested[0], group.regret[1][0].source) == (None, "validation")


def test_a_test_regret_may_be_a_gain() -> None:
    questions = replace(QUESTIONS, confirmation=confirm({3: (800, 800, 800), 1: (850, 850, 850)}))
    regret = grouped(MOVIES, questions).regret[0][1]
    assert regret.loss == pytest.approx(-0.05)
    assert regret.beyond_error is False


def test_seeds_are_put_together_and_what_one_task_lacks_is_counted() -> None:
    extra = make_trial(4, 0.70, 16_000, 1.04, swept={**GRID[1], "train.seed": 5})
    movies = replace(MOVIES, trials=(*MOVIES.trials, extra))
    group = grouped(movies, make_task("questions", (0.70, 0.72, 0.86)))
    assert len(group.settings) == 3
    assert group.unshared == (1, 0)
    both = next(s for s in group.settings if dict(s.params) == GRID[1])
    assert both.scores[0].value == pytest.approx((0.81 + 0.70) / 2)
    assert both.scores[0].seeds == 2
    assert dict(group.settings[group.best[0]].params) == GRID[0]


def test_no_shared_configuration_falls_back_to_the_overlay() -> None:
    other = make_task("tweets", ())
    other = replace(other, trials=(make_trial(0, 0.8, 10, 1.0, swept={"method.width": 9}),))
    assert group_tasks([MOVIES, other], ["movies", "tweets"]) is None
    comparison = compare([MOVIES, other])
    assert comparison.group is None
    assert comparison.headline.startswith("Each study's best accuracy, on data of its own: movies: 0.810")
    assert any("share one search space but no configuration" in sentence for sentence in comparison.details)


def test_what_each_hyperparameter_is_worth() -> None:
    width, placement = worths(grouped(MOVIES, QUESTIONS))
    assert (width.key, width.values, placement.values) == ("method.width", ("8", "64"), ("both", "post_attention"))
    assert [width.values[best] for best in width.best] == ["8", "64"]
    assert [loss.loss for loss in width.loss] == pytest.approx([0.81 - 0.79, 0.90 - 0.72])
    assert [loss.beyond_error for loss in width.loss] == [False, True]
    assert [loss.loss for loss in placement.loss] == pytest.approx([0.81 - 0.80, 0.90 - 0.86])


def test_many_numbers_are_put_together_in_three_even_ranges() -> None:
    def task(name: str) -> StudyView:
        trials = tuple(
            make_trial(i, 0.6 + 0.02 * i, 10 + i, 1.0, swept={"train.lr": 0.001 * (i + 1)}) for i in range(12)
        )
        return replace(make_task(name, ()), trials=trials, search_space={"train.lr": "interval(0.001, 0.012)"})

    (lr,) = worths(grouped(task("a"), task("b")))
    assert lr.values == ("0.001 to 0.004", "0.005 to 0.008", "0.009 to 0.012")
    assert lr.best == (2, 2)
    assert lr.loss[0].loss == pytest.approx(0.16)


def test_the_direct_answer_is_as_strong_as_the_data() -> None:
    group = grouped(MOVIES, QUESTIONS)
    assert group_headline(group) == (
        "No one configuration does as well as each task's own best: placement both, width 64 loses least at worst, "
        "3.0 ± 2.8 points on movies, and is within one standard error on 1 of 2 tasks."
    )
    details = group_details(group, worths(group))
    assert details[0] == (
        "With the rest chosen well, width makes no difference beyond one standard error on 1 of 2 tasks; it does on "
        "questions (18.0 ± 2.7 points, best 64)."
    )
    assert "The dearest transfer: questions with the best of movies loses 18.0 ± 2.7 points." in details
    flat = grouped(make_task("movies", (0.80, 0.81, 0.80, 0.80)), make_task("tweets", (0.70, 0.70, 0.70, 0.71)))
    assert group_headline(flat) == (
        "One default is good enough everywhere, as far as this data can tell: placement both, width 8 loses at most "
        "1.0 ± 3.2 points on tweets, within one standard error on each of the 2 tasks; the cheapest that does, "
        "placement post_attention, width 8 (8,000 trainable parameters), loses at most 1.0 ± 2.8 points on movies."
    )
    same = grouped(make_task("movies", (0.9, 0.8, 0.8, 0.8)), make_task("tweets", (0.9, 0.7, 0.7, 0.7)))
    assert group_headline(same).startswith(
        "One default is good enough everywhere: placement post_attention, width 8 scores no lower than"
    )


def test_a_default_within_error_everywhere_is_named_where_another_loses_less_at_worst() -> None:
    def sized(name: str, accuracies: tuple[float, ...], examples: float) -> StudyView:
        study = make_task(name, accuracies)
        trials = (replace(t, metrics={**t.metrics, "eval_examples": examples}) for t in study.trials)
        return replace(study, trials=tuple(trials))

    group = grouped(sized("big", (0.897, 0.88, 0.90), 10_000.0), sized("small", (0.86, 0.90, 0.80), 100.0))
    assert group.default != group.cheapest
    assert group_headline(group) == (
        "One default is good enough everywhere, as far as this data can tell: placement post_attention, width 8 is "
        "within one standard error of each task's own best on all 2 tasks, and loses at most 4.0 ± 4.6 points on small."
    )


def test_without_errors_nothing_is_called_good_enough() -> None:
    f1 = {"config": {"task": {"name": "x", "metric": "macro_f1"}}}
    group = grouped(make_task("movies", (0.8, 0.7, 0.7, 0.7), **f1), make_task("tweets", (0.7, 0.8, 0.7, 0.7), **f1))
    assert group.cheapest is None
    assert "is not known either" in group_headline(group)
    assert not any("With the rest" in sentence for sentence in group_details(group, worths(group)))


def test_losses_in_words() -> None:
    assert loss_text("accuracy", Regret(0.0123, 0.02)) == "1.2 ± 2.0"
    assert loss_text("accuracy", Regret(-0.0001, 0.02)) == "0.0 ± 2.0"
    assert loss_text("accuracy", Regret(-0.02, None)) == "-2.0"
    assert loss_text("train_loss", Regret(0.0123, None)) == "0.0123"


def test_what_was_tried_in_one_configuration_only_is_worth_nothing_known() -> None:
    def task(name: str) -> StudyView:
        trials = tuple(
            make_trial(i, 0.6 + 0.1 * i, 10 + i, 1.0, swept={"train.lr": 0.001 * (i + 1), "method.width": 8 * (i + 1)})
            for i in range(3)
        )
        space = {"train.lr": "interval(0.001, 0.003)", "method.width": "range(8, 25)"}
        return replace(make_task(name, ()), trials=trials, search_space=space)

    group = grouped(task("a"), task("b"))
    assert worths(group) == []
    assert "Too few configurations were tried on all tasks to tell what lr and width may be worth alone." in (
        group_details(group, [])
    )


def test_a_default_is_set_beside_what_trains_no_adapter() -> None:
    weak, strong = {"head-only probe": {"accuracy": 0.5}}, {"head-only probe": {"accuracy": 0.80}}
    movies, tweets = (0.80, 0.81, 0.80, 0.80), (0.70, 0.70, 0.70, 0.71)
    group = grouped(make_task("movies", movies, anchors=strong), make_task("tweets", tweets, anchors=weak))
    assert (
        "No gain of that default beyond one standard error over what trains no adapter is shown on movies "
        "(head-only probe 0.800, default 0.800 ± 0.020)."
    ) in group_details(group, worths(group))
