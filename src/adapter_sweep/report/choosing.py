"""Which trial to ship, within a budget: the rule, the trial it picks, and what lies on either side of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from adapter_sweep.records import StudyView, TrialState, TrialView
from adapter_sweep.report.front import candidates, cost_objective, primary_objective
from adapter_sweep.report.knee import knee
from adapter_sweep.report.noise import noise_floor
from adapter_sweep.report.scores import Score, confirmed_scores, outdone_trials, validation_score

__all__ = ["Budget", "Choice", "Limit", "Option", "choose", "noise_between"]

PARAMS, LATENCY = "trainable_params", "latency_ratio"


@dataclass(frozen=True)
class Limit:
    """One bound of a budget: a recorded number, and the most or the least that it may be."""

    key: str
    bound: Literal["most", "least"]
    value: float


@dataclass(frozen=True)
class Budget:
    """What a trial may cost, and what it must reach; None is no limit."""

    max_params: float | None = None
    max_latency_ratio: float | None = None
    min_accuracy: float | None = None

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The limits that were set."""
        every: tuple[tuple[str, Literal["most", "least"], float | None], ...] = (
            (PARAMS, "most", self.max_params),
            (LATENCY, "most", self.max_latency_ratio),
            ("accuracy", "least", self.min_accuracy),
        )
        return tuple(Limit(key, bound, value) for key, bound, value in every if value is not None)


@dataclass(frozen=True)
class Option:
    """A trial that could be chosen, with the score that counts for it."""

    trial: TrialView
    score: Score


@dataclass(frozen=True)
class Choice:
    """What was chosen, and from what.

    Attributes:
        budget: the limits asked for.
        limits: those of the budget, `accuracy` under the name of the score that it is here.
        primary: the recorded number that is the score.
        costs: the recorded numbers a trial pays with, the one to save first in front.
        options: the trials considered, by number: complete, with every number that counts.
        unmeasured: complete trials left out because a number that counts was not measured.
        unconfirmed: complete trials left out because only others were confirmed on the test split.
        confirmed_misses: confirmed trials left out because none of them fits the budget, so that validation counts.
        outdone: confirmed trials that fit and are left out because a reference point scores higher beyond chance.
        fitting: those of the options that fit the budget.
        best: the fitting option with the highest score, the cheapest of equals; None where none fits.
        recommended: `best`, or the cheapest fitting option within one standard error of it that is dearer on nothing.
        cheaper: the next option on the front of score over `costs[0]` that costs less than the recommended one.
        dearer: the next one there that scores higher and costs more.
        knee: where more parameters stop paying; marked only where there is no budget.
        nearest: where nothing fits: for each limit, the option nearest to it among those that keep the other limits
            (or among all, where none keeps them).
    """

    limits: tuple[Limit, ...]
    primary: str
    costs: tuple[str, ...]
    options: tuple[Option, ...]
    unmeasured: int = 0
    unconfirmed: int = 0
    confirmed_misses: int = 0
    outdone: int = 0
    fitting: tuple[Option, ...] = ()
    best: Option | None = None
    recommended: Option | None = None
    cheaper: Option | None = None
    dearer: Option | None = None
    knee: Option | None = None
    nearest: tuple[tuple[Limit, Option], ...] = ()


def choose(study: StudyView, budget: Budget) -> Choice:
    """Choose a trial.

    The rule: the best score within the budget, or the cheapest trial within one standard error of it that is dearer
    on nothing (L. Breiman et al., *Classification and Regression Trees*, 1984, section 3.4.3). Two latencies
    within the noise floor of each other are alike. Where configurations were confirmed on the test split, those are
    chosen from, by their test scores, unless none of them fits the budget; one that a reference point outdoes beyond
    chance only where it outdoes all of them.
    """
    primary = primary_objective(study)
    limits = tuple(_of_the_score(study, limit, primary) for limit in budget.limits)
    costs = _costs(study, budget, primary)
    complete = candidates(study, [primary, *costs])
    unmeasured = len(study.in_state(TrialState.COMPLETE)) - len(complete)
    tested, outdone = confirmed_scores(study), outdone_trials(study)
    confirmed = tuple(Option(trial, tested[trial.number]) for trial in complete if trial.number in tested)
    searched = tuple(Option(trial, validation_score(study, trial)) for trial in complete)
    fit = tuple(o for o in confirmed if _fits(o, limits, primary))
    left_out = 0
    if confirmed and (fit or not any(_fits(o, limits, primary) for o in searched)):
        options, unconfirmed, misses = confirmed, len(searched) - len(confirmed), 0
        if worth_it := tuple(option for option in fit if option.trial.number not in outdone):
            left_out, fit = len(fit) - len(worth_it), worth_it
    else:
        options, unconfirmed, misses = searched, 0, len(confirmed)
        fit = tuple(o for o in searched if _fits(o, limits, primary))
    sign = 1 if study.objectives.get(primary, "maximize") == "maximize" else -1
    if not fit:
        nearest = tuple((limit, _nearest(options, limit, limits, primary)) for limit in limits if options)
        return Choice(limits, primary, costs, options, unmeasured, unconfirmed, misses, left_out, nearest=nearest)
    best = min(fit, key=lambda o: (-sign * o.score.value, *_prices(o, costs), o.trial.number))
    chosen = _recommend(fit, best, costs, sign)
    line = _front(options, costs[0], sign)
    return Choice(
        limits,
        primary,
        costs,
        options,
        unmeasured,
        unconfirmed,
        misses,
        left_out,
        fit,
        best,
        chosen,
        cheaper=next((o for o in reversed(line) if _compare(o, chosen, costs[0]) < 0), None),
        dearer=next(
            (o for o in line if _compare(o, chosen, costs[0]) > 0 and sign * (o.score.value - chosen.score.value) > 0),
            None,
        ),
        knee=None if limits else _knee(options, sign),
    )


