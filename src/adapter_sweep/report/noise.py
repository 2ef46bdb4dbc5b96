"""How far apart two readings of a cost may be by chance."""

from collections.abc import Mapping

__all__ = ["noise_floor"]

_LATENCY = ("latency_ratio", "latency_p50_ms", "latency_p90_ms")


def noise_floor(costs: Mapping[str, float], key: str) -> float:
    """How far apart two readings of a cost may be by chance, in its unit; 0 for one that is counted, not read.

    The recorded floor is of the ratio to the backbone's time; in milliseconds, it is taken of the reading itself.
    """
    batch = "batch_" if key.startswith("batch_") else ""
    if key.removeprefix("batch_").removeprefix("merged_") not in _LATENCY:
        return 0.0
    floor = costs.get(f"{batch}latency_noise_floor", 0.0)
    return floor * costs.get(key, 0.0) if key.endswith("_ms") else floor
