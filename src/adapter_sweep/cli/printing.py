"""A study's front and a trial's record, in the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from adapter_sweep.records import StudyView, TrialView, metric_help
from adapter_sweep.report import Evidence, Rows, answer, confirmed_rows, confirmed_sentences, front_rows

__all__ = ["open_console", "print_columns", "print_confirmed", "print_front", "print_record"]


def open_console() -> Console:
    """A console that prints what it is given: no path is folded, no bracket in it read as markup, no word as emoji."""
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


def print_front(console: Console, study: StudyView) -> None:
    """The front as a table, and what it says in a sentence."""
    rows = front_rows(study)
    if rows.cells:
        console.print(f"\nPareto front of {study.name}")
        _print_columns(console, rows)
    console.print(f"\n{answer(study).headline}\n")


def print_confirmed(console: Console, study: StudyView, found: Evidence) -> None:
    """The finalists on the test split as a table, and what they say in sentences."""
    console.print(f"\nFinalists of {study.name} on the test split")
    _print_columns(console, confirmed_rows(study, found))
    console.print()
    for sentence in confirmed_sentences(study, found):
        console.print(sentence)
    console.print()


def _print_columns(console: Console, rows: Rows) -> None:
    print_columns(console, rows.headers, rows.cells, rows.numeric)


def print_columns(
    console: Console, headers: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool]
) -> None:
    """Plain aligned columns: a terminal that is too narrow wraps a line, where rich's table would drop its digits."""
    lines = [headers, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    for line in lines:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ]
        console.print("  ".join(cells).rstrip())


def print_record(console: Console, trial: TrialView) -> None:
    """Everything recorded of one trial."""
    table = Table(title=f"trial {trial.number}: {trial.state}", title_justify="left", show_edge=False, pad_edge=False)
    for header, justify in (("number", "left"), ("value", "right"), ("what it is", "left")):
        table.add_column(header, justify=justify)  # type: ignore[arg-type]
    for name, value in trial.metrics.items():
        shown = f"{value:,.0f}" if float(value).is_integer() and abs(value) >= 2 else f"{value:.4g}"
        table.add_row(name, shown, metric_help(name) or "")
    console.print()
    console.print(table, soft_wrap=False)
    console.print()
