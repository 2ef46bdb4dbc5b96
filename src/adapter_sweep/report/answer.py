"""What a study says, in sentences: built from its data, and no stronger than its data."""

import math
from dataclasses import dataclass

from adapter_sweep.records import StudyView, TrialState, TrialView
from adapter_sweep.report.front import candidates, cost_objective, front, primary_objective
from adapter_sweep.report.intervals import standard_error
from adapter_sweep.report.noise import NOISY
from adapter_sweep.report.wording import costs_text, describe, metric_name, number, one_line, short_keys, task_metric

__all__ = ["Answer", "answer", "less_of", "score_text"]


@dataclass(frozen=True)
class Answer:
    """The answer to a study.

    Attributes:
        headline: the answer in one sentence.
        details: what to know beside it, a sentence each.
        best: the trial with the best score (the cheapest of equals); None without a front.
        near: the cheapest trial of the front within one standard error of `best`, if cheaper than `best`.
        error: one standard error of the best score; None where it is not known.
    """

    headline: str
    details: tuple[str, ...] = ()
    best: TrialView | None = None
    near: TrialView | None = None
    error: float | None = None


def score_text(study: StudyView, trial: TrialView, key: str) -> str:
    """A score, with one standard error where that is known: `0.812 ± 0.020`."""
    text, error = number(key, trial.metrics.get(key)), standard_error(study, trial, key)
    return f"{text} ± {error:.3f}" if text and error is not None else text


def answer(study: StudyView) -> Answer:
    """The answer to a study; says so where there is none yet."""
    members = front(study)
    if not members:
        return Answer(_nothing(study), (_counts(study),))
    primary, cost = primary_objective(study), cost_objective(study)
    sign = 1 if study.objectives[primary] == "maximize" else -1
    best = min(members, key=lambda t: (-sign * t.metrics[primary], t.metrics.get(cost, math.inf), t.number))
    error = standard_error(study, best, primary)
    near = None
    if error is not None:
        within = [t for t in members if t.metrics[primary] * sign >= best.metrics[primary] * sign - error]
        cheapest = min(within, key=lambda t: (t.metrics.get(cost, math.inf), -sign * t.metrics[primary], t.number))
        if cheapest.metrics.get(cost, math.inf) < best.metrics.get(cost, math.inf):
            near = cheapest
    details = [
        _counts(study),
        *_positive_class(study),
        _front(study, len(members)),
        *_missing(study),
        *_beside_anchors(study, best, error),
    ]
    details += [*_noisy(members), _caution(metric_name(primary, study), error)]
    return Answer(_headline(study, best, near, error), tuple(details), best, near, error)


def _headline(study: StudyView, best: TrialView, near: TrialView | None, error: float | None) -> str:
    primary, cost = primary_objective(study), cost_objective(study)
    score = f"{metric_name(primary, study)} {score_text(study, best, primary)}"
    if error is None:
        word = "highest" if study.objectives[primary] == "maximize" else "lowest"
        start = f"{_who(study, best)} has the {word} {score}"
        return f"{start}{_costs(study, best)}; its error is not known, so small differences may be chance."
    examples = number("eval_examples", best.metrics["eval_examples"])
    start = f"{_who(study, best)} reaches {score} (one standard error, {examples} examples){_costs(study, best)}"
    if near is None:
        return f"{start}; no trial within one standard error of it has {less_of(cost)}."
    fewer = _fewer(cost, best.metrics[cost], near.metrics[cost])
    return (
        f"{start}; {_who(study, near, capital=False)}, at {number(primary, near.metrics[primary])}, "
        f"is within one standard error of it with {fewer}{_latency_beside(study, best, near)}."
    )


def _who(study: StudyView, trial: TrialView, *, capital: bool = True) -> str:
    words = describe(short_keys(study), trial)
    return f"{'Trial' if capital else 'trial'} {trial.number}" + (f" ({words})" if words else "")


def _costs(study: StudyView, trial: TrialView) -> str:
    """What a trial costs, e.g. ` with 597,378 trainable parameters and latency ratio 1.083`."""
    keys = [cost_objective(study), "latency_ratio"]
    return costs_text([key for key in keys if key != primary_objective(study)], trial.metrics)


def less_of(cost: str) -> str:
    """To pay less, in words: `fewer trainable parameters`, `a lower latency ratio`."""
    return f"fewer {metric_name(cost)}" if cost.endswith("_params") else f"a lower {metric_name(cost)}"


