"""Writes a comparison's report into a folder of its own."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adapter_sweep.records import StudyView
from adapter_sweep.report.several.comparison import Comparison
from adapter_sweep.report.write import prepare_folder, write_file

__all__ = ["ComparisonPaths", "comparison_folder", "write_comparison"]

_LONGEST = 120  # characters of a folder's name: a name of a file may have 255 bytes


@dataclass(frozen=True)
class ComparisonPaths:
    """The files of one comparison; `regret_csv` is there for a task group alone."""

    report_html: Path
    report_md: Path
    compare_json: Path
    compare_csv: Path
    front_png: Path
    front_svg: Path
    regret_csv: Path | None


def comparison_folder(studies: Sequence[StudyView]) -> str:
    """The name of a comparison's folder: `compare-A+B`.

    No study can have it, and no other comparison: a study's name holds no `+`. Names too long for a folder are cut
    and told apart by a hash of all of them.
    """
    names = [study.name for study in studies]
    whole = "compare-" + "+".join(names)
    if len(whole) <= _LONGEST:
        return whole
    digest = hashlib.sha256("+".join(names).encode("utf-8")).hexdigest()[:8]
    return f"compare-{names[0][:60]}+{len(names) - 1}-more+{digest}"


def write_comparison(comparison: Comparison, results_dir: Path) -> ComparisonPaths:
    """Write all files of a comparison, in `results_dir` / `comparison_folder`.

    Raises:
        AdapterSweepError: the folder cannot be written to; the message names it.
    """
    from adapter_sweep.report.several.data import compare_csv, compare_json, regret_csv
    from adapter_sweep.report.several.figures import comparison_images
    from adapter_sweep.report.several.html import comparison_html
    from adapter_sweep.report.several.markdown import comparison_markdown

    folder = results_dir / comparison_folder(comparison.together.studies)
    prepare_folder(folder)
    group = comparison.group
    paths = ComparisonPaths(
        report_html=folder / "report.html",
        report_md=folder / "report.md",
        compare_json=folder / "compare.json",
        compare_csv=folder / "compare.csv",
        front_png=folder / "front.png",
        front_svg=folder / "front.svg",
        regret_csv=folder / "regret.csv" if group is not None else None,
    )
    png, svg = comparison_images(comparison.together.studies, comparison.chart, comparison.title)
    write_file(paths.compare_json, compare_json(comparison).encode("utf-8"))
    write_file(paths.compare_csv, compare_csv(comparison).encode("utf-8"))
    if group is not None and paths.regret_csv is not None:
        write_file(paths.regret_csv, regret_csv(group).encode("utf-8"))
    write_file(paths.front_png, png)
    write_file(paths.front_svg, svg)
    write_file(paths.report_md, comparison_markdown(comparison).encode("utf-8"))
    write_file(paths.report_html, comparison_html(comparison).encode("utf-8"))
    return paths
