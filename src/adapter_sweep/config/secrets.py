"""Where a configuration may hold a password: what is recorded with every trial never does."""

from collections.abc import Iterator, Mapping
from typing import Any

from adapter_sweep.credentials import holds_credentials

__all__ = ["misplaced_credentials"]

ALLOWED = ("study.storage", "tracking.uri")  # masked wherever they are shown, and part of no record


def misplaced_credentials(values: Mapping[str, Any]) -> list[str]:
    """A line for each value with a password or token in it, under a key whose value is recorded and published."""
    return [
        f"{key}=***: holds a password or a token, and would be recorded with every trial; allowed in "
        f"{' and '.join(ALLOWED)} only (a hub's token goes into the environment: HF_TOKEN)"
        for key in dict.fromkeys(_with_credentials(values))
    ]


def _with_credentials(value: object, key: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            if isinstance(name, str) and holds_credentials(name):
                yield key or "***"
            else:
                yield from _with_credentials(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for item in value:
            yield from _with_credentials(item, key)
    elif isinstance(value, str) and key not in ALLOWED and holds_credentials(value):
        yield key
