"""A study's front and a trial's record, in the terminal."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from adapter_sweep.records import METRIC_HELP, StudyView, TrialView
from adapter_sweep.report import answer, front_rows

__all__ = ["print_front", "print_record"]


def print_front(console: Console, study: StudyView) -> None:
    """The front as a table, and what it says in a sentence."""
    rows = front_rows(study)
    table = Table(title=f"Pareto front of {study.name}", title_justify="left", show_edge=False, pad_edge=False)
    for header, numeric in zip(rows.headers, rows.numeric, strict=True):
        table.add_column(header, justify="right" if numeric else "left", no_wrap=True)
    for cells in rows.cells:
        table.add_row(*map(Text, cells))
    console.print()
    if rows.cells:
        # The table is read as a whole or not at all: a narrow terminal scrolls or wraps it, but loses no digit.
        widest = console.options.update(max_width=1000)
        console.print(table, width=max(console.width, table.__rich_measure__(console, widest).maximum), crop=False)
        console.print()
    console.print(answer(study).headline, markup=False)
    console.print()


def print_record(console: Console, trial: TrialView) -> None:
    """Everything recorded of one trial."""
    table = Table(title=f"trial {trial.number}: {trial.state}", title_justify="left", show_edge=False, pad_edge=False)
    for header, justify in (("number", "left"), ("value", "right"), ("what it is", "left")):
        table.add_column(header, justify=justify)  # type: ignore[arg-type]
    for name, value in trial.metrics.items():
        shown = f"{value:,.0f}" if float(value).is_integer() and abs(value) >= 2 else f"{value:.4g}"
        table.add_row(name, shown, METRIC_HELP.get(name, ""))
    console.print()
    console.print(table)
    console.print()
