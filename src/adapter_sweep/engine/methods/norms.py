"""The backbone's layer norms, trained in place: alone, or with adapters (Houlsby et al. 2019, section 2.1)."""

from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from adapter_sweep.engine.backbone import Backbone
from adapter_sweep.engine.depth import norm_depths
from adapter_sweep.engine.methods.insertion import Insertion, key_of
from adapter_sweep.engine.methods.parts import Parts, Trained
from adapter_sweep.engine.sites import LayerNorms, Layers, Layout, layers_of

__all__ = ["LayerNormSpec", "TrainedNorm", "build_norms", "lowest_norm", "norms_of"]


class TrainedNorm(nn.Module):
    """A float32 copy of a backbone's layer norm, trained in its place."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = deepcopy(norm).float().requires_grad_(True)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise hidden states, in their precision."""
        norm = self.norm
        if isinstance(norm, nn.LayerNorm) and x.device.type == "cpu":
            # On the CPU torch normalises bf16 with float32 weights, in float32, without a copy of either.
            return functional.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
        normed: Tensor = norm(x.float())
        return normed.to(x.dtype)


@dataclass(frozen=True)
class LayerNormSpec:
    """The backbone's layer norms and nothing else.

    Attributes:
        layer_norms: `all`, or those of the `layers` only.
        layers: which layers: `all`, `top:K`, or indices from 0 at the input.
    """

    near_identity: ClassVar[bool] = True

    layer_norms: Literal["layers", "all"] = "all"
    layers: Layers = "all"

    def count(self, model: nn.Module, layout: Layout) -> Trained:
        """See `Method`."""
        return Trained(0, sum(norms_of(layout, self._which, self.layers).values()))

    def build(self, backbone: Backbone, generator: torch.Generator) -> Parts:
        """See `Method`."""
        norms = build_norms(backbone, self._which, self.layers)
        return Parts(norms={key_of(name): norm for name, norm in norms.items()}, insertion=Insertion(replaced=norms))

    def lowest_layer(self, backbone: Backbone) -> int | None:
        """See `Method`."""
        return lowest_norm(backbone, self._which, self.layers)

    @property
    def _which(self) -> LayerNorms:
        return "adapted_layers" if self.layer_norms == "layers" else "all"


def norms_of(layout: Layout, which: LayerNorms, layers: Layers) -> dict[str, int]:
    """Module names of the layer norms that are trained -> number of parameters.

    Raises:
        UserInputError: the backbone has no such layers.
    """
    chosen = layers_of(layout, layers)
    if which == "none":
        return {}
    norms = {
        name: size for layer in (layout.layers if which == "all" else chosen) for name, size in layer.norms.items()
    }
    return {**norms, **layout.other_norms} if which == "all" else norms


def build_norms(backbone: Backbone, which: LayerNorms, layers: Layers) -> dict[str, nn.Module]:
    """A trained copy of each of these layer norms, by the backbone's names."""
    return {name: TrainedNorm(backbone.model.get_submodule(name)) for name in norms_of(backbone.layout, which, layers)}


def lowest_norm(backbone: Backbone, which: LayerNorms, layers: Layers) -> int | None:
    """The lowest layer that holds one of these norms; one outside the layers counts by where it computes."""
    layout = backbone.layout
    trained = norms_of(layout, which, layers).keys()
    found = [layer.index for layer in layout.layers if trained & layer.norms.keys()]
    outside = trained & layout.other_norms.keys()
    if outside:
        depths = norm_depths(backbone)
        found += [depths[name] for name in outside]
    return min(found, default=None)
