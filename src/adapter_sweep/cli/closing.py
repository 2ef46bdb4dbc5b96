"""How a sweep ends: its report, and the last words on the terminal."""

from pathlib import Path

from rich.console import Console

from adapter_sweep.cli.printing import print_confirmed, print_front, print_record
from adapter_sweep.cli.publishing import Publisher
from adapter_sweep.cli.reporting import report_study
from adapter_sweep.errors import AdapterSweepError
from adapter_sweep.records import TrialState
from adapter_sweep.study.commands import command
from adapter_sweep.study.ledger import Ledger

__all__ = ["close_study"]


def close_study(
    console: Console, ledger: Ledger, publisher: Publisher, results_dir: Path, url: str, *, single: int | None = None
) -> None:
    """The report, and the last words: the front (or the single trial), where everything is, how to look at it."""
    with console.status("Writing the report …"):
        publisher.catch_up()
        written = report_study(ledger.name, url=url, results_dir=results_dir, folder=ledger.folder)
        publisher.finish(ledger.folder)
    view, paths = written.study, written.paths
    one = next((trial for trial in view.trials if trial.number == single), None)
    if one is None:
        print_front(console, view)
        if written.found is not None:
            print_confirmed(console, view, written.found)
    else:
        print_record(console, one)
    console.print(f"Report      {paths.report_html}")
    console.print(
        f"Tables      {paths.trials_csv}, {paths.front_csv.name}, {paths.front_json.name}, {paths.front_png.name}"
    )
    if publisher.on:
        console.print(f"Compare     {publisher.server or command('ui', url=None, results_dir=results_dir)}")
    if one is not None and one.state is not TrialState.COMPLETE:
        raise AdapterSweepError(f"the trial was {one.state}: {one.reason}")
    if not view.in_state(TrialState.COMPLETE):
        reasons = {t.reason for t in view.trials if t.reason}
        raise AdapterSweepError("no trial was completed: " + "; ".join(sorted(reasons)[:3]))
