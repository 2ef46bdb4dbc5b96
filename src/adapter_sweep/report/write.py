"""Writes a study's report: every file aside first, then renamed, so that none is ever half a file."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adapter_sweep.durable import replacing
from adapter_sweep.errors import AdapterSweepError
from adapter_sweep.records import StudyView

if TYPE_CHECKING:
    from adapter_sweep.report.evidence import Evidence

__all__ = ["ReportPaths", "prepare_folder", "write_file", "write_report"]


@dataclass(frozen=True)
class ReportPaths:
    """The files of one report."""

    trials_csv: Path
    front_csv: Path
    front_json: Path
    report_html: Path
    report_md: Path
    front_png: Path
    front_svg: Path


def write_report(study: StudyView, folder: Path, found: "Evidence | None" = None) -> ReportPaths:
    """Write all files of a study's report.

    Args:
        study: the study, with any number of trials in any state.
        folder: the study's folder; it is made if only its last part is missing.
        found: what its finalists say, where the caller knows; else it is found out here.

    Returns:
        The paths written.

    Raises:
        AdapterSweepError: the folder is missing or cannot be written to; the message names it.
    """
    from adapter_sweep.report.evidence import evidence
    from adapter_sweep.report.figures import front_images
    from adapter_sweep.report.front import front
    from adapter_sweep.report.html import report_html
    from adapter_sweep.report.markdown import report_markdown
    from adapter_sweep.report.tables import front_json, trials_csv

    prepare_folder(folder)
    paths = ReportPaths(
        trials_csv=folder / "trials.csv",
        front_csv=folder / "front.csv",
        front_json=folder / "front.json",
        report_html=folder / "report.html",
        report_md=folder / "report.md",
        front_png=folder / "front.png",
        front_svg=folder / "front.svg",
    )
    png, svg = front_images(study)
    found = found or evidence(study)
    contents = {
        paths.trials_csv: trials_csv(study, study.trials).encode("utf-8"),
        paths.front_csv: trials_csv(study, front(study)).encode("utf-8"),
        paths.front_json: front_json(study, found).encode("utf-8"),
        paths.front_png: png,
        paths.front_svg: svg,
        paths.report_md: report_markdown(study, found).encode("utf-8"),
        paths.report_html: report_html(study, found).encode("utf-8"),
    }
    for path, content in contents.items():
        write_file(path, content)
    return paths


def prepare_folder(folder: Path) -> None:
    """Find out before any work whether the folder can be written to.

    Raises:
        AdapterSweepError: it cannot; the message names it.
    """
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except FileNotFoundError as error:
        raise AdapterSweepError(f"cannot write the report: the folder {folder.parent} does not exist") from error
    except OSError as error:
        raise AdapterSweepError(f"cannot write the report to {folder}: {error.strerror or error}") from error


def write_file(path: Path, content: bytes) -> None:
    """Write a file that is whole or not there.

    Raises:
        AdapterSweepError: it cannot be written; the message names it.
    """
    try:
        with replacing(path) as aside:
            aside.write_bytes(content)
    except OSError as error:
        raise AdapterSweepError(f"cannot write {path}: {error.strerror or error}") from error
