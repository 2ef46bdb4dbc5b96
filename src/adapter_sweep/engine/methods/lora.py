"""LoRA: low-rank updates of projections (Hu et al. 2022), by the library peft."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from adapter_sweep.engine.backbone import Backbone
from adapter_sweep.engine.methods.parts import Parts, Trained
from adapter_sweep.engine.methods.tuned import peft, tuned_parts
from adapter_sweep.engine.projections import chosen_projections, features, projections_of
from adapter_sweep.engine.sites import Layers, Layout, layers_of

__all__ = ["LoraSpec"]


@dataclass(frozen=True)
class LoraSpec:
    """What decides LoRA's architecture: W x + (alpha / rank) · B (A x), A random and B 0 at the start. No dropout.

    Attributes:
        rank: of the update, at least 1.
        alpha: of the scaling.
        targets: `attention` (the projections to queries and values, as in most of the paper; the whole projection
            where a model fuses them), `all_linear` (every projection of a layer), or projections' names.
        layers: in which layers: `all`, `top:K` (the K nearest the output), or indices from 0 at the input.
    """

    near_identity: ClassVar[bool] = True

    rank: int
    alpha: float = 16.0
    targets: str | tuple[str, ...] = "attention"
    layers: Layers = "all"

    def count(self, model: nn.Module, layout: Layout) -> Trained:
        """See `Method`: rank · (inputs + outputs) a projection."""
        shapes = (features(model.get_submodule(name)) for name in self._targets(model, layout))
        return Trained(sum(self.rank * (inputs + outputs) for inputs, outputs in shapes))

    def build(self, backbone: Backbone, generator: torch.Generator) -> Parts:
        """See `Method`."""
        model = backbone.model
        targets = self._targets(model, backbone.layout)
        config = peft("lora").LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            target_modules=list(targets),
            fan_in_fan_out=isinstance(model.get_submodule(targets[0]), Conv1D),
        )
        parts = tuned_parts(model, config, dict.fromkeys(targets, ("lora_A", "lora_B")))
        for adapter in parts.adapters.values():  # as peft starts it, but from the trial's own generator
            nn.init.kaiming_uniform_(adapter.get_parameter("lora_A"), a=math.sqrt(5), generator=generator)
        return parts

    def lowest_layer(self, backbone: Backbone) -> int | None:
        """See `Method`."""
        return layers_of(backbone.layout, self.layers)[0].index

    def _targets(self, model: nn.Module, layout: Layout) -> tuple[str, ...]:
        found: list[str] = []
        for layer in layers_of(layout, self.layers):
            projections = projections_of(model, layer, layout.hidden_size)
            if self.targets == "attention":
                found += projections.queries_and_values
            elif self.targets == "all_linear":
                found += projections.every
            else:
                names = (self.targets,) if isinstance(self.targets, str) else self.targets
                found += chosen_projections(projections, names)
        return tuple(found)
