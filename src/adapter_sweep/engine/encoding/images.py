"""Images as pixels, made by the backbone's own processor."""

import hashlib
from typing import Any

import torch

from adapter_sweep.engine.backbone import Backbone
from adapter_sweep.engine.encoded import EncodedImages
from adapter_sweep.engine.encoding.encode import pooled_problem
from adapter_sweep.engine.latency import training_step
from adapter_sweep.engine.modality import count_image_tokens, image_shape
from adapter_sweep.engine.room import Room
from adapter_sweep.engine.tasks.data import Split, TaskData
from adapter_sweep.errors import AdapterSweepError, UserInputError

__all__ = ["encode_images"]

_AT_ONCE = 64  # images that are decoded together


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
    for start in range(0, len(split), _AT_ONCE):
        with training_step():  # decoding is work as well: nobody reads latency beside it
            decoded = [each.decoded(shape[0]) for each in split.images[start : start + _AT_ONCE]]
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
    settings = f"{type(processor).__name__}: {processor.to_json_string()}"
    made_of = hashlib.sha256(repr(([each.digest for each in split.images], settings)).encode()).hexdigest()
    tokens, rows = count_image_tokens(backbone.model), tuple(range(len(split)))
    return EncodedImages(pixels, split.labels, tokens, made_of, rows, pooled_problem(data))


def _said(shape: Any) -> str:
    channels, height, width = shape
    return f"{channels} channels, {height} x {width}"
