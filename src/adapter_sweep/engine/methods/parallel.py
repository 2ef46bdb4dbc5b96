"""Parallel adapters (He et al. 2022, "Towards a unified view of parameter-efficient transfer learning").

Shapes: B batch, T tokens, D hidden, M width.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from adapter_sweep.engine.backbone import Backbone
from adapter_sweep.engine.methods.bottleneck import Bottleneck, Scaling, bottleneck_params
from adapter_sweep.engine.methods.insertion import Insertion, key_of
from adapter_sweep.engine.methods.parts import Parts, Trained
from adapter_sweep.engine.projections import projections_of
from adapter_sweep.engine.sites import Layers, Layout, Site, layers_of

__all__ = ["BESIDE", "ParallelAdapter", "ParallelSpec"]

# The sub-layers an adapter can stand beside -> the sites at whose place its output is added.
BESIDE: dict[str, tuple[Site, ...]] = {
    "attention": ("post_attention",),
    "ffn": ("post_ffn",),
    "both": ("post_attention", "post_ffn"),
}


@dataclass(frozen=True)
class ParallelSpec:
    """What decides the architecture of parallel adapters. They start at exactly nothing: up is 0.

    Attributes:
        width: bottleneck dimension m, at least 1.
        placement: the sub-layer it stands beside: `attention`, `ffn` (what the paper recommends) or `both`.
        activation: a key of `ACTIVATIONS`; the paper's code has ReLU.
        scaling: of what it adds; the paper's is 4.
        layers: which layers hold adapters: `all`, `top:K` (the K nearest the output), or indices from 0 at the input.
    """

    near_identity: ClassVar[bool] = True

    width: int
    placement: str = "ffn"
    activation: str = "relu"
    scaling: Scaling = 4.0
    layers: Layers = "all"

    def count(self, model: nn.Module, layout: Layout) -> Trained:
        """See `Method`: 2·m·d + m + d an adapter, and one more where the scaling is learned."""
        each = bottleneck_params(layout.hidden_size, self.width, self.scaling)
        return Trained(each * len(self._sublayers(model, layout)))

    def build(self, backbone: Backbone, generator: torch.Generator) -> Parts:
        """See `Method`."""
        adapters: dict[str, nn.Module] = {}
        beside = {}
        for place, ends in self._sublayers(backbone.model, backbone.layout).items():
            adapter = ParallelAdapter(backbone.layout.hidden_size, self, generator)
            adapters[key_of(place)], beside[ends] = adapter, adapter
        return Parts(adapters, insertion=Insertion(beside=beside))

    def lowest_layer(self, backbone: Backbone) -> int | None:
        """See `Method`."""
        return layers_of(backbone.layout, self.layers)[0].index

    def _sublayers(self, model: nn.Module, layout: Layout) -> dict[str, tuple[str, str]]:
        """Place -> the first and the last projection of its sub-layer."""
        found = {}
        for layer in layers_of(layout, self.layers):
            projections = projections_of(model, layer, layout.hidden_size)
            for site in BESIDE[self.placement]:
                found[f"{layer.index}.{site}"] = (projections.entries[site][0], layer.sites[site])
        return found


class ParallelAdapter(Bottleneck):
    """(x, y) -> y + scaling · up(activation(down(x))), x a sub-layer's input and y its output, each [B, T, D]."""

    def __init__(self, hidden_size: int, spec: ParallelSpec, generator: torch.Generator) -> None:
        super().__init__(hidden_size, spec.width, spec.activation, spec.scaling)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5), generator=generator)
        for start in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(start)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Add to a sub-layer's output what the adapter makes of its input."""
        return y + self.added(x)
