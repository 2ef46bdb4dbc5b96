"""The commands that handle a study as a whole, as the shell knows them; what they do is in `managing`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from adapter_sweep.config import SweepConfig

__all__ = ["register"]

_Study = Annotated[str, typer.Argument(help="The study's name.")]
_Where = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE] …", help="Hydra overrides, e.g. results_dir=elsewhere study.storage=URL."),
]
_ConfigDir = Annotated[Path | None, typer.Option("--config-dir", help="Your own conf folder, searched first.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def register(app: typer.Typer) -> None:
    """Give an application the commands."""
    app.command("list")(_list)
    for name, command in (("show", _show), ("stop", _stop), ("delete", _delete)):
        app.command(name)(command)
    app.command("archive")(_archive)
    app.command("restore")(_restore)


def _list(where: _Where = None, config_dir: _ConfigDir = None, as_json: _Json = False) -> None:
    """List the studies of a results folder: how far each is, its best score, and whether it is worked on."""
    config = _config(where, config_dir)
    from adapter_sweep.cli.managing import print_studies

    print_studies(config, as_json=as_json)


def _show(study: _Study, where: _Where = None, config_dir: _ConfigDir = None, as_json: _Json = False) -> None:
    """Show a study: what it is, how far it is, what failed and why, its front, and how to go on."""
    config = _config(where, config_dir)
    from adapter_sweep.cli.showing import print_study

    print_study(study, config, as_json=as_json)


def _stop(
    study: _Study,
    where: _Where = None,
    config_dir: _ConfigDir = None,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait for all to leave; then status 1.")] = 120.0,
) -> None:
    """Ask all who work on a study to leave it, on any host; what runs is queued again, and `run` continues it."""
    config = _config(where, config_dir)
    from adapter_sweep.cli.managing import stop_study

    stop_study(study, config, timeout)


def _delete(
    study: _Study,
    where: _Where = None,
    config_dir: _ConfigDir = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, for scripts.")] = False,
) -> None:
    """Delete a study for ever: its ledger, its runs in MLflow and its files together. It asks first.

    Somebody who works on it is in the way. Runs that cannot be removed leave all as it was, unless tracking=none says
    to leave them. Files that are not known to be this study's are left.
    """
    config = _config(where, config_dir)
    from adapter_sweep.cli.managing import delete

    delete(study, config, sure=yes)


def _archive(
    study: _Study,
    where: _Where = None,
    config_dir: _ConfigDir = None,
    to: Annotated[Path | None, typer.Option(help="The file; STUDY.zip in this folder unless given.")] = None,
) -> None:
    """Pack a whole study into one file: ledger, weights, curves, reports and confirmation."""
    config = _config(where, config_dir)
    from adapter_sweep.cli.managing import archive

    archive(study, to or Path(f"{study}.zip"), config)


def _restore(
    file: Annotated[Path, typer.Argument(help="What `archive` has written.")],
    where: _Where = None,
    config_dir: _ConfigDir = None,
) -> None:
    """Unpack an archived study, into any results folder and database; `run` continues it there.

    Nothing that is there is replaced, and nothing is written before all of the file is checked.
    """
    config = _config(where, config_dir)
    from adapter_sweep.cli.managing import restore

    restore(file, config)


def _config(where: list[str] | None, config_dir: Path | None) -> "SweepConfig":
    from adapter_sweep.config.compose import compose

    return compose(where or [], config_dir=config_dir).config
