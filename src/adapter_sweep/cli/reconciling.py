"""`reconcile`: the view of studies in MLflow, brought up to date with the ledger."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from adapter_sweep.cli.printing import open_console
from adapter_sweep.config import SweepConfig
from adapter_sweep.errors import AdapterSweepError, UserInputError
from adapter_sweep.study.commands import command
from adapter_sweep.study.confirmation import CONFIRMED, confirming_study
from adapter_sweep.study.ledger import Ledger, storage_url
from adapter_sweep.tracking import PATIENT, ReconcileSummary, Tracker, TrackingError

__all__ = ["keep_run_ids", "reconcile_command", "reconcile_studies"]

_NAMED = 5  # trials in one line


def reconcile_command(study: str, *, url: str, results_dir: Path, tracking: str | None) -> str:
    """The command that brings a study's view up to date, with no password in it; see `command`."""
    return command("reconcile", study.removesuffix(CONFIRMED), url=url, results_dir=results_dir, tracking=tracking)


def keep_run_ids(trials_of: Ledger, summary: ReconcileSummary, study_of: Ledger) -> None:
    """Write into the ledger which runs show a study and its trials, where it does not say so."""
    study = study_of.view()
    if study.mlflow_run_id != summary.parent_run_id:
        study_of.set_facts(mlflow_run_id=summary.parent_run_id)
    known = {trial.number: trial.mlflow_run_id for trial in trials_of.view().trials}
    new = {number: run_id for number, run_id in summary.run_ids.items() if known.get(number) != run_id}
    if new:
        trials_of.set_mlflow_runs(new)


def reconcile_studies(names: Sequence[str], config: SweepConfig) -> None:
    """Bring the views of studies up to date, their confirmations and reports included.

    Raises:
        UserInputError: there is no such study, or tracking is off.
        AdapterSweepError: something could not be sent, which it names.
    """
    if not config.tracking.enabled:
        raise UserInputError("tracking.enabled=False: there is no view to bring up to date; leave out tracking=none")
    console = open_console()
    results_dir = Path(config.results_dir).expanduser()
    url = storage_url(config.study.storage, results_dir)
    ledgers = [Ledger.read(name.removesuffix(CONFIRMED), url=url, results_dir=results_dir) for name in names]
    failures = [text for ledger in ledgers for text in _reconcile(console, ledger, url, results_dir, config)]
    if failures:
        raise AdapterSweepError("; ".join(failures) + "; the same command tries again")


def _reconcile(console: Console, ledger: Ledger, url: str, results_dir: Path, config: SweepConfig) -> list[str]:
    """Bring one study's view up to date; what could not be sent."""
    tracker = Tracker(results_dir, ledger.name, config.tracking.uri, patience=PATIENT)
    with console.status(f"Sending {ledger.name} to {tracker.shown_uri} …"):
        try:
            summary = tracker.reconcile(ledger)
            keep_run_ids(ledger, summary, ledger)
            parts = {"": summary}
            if (confirmed := _confirmed(ledger.name, url, results_dir)) is not None:
                parts["confirmed "] = tracker.reconcile(confirmed, ledger)
                keep_run_ids(confirmed, parts["confirmed "], ledger)
            if (ledger.folder / "report.html").is_file():
                tracker.publish_report(summary.parent_run_id, ledger.folder)
        except TrackingError as error:
            return [str(error)]
    said = [_told(what, part) for what, part in parts.items()]
    console.print(f"{ledger.name}: {'; '.join(said)}; at {tracker.shown_uri}", soft_wrap=True)
    return [
        f"study {ledger.name!r}: {what}{_trials(part)} not sent: {next(iter(part.failed.values()))}"
        for what, part in parts.items()
        if part.failed
    ]


def _confirmed(name: str, url: str, results_dir: Path) -> Ledger | None:
    try:
        return Ledger.read(confirming_study(name), url=url, results_dir=results_dir)
    except UserInputError:  # it was never confirmed
        return None


def _told(what: str, summary: ReconcileSummary) -> str:
    counts = {
        f"{what}trials sent": len(summary.published),
        "up to date": len(summary.unchanged),
        "not sent": len(summary.failed),
        "open runs closed": len(summary.closed),
        "duplicates removed": len(summary.duplicates),
    }
    always = (f"{what}trials sent", "up to date")
    return ", ".join(f"{number} {words}" for words, number in counts.items() if number or words in always)


def _trials(summary: ReconcileSummary) -> str:
    numbers = sorted(summary.failed)
    more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
    return f"trial{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers[:_NAMED]))}{more}"
