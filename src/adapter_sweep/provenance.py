"""Where a result comes from: code, packages, machine."""

import functools
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from adapter_sweep import __version__

__all__ = ["code_provenance", "cpu_name", "physical_cores"]

_PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "datasets",
    "hydra-core",
    "optuna",
    "mlflow",
    "evaluate",
    "scikit-learn",
)


@functools.cache
def code_provenance() -> dict[str, str]:
    """Versions of the code and of the packages a result depends on, and the machine. Read once per process."""
    facts = {
        "adapter-sweep": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
    }
    facts |= _git()
    for package in _PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            continue
    return facts


def _git() -> dict[str, str]:
    """The commit of the source tree and whether it was changed since; nothing for an installed wheel."""
    tree = Path(__file__).parents[2]
    if not (tree / ".git").exists():
        return {}
    try:
        commit, changes = _run_git(tree, "rev-parse", "HEAD"), _run_git(tree, "status", "--porcelain")
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"code_commit": commit, "code_dirty": str(bool(changes)).lower()}


def _run_git(tree: Path, *arguments: str) -> str:
    # Within a git hook the environment names another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", "-C", str(tree), *arguments], env=environment, capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()


@functools.cache
def cpu_name() -> str:
    """The processor's name, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )


def physical_cores() -> int:
    """Cores this process may run on, counting one of each pair of hardware threads."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = set()
    for cpu in allowed:
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            cores.add(siblings.read_text(encoding="utf-8").strip())
        except OSError:
            cores.add(str(cpu))
    return max(1, len(cores))
