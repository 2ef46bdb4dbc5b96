"""A study's report, as every command that writes one has it: finalists and importance included."""

from dataclasses import dataclass
from pathlib import Path

from adapter_sweep.records import StudyView
from adapter_sweep.report import Evidence, ReportPaths, evidence, write_report
from adapter_sweep.study.confirmation import read_study
from adapter_sweep.study.importance import with_importance
from adapter_sweep.study.ownership import check_not_anothers

__all__ = ["Reported", "report_study"]


@dataclass(frozen=True)
class Reported:
    """A report that was written.

    Attributes:
        study: what it is about.
        found: what its finalists say; None where it has none.
        paths: the files.
    """

    study: StudyView
    found: Evidence | None
    paths: ReportPaths


def report_study(name: str, *, url: str, results_dir: Path, folder: Path) -> Reported:
    """Read a study as it stands and write its report.

    Raises:
        UserInputError: there is no such study, or the folder is that of another ledger's.
        AdapterSweepError: the database cannot be used, or the folder cannot be written to.
    """
    study = read_study(name, url=url, results_dir=results_dir)
    check_not_anothers(folder, study.identity)
    study = with_importance(study)
    found = evidence(study)
    return Reported(study, found, write_report(study, folder, found))
