"""A choice in words for the terminal."""

import math

from adapter_sweep.records import StudyView
from adapter_sweep.report.answer import less_of
from adapter_sweep.report.choosing import Choice, Limit, Option, noise_between
from adapter_sweep.report.noise import NOISY
from adapter_sweep.report.scores import Score, anchor_scores, outdone_trials, score_words
from adapter_sweep.report.wording import (
    command,
    describe,
    is_count,
    is_score,
    metric_name,
    number,
    one_line,
    plain,
    ratio_text,
    short_keys,
)

__all__ = ["RULE", "choice_lines", "nothing_fits", "option_name"]

RULE = (
    "the best score within the budget, or the cheapest trial within one standard error of it that is dearer on none "
    "of the costs named here; latencies within the noise floor of each other are alike"
)


def choice_lines(study: StudyView, choice: Choice) -> list[tuple[str, str]]:
    """The choice as lines of a label and a sentence; a choice without a recommendation has none."""
    chosen, best = choice.recommended, choice.best
    if chosen is None or best is None:
        return []
    lines = [
        ("Recommended", f"{_who(study, chosen)}: {_numbers(study, choice, chosen)}"),
        ("Why", _why(study, choice, chosen, best)),
        ("Rule", RULE),
        ("Scores", _scores(choice, chosen.score)),
        *(("Note", sentence) for sentence in _notes(study, choice, chosen)),
        ("Next cheaper", _beside(study, choice, choice.cheaper, chosen) or f"none: {_end(choice, 'less')}"),
        ("Next dearer", _beside(study, choice, choice.dearer, chosen) or f"none: {_end(choice, 'more')}"),
    ]
    if not choice.limits:
        lines.append(("Knee", _knee(study, choice)))
    return [*lines, ("Command", command(chosen.trial))]


def nothing_fits(study: StudyView, choice: Choice) -> str:
    """Why there is no recommendation, and what comes nearest on each limit: one line each."""
    if not choice.options:
        if choice.unmeasured:
            names = ", ".join(metric_name(key, study) for key in (choice.primary, *choice.costs))
            return f"none of the {choice.unmeasured:,} complete trials has all of: {names}"
        return f"study {plain(study.name)!r} has no complete trial yet"
    count = len(choice.options)
    first = (
        f"none of the {count:,} trials{_tested(choice)} fits the budget ({_limits(study, choice)}). What comes nearest:"
    )
    return "\n".join([first, *(_nearest(study, choice, limit, option) for limit, option in choice.nearest)])


def _who(study: StudyView, option: Option) -> str:
    words = describe(short_keys(study), option.trial)
    return f"trial {option.trial.number}" + (f" ({words})" if words else "")


def _numbers(study: StudyView, choice: Choice, option: Option) -> str:
    parts = [f"{metric_name(choice.primary, study)} {score_words(choice.primary, option.score)}"]
    return ", ".join([*parts, *(_cost(option, key) for key in choice.costs)])


def _cost(option: Option, key: str) -> str:
    if key.endswith("latency_ratio"):
        return f"{metric_name(key)} {ratio_text(option.trial, key)}"
    return f"{number(key, option.trial.metrics[key])} {metric_name(key)}"


def _why(study: StudyView, choice: Choice, chosen: Option, best: Option) -> str:
    where = f"of the {len(choice.fitting):,} trials{_tested(choice)} that fit the budget ({_limits(study, choice)})"
    if not choice.limits:
        where = f"of all {len(choice.fitting):,} trials{_tested(choice)}"
    if chosen is not best:
        saved = [f"{metric_name(key)} {_cost_difference(key, chosen, best)}" for key in choice.costs]
        return (
            f"{_who(study, best)} scores best {where}, {score_words(choice.primary, best.score)}; trial "
            f"{chosen.trial.number} is within one standard error of it and cheaper: {', '.join(saved)}"
        )
    if best.score.error is None:
        return f"it scores best {where}; its error is not known, so a cheaper trial may be as good"
    return f"it scores best {where}, and none within one standard error of it is cheaper without being dearer elsewhere"


