"""No method at all: a linear head on the frozen backbone."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from adapter_sweep.engine.backbone import Backbone
from adapter_sweep.engine.methods.parts import Parts, Trained
from adapter_sweep.engine.sites import Layout

__all__ = ["HeadSpec"]


@dataclass(frozen=True)
class HeadSpec:
    """Nothing in the backbone: a linear head on its pooled hidden states, the reference that adapters have to beat."""

    near_identity: ClassVar[bool] = True

    def count(self, model: nn.Module, layout: Layout) -> Trained:
        """See `Method`."""
        return Trained(0)

    def build(self, backbone: Backbone, generator: torch.Generator) -> Parts:
        """See `Method`."""
        return Parts()

    def lowest_layer(self, backbone: Backbone) -> int | None:
        """See `Method`."""
        return None
