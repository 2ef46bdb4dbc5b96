"""What a backbone reads, text or images, and the smallest thing of its kind to read.

Shapes: B rows, T tokens, C channels, H height, W width.
"""

from typing import Any

import torch
from torch import Tensor, nn

from adapter_sweep.scores import Modality

__all__ = [
    "Modality",
    "count_image_tokens",
    "example_inputs",
    "has_image_token",
    "image_shape",
    "modality_of",
    "random_inputs",
    "vocabulary_size",
]

# Not the lowest, which are special tokens in most vocabularies.
_FIRST_ID = 3


def modality_of(model: nn.Module | type[nn.Module]) -> Modality:
    """What a transformers model, or a class of them, reads."""
    return "image" if getattr(model, "main_input_name", "input_ids") == "pixel_values" else "text"


def example_inputs(model: nn.Module, *, rows: int = 1, tokens: int = 4) -> dict[str, Tensor]:
    """Inputs to try a model on, the same each time, on its device; the rows differ in their last token or pixel.

    Args:
        model: a transformers model without a task head.
        rows: B.
        tokens: T, of a text; an image has as many as it has (see `count_image_tokens`).

    Returns:
        `input_ids` and `attention_mask` [B, T], or `pixel_values` [B, C, H, W].
    """
    device = next(model.parameters()).device
    if modality_of(model) == "image":
        pixels = torch.rand(1, *image_shape(model), generator=_generator()).repeat(rows, 1, 1, 1)
        pixels[:, :, -1, -1] += torch.arange(rows).unsqueeze(1)
        return {"pixel_values": pixels.to(device)}
    ids = torch.arange(_FIRST_ID, _FIRST_ID + tokens).repeat(rows, 1)
    ids[:, -1] += torch.arange(rows)
    ids = ids.to(device) % vocabulary_size(model)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def random_inputs(model: nn.Module, *, rows: int, tokens: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Inputs of the shape that a model's real ones have, on its device, the same for the same state of the generator.

    Args:
        model: a transformers model without a task head.
        rows: B.
        tokens: T, of a text; an image has as many as it has.
        generator: on the CPU.

    Returns:
        `input_ids` and `attention_mask` [B, T], or `pixel_values` [B, C, H, W].
    """
    device = next(model.parameters()).device
    if modality_of(model) == "image":
        return {"pixel_values": torch.randn(rows, *image_shape(model), generator=generator).to(device)}
    ids = torch.randint(vocabulary_size(model), (rows, tokens), generator=generator).to(device)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def image_shape(model: nn.Module) -> tuple[int, int, int]:
    """C, H and W of the images that a model takes."""
    config: Any = model.config
    return (int(config.num_channels), *_height_and_width(config.image_size))


@torch.inference_mode()
def count_image_tokens(model: nn.Module) -> int:
    """T, the hidden states an image becomes: its patches, and the tokens the model adds to them."""
    return int(model(**example_inputs(model)).last_hidden_state.shape[1])


def has_image_token(model: nn.Module) -> bool:
    """Whether the first hidden state stands for the whole image rather than for its first patch."""
    return any(name.endswith(("cls_token", "class_embedding")) for name, _ in model.named_parameters())


def vocabulary_size(model: nn.Module) -> int:
    """How many token ids a model that reads text takes."""
    embeddings: Any = model.get_input_embeddings()  # type: ignore[operator]
    return int(embeddings.num_embeddings)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _height_and_width(size: int | tuple[int, int] | list[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])
