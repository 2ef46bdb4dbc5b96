"""Find the adapter to ship: sweeps over bottleneck adapters on a frozen backbone, up to their Pareto front."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("adapter-sweep")
except PackageNotFoundError:  # a bare copy of the sources, as on a GPU machine that only runs the engine
    __version__ = "0+unknown"

__all__ = ["__version__"]
