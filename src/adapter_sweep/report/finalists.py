"""Which trials are worth confirming: the front, and what one standard error may have kept off it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adapter_sweep.config.naming import METHOD
from adapter_sweep.records import ParamValue, StudyView, TrialState, TrialView
from adapter_sweep.report.answer import answer
from adapter_sweep.report.front import candidates, cost_objective, front, primary_objective
from adapter_sweep.report.intervals import standard_error
from adapter_sweep.report.scores import SEEDS, configuration

__all__ = ["Finalist", "best_of", "finalists", "fresh_seeds"]

_FIRST_SEED = 1001


@dataclass(frozen=True)
class Finalist:
    """A configuration to confirm.

    Attributes:
        configuration: the trial's number in the study it is confirmed for, or `STUDY:NUMBER` of another one.
        trial: the trial in the study it is confirmed for; None where it comes from another.
        params: the swept parameters under their Hydra keys, seeds left out.
    """

    configuration: str
    trial: int | None
    params: Mapping[str, ParamValue]


def finalists(study: StudyView, most: int) -> list[Finalist]:
    """At most `most` configurations, those first that matter most to what the study says.

    These are the best trial, the cheapest one within a standard error of it, the rest of the front, evenly along its
    costs where there are too many, and then its near neighbours: trials that would be on the front if their score were
    one standard error higher, nearest first. A configuration that was tried with several seeds counts once. Where
    methods are chosen between, the best of each follows, beyond `most`: what a method is worth is asked of all of them.
    """
    members, said = front(study), answer(study)
    chosen = [trial for trial in (said.best, said.near) if trial is not None]
    rest = [trial for trial in members if trial not in chosen]
    ordered = [*chosen, *_spread(rest, max(0, most - len(chosen))), *_neighbours(study, members)]
    once = {configuration(trial.params): trial for trial in reversed(ordered)}
    kept = [trial for trial in ordered if once[configuration(trial.params)] is trial]
    kept = kept[:most]
    known = {configuration(trial.params) for trial in kept}
    kept += [trial for trial in _best_of_each(study) if configuration(trial.params) not in known]
    return [Finalist(str(trial.number), trial.number, _without_seeds(trial)) for trial in kept]


def best_of(other: StudyView, study: StudyView, known: Sequence[Finalist]) -> Finalist | None:
    """Another study's best configuration, to be tried in this one; None where it is known here, or there is none.

    It goes by the number of the trial that has completed it here, where one has.
    """
    best = answer(other).best
    if best is None:
        return None
    wanted = configuration(best.params)
    if wanted in {configuration(finalist.params) for finalist in known}:
        return None
    own = next((t for t in study.in_state(TrialState.COMPLETE) if configuration(t.params) == wanted), None)
    if own is not None:
        return Finalist(str(own.number), own.number, _without_seeds(own))
    return Finalist(f"{other.name}:{best.number}", None, _without_seeds(best))


def fresh_seeds(study: StudyView, count: int) -> tuple[int, ...]:
    """The first seeds from 1001 that no trial of the study has used."""
    train = study.config.get("train")
    used = {trial.params[key] for trial in study.trials for key in SEEDS if key in trial.params}
    if isinstance(train, Mapping):
        used |= {train.get(key.partition(".")[2]) for key in SEEDS}
    fresh = (seed for seed in range(_FIRST_SEED, _FIRST_SEED + count + len(used)) if seed not in used)
    return tuple(seed for seed, _ in zip(fresh, range(count), strict=False))


def _best_of_each(study: StudyView) -> list[TrialView]:
    """Each method's trial with the best score, of equal ones the cheapest; none where methods are not searched."""
    if METHOD not in study.search_space:
        return []
    primary, cost = primary_objective(study), cost_objective(study)
    sign = 1 if study.objectives.get(primary) == "maximize" else -1
    best: dict[ParamValue, TrialView] = {}
    for trial in sorted(candidates(study), key=lambda t: (-sign * t.metrics[primary], t.metrics.get(cost, math.inf))):
        best.setdefault(trial.params.get(METHOD), trial)
    return list(best.values())


def _without_seeds(trial: TrialView) -> dict[str, ParamValue]:
    return {key: value for key, value in trial.params.items() if key not in SEEDS}


def _spread(trials: Sequence[TrialView], most: int) -> list[TrialView]:
    """At most so many of the trials, evenly along their order, both ends among them."""
    if len(trials) <= most:
        return list(trials)
    if most <= 1:
        return list(trials[:most])
    return [trials[round(index * (len(trials) - 1) / (most - 1))] for index in range(most)]


def _neighbours(study: StudyView, members: Sequence[TrialView]) -> list[TrialView]:
    """The trials that one standard error keeps off the front, by how much of it they lack."""
    primary = primary_objective(study)
    signs = {key: 1 if way == "maximize" else -1 for key, way in study.objectives.items()}
    found = []
    for trial in candidates(study):
        error = standard_error(study, trial, primary)
        if error is None or trial in members:
            continue
        ahead = [
            signs[primary] * (member.metrics[primary] - trial.metrics[primary])
            for member in members
            if all(sign * (member.metrics[k] - trial.metrics[k]) >= 0 for k, sign in signs.items() if k != primary)
        ]
        lacking = max(ahead, default=0.0) / error
        if lacking <= 1:
            found.append((lacking, trial.number, trial))
    return [trial for _, _, trial in sorted(found, key=lambda entry: entry[:2])]
