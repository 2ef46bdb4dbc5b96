"""`report` of several studies: their fronts over one another, or the task group they make. Needs no torch."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from adapter_sweep.cli.printing import open_console
from adapter_sweep.config import SweepConfig
from adapter_sweep.errors import UserInputError
from adapter_sweep.records import StudyView
from adapter_sweep.report.front import primary_objective
from adapter_sweep.report.several import compare, write_comparison
from adapter_sweep.study.confirmation import read_study
from adapter_sweep.study.importance import importance
from adapter_sweep.study.ledger import storage_url

__all__ = ["write_several_report"]


def write_several_report(studies: Sequence[str], config: SweepConfig) -> None:
    """Write the report of several studies of one ledger, and print what it says.

    Raises:
        UserInputError: every study that is not there, or why they cannot stand side by side.
    """
    console = open_console()
    results_dir = Path(config.results_dir).expanduser()
    url = storage_url(config.study.storage, results_dir)
    views: list[StudyView] = []
    problems: list[str] = []
    for name in studies:
        try:
            views.append(_with_importance(read_study(name, url=url, results_dir=results_dir)))
        except UserInputError as error:
            problems.extend(error.problems)
    if problems:
        raise UserInputError(*dict.fromkeys(problems))
    comparison = compare(views)
    paths = write_comparison(comparison, results_dir)
    console.print(comparison.headline)
    for sentence in comparison.details:
        console.print(f"- {sentence}")
    tables = (paths.compare_csv, paths.compare_json, *([paths.regret_csv] if paths.regret_csv else []))
    for path in (paths.report_html, paths.report_md, *tables, paths.front_png):
        console.print(str(path))


def _with_importance(view: StudyView) -> StudyView:
    """A study that knows what mattered to its score: that of its costs is not asked for here, and takes as long."""
    key = primary_objective(view)
    alone = replace(view, objectives={aim: way for aim, way in view.objectives.items() if aim == key})
    return replace(view, importance=importance(alone))
