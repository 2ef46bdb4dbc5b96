"""How far apart two readings of a cost may be by chance."""

from collections.abc import Mapping

__all__ = ["NOISY", "noise_floor"]

NOISY = ("latency_noisy", "batch_latency_noisy", "merged_latency_noisy")
"""What says of each of a trial's readings that it spreads too far to be believed."""

_LATENCY = ("latency_ratio", "latency_p50_ms", "latency_p90_ms")


def noise_floor(costs: Mapping[str, float], key: str) -> float:
    """How far apart two readings of a cost may be by chance, in its unit; 0 for one that is counted, not read.

    The recorded floor is of the ratio to the backbone's time; in milliseconds, it is taken of the reading itself.
    """
    reading = next((prefix for prefix in ("batch_", "merged_") if key.startswith(prefix)), "")
    if key.removeprefix(reading) not in _LATENCY:
        return 0.0
    # The first readings of merged weights kept no floor of their own: the other reading at batch 1 has one.
    shared = costs.get("latency_noise_floor", 0.0) if reading == "merged_" else 0.0
    floor = costs.get(f"{reading}latency_noise_floor", shared)
    return floor * costs.get(key, 0.0) if key.endswith("_ms") else floor
