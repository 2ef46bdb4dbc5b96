"""`list`, `stop`, `delete`, `archive`, `restore`: studies as a whole. None of them needs torch."""

import json
import shlex
import time
from pathlib import Path

import typer

from adapter_sweep.cli.printing import open_console, print_columns
from adapter_sweep.cli.publishing import Publisher, publisher_of
from adapter_sweep.cli.reporting import report_study
from adapter_sweep.cli.standing import best_score, done, metric_name, told, where_is
from adapter_sweep.config import SweepConfig
from adapter_sweep.credentials import mask_credentials
from adapter_sweep.errors import AdapterSweepError, UserInputError
from adapter_sweep.records import StudyView, TrialState
from adapter_sweep.study.commands import command
from adapter_sweep.study.confirmation import confirming_study
from adapter_sweep.study.ledger import Ledger
from adapter_sweep.study.management import (
    Overview,
    archive_study,
    ask_to_stop,
    delete_study,
    overview,
    overviews,
    who_works,
)
from adapter_sweep.study.restoring import restore_study
from adapter_sweep.tracking import TrackingError, remove_runs

__all__ = ["archive", "delete", "print_studies", "restore", "stop_study"]

_POLL_SECONDS = 0.5


def print_studies(config: SweepConfig, *, as_json: bool) -> None:
    """Print a line for each study."""
    found = overviews(**where_is(config))
    if as_json:
        print(json.dumps([told(one) for one in found], indent=2, ensure_ascii=False))
        return
    console = open_console()
    if not found:
        console.print(f"No study in {config.results_dir}")
        return
    headers = ("study", "sweep", "done", "running", "failed", "best", "confirmed", "changed", "worked on")
    print_columns(console, headers, [_cells(one) for one in found], [name in headers[2:5] for name in headers])


def stop_study(study: str, config: SweepConfig, timeout: float) -> None:
    """Ask all who work on a study to leave, and wait for it.

    Raises:
        AdapterSweepError: somebody has not left in time; says who.
    """
    console, place = open_console(), where_is(config)
    working = who_works(study, **place)
    ask_to_stop(study, **place)  # also where nobody is seen: another host may be between two trials
    if working:
        console.print(f"Stopping {study}: {', '.join(working)}")
    ends = time.monotonic() + timeout
    while (working := who_works(study, **place)) and time.monotonic() < ends:
        time.sleep(_POLL_SECONDS)
    if working:
        raise AdapterSweepError(
            f"study {study!r}: after {timeout:g} s these have not left: {', '.join(working)}. They were asked to, and "
            "leave after the step they are in; the same command waits again"
        )
    console.print(f"Nobody works on {study}. The same `run` continues it.")


def delete(study: str, config: SweepConfig, *, sure: bool) -> None:
    """Delete a study, once the user is sure.

    Raises:
        UserInputError: there is no such study, somebody works on it, the user is not sure, or its runs are in a store
            whose password is not known.
    """
    console, place = open_console(), where_is(config)
    found = overview(study, **place)
    if found.at_work:
        raise UserInputError(
            f"delete: study {study!r} is being worked on: {', '.join(found.at_work)}; "
            f"first: {command('stop', study, **place)}"
        )
    uri = _store_of(found.view, config)
    if not sure:
        lost = f"{len(found.view.trials)} trials"
        lost += f" and {len(found.confirmed.trials)} of its finalists" if found.confirmed else ""
        if not typer.confirm(f"Delete study {study} for ever, with {lost}, its runs in MLflow and all its files?"):
            console.print("Nothing was deleted")
            raise KeyboardInterrupt
    runs: list[int] = []

    def before(view: StudyView) -> None:
        if config.tracking.enabled:
            try:
                runs.append(remove_runs(view, place["results_dir"], uri))
            except TrackingError as error:
                raise AdapterSweepError(
                    f"{error}. Nothing else was deleted; try again, or leave MLflow as it is with tracking=none"
                ) from None

    with console.status(f"Deleting {study} …"):
        left = delete_study(study, **place, before=before)
    told = f", {runs[0]} runs in MLflow" if runs else ""
    files = "" if left else ", its files"
    console.print(f"Deleted {study}: {len(found.view.trials)} trials{told}{files}")
    for folder in left:
        console.print(f"warning: {folder} was left: nothing says that it is this study's and not another ledger's")


def archive(study: str, path: Path, config: SweepConfig) -> None:
    """Pack a study into a file."""
    console = open_console()
    with console.status(f"Packing {study} …"):
        left_out = archive_study(study, path, **where_is(config))
    for file in left_out:
        shown = str(file) if str(file).isprintable() else ascii(str(file))
        console.print(f"warning: {shown} was left out: a link, no plain file, or a name that not every system takes")
    console.print(f"Archived    {path}, {path.stat().st_size / 1e6:.1f} MB")
    console.print(f"Open it     adapter-sweep restore {shlex.quote(str(path))} results_dir=…")


def restore(file: Path, config: SweepConfig) -> None:
    """Unpack a study, write its report, and show it in MLflow."""
    console, place = open_console(), where_is(config)
    with console.status(f"Unpacking {file} …"):
        study = restore_study(file, **place)
        ledger = Ledger.read(study, **place)
        if config.tracking.uri is not None:
            shown = {"enabled": config.tracking.enabled, "uri": mask_credentials(config.tracking.uri)}
            ledger.set_facts(config={**ledger.view().config, "tracking": shown})
        report_study(study, **place, folder=ledger.folder)
    console.print(f"Restored    {study}: {len(ledger.view().trials)} trials in {ledger.folder}")
    if config.tracking.enabled:
        with console.status("Showing it in MLflow …"):
            _show(publisher_of(ledger, config.tracking, **place, console=console), ledger.folder)
            try:
                confirming = Ledger.read(confirming_study(study), **place)
            except UserInputError:  # it was never confirmed
                pass
            else:
                _show(publisher_of(confirming, config.tracking, **place, console=console, confirms=ledger))
    console.print(f"Look at it  {command('show', study, **place)}")


def _store_of(view: StudyView, config: SweepConfig) -> str | None:
    """The store that shows a study: the one that was named now, else its own; None for that of the results folder."""
    tracking = view.config.get("tracking")
    own = tracking.get("uri") if isinstance(tracking, dict) else None
    if not config.tracking.enabled or config.tracking.uri is not None or not isinstance(own, str):
        return config.tracking.uri
    if "***" in own:
        raise UserInputError(
            f"delete: study {view.name!r} has its runs at {own}, and the password is not kept; name that store with "
            "tracking.uri=URI, or leave MLflow as it is with tracking=none"
        )
    return own


def _show(publisher: Publisher, report: Path | None = None) -> None:
    publisher.catch_up()
    publisher.finish(report)


def _cells(one: Overview) -> tuple[str, ...]:
    view, best = one.view, best_score(one.view)
    standing = "half deleted" if one.deleting else ", ".join(one.at_work) or "no"
    return (
        view.name,
        str(view.config.get("sweep") or "-"),
        f"{done(view)}/{view.n_trials}",
        str(len(view.in_state(TrialState.RUNNING))),
        str(len(view.in_state(TrialState.FAILED))),
        "-" if best is None else f"{best[1]:.4f} {metric_name(view)}",
        "-" if one.confirmed is None else f"{done(one.confirmed)}/{one.confirmed.n_trials}",
        "-" if one.changed is None else f"{one.changed:%Y-%m-%d %H:%M}",
        standing,
    )
