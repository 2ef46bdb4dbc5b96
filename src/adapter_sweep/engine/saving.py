"""Trained weights on disk: safetensors, and a small JSON that says what they are and what they stand on."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from adapter_sweep.durable import replacing, write_text
from adapter_sweep.engine.adapters import AdaptedModel, count_params
from adapter_sweep.engine.backbone import Backbone
from adapter_sweep.engine.methods import METHODS, MethodSpec, spec_of
from adapter_sweep.errors import UserInputError

__all__ = ["CONFIG_FILE", "WEIGHTS_FILE", "load_adapted", "save_adapted"]

WEIGHTS_FILE = "adapter.safetensors"
CONFIG_FILE = "adapter.json"
_FORMAT = 1


def save_adapted(
    model: AdaptedModel, folder: Path, *, label_names: tuple[str, ...], problem: Mapping[str, Any] | None = None
) -> Path:
    """Write all that is trained, the head included; returns the weights' path.

    Guarantees: each file is on the disk before it has its name, the JSON last, so a folder with the JSON is whole.

    Args:
        model: what is saved.
        folder: where to.
        label_names: of its outputs.
        problem: what else predicting needs to know: `Problem.about`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / WEIGHTS_FILE
    with replacing(weights) as aside:
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, aside)
    about = {
        "format": _FORMAT,
        "method": next(name for name, kind in METHODS.items() if isinstance(model.spec, kind)),
        "spec": asdict(model.spec),
        "label_names": list(label_names),
        "problem": {**(problem or {}), "outputs": model.outputs, "per_token": model.per_token},
        "pooling": model.backbone.pooling,
        "precision": model.backbone.precision,
        "backbone": {"source": model.backbone.name, "fingerprint": model.backbone.fingerprint},
    }
    write_text(folder / CONFIG_FILE, json.dumps(about, indent=2) + "\n")
    return weights


def load_adapted(backbone: Backbone, folder: Path) -> tuple[AdaptedModel, tuple[str, ...]]:
    """Read what `save_adapted` wrote onto a backbone; the model and the label names.

    Guarantees: on the same backbone, device and threads, the logits are bit-identical to those of the saved model.

    Raises:
        UserInputError: a file is missing or broken, or the weights belong to another backbone.
    """
    try:
        about = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        spec = _spec(about["method"], about["spec"])
        labels = tuple(str(name) for name in about["label_names"])
        head = {"outputs": len(labels), "per_token": False, **about.get("problem", {})}
        made_for = {key: str(about["backbone"][key]) for key in ("source", "fingerprint")}
        pooling, precision = about["pooling"], about["precision"]
        tensors = load_file(folder / WEIGHTS_FILE)
    except Exception as error:  # a broken file can raise nearly anything while it is parsed
        raise UserInputError(f"{folder} holds no adapter that can be read: {type(error).__name__}: {error}") from error
    if precision != backbone.precision:
        raise UserInputError(f"{folder} was trained on a {precision} backbone, and this one is {backbone.precision}")
    if (made_for["fingerprint"], pooling) != (backbone.fingerprint, backbone.pooling):
        raise UserInputError(
            f"{folder} was made for {made_for['source']}, {pooling} pooling, weights {made_for['fingerprint'][:12]}…, "
            f"not for {backbone.source}, {backbone.pooling} pooling, weights {backbone.fingerprint[:12]}…"
        )
    try:
        counted = count_params(backbone.model, backbone.layout, spec, int(head["outputs"])).total
        held = sum(tensor.numel() for tensor in tensors.values())
        if counted != held:  # before anything of the size that is described is made
            raise ValueError(f"{held:,} numbers, where {counted:,} are described")
        model = AdaptedModel(backbone, spec, head["outputs"], seed=0, per_token=bool(head["per_token"]))
        model.load_state_dict(tensors)
    except Exception as error:  # a description can be wrong in any way
        raise UserInputError(f"{folder}/{WEIGHTS_FILE} does not fit {CONFIG_FILE}: {error}") from error
    return model, labels


def _spec(method: str, values: dict[str, Any]) -> MethodSpec:
    """The method as it was saved; JSON made lists of its tuples, and what was no choice then has its default."""
    if method not in METHODS:
        raise ValueError(f"the method {method!r} is not known; known are {', '.join(METHODS)}")
    return spec_of(method, values)
