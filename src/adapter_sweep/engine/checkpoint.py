"""Checkpoints on disk: one safetensors file each, tensors and a few facts, whole or not there."""

import json
import os
import zlib
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from adapter_sweep.durable import replacing
from adapter_sweep.engine.progress import Standing, Training

__all__ = ["Contents", "NoCheckpointError", "key_of", "load_checkpoint", "pack", "save_checkpoints", "unpack"]

_FORMAT = "1"


class NoCheckpointError(Exception):
    """A file is no checkpoint that can be gone on from; says why."""


@dataclass(frozen=True)
class Contents:
    """What a checkpoint holds.

    Attributes:
        key: says what may go on from it: all that decides the rest of the training, as a hash.
        facts: plain JSON values.
        tensors: on the CPU.
    """

    key: str
    facts: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


def save_checkpoints(checkpoints: Mapping[Path, Contents]) -> None:
    """Write checkpoints of models that train together.

    Guarantees: each file is whole or what was there before; no name is taken before all of them are on the disk, so
    that models which went together go on together after all but a crash in that moment.

    Raises:
        OSError: there is no room, say; what was there before still is, or is complete.
    """
    with ExitStack() as names:
        for path, contents in checkpoints.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            aside = names.enter_context(replacing(path))
            facts = json.dumps(contents.facts)
            told = {"format": _FORMAT, "key": contents.key, "facts": facts, "sum": _sum(facts, contents.tensors)}
            save_file(dict(contents.tensors), aside, metadata=told)
            with aside.open("rb") as file:
                os.fsync(file.fileno())


def key_of(path: Path) -> str | None:
    """The key that a checkpoint says it belongs to; None of what is missing or broken. Its tensors are not read."""
    try:
        with safe_open(path, framework="pt") as file:
            key: str | None = (file.metadata() or {}).get("key")
    except Exception:  # a broken file can raise nearly anything while it is parsed
        return None
    return key


def load_checkpoint(path: Path, key: str) -> Contents:
    """Read a checkpoint that belongs to a key.

    Raises:
        FileNotFoundError: there is none.
        NoCheckpointError: it is broken, or belongs to another key.
    """
    if not path.exists():
        raise FileNotFoundError(path)
    try:
        with safe_open(path, framework="pt") as file:
            told = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        facts = json.loads(told["facts"])
        whole = told["sum"] == _sum(told["facts"], tensors)
    except Exception as error:  # a broken file can raise nearly anything while it is parsed
        raise NoCheckpointError(f"it is broken: {type(error).__name__}: {error}") from error
    if not whole:
        raise NoCheckpointError("it is broken: its sum is another")
    if (told.get("format"), told.get("key")) != (_FORMAT, key):
        raise NoCheckpointError("it was made with other settings, data, weights or packages")
    return Contents(key, facts, tensors)


def pack(standing: Standing) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A standing as plain facts and tensors; what `unpack` takes."""
    training = standing.training
    facts = {
        "epochs": standing.epochs,
        "batches": standing.batches,
        "epoch_total": standing.epoch_total,
        "at_once": standing.at_once,
        "epoch_losses": training.epoch_losses,
        "seconds": training.seconds,
        "stopped": training.stopped,
        "micro_batches": training.micro_batches,
        "together": training.together,
    }
    losses = torch.tensor([loss for _, loss in training.losses], dtype=torch.float64)
    weights = {f"weights.{name}": tensor for name, tensor in standing.weights.items()}
    moments = {f"moments.{name}": tensor for name, tensor in standing.moments.items()}
    return facts, {"losses": losses, **weights, **moments}


def unpack(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Standing:
    """The standing that was packed."""
    training = Training(
        losses=[(step, loss) for step, loss in enumerate(tensors["losses"].tolist(), start=1)],
        epoch_losses=list(facts["epoch_losses"]),
        seconds=facts["seconds"],
        stopped=facts["stopped"],
        micro_batches=facts["micro_batches"],
        together=facts["together"],
    )
    own = {
        kind: {name.removeprefix(kind): t for name, t in tensors.items() if name.startswith(kind)}
        for kind in ("weights.", "moments.")
    }
    return Standing(
        epochs=facts["epochs"],
        batches=facts["batches"],
        epoch_total=facts["epoch_total"],
        at_once=facts["at_once"],
        training=training,
        weights=own["weights."],
        moments=own["moments."],
    )


def _sum(facts: str, tensors: Mapping[str, Tensor]) -> str:
    """A sum over all there is: a file of the right length may still hold what was never written."""
    total = zlib.crc32(facts.encode())
    for name in sorted(tensors):
        data = tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy()
        total = zlib.crc32(data.tobytes(), zlib.crc32(name.encode(), total))
    return f"{total:08x}"
