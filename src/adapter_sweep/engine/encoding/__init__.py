"""Splits as token ids, for each type of task."""

from adapter_sweep.engine.encoding.encode import encode_split

__all__ = ["encode_split"]
