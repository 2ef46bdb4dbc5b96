"""What a study keeps beside its trials: the latencies of architectures, and the MLflow runs that show trials."""

from collections.abc import Mapping

from adapter_sweep.study.rows import Rows

__all__ = ["Latencies", "keep_runs"]

_RUNS_TOGETHER = 100  # so many MLflow run ids share a fact: a fact each would be read with every other, every time


class Latencies:
    """The latencies of architectures, each as it was measured first."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._known: dict[str, dict[str, float]] = {}

    def find(self, key: str) -> dict[str, float] | None:
        """The latency of an architecture, where it was measured before."""
        if key not in self._known:  # one that is kept never changes
            found: dict[str, float] | None = self._rows.fact(f"latency:{key}")
            if found is None:
                return None
            self._known[key] = found
        return dict(self._known[key])

    def keep(self, key: str, metrics: Mapping[str, float]) -> dict[str, float]:
        """Keep the latency of an architecture; returns what is kept: the first one. The study's lock must be held."""
        kept = self.find(key)
        if kept is None:
            kept = dict(metrics)
            self._rows.set(f"latency:{key}", kept)
        return kept


def keep_runs(rows: Rows, runs: Mapping[int, str]) -> None:
    """Write which MLflow runs show trials, beside those that are known. The study's lock must be held."""
    for group in sorted({number // _RUNS_TOGETHER for number in runs}):
        name = f"mlflow_runs:{group}"
        new = {str(number): run for number, run in runs.items() if number // _RUNS_TOGETHER == group}
        rows.set(name, {**(rows.fact(name) or {}), **new})
