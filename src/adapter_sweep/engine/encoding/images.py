"""Images as pixels, made by the backbone's own processor."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from adapter_sweep.engine.backbone import Backbone
from adapter_sweep.engine.encoded import EncodedImages
from adapter_sweep.engine.encoding.encode import pooled_problem
from adapter_sweep.engine.latency import training_step
from adapter_sweep.engine.modality import count_image_tokens, image_shape
from adapter_sweep.engine.room import Room
from adapter_sweep.engine.tasks.data import Split, TaskData
from adapter_sweep.engine.tasks.pictures import Picture
from adapter_sweep.errors import AdapterSweepError, UserInputError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["encode_images"]

_AT_ONCE = 64  # images that are decoded together, at most
_PIXELS_AT_ONCE = 16_000_000  # of them all, before they are made smaller; one image may have more


def encode_images(backbone: Backbone, data: TaskData, split: Split, room: Room) -> EncodedImages:
    """A split's images as the pixels a backbone takes, each decoded once and kept.

    Args:
        backbone: one that reads images.
        data: the task; what its training split decides holds for every split.
        split: of the task, or a part of one.
        room: for the pixels.

    Raises:
        UserInputError: the processor makes of them what the model does not take, or an image changed.
        AdapterSweepError: there is no room for them.
    """
    assert split.images is not None
    processor: Any = backbone.processor
    shape = image_shape(backbone.model)
    if shape[0] not in (1, 3):
        raise UserInputError(f"backbone: {backbone.source} reads images of {shape[0]} channels; a file has 1 or 3")
    pixels = room.take((len(split), *shape), torch.float32, torch.device("cpu"), "pixels")
    if pixels is None:
        raise AdapterSweepError(
            f"there is no room for the pixels of {len(split):,} images; free some disk, raise train.cache_gb or set "
            "task.max_train_examples"
        )
    start = 0
    while start < len(split):
        with training_step():  # decoding is work as well: nobody reads latency beside it
            decoded = _decoded_together(split.images[start : start + _AT_ONCE], shape[0])
            try:
                made = processor(decoded, return_tensors="pt")["pixel_values"]
            except (ValueError, RuntimeError, TypeError) as error:
                raise UserInputError(
                    f"backbone: {type(processor).__name__} of {backbone.source} cannot make pixels of the images: "
                    f"{error}"
                ) from error
        if tuple(made.shape[1:]) != shape:
            raise UserInputError(
                f"backbone: {type(processor).__name__} of {backbone.source} makes images of {_said(made.shape[1:])}, "
                f"and the model takes {_said(shape)}; set its size in preprocessor_config.json"
            )
        pixels[start : start + len(decoded)] = made
        start += len(decoded)
    settings = f"{type(processor).__name__}: {processor.to_json_string()}"
    made_of = hashlib.sha256(repr(([each.digest for each in split.images], settings)).encode()).hexdigest()
    tokens, rows = count_image_tokens(backbone.model), tuple(range(len(split)))
    return EncodedImages(pixels, split.labels, tokens, made_of, rows, pooled_problem(data))


def _decoded_together(pictures: Sequence[Picture], channels: int) -> list[Image]:
    """The first of these, decoded, until they have `_PIXELS_AT_ONCE`; at least one."""
    decoded: list[Image] = []
    count = 0
    for picture in pictures:
        decoded.append(picture.decoded(channels))
        count += decoded[-1].width * decoded[-1].height
        if count >= _PIXELS_AT_ONCE:
            break
    return decoded


def _said(shape: Any) -> str:
    channels, height, width = shape
    return f"{channels} channels, {height} x {width}"
