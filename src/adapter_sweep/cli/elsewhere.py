"""Running a sweep in workers that a cluster's own software starts; this process watches the ledger, and reports."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from adapter_sweep.cli.closing import close_study
from adapter_sweep.cli.display import Display
from adapter_sweep.cli.errand import Errand
from adapter_sweep.cli.following import Crew, Follower
from adapter_sweep.cli.identity import study_name
from adapter_sweep.cli.printing import open_console
from adapter_sweep.cli.publishing import publisher_of
from adapter_sweep.config.compose import Composed
from adapter_sweep.errors import UserInputError
from adapter_sweep.study.ledger import Ledger, storage_url
from adapter_sweep.study.stopping import Stopped, StopSign

__all__ = ["run_elsewhere"]


def run_elsewhere(composed: Composed, hire: Callable[[Errand], Crew]) -> None:
    """Start or continue a sweep in a cluster's workers; ends with the front, the report and how to look at it.

    A trial whose worker dies is run again, by whoever finds it: another worker, or this process.

    Raises:
        UserInputError: the study exists with another definition, the input is wrong, or the cluster cannot be used so.
        KeyboardInterrupt: as it came, or because the study was asked to stop; the workers were told to leave.
        AdapterSweepError: the workers ended before the study had its trials; the first one's own error, if it had one.
    """
    console = open_console()
    results_dir = Path(composed.config.results_dir).expanduser().absolute()
    name, url = study_name(composed), storage_url(composed.config.study.storage, results_dir)
    there = composed.config.model_copy(update={"results_dir": str(results_dir)})
    crew = hire(Errand(replace(composed, config=there), name, url, str(Path.cwd())))
    try:
        stop_sign = _stop_sign(name, url, results_dir)
        with console.status("Beginning the study on the cluster …"):
            _begin(crew, stop_sign, console)
        ledger = Ledger.read(name, url=url, results_dir=results_dir)
        publisher = publisher_of(ledger, composed.config.tracking, url, results_dir, console)
        display = Display(console, metric=composed.config.task.metric)
        stops = 0 if stop_sign is None else stop_sign.before
        asked = composed.config.study.n_trials
        Follower(ledger, crew, publisher, console, display).run(url, results_dir, asked, stops_before=stops)
    finally:
        crew.close()
    close_study(console, ledger, publisher, results_dir, url)
    ledger.leave()  # a group goes on with other studies


def _begin(crew: Crew, stop_sign: StopSign | None, console: Console) -> None:
    try:
        crew.begin(lambda: None if stop_sign is None else stop_sign.check())
    except Stopped:
        console.print("\nStopped. The study is kept; the same command continues it.")
        raise


def _stop_sign(name: str, url: str, results_dir: Path) -> StopSign | None:
    """Whether the study is asked to stop from now on: a cluster may take hours to begin; None of one not there yet.

    Raises:
        UserInputError: the study's folder in this results folder is another one's.
        AdapterSweepError: the ledger cannot be used.
    """
    try:
        ledger = Ledger.read(name, url=url, results_dir=results_dir)
    except UserInputError:  # what else is wrong is told where it is begun
        return None
    ledger.attend()
    return ledger.stop_sign
