"""An adapted model: a method on a frozen backbone, and a head.

Shapes: B batch, T tokens, D hidden.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adapter_sweep.engine.backbone import Backbone, Inputs
from adapter_sweep.engine.methods import BottleneckSpec, HeadSpec, MethodSpec, PrefixSpec
from adapter_sweep.engine.methods.bottleneck import ACTIVATIONS, BottleneckAdapter, truncated_normal
from adapter_sweep.engine.methods.insertion import Insertion, inserted
from adapter_sweep.engine.methods.parts import Method
from adapter_sweep.engine.sites import Layout

__all__ = [
    "ACTIVATIONS",
    "AdaptedModel",
    "BottleneckAdapter",
    "BottleneckSpec",
    "HeadSpec",
    "MethodSpec",
    "ParamCount",
    "check_method",
    "count_params",
]


@dataclass(frozen=True)
class ParamCount:
    """Trainable parameters, by what they are in.

    Attributes:
        adapters: what the method trains besides whole layer norms: adapters, low-rank updates, biases, weights, ….
        layer_norms: layer norms that are trained as wholes.
    """

    adapters: int
    layer_norms: int
    head: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.adapters + self.layer_norms + self.head


def count_params(model: nn.Module, layout: Layout, spec: MethodSpec, outputs: int) -> ParamCount:
    """The exact number of trainable parameters, by arithmetic; no tensor is made.

    Args:
        model: the backbone's; on the meta device will do.
        layout: its layout.
        spec: what is trained besides the head.
        outputs: of the head.

    Raises:
        UserInputError: the method cannot be had on this backbone: it has no such layers, say.
    """
    method: Method = spec
    trained = method.count(model, layout)
    return ParamCount(trained.adapters, trained.layer_norms, (layout.hidden_size + 1) * outputs)


def check_method(backbone: Backbone, spec: MethodSpec) -> None:
    """Check that a method can be had on a backbone, without a copy of its weights.

    Raises:
        UserInputError: it cannot.
    """
    method: Method = spec
    method.count(backbone.model, backbone.layout)
    if isinstance(spec, PrefixSpec):  # counting cannot tell whether the model reads what it takes
        method.build(backbone, torch.Generator().manual_seed(0))


class AdaptedModel(nn.Module):
    """A frozen backbone with a method's modules and a linear head; only these are its parameters, all in float32.

    The backbone is shared, not copied: it is changed while the model computes and left as found afterwards, so many
    adapted models can stand on one backbone and its weights can never move.

    Guarantees: the same seed gives the same start; nothing of the backbone is among `parameters()`.

    Args:
        backbone: what it stands on.
        spec: what is trained besides the head.
        outputs: of the head, C.
        seed: of the start.
        per_token: whether the head reads every token's hidden state, rather than the pooled one.

    Raises:
        UserInputError: the method cannot be had on this backbone.
    """

    def __init__(
        self, backbone: Backbone, spec: MethodSpec, outputs: int, seed: int, *, per_token: bool = False
    ) -> None:
        super().__init__()
        self.spec = spec
        self.outputs = outputs
        self.per_token = per_token
        self._backbone = (backbone,)  # in a tuple, so that it is not registered as a submodule
        generator = torch.Generator().manual_seed(seed)
        method: Method = spec
        parts = method.build(backbone, generator)
        self._parts = (parts,)
        self.adapters = nn.ModuleDict(dict(parts.adapters))
        self.norms = nn.ModuleDict(dict(parts.norms))
        self.head = nn.Linear(backbone.layout.hidden_size, outputs)
        truncated_normal(self.head.weight, 0.02, generator)
        nn.init.zeros_(self.head.bias)
        self.to(next(backbone.model.parameters()).device)

    @property
    def backbone(self) -> Backbone:
        """The backbone it stands on."""
        return self._backbone[0]

    @property
    def insertion(self) -> Insertion:
        """How what is trained gets into the backbone."""
        return self._parts[0].insertion

    @property
    def merges(self) -> bool:
        """Whether what is trained can be merged into the backbone's weights, so that it costs no time."""
        return self._parts[0].merged is not None

    @property
    def lowest_trained_layer(self) -> int | None:
        """The index of the lowest layer with anything trained in it: below it nothing depends on what is trained.

        -1 where that begins below the first layer, the number of layers where it begins above the last; None where only
        the head is trained.
        """
        return self.spec.lowest_layer(self.backbone)

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits in float32: [B, C], or [B, T, C] where the head reads every token."""
        with self.attached():
            return self.read(inputs)

    def read(self, inputs: Inputs) -> Tensor:
        """The head's logits on the backbone as it stands: adapted while `attached` is open, else frozen."""
        states = self.backbone.hidden_states(inputs).float() if self.per_token else self.backbone.encode(inputs)
        logits: Tensor = self.head(states)
        return logits

    def count_params(self) -> ParamCount:
        """Trainable parameters, counted in the tensors."""
        return ParamCount(_numel(self.adapters), _numel(self.norms), _numel(self.head))

    @contextmanager
    def attached(self) -> Iterator[None]:
        """While open, the backbone computes with what is trained; afterwards it is as it was."""
        with inserted(self.backbone.model, self.insertion):
            yield

    def merge(self) -> Insertion:
        """What stands in for the backbone's modules where the method is merged: copies, of the values as they are now.

        Raises:
            ValueError: the method cannot be merged.
        """
        make = self._parts[0].merged
        if make is None:
            raise ValueError(f"{type(self.spec).__name__} cannot be merged")
        with torch.no_grad():
            return Insertion(replaced=make())


def _numel(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
