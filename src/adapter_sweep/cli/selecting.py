"""Which configurations `confirm` takes, found out before anything heavy is imported."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapter_sweep.cli.printing import open_console
from adapter_sweep.config.compose import Composed
from adapter_sweep.config.definitions import EFFORT, MEMORY, as_defined_now
from adapter_sweep.errors import UserInputError
from adapter_sweep.records import StudyView
from adapter_sweep.report.finalists import Finalist, best_of, finalists
from adapter_sweep.study.confirmation import read_study
from adapter_sweep.study.ledger import storage_url

__all__ = ["Selection", "select_finalists"]

_NOT_COMPARED = ("seed", "data_seed")  # they are given fresh ones
_ALLOWED = (
    "confirm",
    "workers",
    "tracking",
    "results_dir",
    "study.storage",
    *(f"train.{key}" for key in EFFORT if key != "score_epochs"),
)


@dataclass(frozen=True)
class Selection:
    """Studies, and by each one's name its finalists."""

    studies: tuple[StudyView, ...]
    finalists: Mapping[str, Sequence[Finalist]]


def select_finalists(names: Sequence[str], composed: Composed) -> Selection:
    """Each study's finalists; of several studies, each one's best is among those of all that it fits.

    Raises:
        UserInputError: a study is not there, has no finalists, or the command sets what the study has set.
        AdapterSweepError: the store cannot be used.
    """
    _refuse_other_settings(composed)
    console = open_console()
    results_dir = Path(composed.config.results_dir).expanduser()
    url = storage_url(composed.config.study.storage, results_dir)
    views: list[StudyView] = []
    problems: list[str] = []
    for name in dict.fromkeys(names):
        try:
            views.append(read_study(name, url=url, results_dir=results_dir))
        except UserInputError as error:
            problems += error.problems
    problems += [problem for view in views for problem in _memory_searched(view, composed)]
    chosen = {view.name: finalists(view, composed.config.confirm.finalists) for view in views}
    problems += [f"study {name!r} has no finalists: no trial is complete" for name, own in chosen.items() if not own]
    problems += [
        f"study {view.name!r} holds single trials; only what adapter-sweep run has searched can be confirmed"
        for view in views
        if not view.search_space
    ]
    if problems:
        raise UserInputError(*dict.fromkeys(problems))
    for view, other in itertools.permutations(views, 2):
        if differing := _differing(view, other):
            console.print(
                f"{view.name}: the best of {other.name} is not tried here, as they differ in {', '.join(differing)}"
            )
        elif best := best_of(other, view, chosen[view.name]):
            chosen[view.name].append(best)
    return Selection(tuple(views), chosen)


def _differing(study: StudyView, other: StudyView) -> list[str]:
    """What keeps one study's configurations from being tried in another: their names are not the whole of them."""

    def told(view: StudyView) -> dict[str, Any]:
        own: Any = as_defined_now(view.config)
        train = {key: value for key, value in own["train"].items() if key not in (*EFFORT, *_NOT_COMPARED)}
        space = {key: "".join(text.split()) for key, text in view.search_space.items()}
        sections: dict[str, Any] = {key: own.get(key, {}) for key in ("backbone", "method", "methods")}
        return {**sections, "train": train, "search_space": space}

    mine, theirs = told(study), told(other)
    return [
        f"{section}.{key}"
        for section in mine
        for key in {**mine[section], **theirs[section]}
        if mine[section].get(key) != theirs[section].get(key)
    ]


def _memory_searched(view: StudyView, composed: Composed) -> list[str]:
    """What is wrong with another use of memory where the study's choice was made by memory."""
    given = [text.partition("=")[0].lstrip("+~") for text in composed.overrides]
    return [
        f"train.{key}: peak_train_memory_mb is an objective of study {view.name!r}, and depends on it"
        for key in MEMORY
        if f"train.{key}" in given and "peak_train_memory_mb" in view.objectives
    ]


def _refuse_other_settings(composed: Composed) -> None:
    given = [text.partition("=")[0].lstrip("+~") for text in composed.overrides] + list(composed.ranges)
    wrong = [key for key in given if not any(key == one or key.startswith(f"{one}.") for one in _ALLOWED)]
    if wrong:
        raise UserInputError(
            *(
                f"{key}: finalists are trained as their study trained them; allowed here: {', '.join(_ALLOWED)}"
                for key in wrong
            )
        )
