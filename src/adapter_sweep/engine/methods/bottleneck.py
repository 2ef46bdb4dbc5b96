"""Bottleneck adapters (Houlsby et al. 2019, section 2.1).

Shapes: B batch, T tokens, D hidden, M width.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from adapter_sweep.engine.backbone import Backbone
from adapter_sweep.engine.methods.insertion import Insertion, key_of
from adapter_sweep.engine.methods.norms import build_norms, lowest_norm, norms_of
from adapter_sweep.engine.methods.parts import Parts, Trained
from adapter_sweep.engine.sites import PLACEMENTS, LayerNorms, Layers, Layout, layers_of, sites_of

__all__ = [
    "ACTIVATIONS",
    "Bottleneck",
    "BottleneckAdapter",
    "BottleneckSpec",
    "Scaling",
    "bottleneck_params",
    "truncated_normal",
]

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}
# A factor, or `learned`: one number an adapter, 1 at the start.
Scaling = float | Literal["learned"]


@dataclass(frozen=True)
class BottleneckSpec:
    """What decides the architecture and the start of bottleneck adapters.

    Attributes:
        width: bottleneck dimension m, at least 1.
        placement: `post_attention`, `post_ffn` or `both`.
        activation: a key of `ACTIVATIONS`.
        init_std: standard deviation of the projections' normal initialisation, truncated at two of them
            (Houlsby et al. 2019 use 1e-2); biases start at 0.
        layer_norms: which of the backbone's layer norms are trained with the adapters: `none`, those of the
            `adapted_layers`, or `all` (the embeddings' too, as the paper's code does).
        layers: which layers hold adapters: `all`, `top:K` (the K nearest the output), or indices from 0 at the input.
        scaling: of what an adapter adds.
        shared: whether all layers share one adapter for each site of the placement.
    """

    near_identity: ClassVar[bool] = True

    width: int
    placement: str = "both"
    activation: str = "gelu"
    init_std: float = 1e-2
    layer_norms: LayerNorms = "adapted_layers"
    layers: Layers = "all"
    scaling: Scaling = 1.0
    shared: bool = False

    def count(self, model: nn.Module, layout: Layout) -> Trained:
        """See `Method`: 2·m·d + m + d an adapter, and one more where the scaling is learned."""
        sites = len(list(sites_of(layout, self.placement, self.layers)))
        adapters = len(PLACEMENTS[self.placement]) if self.shared else sites
        each = bottleneck_params(layout.hidden_size, self.width, self.scaling)
        return Trained(adapters * each, sum(norms_of(layout, self.layer_norms, self.layers).values()))

    def build(self, backbone: Backbone, generator: torch.Generator) -> Parts:
        """See `Method`."""
        layout = backbone.layout
        adapters: dict[str, nn.Module] = {}
        after = {}
        for layer, site, name in sites_of(layout, self.placement, self.layers):
            place = site if self.shared else key_of(f"{layer.index}.{site}")
            if place not in adapters:
                adapters[place] = BottleneckAdapter(layout.hidden_size, self, generator)
            after[name] = adapters[place]
        norms = build_norms(backbone, self.layer_norms, self.layers)
        return Parts(
            adapters, {key_of(name): norm for name, norm in norms.items()}, Insertion(after=after, replaced=norms)
        )

    def lowest_layer(self, backbone: Backbone) -> int | None:
        """See `Method`."""
        norm = lowest_norm(backbone, self.layer_norms, self.layers)
        first = layers_of(backbone.layout, self.layers)[0].index
        return first if norm is None else min(first, norm)


class Bottleneck(nn.Module):
    """scaling · up(activation(down(x))): [B, T, D] -> [B, T, D]; what adapters of every kind add.

    Mixed precision as usual (Micikevicius et al. 2018): the parameters, and so their gradients' sums and the
    optimizer's state, are float32; the products are computed in the precision of the hidden states they are applied to.
    """

    def __init__(self, hidden_size: int, width: int, activation: str, scaling: Scaling) -> None:
        super().__init__()
        self.down = nn.Linear(hidden_size, width)
        self.activation = ACTIVATIONS[activation]()
        self.up = nn.Linear(width, hidden_size)
        self.scale = nn.Parameter(torch.ones(1)) if scaling == "learned" else None
        self.factor = 1.0 if scaling == "learned" else float(scaling)

    def added(self, x: Tensor) -> Tensor:
        """What the bottleneck makes of hidden states [B, T, D]."""
        h = functional.linear(x, self.down.weight.to(x.dtype), self.down.bias.to(x.dtype))
        made = functional.linear(self.activation(h), self.up.weight.to(x.dtype), self.up.bias.to(x.dtype))
        if self.scale is not None:
            return made * self.scale.to(x.dtype)
        return made if self.factor == 1.0 else made * self.factor


class BottleneckAdapter(Bottleneck):
    """x + scaling · up(activation(down(x))): [B, T, D] -> [B, T, D]."""

    def __init__(self, hidden_size: int, spec: BottleneckSpec, generator: torch.Generator) -> None:
        super().__init__(hidden_size, spec.width, spec.activation, spec.scaling)
        for linear in (self.down, self.up):
            truncated_normal(linear.weight, spec.init_std, generator)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the adapter to hidden states [B, T, D]."""
        return x + self.added(x)


def bottleneck_params(hidden_size: int, width: int, scaling: Scaling) -> int:
    """Parameters of one bottleneck with biases, and of its learned scaling."""
    return 2 * width * hidden_size + width + hidden_size + (scaling == "learned")


def truncated_normal(weight: Tensor, std: float, generator: torch.Generator) -> None:
    """Fill from a normal distribution cut at two standard deviations."""
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std, generator=generator)
