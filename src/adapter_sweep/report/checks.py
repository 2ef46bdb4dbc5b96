"""What to look at before a study is believed: each check in a sentence, none stronger than its data."""

import itertools
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from adapter_sweep.records import StudyView, TrialState, TrialView
from adapter_sweep.report.checks_space import edge_remarks, size_remark
from adapter_sweep.report.front import front, primary_objective
from adapter_sweep.report.intervals import standard_error
from adapter_sweep.report.noise import NOISY
from adapter_sweep.report.scales import searched_keys
from adapter_sweep.report.scores import SEEDS
from adapter_sweep.report.wording import metric_name, one_line

__all__ = ["Check", "Verdict", "checks"]

_FAILED_SHARE = 0.10  # beyond, what fails is no accident
_REFUSED_SHARE = 0.50  # beyond, most of the search space is outside the budget
_VERSION = ("adapter-sweep", "code_commit")
_NAMED = 8  # trials or facts named in a sentence at most


class Verdict(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    LOOK = "look at this"
    UNKNOWN = "cannot tell"


@dataclass(frozen=True)
class Check:
    """One check: what was looked at, how it ended, and what that means, in a sentence."""

    name: str
    verdict: Verdict
    sentence: str


def checks(study: StudyView) -> tuple[Check, ...]:
    """Every check of a study, always the same ones in the same order."""
    return tuple(make(study) for make in _CHECKS)


def _edges(study: StudyView) -> Check:
    name = "Edge of the search space"
    known, remarks = edge_remarks(study)
    if not known:
        return Check(name, Verdict.UNKNOWN, "No trial on the front has a parameter that was searched over a range.")
    if remarks:
        return Check(name, Verdict.LOOK, " ".join(remarks) + " A wider range may hold better ones.")
    return Check(name, Verdict.PASSED, "The best trials lie inside the ranges searched, not at their ends.")


def _size(study: StudyView) -> Check:
    enough, sentence = size_remark(study)
    verdict = Verdict.UNKNOWN if enough is None else Verdict.PASSED if enough else Verdict.LOOK
    return Check("Trials for the search space", verdict, sentence)


def _failed(study: StudyView) -> Check:
    name, ended = "Failed trials", _ended(study)
    if not ended:
        return Check(name, Verdict.UNKNOWN, "No trial has ended.")
    count = len(study.in_state(TrialState.FAILED))
    if not count:
        return Check(name, Verdict.PASSED, "None failed.")
    sentence = f"{_of(count, len(ended))} failed; the reasons are listed below."
    return Check(name, Verdict.LOOK if count > _FAILED_SHARE * len(ended) else Verdict.PASSED, sentence)


def _refused(study: StudyView) -> Check:
    name, ended = "Refused trials", _ended(study)
    if not ended:
        return Check(name, Verdict.UNKNOWN, "No trial has ended.")
    count = len(study.in_state(TrialState.REFUSED))
    if not count:
        return Check(name, Verdict.PASSED, "None was over the budget.")
    if count > _REFUSED_SHARE * len(ended):
        return Check(
            name, Verdict.LOOK, f"{_of(count, len(ended))} were over the budget: most of the space is outside it."
        )
    return Check(name, Verdict.PASSED, f"{_of(count, len(ended))} were over the budget, and never trained.")


def _differences(study: StudyView) -> Check:
    name, primary, members = "Differences and chance", primary_objective(study), front(study)
    score = metric_name(primary, study)
    ranked = sorted(members, key=lambda trial: trial.metrics[primary])
    pairs = list(itertools.pairwise(ranked))
    if not pairs:
        return Check(name, Verdict.UNKNOWN, "Fewer than two trials are on the front, so there is nothing to compare.")
    close = 0
    for low, high in pairs:
        errors = [standard_error(study, trial, primary) for trial in (low, high)]
        known = [error for error in errors if error is not None]
        if len(known) < len(errors):
            return Check(name, Verdict.UNKNOWN, f"The error of {score} is not known for this metric.")
        # Equal scores make no claim that chance could undo.
        close += 0 < high.metrics[primary] - low.metrics[primary] < max(known)
    if not close:
        sentence = f"Neighbours on the front differ in {score} by a standard error or more, or not at all."
        return Check(name, Verdict.PASSED, sentence)
    return Check(
        name,
        Verdict.LOOK,
        f"{_of(close, len(pairs), 'pair')} of neighbours on the front differ in {score} by less than "
        "one standard error: their order may be chance.",
    )


def _seeds(study: StudyView) -> Check:
    name, confirmed = "Differences and seeds", study.confirmation
    if confirmed is None or len(confirmed.seeds) < 2:
        if any(key in searched_keys(study) for key in SEEDS):
            sentence = (
                "Seeds were searched like other parameters; adapter-sweep confirm tells what another one changes."
            )
        else:
            sentence = "Each configuration was trained on one seed: how much another seed changes is not known."
        return Check(name, Verdict.UNKNOWN, sentence)
    scores: dict[str, list[float]] = {}
    for run in confirmed.runs:
        score = run.metrics.get("test_accuracy", math.nan)
        if run.state is TrialState.COMPLETE and math.isfinite(score):
            scores.setdefault(run.configuration, []).append(score)
    several = [values for values in scores.values() if len(values) > 1]
    if len(several) < 2:
        return Check(name, Verdict.UNKNOWN, "Fewer than two configurations were confirmed on several seeds.")
    spread = math.sqrt(statistics.fmean(statistics.variance(values) for values in several))
    means = sorted(statistics.fmean(values) for values in several)
    gaps = [high - low for low, high in itertools.pairwise(means)]
    close = sum(gap <= spread for gap in gaps)
    if not close:
        return Check(name, Verdict.PASSED, f"Confirmed configurations differ by more than seeds do ({spread:.3f}).")
    return Check(
        name,
        Verdict.LOOK,
        f"{_of(close, len(gaps), 'pair')} of neighbouring confirmed configurations differ on the test split by no "
        f"more than seeds do (standard deviation {spread:.3f}).",
    )


def _latency(study: StudyView) -> Check:
    name = "Latency readings"
    read = [trial for trial in study.in_state(TrialState.COMPLETE) if any(key in trial.metrics for key in NOISY)]
    if not read:
        return Check(name, Verdict.UNKNOWN, "No latency was read.")
    noisy = [trial for trial in read if any(trial.metrics.get(key) for key in NOISY)]
    members = {trial.number for trial in front(study)}
    if not noisy:
        return Check(name, Verdict.PASSED, "None was noisy: each reading's IQR is within 10 % of its median.")
    on_front = [trial.number for trial in noisy if trial.number in members]
    tail = f"; on the front: {_listed([str(n) for n in on_front])}" if on_front else "; none of them is on the front"
    sentence = f"{_of(len(noisy), len(read))} have a noisy reading (IQR over 10 % of the median){tail}."
    return Check(name, Verdict.LOOK, sentence)


def _tree(study: StudyView) -> Check:
    name = "Code version"
    sources = [study.provenance, *(trial.provenance for trial in study.in_state(TrialState.COMPLETE))]
    if any(source.get("code_dirty") == "true" for source in sources):
        return Check(
            name, Verdict.LOOK, "The code was changed after its last commit: the commit named does not repeat it."
        )
    for key in _VERSION[::-1]:
        known = list(dict.fromkeys(source[key] for source in sources if source.get(key)))
        what = "commit" if key == "code_commit" else "release"
        if len(known) > 1:
            named = _listed([one_line(each[:12]) for each in known])
            return Check(name, Verdict.LOOK, f"Trials are of several {what}s of the code: {named}.")
        if known:
            return Check(name, Verdict.PASSED, f"The code was that of {what} {one_line(known[0][:12])}, unchanged.")
    return Check(name, Verdict.UNKNOWN, "No version of the code was recorded.")


def _versions(study: StudyView) -> Check:
    name = "One setting for all trials"
    known = [trial.provenance for trial in study.in_state(TrialState.COMPLETE) if trial.provenance]
    if len(known) < 2:
        return Check(name, Verdict.UNKNOWN, "Fewer than two trials recorded where they come from.")
    # Why a precision was chosen may read otherwise where the choice is the same.
    keys = dict.fromkeys(key for facts in known for key in facts if not key.endswith("_reason"))
    differing = [key for key in keys if len({facts[key] for facts in known if key in facts}) > 1]
    if differing:
        named = _listed([one_line(key, 40) for key in differing])
        return Check(name, Verdict.LOOK, f"Between trials these differ: {named}. Their numbers may not be comparable.")
    return Check(name, Verdict.PASSED, "All trials had the same versions, model, data and device.")


_CHECKS: tuple[Callable[[StudyView], Check], ...] = (
    _edges,
    _size,
    _failed,
    _refused,
    _differences,
    _seeds,
    _latency,
    _tree,
    _versions,
)


def _ended(study: StudyView) -> list[TrialView]:
    return [trial for trial in study.counted() if trial.state is not TrialState.RUNNING]


def _of(count: int, total: int, word: str = "trial") -> str:
    return f"{count:,} of {total:,} {word}{'s' * (total != 1)} ({100 * count / total:.3g} %)"


def _listed(words: list[str]) -> str:
    return ", ".join(words[:_NAMED]) + (f" and {len(words) - _NAMED:,} more" if len(words) > _NAMED else "")
