"""report.md: the answer, the picture and the front, for a page that renders Markdown."""

import re
from collections.abc import Iterable, Sequence

from adapter_sweep.records import StudyView, TrialState
from adapter_sweep.report.answer import answer
from adapter_sweep.report.checks import checks
from adapter_sweep.report.confirmed import confirmed_rows, confirmed_sentences
from adapter_sweep.report.evidence import Evidence
from adapter_sweep.report.front import front
from adapter_sweep.report.hypervolume import hypervolume
from adapter_sweep.report.rows import IMPORTANCE_HELP, Rows, front_rows, importance_note, importance_rows, volume_text
from adapter_sweep.report.wording import command, one_line

__all__ = ["escape", "report_markdown", "table"]

_SPECIAL = re.compile(r"([\\`*_\[\]#|~$])")
_LISTED = 50  # commands and reasons at most; the other files hold all


def report_markdown(study: StudyView, found: Evidence | None = None) -> str:
    """The study as GitHub-flavoured Markdown beside `front.png`; `found` is what its confirmation shows."""
    said, members = answer(study), front(study)
    trouble = study.in_state(TrialState.FAILED, TrialState.REFUSED)
    confirmed = () if found is None else confirmed_sentences(study, found)
    parts = [f"# {escape(study.name)}", f"**{escape((*confirmed, said.headline)[0], 2000)}**"]
    if found is not None:
        parts += ["\n".join(f"- {escape(sentence, 2000)}" for sentence in confirmed[1:])]
        parts += ["## Finalists on the test split", table(confirmed_rows(study, found)), "## The search"]
        parts.append(escape(said.headline, 2000))
    parts.append("\n".join(f"- {escape(sentence, 2000)}" for sentence in said.details))
    parts.append("![The front: score over parameters and over latency](front.png)")
    if members:
        parts += ["## Trials on the front, cheapest first", table(front_rows(study))]
        parts.append("Commands that reproduce them:")
        parts.append(_code("\n".join(command(trial).replace("\n", " ") for trial in members[:_LISTED])))
    parts += ["## Checks", _grid(("check", "verdict", "what it means"), _checks(study), (False, False, False))]
    parts += _importance(study)
    volume = hypervolume(study)
    if volume is not None:
        parts += ["## Progress", escape(volume_text(study, volume), 2000)]
    if trouble:
        reasons = [(str(t.number), t.state.value, one_line(t.reason or "", 400)) for t in trouble[:_LISTED]]
        parts += [
            "## Failed and refused trials",
            _grid(("trial", "state", "reason"), reasons, (True, False, False)),
        ]
        if len(trouble) > _LISTED:
            parts.append(f"{len(trouble) - _LISTED} more are in `trials.csv`.")
    parts += ["## Provenance", _pairs(study.provenance.items())]
    parts += [
        "Search space:",
        _pairs(study.search_space.items()),
        "Objectives:",
        _pairs(study.objectives.items()),
    ]
    parts.append("Every trial is in `trials.csv`; `report.html` is interactive.")
    return "\n\n".join(part for part in parts if part) + "\n"


def escape(text: object, limit: int = 400) -> str:
    """Text that Markdown shows as it is, on one line: no markup, no HTML, no end of a table cell."""
    line = one_line(text, limit)
    line = _SPECIAL.sub(r"\\\1", line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
    # A bare address or mention would become a link.
    return line.replace("://", ":&#47;&#47;").replace("@", "&#64;").replace("www.", "www&#46;")


def table(rows: Rows) -> str:
    """A table as GitHub-flavoured Markdown, its cells escaped."""
    return _grid(rows.headers, rows.cells, rows.numeric)


def _importance(study: StudyView) -> list[str]:
    whole = importance_rows(study)
    parts = [table(whole)] if whole.cells else []
    for method in study.importance_within:
        rows = importance_rows(study, method)
        parts += [f"Among the trials of {escape(method)}:", table(rows)] if rows.cells else []
    note = escape(importance_note(study), 2000)
    return ["## Which parameter matters", *parts, f"{IMPORTANCE_HELP} {note}".strip()] if parts else []


def _checks(study: StudyView) -> list[tuple[str, str, str]]:
    return [(check.name, check.verdict.value, check.sentence) for check in checks(study)]


def _pairs(items: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"- {escape(key)}: {escape(value)}" for key, value in items) or "None recorded."


def _grid(headers: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool]) -> str:
    lines = [headers, ["---:" if right else "---" for right in numeric], *rows]
    cells = [[cell if index == 1 else escape(cell, 1000) for cell in line] for index, line in enumerate(lines)]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def _code(text: str) -> str:
    """A fenced block; the fence is longer than any run of backticks inside."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}sh\n{text}\n{fence}"
