"""One search space on several tasks: each task's best configuration, and what it loses with another's."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from adapter_sweep.records import ParamValue, StudyView, TrialView
from adapter_sweep.report.front import candidates, primary_objective
from adapter_sweep.report.scores import (
    SEEDS,
    Score,
    configuration,
    confirmed_score,
    paired_difference,
    unpaired_error,
    validation_score,
)

__all__ = ["Regret", "Setting", "TaskGroup", "group_tasks"]


@dataclass(frozen=True)
class Setting:
    """A configuration that every task has tried.

    Attributes:
        params: the swept parameters under their Hydra keys, seeds left out.
        trials: the complete trials that have it, task by task.
        scores: its validation score, task by task.
    """

    params: Mapping[str, ParamValue]
    trials: tuple[tuple[TrialView, ...], ...]
    scores: tuple[Score, ...]


@dataclass(frozen=True)
class Regret:
    """What a task loses by a configuration that is not its best.

    Attributes:
        loss: in units of the metric, above 0 where it loses; exactly 0 for its own best.
        error: one standard error of `loss`; None where it is not known.
        paired: whether both were scored on the same test examples and seeds, and compared there one by one.
        source: the split both were scored on; for the task's own best the empty text.
    """

    loss: float
    error: float | None
    paired: bool = False
    source: str = ""

    @property
    def beyond_error(self) -> bool | None:
        """Whether the loss is more than one standard error; None where the error is not known."""
        if self.loss <= 0:
            return False
        return None if self.error is None else self.loss > self.error


@dataclass(frozen=True)
class TaskGroup:
    """Several tasks, and the configurations they share.

    Attributes:
        studies: the tasks' studies.
        labels: the tasks' names.
        settings: the shared configurations; at least one.
        unshared: configurations of each task that not every other one completed.
        best: each task's best setting on validation (the cheapest of equals), as its place in `settings`.
        tested: the test score of each task's best; None where it was not confirmed.
        regret: [taken from][task]: what a task loses by the best of another.
        default: the setting whose largest loss over the tasks is the smallest, on validation.
        default_regret: what each task loses by it.
        cheapest: the setting with the fewest parameters among those that lose no more than one standard error on any
            task, on validation; None where there is none, or its errors are not known.
        cheapest_regret: what each task loses by it; empty without one.
    """

    studies: tuple[StudyView, ...]
    labels: tuple[str, ...]
    settings: tuple[Setting, ...]
    unshared: tuple[int, ...]
    best: tuple[int, ...]
    tested: tuple[Score | None, ...]
    regret: tuple[tuple[Regret, ...], ...]
    default: int
    default_regret: tuple[Regret, ...]
    cheapest: int | None
    cheapest_regret: tuple[Regret, ...]


def group_tasks(studies: Sequence[StudyView], labels: Sequence[str]) -> TaskGroup | None:
    """Put together studies of one search space over several tasks; None where they share no configuration.

    Configurations are matched by their parameters, whatever number and seed their trials have. Each best one is
    chosen on validation. Where the task's study has confirmed it and the one beside it, the loss is measured on the
    test split, which had no part in the choice, and is as likely too small as too large. On validation the best is
    both chosen and scored, which flatters it: the loss is rather too large, and never below 0.
    """
    found = [_by_configuration(study) for study in studies]
    shared = [key for key in found[0] if all(key in other for other in found[1:])]
    if not shared:
        return None
    settings = tuple(_setting(studies, [tried[key] for tried in found]) for key in shared)
    sign = _sign(studies[0])
    best = tuple(_best(settings, task, sign) for task in range(len(studies)))

    def regrets(taken: int) -> tuple[Regret, ...]:
        return tuple(
            _regret(study, task, settings[best[task]], settings[taken], sign) for task, study in enumerate(studies)
        )

    def searched(setting: Setting) -> list[Regret]:
        return [_validation(task, settings[own], setting, sign) for task, own in enumerate(best)]

    def largest(place: int) -> tuple[float, float, float, int]:
        losses = [regret.loss for regret in searched(settings[place])]
        return max(losses), sum(losses), _cost(settings[place], 0), place

    good = [i for i, s in enumerate(settings) if all(regret.beyond_error is False for regret in searched(s))]
    default = min(range(len(settings)), key=largest)
    cheapest = min(good, key=lambda place: (_cost(settings[place], 0), *largest(place)), default=None)
    return TaskGroup(
        tuple(studies),
        tuple(labels),
        settings,
        tuple(len(tried) - len(shared) for tried in found),
        best,
        tuple(confirmed_score(study, settings[own].params) for study, own in zip(studies, best, strict=True)),
        tuple(regrets(own) for own in best),
        default,
        regrets(default),
        cheapest,
        () if cheapest is None else regrets(cheapest),
    )


def _by_configuration(study: StudyView) -> dict[Hashable, list[TrialView]]:
    found: dict[Hashable, list[TrialView]] = {}
    for trial in candidates(study, [primary_objective(study)]):
        found.setdefault(configuration(trial.params), []).append(trial)
    return found


def _setting(studies: Sequence[StudyView], trials: Sequence[list[TrialView]]) -> Setting:
    params = {key: value for key, value in trials[0][0].params.items() if key not in SEEDS}
    scores = tuple(validation_score(study, *own) for study, own in zip(studies, trials, strict=True))
    return Setting(params, tuple(tuple(own) for own in trials), scores)


def _sign(study: StudyView) -> int:
    return 1 if study.objectives.get(primary_objective(study), "maximize") == "maximize" else -1


def _cost(setting: Setting, task: int) -> float:
    return setting.trials[task][0].metrics.get("trainable_params", math.inf)


def _best(settings: Sequence[Setting], task: int, sign: int) -> int:
    return min(
        range(len(settings)), key=lambda i: (-sign * settings[i].scores[task].value, _cost(settings[i], task), i)
    )


def _regret(study: StudyView, task: int, best: Setting, taken: Setting, sign: int) -> Regret:
    if best is taken:
        return Regret(0.0, 0.0)
    paired = paired_difference(study, best.params, taken.params)
    if paired is not None:
        return Regret(sign * paired[0], paired[1], True, "test")
    mine, theirs = confirmed_score(study, best.params), confirmed_score(study, taken.params)
    if mine is not None and theirs is not None:
        return Regret(sign * (mine.value - theirs.value), unpaired_error(mine, theirs), False, "test")
    return _validation(task, best, taken, sign)


def _validation(task: int, best: Setting, taken: Setting, sign: int) -> Regret:
    own, other = best.scores[task], taken.scores[task]
    error = 0.0 if best is taken else unpaired_error(own, other)
    return Regret(sign * (own.value - other.value), error, False, "validation")
