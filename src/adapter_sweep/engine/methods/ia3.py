"""(IA)³: learned factors on keys, values and the feed-forward's inner activations (Liu et al. 2022), by peft."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from adapter_sweep.engine.backbone import Backbone
from adapter_sweep.engine.methods.parts import Parts, Trained
from adapter_sweep.engine.methods.tuned import peft, tuned_parts
from adapter_sweep.engine.projections import features, projections_of
from adapter_sweep.engine.sites import Layers, Layout, layers_of

__all__ = ["IA3Spec"]


@dataclass(frozen=True)
class IA3Spec:
    """One factor a feature, 1 at the start. Where a model fuses its projections the queries have factors too.

    Attributes:
        layers: in which layers: `all`, `top:K` (the K nearest the output), or indices from 0 at the input.
    """

    near_identity: ClassVar[bool] = True

    layers: Layers = "all"

    def count(self, model: nn.Module, layout: Layout) -> Trained:
        """See `Method`: one a feature."""
        scaled, fed = self._targets(model, layout)
        outputs = sum(features(model.get_submodule(name))[1] for name in scaled)
        return Trained(outputs + sum(features(model.get_submodule(name))[0] for name in fed))

    def build(self, backbone: Backbone, generator: torch.Generator) -> Parts:
        """See `Method`."""
        model = backbone.model
        scaled, fed = self._targets(model, backbone.layout)
        config = peft("ia3").IA3Config(
            target_modules=[*scaled, *fed],
            feedforward_modules=list(fed),
            fan_in_fan_out=isinstance(model.get_submodule(fed[0]), Conv1D),
        )
        return tuned_parts(model, config, dict.fromkeys([*scaled, *fed], ("ia3_l",)))

    def lowest_layer(self, backbone: Backbone) -> int | None:
        """See `Method`."""
        return layers_of(backbone.layout, self.layers)[0].index

    def _targets(self, model: nn.Module, layout: Layout) -> tuple[list[str], list[str]]:
        """The projections whose outputs are scaled, and those whose inputs are."""
        scaled: list[str] = []
        fed: list[str] = []
        for layer in layers_of(layout, self.layers):
            projections = projections_of(model, layer, layout.hidden_size)
            scaled += projections.keys_and_values
            fed.append(projections.exits["post_ffn"])
        return scaled, fed
