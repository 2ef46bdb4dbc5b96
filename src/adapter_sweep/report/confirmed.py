"""The confirmed finalists as a table and in sentences: plain text, and no stronger than the evidence."""

from collections.abc import Iterable, Sequence

from adapter_sweep.records import StudyView
from adapter_sweep.report.choosing import Budget, choose
from adapter_sweep.report.evidence import Difference, Estimate, Evidence, Finalist, Label
from adapter_sweep.report.front import cost_objective
from adapter_sweep.report.rows import Rows
from adapter_sweep.report.scores import outdone_trials
from adapter_sweep.report.wording import costs_text, describe, metric_name, number, one_line, param, short_keys

__all__ = ["confirmed_rows", "confirmed_sentences", "to_ship"]

_SHOWN = 12  # anchors, or finalists of a kind, named in one sentence at most


def confirmed_rows(study: StudyView, found: Evidence) -> Rows:
    """The finalists, cheapest first, then the anchors, then the finalists without a score.

    Columns: who; the swept parameters by short key; the test score with its 95 % interval; where it stands; the
    probability of being on the front; the costs; the score's standard deviation over seeds; how many seeds.
    """
    names = short_keys(study)
    extra = {key for each in found.finalists for key in each.params} - set(names)
    names |= {key: one_line(key, 60) for key in sorted(extra)}
    costs = _costs(study, found)
    headers = ["trial", *names.values(), _score_name(found), "standing", "P(on the front)"]
    headers += [metric_name(key) for key in costs] + ["seed sd", "seeds"]
    blank = [""] * len(names)
    cells = [
        (
            one_line(each.configuration, 80),
            *(param(each.params[key]) if key in each.params else "" for key in names),
            _interval(each.score),
            "not comparable: a cost was not measured" if each.label is None else each.label.value,
            "" if each.front_probability is None else _probability(each.front_probability),
            *(number(key, each.metrics.get(key)) for key in costs),
            "" if each.seed_sd is None else f"{each.seed_sd:.3f}",
            _seeds(each),
        )
        for each in found.finalists
    ]
    rest = [""] * (len(costs) + 3)
    cells += [(one_line(each.name, 60), *blank, _interval(each.score), "anchor", *rest) for each in found.anchors]
    cells += [
        (one_line(name, 80), *blank, "", f"no score: {one_line(why, 120)}", *rest) for name, why in found.lost.items()
    ]
    words = {names[key] for each in found.finalists for key, value in each.params.items() if isinstance(value, str)}
    words |= {"trial", "standing"}
    return Rows(tuple(headers), tuple(cells), tuple(header not in words for header in headers))


def to_ship(study: StudyView, found: Evidence) -> Finalist | None:
    """The finalist that `choosing.choose` recommends without a budget; None where no seed was repeated.

    That is the best test score, or the cheapest finalist within one standard error of it that is dearer on nothing,
    among the study's own trials that no reference point outdoes. One that is dominated is not chosen.
    """
    return _shipped(study, found)[0] if found.seeds_known else None


def _shipped(study: StudyView, found: Evidence) -> tuple[Finalist, Finalist]:
    """What to ship, and the best score of those it was chosen from."""
    choice = choose(study, Budget())
    by_trial = {each.trial: each for each in found.finalists if each.trial is not None}
    best = _best(list(by_trial.values()) or found.finalists)
    if choice.recommended is None or choice.best is None or choice.recommended.score.source != "test":
        return best, best
    ship = by_trial.get(choice.recommended.trial.number, best)
    best = by_trial.get(choice.best.trial.number, best)
    return (best if ship.label is Label.DOMINATED else ship), best


def confirmed_sentences(study: StudyView, found: Evidence) -> tuple[str, ...]:
    """What the confirmation says: which finalist to ship, where the others stand, beside which anchors, what failed."""
    (ship, best), sentences = _shipped(study, found), []
    if not found.seeds_known:
        best = ship = _best(found.finalists)
        sentences.append(
            f"{_who(study, best, capital=True)} has the highest {_score_name(found)}, {_interval(best.score)}"
            f"{_paid(study, best)}, but every finalist was trained on one seed only: nothing is known of what another "
            f"seed would have done, so the intervals are about these weights and no finalist is preferred by its score."
        )
    else:
        beyond = _beyond(found, ship)
        start = (
            f"Ship {_who(study, ship)}"
            if beyond is None
            else (
                f"No finalist is worth shipping: {one_line(beyond, 60)} scores higher beyond chance. "
                f"First among them is {_who(study, ship)}"
            )
        )
        sentences.append(
            f"{start}: {_score_name(found)} {ship.score.value:.3f} (95 % interval "
            f"{ship.score.low:.3f} to {ship.score.high:.3f}; {_count(len(ship.seeds), 'fresh seed')}, "
            f"{_count(found.rows, 'test row')}){_paid(study, ship)}."
        )
        sentences += [_why_it(study, found, best, ship), *_outdone(study, found, ship), *_guests(study, found, ship)]
    sentences += [*_standing(found), *_anchors(found, ship), *_lost(found)]
    if found.seeds_known:
        sentences.append(
            "The 95 % intervals are about other rows of the same source and other seeds; that any finalist is called "
            "dominated wrongly happens in at most 5 % of studies."
        )
    return tuple(sentences)