def noise_between(key: str, first: TrialView, second: TrialView) -> float:
    """How far two trials' costs may lie apart by noise alone: their larger noise floor for a latency, else 0."""
    floors = [noise_floor(trial.metrics, key) for trial in (first, second)]
    return max([floor for floor in floors if math.isfinite(floor)], default=0.0)


def _of_the_score(study: StudyView, limit: Limit, primary: str) -> Limit:
    """A limit as it was asked for; that on accuracy is one on the score, where that is the task's own metric."""
    task = study.config.get("task")
    metric = task.get("metric") if isinstance(task, Mapping) else None
    return replace(limit, key=primary) if limit.key == "accuracy" and primary == metric else limit


def _costs(study: StudyView, budget: Budget, primary: str) -> tuple[str, ...]:
    """What is paid: a cost that the budget limits first, then the study's own; parameters where there is none."""
    limited = [limit.key for limit in budget.limits if limit.bound == "most"]
    own = [key for key, way in study.objectives.items() if way == "minimize"]
    found = tuple(key for key in dict.fromkeys([*limited, cost_objective(study), *own]) if key != primary)
    return found or (PARAMS,)


def _value(option: Option, key: str, primary: str) -> float:
    return option.score.value if key == primary else option.trial.metrics.get(key, math.nan)


def _fits(option: Option, limits: Sequence[Limit], primary: str) -> bool:
    """Whether an option keeps all limits; a number that was not measured keeps none."""
    return all(_over(option, limit, primary) <= 0 for limit in limits)


def _over(option: Option, limit: Limit, primary: str) -> float:
    """By how much an option breaks a limit; at most 0 where it keeps it, infinite where the number is not known."""
    over = (_value(option, limit.key, primary) - limit.value) * (1 if limit.bound == "most" else -1)
    return over if math.isfinite(over) else math.inf


def _nearest(options: Sequence[Option], limit: Limit, limits: Sequence[Limit], primary: str) -> Option:
    others = [other for other in limits if other != limit]
    keeping = [o for o in options if _fits(o, others, primary)] or options
    return min(keeping, key=lambda o: (_over(o, limit, primary), o.trial.number))


def _prices(option: Option, costs: Sequence[str]) -> tuple[float, ...]:
    """The costs to order by, exact ones first: the noise of a latency is not to decide over parameters."""
    return tuple(option.trial.metrics[key] for key in sorted(costs, key=lambda key: key.endswith("latency_ratio")))


def _compare(option: Option, other: Option, key: str) -> int:
    """-1 where an option costs less than another, 1 where more, 0 where the two cannot be told apart."""
    difference = option.trial.metrics[key] - other.trial.metrics[key]
    return 0 if abs(difference) <= noise_between(key, option.trial, other.trial) else (1 if difference > 0 else -1)


def _recommend(fitting: Sequence[Option], best: Option, costs: Sequence[str], sign: int) -> Option:
    if best.score.error is None:
        return best
    edge = sign * best.score.value - best.score.error
    alike = []
    for option in fitting:
        compared = [_compare(option, best, key) for key in costs]
        if sign * option.score.value >= edge and max(compared) <= 0 and min(compared) < 0:
            alike.append(option)
    # By every cost in turn, then by score: what is picked is dominated by nothing else.
    return min(
        [best, *alike],
        key=lambda o: (o is best, *_prices(o, costs), -sign * o.score.value, o.trial.number),
    )


def _front(options: Sequence[Option], cost: str, sign: int) -> list[Option]:
    """The options that none beats on both score and one cost, cheapest first; one of equals."""
    line: list[Option] = []
    for option in sorted(options, key=lambda o: (*_prices(o, [cost]), -sign * o.score.value, o.trial.number)):
        if not line or sign * (option.score.value - line[-1].score.value) > 0:
            line.append(option)
    return line


def _knee(options: Sequence[Option], sign: int) -> Option | None:
    """The knee of score over parameters; None where the whole front lies within one standard error of its best."""
    measured = [o for o in options if math.isfinite(o.trial.metrics.get(PARAMS, math.nan))]
    line = _front(measured, PARAMS, sign)
    if not line or sign * (line[-1].score.value - line[0].score.value) <= (line[-1].score.error or 0.0):
        return None
    place = knee([(o.trial.metrics[PARAMS], sign * o.score.value) for o in line])
    return None if place is None else line[place]
