"""Trials as rows of readable cells: for the terminal, report.md and report.html."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from adapter_sweep.config.naming import METHOD, key_of, owner_of
from adapter_sweep.records import StudyView, TrialState, TrialView
from adapter_sweep.report.answer import score_text
from adapter_sweep.report.front import front, primary_objective
from adapter_sweep.report.hypervolume import Hypervolume
from adapter_sweep.report.wording import metric_name, number, one_line, param, ratio_text, short_keys, task_metric

__all__ = [
    "IMPORTANCE_HELP",
    "Rows",
    "front_rows",
    "importance_note",
    "importance_rows",
    "shown_metrics",
    "trial_rows",
    "volume_text",
]

IMPORTANCE_HELP = (
    "The share of each objective's variance over the search space that a parameter explains by itself, by fANOVA "
    "(Hutter et al., 2014); the shares of an objective sum to 1, and what parameters do together is left out. It "
    "tells what mattered in this space, not in a wider one."
)
_BESIDE = ("trainable_params", "latency_ratio")
_MORE = ("latency_p50_ms", "train_seconds")


@dataclass(frozen=True)
class Rows:
    """A table of plain text: no markup, nothing escaped, one line a cell.

    Attributes:
        headers: the columns' names.
        cells: one tuple a row, as long as `headers`.
        numeric: per column, whether it holds numbers (align right).
    """

    headers: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]


def front_rows(study: StudyView) -> Rows:
    """The front, cheapest first, e.g. for the terminal."""
    return trial_rows(study, front(study))


def trial_rows(study: StudyView, trials: Sequence[TrialView]) -> Rows:
    """Any trials, by the order given: number, swept parameters by short key, `shown_metrics`, the score by its name."""
    names, primary, metrics = short_keys(study), primary_objective(study), shown_metrics(study)
    headers = ["trial", *names.values(), *(task_metric(study) if key == "accuracy" else key for key in metrics)]
    words = {name for key, name in names.items() if any(isinstance(t.params.get(key), str) for t in study.trials)}
    cells = [
        (
            str(trial.number),
            *(param(trial.params[key]) if key in trial.params else "" for key in names),
            *(_cell(study, trial, key, primary) for key in metrics),
        )
        for trial in trials
    ]
    return Rows(tuple(headers), tuple(cells), tuple(name not in words for name in headers))


def shown_metrics(study: StudyView, *, every: bool = False) -> list[str]:
    """The recorded numbers a table shows: the objectives, the score first, then the usual costs that were measured.

    Args:
        study: whose numbers.
        every: whether to add those of less weight.
    """
    wanted = dict.fromkeys([primary_objective(study), *study.objectives, *_BESIDE, *(_MORE if every else ())])
    return [key for key in wanted if key in study.objectives or any(key in t.metrics for t in study.trials)]


def importance_rows(study: StudyView, method: str | None = None) -> Rows:
    """A row for each searched parameter, a column of percentages for each objective; no row where nothing is known.

    Of all trials, or of those of one method.
    """
    names = short_keys(study)
    told = study.importance if method is None else study.importance_within.get(method, {})
    shares = {key: found for key, found in told.items() if found}
    # By the score's shares: its parameter is what most readers look for.
    first = next(iter(shares.values()), {})
    keys = [key for key in names if any(key in found for found in shares.values())]
    keys.sort(key=lambda key: -first.get(key, 0.0))
    cells = [(names[key], *(f"{found.get(key, 0.0):.0%}" for found in shares.values())) for key in keys]
    return Rows(
        ("parameter", *(metric_name(key, study) for key in shares)), tuple(cells), (False, *(True for _ in shares))
    )


def importance_note(study: StudyView) -> str:
    """What the shares leave out where methods are chosen between; empty where they are not."""
    if METHOD not in study.search_space:
        return ""
    own = {key_of(name) for name in study.search_space if owner_of(name) is not None}
    told = "The shares over all trials are of the method and of what all methods share"
    if not study.importance:
        told = "Over all trials nothing is told, as the methods share too little, or there are too few of them"
    if own:
        told += "; what a method has a range of its own for is told for that method alone"
    complete = Counter(str(trial.params.get(METHOD)) for trial in study.in_state(TrialState.COMPLETE))
    few = [
        f"{one_line(method, 40)} ({count:,})"
        for method, count in complete.items()
        if method not in study.importance_within
    ]
    if few:
        told += f". Not told, with too few complete trials or fewer than two parameters that vary: {', '.join(few)}"
    return f"{told}."


def volume_text(study: StudyView, volume: Hypervolume) -> str:
    """The hypervolume and where it was measured, in sentences."""
    where = [f"{metric_name(key, study)} {number(key, value)}" for key, value in volume.box.reference.items()]
    first = next(trial for trial, share in volume.over_trials if share == volume.value)
    log = ", ".join(metric_name(key) for key in volume.box.log)
    return (
        f"The front dominates {volume.value:.1%} of the space between the best value seen of each objective and the "
        f"reference point ({', '.join(where)}){f', with {log} by logarithm' if log else ''}. "
        f"It has not grown since trial {first}."
    )


def _cell(study: StudyView, trial: TrialView, key: str, primary: str) -> str:
    if key == primary:
        return score_text(study, trial, key)
    if key.endswith("latency_ratio"):
        return ratio_text(trial, key)
    return number(key, trial.metrics.get(key))
