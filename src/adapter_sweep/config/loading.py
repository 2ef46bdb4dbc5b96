"""Where configuration lies, and Hydra's part: to compose it."""

from pathlib import Path
from typing import Any

import hydra
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, OmegaConf

from adapter_sweep.config.quoting import quoted
from adapter_sweep.config.schema import SweepConfig
from adapter_sweep.errors import UserInputError

__all__ = ["load", "options", "sweep_section"]


def options(group: str, config_dir: Path | None = None) -> list[str]:
    """The names a group can take, the user's own among them."""
    if group == "sweep":
        return sorted(_sweep_files(config_dir))
    roots = [root for root in (config_dir, _shipped("conf")) if root is not None]
    return sorted({path.stem for root in roots for path in (root / group).glob("*.yaml")})


def load(arguments: list[str], sweep: str | None, config_dir: Path | None) -> dict[str, Any]:
    """Hydra's work: the shipped configuration, the user's before it, the sweep and the arguments on top.

    Args:
        arguments: Hydra's own, each key of them forced or known.
        sweep: the name of a sweep there is; None for none.
        config_dir: the user's own configuration.

    Returns:
        Plain values, resolved, not checked.

    Raises:
        UserInputError: a file cannot be read, or the parts do not go together.
    """
    main, primary = _shipped("conf"), "config"
    if config_dir is not None:
        shipped, main = main, config_dir.absolute()
        if not (main / "config.yaml").is_file():
            # Hydra wants the primary configuration there or in its store, before it looks at the search path.
            primary = "shipped_config"
            ConfigStore.instance().store(name=primary, node=OmegaConf.load(shipped / "config.yaml"))
        else:
            _refuse_hydra(main / "config.yaml")
        # Not `as_uri()`: Hydra takes the path as it stands, without decoding it.
        arguments = [*arguments, f"hydra.searchpath=[{QuotedString(f'file://{shipped}', Quote.single).with_quotes()}]"]
    if sweep is not None:
        node = _read_sweep(_sweep_files(config_dir)[sweep])
        ConfigStore.instance().store(group="sweep", name=sweep, node=node, package="_global_")
        arguments = [f"+sweep={quoted(sweep)}", *arguments]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(main), version_base=hydra.__version__):
            composed = hydra_compose(primary, overrides=arguments)
            values: Any = OmegaConf.to_container(composed, resolve=True)
    except Exception as error:  # Hydra, OmegaConf, YAML, the file system: all of it is about the user's files and words
        raise UserInputError(_flat(error)) from None
    result: dict[str, Any] = values
    return result


def sweep_section(sweep: str | None, section: str, config_dir: Path | None) -> dict[str, Any]:
    """What a sweep itself says of a section; empty where it says nothing, or there is no sweep."""
    node = _read_sweep(_sweep_files(config_dir)[sweep]) if sweep is not None else None
    found = OmegaConf.to_container(node) if node is not None else {}
    said = found.get(section) if isinstance(found, dict) else None
    return {str(key): value for key, value in said.items()} if isinstance(said, dict) else {}


def _shipped(folder: str) -> Path:
    """A folder that ships with the product: inside the package when installed, at the top of the tree in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / folder
    return inside if inside.is_dir() else package.parent.parent / folder


def _sweep_files(config_dir: Path | None) -> dict[str, Path]:
    roots = [_shipped("sweeps"), Path("sweeps").absolute()]
    if config_dir is not None:
        roots.append(config_dir / "sweeps")
    return {path.stem: path for root in roots for path in sorted(root.glob("*.yaml"))}


def _read_sweep(path: Path) -> DictConfig:
    try:
        node = OmegaConf.load(path)
    except Exception as error:  # yaml has its own family of exceptions
        raise UserInputError(f"{path}: not valid YAML: {_flat(error)}") from None
    if not isinstance(node, DictConfig):
        raise UserInputError(f"{path}: a sweep is a mapping with search_space, study, …; this is a list")
    lists = [key for key in node if key in SweepConfig.model_fields and OmegaConf.is_list(node[key])]
    if lists:
        raise UserInputError(*(f"{path}: {key} is a mapping, key: value; not a list" for key in lists))
    return node


def _refuse_hydra(path: Path) -> None:
    """Hydra's own settings can name packages to import (`hydra.searchpath=[pkg://…]`): a configuration runs no code."""
    try:
        node = OmegaConf.load(path)
    except Exception as error:
        raise UserInputError(f"{path}: not valid YAML: {_flat(error)}") from None
    if "hydra" in node:
        raise UserInputError(f"{path}: hydra: Hydra only composes here, so its own settings are not allowed")


def _flat(error: BaseException) -> str:
    return " ".join(str(error).split())