def _scores(choice: Choice, score: Score) -> str:
    size = f" of {score.examples:,} examples" if score.examples else ""
    error = ", ± one standard error" if score.error is not None else ""
    if score.source == "validation":
        left = (
            f"; none of the {choice.confirmed_misses:,} confirmed on the test split fits"
            if choice.confirmed_misses
            else ""
        )
        return f"one run each on the validation split{size}{error}{left}"
    others = f"; {choice.unconfirmed:,} unconfirmed trials are left out" if choice.unconfirmed else ""
    if choice.outdone:
        trials = f"{choice.outdone:,} confirmed {_plural('trial', choice.outdone)}"
        others += f"; so {'is' if choice.outdone == 1 else 'are'} {trials} that a reference point outdoes beyond chance"
    return f"the test split{size}, mean of {score.seeds} {_plural('seed', score.seeds)}{error}{others}"


def _notes(study: StudyView, choice: Choice, chosen: Option) -> list[str]:
    notes = []
    for limit in choice.limits:
        floor = noise_between(limit.key, chosen.trial, chosen.trial)
        value = chosen.trial.metrics.get(limit.key, math.nan)
        if floor and limit.bound == "most" and limit.value - value < floor:
            name = metric_name(limit.key, study)
            notes.append(f"its {name} is within the noise floor (± {floor:.3f}) of the limit, and may be over it")
    if any(chosen.trial.metrics.get(key) for key in NOISY):
        notes.append("its latency was read on a noisy machine")
    if chosen.score.source == "test" and chosen.score.seeds == 1:
        notes.append("it was confirmed on one seed only: nothing is known of what another seed would have done")
    sign = 1 if study.objectives.get(choice.primary, "maximize") == "maximize" else -1
    outdone = chosen.trial.number in outdone_trials(study) if chosen.score.source == "test" else False
    for name, value in _beside_it(study, choice, chosen).items():
        error = chosen.score.error
        if sign * (chosen.score.value - value) <= (error or 0.0):
            shown = f"“{one_line(name, 60)}” scores {number(choice.primary, value)}"
            if outdone and sign * (value - chosen.score.value) > 0:
                fitting = " that fits" if choice.limits else ""
                notes.append(f"{shown}: no confirmed trial{fitting} is as good, so none is worth shipping")
            elif sign * (value - chosen.score.value) > 0:
                notes.append(f"{shown}, which is better than the trial does")
            else:
                beyond = "no better" if error is None else "no more than one standard error beyond it"
                notes.append(f"{shown}: the trial is {beyond}")
    if choice.unmeasured:
        notes.append(f"{choice.unmeasured:,} complete trials lack a number that counts here, and are left out")
    return notes


def _beside_it(study: StudyView, choice: Choice, chosen: Option) -> dict[str, float]:
    """What trains no adapter, scored on the split that the choice was made on."""
    if chosen.score.source == "test":
        return anchor_scores(study)
    return {name: metrics.get(choice.primary, math.nan) for name, metrics in study.anchors.items()}


def _beside(study: StudyView, choice: Choice, option: Option | None, chosen: Option) -> str:
    if option is None:
        return ""
    over = [limit for limit in choice.limits if option not in choice.fitting and _breaks(option, limit, choice)]
    outside = f"; it breaks {_limits(study, choice, over)}" if over else ""
    return f"{_who(study, option)}: {_differences(study, choice, option, chosen)}{outside}"


def _breaks(option: Option, limit: Limit, choice: Choice) -> bool:
    value = option.score.value if limit.key == choice.primary else option.trial.metrics.get(limit.key, math.nan)
    return not (value <= limit.value if limit.bound == "most" else value >= limit.value)


