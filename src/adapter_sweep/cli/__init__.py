"""The shell. The only place that wires the layers below; heavy imports wait until a command needs them."""

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from adapter_sweep import __version__
from adapter_sweep.cli import managing_commands
from adapter_sweep.credentials import mask_credentials
from adapter_sweep.errors import AdapterSweepError, UserInputError
from adapter_sweep.interrupts import LEAVE_SECONDS, listening

if TYPE_CHECKING:
    from adapter_sweep.config.compose import Composed

__all__ = ["app", "main"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Find the adapter to ship for your task on your model: a Pareto front of parameters, accuracy and latency.",
    epilog="Settings are Hydra overrides: group=option and key=value, e.g. task=tweets method.width=64.",
)

Overrides = Annotated[list[str] | None, typer.Argument(metavar="[GROUP=OPTION] [KEY=VALUE] …", help="Hydra overrides.")]
StudiesAndOverrides = Annotated[
    list[str],
    typer.Argument(metavar="STUDY … [KEY=VALUE] …", help="One study or more, by name; then Hydra overrides."),
]
ConfigDir = Annotated[
    Path | None, typer.Option("--config-dir", help="Your own conf folder, searched first; its sweeps/ too.")
]


@app.command()
def run(overrides: Overrides = None, config_dir: ConfigDir = None) -> None:
    """Start a sweep, or continue it up to its number of trials. Alone it runs sweep=quickstart."""
    composed = _compose(overrides, config_dir, default_sweep="quickstart").for_sweep()
    parts = _of_each_task(composed, overrides or [], config_dir)
    _prepare_workers(composed.config.workers.count)
    from adapter_sweep.cli.sweep import run_group, run_sweep

    with listening(LEAVE_SECONDS, again="leaves"):
        if parts:
            run_group(parts)
        else:
            run_sweep(composed)


@app.command()
def trial(overrides: Overrides = None, config_dir: ConfigDir = None) -> None:
    """Run one configuration and record it."""
    composed = _compose(overrides, config_dir).for_trial()
    from adapter_sweep.cli.sweep import run_single

    with listening(LEAVE_SECONDS, again="leaves"):
        run_single(composed)


@app.command()
def report(arguments: StudiesAndOverrides, config_dir: ConfigDir = None) -> None:
    """Write a study's Pareto-front report again; of several studies, one report that compares them."""
    studies, overrides = _studies_and_overrides("report", arguments)
    composed = _compose(overrides, config_dir)
    if len(studies) > 1:
        from adapter_sweep.cli.comparing import write_several_report

        write_several_report(studies, composed.config)
        return
    from adapter_sweep.cli.reading import write_study_report

    write_study_report(studies[0], composed.config)


@app.command()
def worker(
    study: Annotated[str, typer.Argument(help="The study's name.")],
    overrides: Overrides = None,
    storage: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The ledger's database, postgresql://…; or set ADAPTER_SWEEP_STORAGE."),
    ] = None,
    tracking: Annotated[
        str | None,
        typer.Option(metavar="URI", envvar="MLFLOW_TRACKING_URI", help="The MLflow server, unless the study names it."),
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, max=1024, help="Processes that run trials.")] = None,
) -> None:
    """Join a study that was begun on this or another host, and run its trials until it has them all."""
    _prepare_workers(count)
    from adapter_sweep.cli.joining import Here, join_study

    with listening(LEAVE_SECONDS, again="leaves"):
        join_study(study, Here.given(storage, tracking, count, overrides or []))


@app.command()
def confirm(arguments: StudiesAndOverrides, config_dir: ConfigDir = None) -> None:
    """Train a study's finalists on fresh seeds and score them on the test split; of several, each one's best on all."""
    studies, overrides = _studies_and_overrides("confirm", arguments)
    composed = _compose(overrides, config_dir)
    from adapter_sweep.cli.selecting import select_finalists

    selection = select_finalists(studies, composed)
    _prepare_workers(composed.config.workers.count)
    from adapter_sweep.cli.confirming import run_confirm

    with listening(LEAVE_SECONDS, again="leaves"):
        run_confirm(selection, composed)


