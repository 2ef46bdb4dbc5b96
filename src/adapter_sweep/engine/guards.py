"""The guards: what must hold for a trial's result to be trusted. Each raises GuardError with what it saw."""

import math
from typing import Any

import torch

from adapter_sweep.engine.adapters import AdaptedModel, BottleneckSpec, HeadSpec, ParamCount
from adapter_sweep.engine.backbone import Backbone, fingerprint, structure_of
from adapter_sweep.engine.batches import Batch
from adapter_sweep.errors import FrozenWeightsError, GuardError

__all__ = [
    "MAX_IDENTITY_GAP",
    "check_finite_loss",
    "check_frozen",
    "check_identity",
    "check_param_count",
    "check_whole_split",
]

MAX_IDENTITY_GAP = 0.25


def check_finite_loss(loss: float, step: int) -> None:
    """A loss that is not finite says nothing about the architecture: the training broke."""
    if not math.isfinite(loss):
        raise GuardError(f"the loss is {loss} at step {step}; a lower train.lr may help")


@torch.inference_mode()
def check_identity(model: AdaptedModel, batch: Batch) -> float:
    """A method starts near the identity (Houlsby et al. 2019, section 2.1), or training starts from a broken backbone.

    Virtual tokens do not: attention reads them from the start, as their papers want. Of them only the gap is told.

    Returns:
        The relative change of the pooled hidden states by the untrained method, |adapted - frozen| / |frozen|.
    """
    if isinstance(model.spec, HeadSpec):
        return 0.0
    device = next(model.parameters()).device
    inputs = batch.inputs_on(device)
    frozen = model.backbone.encode(inputs)
    with model.attached():
        adapted = model.backbone.encode(inputs)
    gap = float((adapted - frozen).norm() / frozen.norm())
    if math.isfinite(gap) and not model.spec.near_identity:
        return gap
    if not gap <= MAX_IDENTITY_GAP:
        cause = f"; init_std={model.spec.init_std} is too large" if isinstance(model.spec, BottleneckSpec) else ""
        raise GuardError(
            f"the untrained adapters change the hidden states by {gap:.3g} of their size, "
            f"over {MAX_IDENTITY_GAP}{cause}"
        )
    return gap


def check_frozen(backbone: Backbone) -> None:
    """The backbone's weights and buffers are bit-identical to those that were loaded, and no module has other hooks."""
    if fingerprint(dict(backbone.model.named_parameters())) != backbone.held:
        raise FrozenWeightsError("the frozen backbone's weights changed during the trial")
    if structure_of(backbone.model) != backbone.structure:
        raise FrozenWeightsError("the frozen backbone's modules, hooks or buffers changed during the trial")


def check_param_count(model: AdaptedModel, expected: ParamCount) -> None:
    """What is trained is what was costed."""
    counted = model.count_params()
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if counted != expected or trainable != expected.total:
        raise GuardError(
            f"{trainable} parameters are trained ({counted}), but the formula gives {expected.total} ({expected})"
        )


def check_whole_split(predictions: tuple[Any, ...], size: int, split: str) -> None:
    """The score is over every example of the split it names; one without a prediction has None."""
    scored = sum(1 for p in predictions if p is not None)
    if len(predictions) != size or scored != size:
        raise GuardError(f"{scored} of the {split} split's {size} examples were scored")
