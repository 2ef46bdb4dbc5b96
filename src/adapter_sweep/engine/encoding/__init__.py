"""Splits as token ids, for each type of task, or as pixels."""

from adapter_sweep.engine.encoding.encode import encode_split
from adapter_sweep.engine.encoding.images import encode_images

__all__ = ["encode_images", "encode_split"]