def _differences(study: StudyView, choice: Choice, option: Option, other: Option) -> str:
    """What an option gains and costs beside another, number by number."""
    gap = option.score.value - other.score.value
    error = _better(study, choice, option, other).score.error  # the one that the rule takes, too
    words = f"{metric_name(choice.primary, study)} {score_words(choice.primary, option.score)}"
    if gap == 0:
        parts = [f"{words} (the same)"]
    else:
        way = "more" if gap > 0 else "less"
        within = ", within one standard error" if error is not None and abs(gap) <= error else ""
        size = f"{100 * abs(gap):.1f} points {way}" if is_score(choice.primary) else f"{abs(gap):.4g} {way}"
        parts = [f"{words} ({size}{within})"]
    for key in choice.costs:
        parts.append(f"{_cost(option, key)} ({_cost_difference(key, option, other)})")
    return ", ".join(parts)


def _better(study: StudyView, choice: Choice, option: Option, other: Option) -> Option:
    sign = 1 if study.objectives.get(choice.primary, "maximize") == "maximize" else -1
    return max(option, other, key=lambda o: sign * o.score.value)


def _cost_difference(key: str, option: Option, other: Option) -> str:
    """`6.1 times fewer`, `0.239 higher`."""
    mine, theirs = option.trial.metrics[key], other.trial.metrics[key]
    if mine == theirs:
        return "the same"
    if abs(mine - theirs) <= (floor := noise_between(key, option.trial, other.trial)):
        return f"no different beyond the noise floor of {floor:.3f}"
    if is_count(key) and min(mine, theirs) > 0:
        factor = max(mine, theirs) / min(mine, theirs)
        size = f"{factor:.0f} times" if factor >= 9.95 else f"{factor:.1f} times"
        if factor < 1.95:
            size = f"{abs(mine / theirs - 1):.0%}"
        return f"{size} {'more' if mine > theirs else 'fewer'}"
    return f"{abs(mine - theirs):.3g} {'higher' if mine > theirs else 'lower'}"


def _knee(study: StudyView, choice: Choice) -> str:
    if choice.knee is None:
        return "none: the front of score over parameters does not bend beyond its error"
    same = ", the recommended one" if choice.knee == choice.recommended else ""
    return (
        f"{_who(study, choice.knee)}{same}: {_numbers(study, choice, choice.knee)}; the point of the front farthest "
        "above the line between its ends, parameters on a logarithmic scale"
    )


def _end(choice: Choice, way: str) -> str:
    if way == "less":
        return f"no trial on the front has {less_of(choice.costs[0])}"
    return "no dearer trial scores better"


def _nearest(study: StudyView, choice: Choice, limit: Limit, option: Option) -> str:
    others = [other for other in choice.limits if other != limit]
    start = f"  --{option_name(limit)} {_bound(limit)}:"
    value = option.score.value if limit.key == choice.primary else option.trial.metrics.get(limit.key)
    words = score_words(limit.key, option.score) if limit.key == choice.primary else number(limit.key, value)
    nearest = f"{_who(study, option)} has {words}"
    if not others:
        return f"{start} {nearest}"
    if not any(_breaks(option, other, choice) for other in others):
        return f"{start} within the other limits, {nearest}"
    keeping = sum(not _breaks(o, limit, choice) for o in choice.options)
    if keeping:
        verb = "trial keeps" if keeping == 1 else "trials keep"
        return f"{start} {keeping:,} {verb} it, but none of them the other limits"
    return f"{start} whatever the other limits, {nearest}"


def _limits(study: StudyView, choice: Choice, limits: list[Limit] | None = None) -> str:
    named = choice.limits if limits is None else limits
    return ", ".join(f"{metric_name(limit.key, study)} at {limit.bound} {_bound(limit)}" for limit in named)


def _bound(limit: Limit) -> str:
    return f"{limit.value:,.0f}" if is_count(limit.key) else f"{limit.value:g}"


def option_name(limit: Limit) -> str:
    """The command's option that set a limit."""
    names = {"trainable_params": "max-params", "latency_ratio": "max-latency-ratio"}
    return names.get(limit.key, "min-accuracy")


def _tested(choice: Choice) -> str:
    return " confirmed on the test split" if choice.options[0].score.source == "test" else ""


def _plural(word: str, count: int) -> str:
    return word if count == 1 else word + "s"
