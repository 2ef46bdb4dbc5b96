"""Which searched parameters an objective depends on, by Optuna's fANOVA."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from adapter_sweep.config.naming import METHOD, applying, key_of, owner_of
from adapter_sweep.config.space import Choices, parse_dimension
from adapter_sweep.errors import UserInputError
from adapter_sweep.records import ParamValue, StudyView, TrialState, TrialView

__all__ = ["importance", "importance_within", "with_importance"]

# On made-up studies whose answers are known, the right parameter had over 0.85 of each objective from 24 trials on;
# with 12, a parameter without effect had up to 0.3. PED-ANOVA, Optuna's default, named a wrong one with 100 still.
_LEAST_TRIALS = 20
_TRIALS_PER_KEY = 6
# The forest's time grows faster than its trials, and 300 give the same shares as more: a second for each objective.
_MOST_TRIALS = 300
_TREES = 32
_DEPTH = 8


def with_importance(study: StudyView) -> StudyView:
    """The study with what its trials say of its parameters."""
    return replace(study, importance=importance(study), importance_within=importance_within(study))


def importance(study: StudyView) -> dict[str, dict[str, float]]:
    """Objective -> Hydra key -> share of the objective's variance that the parameter explains by itself.

    F. Hutter, H. Hoos, K. Leyton-Brown, An efficient approach for assessing hyperparameter importance, ICML 2014, as
    Optuna has it: the variance over the whole search space, of which effects of one parameter alone are kept and
    scaled to sum to 1; largest first. Parameters on a logarithmic scale are taken by their logarithm. The forest is
    seeded, so a study has one answer.

    Where methods are chosen between, the method is a parameter like the others, and of those only the ones count that
    all methods share, over one range: what one method alone has varies with nothing in another's trials.

    Returns:
        Nothing where fewer than two parameters were searched, or fewer than 20 trials, or 6 for each parameter, are
        complete. An objective on which those trials are all alike is left out. Of more than 300 trials, 300 are taken,
        evenly over the study.
    """
    own = {key_of(name) for name in study.search_space if owner_of(name) is not None}
    return _over(study, study.in_state(TrialState.COMPLETE), {k: k for k in study.search_space if key_of(k) not in own})


def importance_within(study: StudyView) -> dict[str, dict[str, dict[str, float]]]:
    """Of each method that is chosen between, what `importance` is over its own trials and all of its parameters.

    Methods that have too few of them are left out; so are all where no method was searched.
    """
    if METHOD not in study.search_space:
        return {}
    by_method: dict[str, list[TrialView]] = {}
    for trial in study.in_state(TrialState.COMPLETE):
        by_method.setdefault(str(trial.params[METHOD]), []).append(trial)
    found = {}
    for method, trials in sorted(by_method.items()):
        names = {key: name for key, name in applying(study.search_space, method).items() if key != METHOD}
        if shares := _over(study, trials, names):
            found[method] = shares
    return found


def _over(study: StudyView, complete: Sequence[TrialView], names: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """The shares over some trials; `names` is Hydra key -> the name of the range that they have for it."""
    keys = _varied(names, complete)
    if len(keys) < 2 or len(complete) < max(_LEAST_TRIALS, _TRIALS_PER_KEY * len(keys)):
        return {}
    scales = {key: _Scale(study.search_space[names[key]], key, complete) for key in keys}
    shares = {}
    for objective in study.objectives:
        measured = [trial for trial in complete if math.isfinite(trial.metrics.get(objective, math.nan))]
        taken = _evenly(measured, _MOST_TRIALS)
        if len({trial.metrics[objective] for trial in taken}) > 1:
            shares[objective] = _shares(taken, objective, scales)
    return shares


class _Scale:
    """A parameter as the forest sees it: a number, or one of some values."""

    def __init__(self, text: str, key: str, trials: Sequence[TrialView]) -> None:
        values = [trial.params[key] for trial in trials]
        numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        try:
            known = parse_dimension(key, text)
        except UserInputError:
            known = None
        self.log = not isinstance(known, Choices | None) and known.log and min(numbers) > 0
        self.distribution: BaseDistribution
        if isinstance(known, Choices | None) or len(numbers) < len(values):
            self._words = True
            self.distribution = CategoricalDistribution(sorted({_word(value) for value in values}))
        else:
            self._words = False
            ends = [self._number(value) for value in (known.low, known.high, *numbers)]
            self.distribution = FloatDistribution(min(ends), max(ends))

    def place(self, value: ParamValue) -> str | float:
        """Where a value lies on the scale."""
        return _word(value) if self._words else self._number(value)

    def _number(self, value: ParamValue) -> float:
        number = float(value or 0)
        return math.log10(number) if self.log else number


def _word(value: ParamValue) -> str:
    return repr(value)  # Optuna takes 1 and True for the same choice


def _varied(keys: Iterable[str], trials: Sequence[TrialView]) -> list[str]:
    """The searched parameters that every one of the trials has, and not all with one value."""
    return [
        key
        for key in keys
        if all(key in trial.params for trial in trials) and len({_word(trial.params[key]) for trial in trials}) > 1
    ]


def _evenly(trials: Sequence[TrialView], most: int) -> list[TrialView]:
    if len(trials) <= most:
        return list(trials)
    return [trials[index * len(trials) // most] for index in range(most)]


def _shares(trials: Sequence[TrialView], objective: str, scales: Mapping[str, _Scale]) -> dict[str, float]:
    # A study of its own in memory, one objective at a time: log scales and fixed values stay as we mean them.
    study = optuna.create_study()
    study.add_trials(
        [
            optuna.trial.create_trial(
                params={key: scale.place(trial.params[key]) for key, scale in scales.items()},
                distributions={key: scale.distribution for key, scale in scales.items()},
                value=trial.metrics[objective],
            )
            for trial in trials
        ]
    )
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=_TREES, max_depth=_DEPTH, seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {key: float(share) for key, share in found.items()}
