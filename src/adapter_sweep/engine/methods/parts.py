"""What every method is made of: its trained modules, and how they get into the backbone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import nn

from adapter_sweep.engine.backbone import Backbone
from adapter_sweep.engine.methods.insertion import Insertion
from adapter_sweep.engine.sites import Layout

__all__ = ["Method", "Parts", "Trained"]


class Trained(NamedTuple):
    """How many parameters a method trains in the backbone: whole layer norms, and all else."""

    adapters: int
    layer_norms: int = 0


@dataclass(frozen=True)
class Parts:
    """A method on one backbone.

    Attributes:
        adapters, norms: the trained modules, by the keys they are saved under; all parameters in float32.
        insertion: how they get into the backbone. It shares their tensors.
        merged: makes modules that stand in for the backbone's and compute the same with nothing added, by name, with
            weights of their own; None where the method cannot be merged.
    """

    adapters: Mapping[str, nn.Module] = field(default_factory=dict)
    norms: Mapping[str, nn.Module] = field(default_factory=dict)
    insertion: Insertion = field(default_factory=Insertion)
    merged: Callable[[], Mapping[str, nn.Module]] | None = None


class Method(Protocol):
    """What a method's dataclass answers. Its fields decide the architecture and the start."""

    near_identity: ClassVar[bool]
    """Whether the untrained method leaves the backbone nearly as it is."""

    def count(self, model: nn.Module, layout: Layout) -> Trained:
        """The exact number of trained parameters besides the head, by arithmetic; no tensor is made.

        Raises:
            UserInputError: the method cannot be had on this model.
        """

    def build(self, backbone: Backbone, generator: torch.Generator) -> Parts:
        """The method's modules, untrained.

        Raises:
            UserInputError: the method cannot be had on this backbone.
        """

    def lowest_layer(self, backbone: Backbone) -> int | None:
        """The index of the lowest layer with anything trained in it: below it nothing depends on what is trained.

        -1 where that begins below the first layer, the number of layers where it begins above the last; None where
        nothing of the backbone is trained.
        """