@app.command()
def best(
    study: Annotated[str, typer.Argument(help="The study's name.")],
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
    max_params: Annotated[
        str | None, typer.Option(metavar="N", help="At most so many trainable parameters: 100k, 1.5M, 1e5, 100_000.")
    ] = None,
    max_latency_ratio: Annotated[
        str | None, typer.Option(metavar="X", help="At most so many times the frozen backbone's latency, e.g. 1.05.")
    ] = None,
    min_accuracy: Annotated[
        str | None, typer.Option(metavar="X", help="At least this accuracy, or score by the task's metric, e.g. 0.8.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Choose the trial to ship: the best one, or one as good that costs less, within a budget."""
    composed = _compose(overrides, config_dir)
    from adapter_sweep.cli.choosing import print_best, read_budget

    budget = read_budget(max_params, max_latency_ratio, min_accuracy)
    raise typer.Exit(print_best(study, composed.config, budget, as_json=as_json))


@app.command()
def ui(
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = 5000,
    auth: Annotated[
        bool, typer.Option("--auth", help="Ask for a password: $ADAPTER_SWEEP_UI_PASSWORD, or a new one, printed once.")
    ] = False,
) -> None:
    """Compare runs in the MLflow UI."""
    composed = _compose(overrides, config_dir)
    from adapter_sweep.cli.reading import open_ui

    raise typer.Exit(open_ui(composed.config, host=host, port=port, auth=auth))


@app.command()
def reconcile(arguments: StudiesAndOverrides, config_dir: ConfigDir = None) -> None:
    """Bring MLflow up to date with the ledger: send what it missed, close open runs, remove duplicates."""
    studies, overrides = _studies_and_overrides("reconcile", arguments)
    composed = _compose(overrides, config_dir)
    from adapter_sweep.cli.reconciling import reconcile_studies

    reconcile_studies(studies, composed.config)


@app.command()
def config(overrides: Overrides = None, config_dir: ConfigDir = None) -> None:
    """Print the composed configuration."""
    composed = _compose(overrides, config_dir)
    from adapter_sweep.cli.reading import print_config

    print_config(composed)


@app.command()
def doctor(overrides: Overrides = None, config_dir: ConfigDir = None) -> None:
    """Check the installation, the model, the data and the stores."""
    composed = _compose(overrides, config_dir)
    from adapter_sweep.cli.checkup import check_all

    raise typer.Exit(check_all(composed.config))


managing_commands.register(app)


def _studies_and_overrides(command: str, arguments: list[str]) -> tuple[list[str], list[str]]:
    """A study's name holds no `=` and does not begin with `~`; every override does one of the two."""
    overrides = [text for text in arguments if "=" in text or text.startswith("~")]
    studies = [text for text in arguments if text not in overrides]
    if not studies:
        raise UserInputError(f"{command}: name a study, or several, e.g. adapter-sweep {command} quickstart")
    return studies, overrides


def _compose(overrides: list[str] | None, config_dir: Path | None, default_sweep: str | None = None) -> "Composed":
    """The configuration, before anything heavy is imported: what is wrong in it is told at once."""
    from adapter_sweep.config.compose import compose

    return compose(overrides or [], config_dir=config_dir, default_sweep=default_sweep)


def _of_each_task(composed: "Composed", overrides: list[str], config_dir: Path | None) -> list["Composed"]:
    """The sweep on each of `study.tasks`, all checked before any is run; none where it names no tasks."""
    from adapter_sweep.cli.identity import study_name

    name = study_name(composed)
    return [
        _compose(
            [*overrides, f"task={task}", f"study.name={name}-{task}", "study.tasks=null"], config_dir, composed.sweep
        ).for_sweep()
        for task in composed.config.study.tasks or ()
    ]


def _prepare_workers(count: int | None) -> None:
    """Let workers import what they need while this process does: each takes seconds for it."""
    from adapter_sweep.provenance import physical_cores
    from adapter_sweep.study.starting import prepare_workers

    if count != 1 and physical_cores() > 1:
        prepare_workers()


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"adapter-sweep {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line and exit: 0 done, 2 the input is wrong, 1 something else failed, 130 interrupted."""
    signal.signal(signal.SIGTERM, _interrupt)
    status = _status()
    if threading.active_count() > 1 and (status or _is_publishing()):
        # A thread in the middle of torch's work would abort an interpreter that ends, with a status of its own; and one
        # that waits for a tracking server would have it wait too.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _is_publishing() -> bool:
    return any(thread.name == "publisher" for thread in threading.enumerate())


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """A terminated command ends as an interrupted one does."""
    raise KeyboardInterrupt


def _status() -> int:
    try:
        result = app(standalone_mode=False)
    except UserInputError as error:
        for problem in error.problems:
            shown = mask_credentials(problem)
            typer.echo(shown if shown.startswith(" ") else f"error: {shown}", err=True)
        return 2
    except AdapterSweepError as error:
        typer.echo(f"error: {mask_credentials(str(error))}", err=True)
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        return _usage_error(error)
    return result if isinstance(result, int) else 0


def _usage_error(error: Exception) -> int:
    """What the command line's parser refused; anything else is a fault of ours and keeps its traceback."""
    show, code = getattr(error, "show", None), getattr(error, "exit_code", None)
    if show is None or code is None:
        if type(error).__name__ == "Abort":
            return 130
        raise error
    show()
    return int(code)
