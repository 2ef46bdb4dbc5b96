"""Real handwriting as image files, and a random ViT that reads images of their size."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

SIDE = 8


def save_digits(folder: Path, count: int = 1797, classes: int = 10) -> Path:
    """Write scikit-learn's digits (8 x 8 pixels, 17 greys) as PNG files, a folder a class: at most `count` of all."""
    digits = load_digits()
    chosen = [row for row in range(len(digits.target)) if digits.target[row] < classes][:count]
    for row in chosen:
        own = folder / f"digit {digits.target[row]}"
        own.mkdir(parents=True, exist_ok=True)
        pixels = np.round(digits.images[row] * 255 / 16).astype(np.uint8)
        Image.fromarray(pixels).save(own / f"{row:04}.png")
    return folder


def save_table(folder: Path, label: Callable[[int, Path], str], name: str = "digits.csv") -> Path:
    """Write a CSV of a folder's images, columns `file` (relative) and `label`."""
    files = sorted(folder.rglob("*.png"))
    lines = [f"{file.relative_to(folder)},{label(row, file)}" for row, file in enumerate(files)]
    path = folder / name
    path.write_text("\n".join(["file,label", *lines]) + "\n", encoding="utf-8")
    return path


def save_tiny_vit(folder: Path, side: int = SIDE, channels: int = 3) -> Path:
    """Write a random ViT (2 layers, hidden size 32, patches of 4 x 4 pixels) and its image processor."""
    import torch
    from transformers import ViTConfig, ViTModel
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = ViTConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            image_size=side,
            patch_size=4,
            initializer_range=0.1,  # with less of it, all images are much the same to random weights
            num_channels=channels,
        )
        ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    ViTImageProcessorPil(
        size={"height": side, "width": side}, image_mean=[0.5] * channels, image_std=[0.5] * channels
    ).save_pretrained(folder)
    return folder
