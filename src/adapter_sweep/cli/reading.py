"""Commands that read: `report`, `ui`, `config`. None of them needs torch."""

from pathlib import Path

import yaml
from rich.console import Console

from adapter_sweep.cli.identity import shareable
from adapter_sweep.cli.printing import open_console, print_confirmed, print_front
from adapter_sweep.cli.reporting import report_study
from adapter_sweep.config import SweepConfig
from adapter_sweep.config.compose import Composed
from adapter_sweep.study.ledger import Ledger, storage_url
from adapter_sweep.tracking import Tracker, TrackingError, serve_ui

__all__ = ["open_ui", "print_config", "write_study_report"]


def write_study_report(study: str, config: SweepConfig) -> None:
    """Write a study's report again, and show it with the study in MLflow."""
    console = open_console()
    results_dir = Path(config.results_dir).expanduser()
    url = storage_url(config.study.storage, results_dir)
    ledger = Ledger.read(study, url=url, results_dir=results_dir)
    written = report_study(study, url=url, results_dir=results_dir, folder=ledger.folder)
    paths = written.paths
    print_front(console, written.study)
    if written.found is not None:
        print_confirmed(console, written.study, written.found)
    for path in (
        paths.report_html,
        paths.report_md,
        paths.trials_csv,
        paths.front_csv,
        paths.front_json,
        paths.front_png,
    ):
        console.print(str(path))
    _publish(console, config, results_dir, ledger, written.study.mlflow_run_id)


def open_ui(config: SweepConfig, *, host: str, port: int, auth: bool) -> int:
    """Serve MLflow's UI on the study's store until Ctrl-C."""
    results_dir = Path(config.results_dir).expanduser()
    return serve_ui(results_dir, tracking_uri=config.tracking.uri, host=host, port=port, auth=auth)


def print_config(composed: Composed) -> None:
    """Print the composed configuration, as YAML."""
    print(yaml.safe_dump(shareable(composed), sort_keys=False, allow_unicode=True), end="")


def _publish(console: Console, config: SweepConfig, results_dir: Path, ledger: Ledger, run_id: str | None) -> None:
    if not config.tracking.enabled or run_id is None:
        return
    try:
        Tracker(results_dir, ledger.name, config.tracking.uri).publish_report(run_id, ledger.folder)
    except TrackingError as error:
        console.print(f"warning: MLflow: {error}. The report's files are whole.")
