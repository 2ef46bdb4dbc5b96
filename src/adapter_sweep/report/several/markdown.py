"""report.md of a comparison: the answer, the picture and the tables."""

from adapter_sweep.report.markdown import escape, table
from adapter_sweep.report.several.comparison import Comparison
from adapter_sweep.report.several.sections import Section

__all__ = ["comparison_markdown"]


def comparison_markdown(comparison: Comparison) -> str:
    """The comparison as GitHub-flavoured Markdown beside `front.png`."""
    parts = [f"# {escape(comparison.title)}", f"**{escape(comparison.headline, 2000)}**"]
    parts.append("\n".join(f"- {escape(sentence, 2000)}" for sentence in comparison.details))
    parts += [_section(section) for section in comparison.answers]
    parts.append("![The fronts: score over parameters and over latency](front.png)")
    parts += [_section(section) for section in comparison.sections]
    parts.append("The same as data is in `compare.json` and `compare.csv`; `report.html` is interactive.")
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(section: Section) -> str:
    notes = [escape(note, 2000) for note in section.notes]
    return "\n\n".join([f"## {escape(section.title)}", *notes, table(section.rows)])
