"""Full fine-tuning: the reference whose accuracy adapters are to come near to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from adapter_sweep.engine.backbone import Backbone
from adapter_sweep.engine.methods.insertion import Insertion, key_of
from adapter_sweep.engine.methods.parts import Parts, Trained
from adapter_sweep.engine.sites import Layout

__all__ = ["FullSpec"]


@dataclass(frozen=True)
class FullSpec:
    """Every weight of the backbone, embeddings included. It trains a float32 copy; the backbone itself stays frozen."""

    near_identity: ClassVar[bool] = True

    def count(self, model: nn.Module, layout: Layout) -> Trained:
        """See `Method`."""
        return Trained(layout.num_params)

    def build(self, backbone: Backbone, generator: torch.Generator) -> Parts:
        """See `Method`."""
        copy = _Copy(backbone.model)
        return Parts({"backbone": copy}, insertion=Insertion(weights=copy.weights))

    def lowest_layer(self, backbone: Backbone) -> int | None:
        """See `Method`."""
        return -1


class _Copy(nn.Module):
    """A float32 copy of a model's parameters; one that the model has in several places is here once."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        parameters = dict(model.named_parameters(remove_duplicate=False))
        first: dict[int, str] = {}
        for name, parameter in parameters.items():
            first.setdefault(id(parameter), name)
        # Name in the model -> the copy's name, and the precision the model computes in.
        self._places = {name: (key_of(first[id(p)]), p.dtype) for name, p in parameters.items()}
        self.copies = nn.ParameterDict(
            {key_of(name): nn.Parameter(parameters[name].detach().float().clone()) for name in first.values()}
        )

    def weights(self) -> Mapping[str, Tensor]:
        """The copies under the model's names, in the model's precision."""
        return {name: self.copies[key].to(dtype) for name, (key, dtype) in self._places.items()}
