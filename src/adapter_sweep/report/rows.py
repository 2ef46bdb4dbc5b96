"""Trials as rows of readable cells: for the terminal, report.md and report.html."""

from collections.abc import Sequence
from dataclasses import dataclass

from adapter_sweep.records import StudyView, TrialView
from adapter_sweep.report.answer import score_text
from adapter_sweep.report.front import front, primary_objective
from adapter_sweep.report.wording import number, param, ratio_text, short_keys

__all__ = ["Rows", "front_rows", "trial_rows"]

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


def trial_rows(study: StudyView, trials: Sequence[TrialView], *, every: bool = False) -> Rows:
    """Any trials: number, swept parameters by short key, objectives, then the usual costs that were measured.

    Args:
        study: where the trials are from.
        trials: the rows, in this order.
        every: whether to add the trial's state and the numbers of less weight.
    """
    names, primary = short_keys(study), primary_objective(study)
    wanted = dict.fromkeys([primary, *study.objectives, *_BESIDE, *(_MORE if every else ())])
    metrics = [key for key in wanted if key in study.objectives or any(key in t.metrics for t in study.trials)]
    headers = ["trial", *(["state"] if every else []), *names.values(), *metrics]
    words = {name for key, name in names.items() if any(isinstance(t.params.get(key), str) for t in study.trials)}
    cells = [
        (
            str(trial.number),
            *([trial.state.value] if every else []),
            *(param(trial.params[key]) if key in trial.params else "" for key in names),
            *(_cell(study, trial, key, primary) for key in metrics),
        )
        for trial in trials
    ]
    return Rows(tuple(headers), tuple(cells), tuple(name not in words and name != "state" for name in headers))


def _cell(study: StudyView, trial: TrialView, key: str, primary: str) -> str:
    if key == primary:
        return score_text(study, trial, key)
    if key.endswith("latency_ratio"):
        return ratio_text(trial, key)
    return number(key, trial.metrics.get(key))