def _why_it(study: StudyView, found: Evidence, best: Finalist, ship: Finalist) -> str:
    if len(found.finalists) == 1:
        return "It is the only finalist with a score."
    if ship is not best:
        gap = _difference(found, best, ship).gain
        return (
            f"It is the cheapest finalist within one standard error of the best score, {best.score.value:.3f} of "
            f"{_who(study, best)}{_paid(study, best)}, that is dearer on nothing; it may be up to {gap.high:.3f} lower "
            f"(difference {gap.value:.3f}, {gap.low:.3f} to {gap.high:.3f})."
        )
    if found.finalists[0] is ship:
        return "It has the best score, and no finalist is cheaper."
    return "It has the best score; no finalist within one standard error is cheaper without being dearer elsewhere."


def _outdone(study: StudyView, found: Evidence, ship: Finalist) -> list[str]:
    """Cheaper finalists that were passed over, as what trains no adapter is better."""
    outdone = outdone_trials(study)
    if ship.trial in outdone:
        return []
    names = [
        each.configuration
        for each in found.finalists[: found.finalists.index(ship)]
        if each.trial in outdone and each.label is not Label.DOMINATED
    ]
    if not names:
        return []
    listed = _listed(one_line(name, 80) for name in names)
    return [f"Passed over, as a reference point scores higher beyond chance: {listed}."]


def _guests(study: StudyView, found: Evidence, ship: Finalist) -> list[str]:
    """Configurations of other studies that score higher: they are no trial of this one, so not chosen from."""
    higher = [each for each in found.finalists if each.trial is None and each.score.value > ship.score.value]
    if ship.trial is None or not higher:
        return []
    best = _best(higher)
    return [
        f"{_who(study, best, capital=True)}, of another study, scores {best.score.value:.3f} here: no trial of this "
        "study has tried it, so it is not chosen from."
    ]


def _standing(found: Evidence) -> list[str]:
    told = []
    for label in Label:
        those = [each.configuration for each in found.finalists if each.label is label]
        if those:
            told.append(f"{label.value}: {_listed(one_line(name, 80) for name in those)}")
    unknown = [one_line(each.configuration, 80) for each in found.finalists if each.label is None]
    if unknown:
        told.append(f"not comparable, as a cost was not measured: {_listed(unknown)}")
    return [f"Where the finalists stand by score and costs: {'; '.join(told)}."] if len(found.finalists) > 1 else []


def _anchors(found: Evidence, chosen: Finalist) -> list[str]:
    gains = [each for each in found.over_anchors if each.first == chosen.configuration]
    if not gains:
        return []
    scores = {each.name: each.score.value for each in found.anchors}
    told = [
        f"{one_line(each.second, 60)} {scores[each.second]:.3f} (gain {each.gain.value:.3f}, "
        f"{each.gain.low:.3f} to {each.gain.high:.3f})"
        for each in gains
    ]
    sentences = [f"On the same rows: {_listed(told, '; ')}."]
    sentences += [
        f"No gain over “{one_line(each.second, 60)}” is shown." for each in gains[:_SHOWN] if each.gain.low <= 0
    ]
    return sentences


def _beyond(found: Evidence, chosen: Finalist) -> str | None:
    """The highest of the reference points that score higher than a finalist beyond chance; None where none does."""
    above = {e.second for e in found.over_anchors if e.first == chosen.configuration and e.gain.high < 0}
    names = [each.name for each in sorted(found.anchors, key=lambda a: -a.score.value) if each.name in above]
    return names[0] if names else None


def _lost(found: Evidence) -> list[str]:
    runs = sum(len(each.lost) for each in found.finalists)
    sentences = []
    if runs:
        sentences.append(f"{_count(runs, 'run')} of scored finalists failed or did not end, and {_are(runs)} left out.")
    if found.lost:
        names = _listed(one_line(name, 80) for name in found.lost)
        sentences.append(f"Without any score, and left out: {names}.")
    return sentences


def _best(finalists: Sequence[Finalist]) -> Finalist:
    return max(finalists, key=lambda each: each.score.value)


def _difference(found: Evidence, best: Finalist, other: Finalist) -> Difference:
    return found.difference(best.configuration, other.configuration)


def _who(study: StudyView, each: Finalist, *, capital: bool = False) -> str:
    words = describe(short_keys(study), each)
    name = f"{'Trial' if capital else 'trial'} {one_line(each.configuration, 80)}"
    return f"{name} ({words})" if words else name


def _paid(study: StudyView, each: Finalist) -> str:
    return costs_text([cost_objective(study), "latency_ratio"], each.metrics)


def _costs(study: StudyView, found: Evidence) -> list[str]:
    wanted = [key for key in study.objectives if key not in ("accuracy", found.metric)]
    wanted += ["trainable_params", "latency_ratio"]
    return [key for key in dict.fromkeys(wanted) if any(key in each.metrics for each in found.finalists)]


def _score_name(found: Evidence) -> str:
    return f"test {metric_name(found.metric)}"


def _interval(score: Estimate) -> str:
    return f"{score.value:.3f} ({score.low:.3f} to {score.high:.3f})"


def _seeds(each: Finalist) -> str:
    tried = len(each.seeds) + len(each.lost)
    return f"{len(each.seeds)} of {tried}" if each.lost else str(tried)


def _probability(value: float) -> str:
    """A share of draws, never more certain than their number lets it be."""
    if value in (0.0, 1.0):
        return ">0.99" if value else "<0.01"
    return f"{min(max(value, 0.01), 0.99):.2f}"


def _listed(items: Iterable[str], separator: str = ", ") -> str:
    known: Sequence[str] = list(items)
    return separator.join(known[:_SHOWN]) + (
        f"{separator}and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    )


def _count(number_of: int, word: str) -> str:
    return f"{number_of:,} {word}" + ("" if number_of == 1 else "s")


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