def _fewer(cost: str, most: float, least: float) -> str:
    if not cost.endswith("_params") or least <= 0:
        return f"{metric_name(cost)} {number(cost, least)}"
    factor = most / least
    if factor < 1.95:
        return f"{1 - least / most:.0%} {less_of(cost)} ({number(cost, least)})"
    return f"{factor:.0f} times {less_of(cost)} ({number(cost, least)})"


def _latency_beside(study: StudyView, best: TrialView, near: TrialView) -> str:
    key = "latency_ratio"
    if key in (primary_objective(study), cost_objective(study)) or not (key in best.metrics and key in near.metrics):
        return ""
    here = number(key, near.metrics[key])
    floor = max(trial.metrics.get("latency_noise_floor", 0.0) for trial in (best, near))
    if abs(near.metrics[key] - best.metrics[key]) <= floor:
        return f" and latency ratio {here}, which the noise floor cannot tell apart"
    return f" and latency ratio {here}"


def _counts(study: StudyView) -> str:
    tally = [(len(study.in_state(state)), state.value) for state in TrialState]
    parts = ", ".join(f"{count:,} {word}" for count, word in tally if count)
    total = len(study.trials)
    return f"{total:,} {_plural('trial', total)} of {study.n_trials:,} planned: {parts or 'none started'}."


def _front(study: StudyView, size: int) -> str:
    aims = [
        f"{metric_name(key, study)} ({'higher' if way == 'maximize' else 'lower'} is better)"
        for key, way in study.objectives.items()
    ]
    listed = aims[0] if len(aims) == 1 else ", ".join(aims[:-1]) + " and " + aims[-1]
    on_it = f"{size:,} {'trial is' if size == 1 else 'trials are'} on the front of {listed}"
    if len(aims) == 1:
        return on_it + "."
    return f"{on_it}: beating one of them on any of these costs something on another."


def _nothing(study: StudyView) -> str:
    complete = study.in_state(TrialState.COMPLETE)
    if not complete:
        return "No trial is complete, so there is no front yet."
    lacking = _missing(study)
    return "There is no front: " + (
        lacking[0][0].lower() + lacking[0][1:] if lacking else "the study names no objective."
    )


def _missing(study: StudyView) -> list[str]:
    complete = study.in_state(TrialState.COMPLETE)
    sentences = []
    for key in study.objectives:
        count = len(complete) - len(candidates(study, [key]))
        if count:
            sentences.append(
                f"Of {len(complete):,} complete {_plural('trial', len(complete))}, {count:,} "
                f"lack{'s' * (count == 1)} {metric_name(key, study)} and cannot be on the front."
            )
    return sentences


def _beside_anchors(study: StudyView, best: TrialView, error: float | None) -> list[str]:
    primary = primary_objective(study)
    known = {
        one_line(name, 60): n[primary] for name, n in study.anchors.items() if math.isfinite(n.get(primary, math.nan))
    }
    if not known:
        return []
    sentences = [
        "For comparison: " + ", ".join(f"{name} {number(primary, value)}" for name, value in known.items()) + "."
    ]
    sign = 1 if study.objectives[primary] == "maximize" else -1
    for name, value in known.items():
        if sign * (best.metrics[primary] - value) <= (error or 0.0):
            beyond = "better than" if error is None else "more than one standard error beyond"
            sentences.append(f"No trial is {beyond} “{name}”: this study shows no gain over it.")
    return sentences


def _positive_class(study: StudyView) -> list[str]:
    name = study.provenance.get("f1_class")
    if name is None or task_metric(study) != "f1":
        return []
    return [f"F1 is that of class “{one_line(name, 60)}”: the other class counts only where it is taken for this one."]


def _noisy(members: list[TrialView]) -> list[str]:
    noisy = [trial.number for trial in members if any(trial.metrics.get(key) for key in NOISY)]
    if not noisy:
        return []
    shown = ", ".join(str(n) for n in noisy[:10]) + (" and more" if len(noisy) > 10 else "")
    return [f"Latency was read on a noisy machine for {_plural('trial', len(noisy))} {shown}."]


def _caution(score: str, error: float | None) -> str:
    less = (
        "differences within one standard error are not a ranking" if error is not None else "it has no error bar here"
    )
    return f"Each {score} is one training run on the validation split, and the top one of many flatters itself; {less}."


def _plural(word: str, count: int) -> str:
    return word if count == 1 else word + "s"
