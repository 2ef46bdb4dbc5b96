"""What a method puts into a model while it is adapted, and how: nothing of the model is changed for good.

Shapes: B batch, T tokens, D hidden.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Beside", "Forward", "Insertion", "inserted", "key_of", "served"]

Forward = Callable[..., Any]
# (what the sub-layer was given, what it returned) -> what it returns now; each [B, T, D].
Beside = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Insertion:
    """What stands in a model while it is adapted, by the names of the model's modules.

    Attributes:
        after: module -> what its output goes through.
        beside: (first module, last module) of a sub-layer -> what is made of the first one's input and the last one's
            output, in the place of the latter.
        replaced: module -> what stands in for it.
        weights: makes the tensors that stand in for the model's own parameters, by their names; None for none.
        forward: makes what stands in for the model's own forward of it; None where it stays.
    """

    after: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    beside: Mapping[tuple[str, str], Beside] = field(default_factory=dict)
    replaced: Mapping[str, nn.Module] = field(default_factory=dict)
    weights: Callable[[], Mapping[str, Tensor]] | None = None
    forward: Callable[[Forward], Forward] | None = None

    @property
    def shares_pass(self) -> bool:
        """Whether other insertions can be in the model at the same time, each for its own rows of the batch."""
        return self.weights is None and self.forward is None


@torch.no_grad()
def served(insertion: Insertion) -> Insertion:
    """The same with its weights made once, as a model that is used and not trained has them."""
    if insertion.weights is None:
        return insertion
    made = dict(insertion.weights())
    return replace(insertion, weights=lambda: made)


@contextmanager
def inserted(model: nn.Module, insertion: Insertion) -> Iterator[None]:
    """While open, the model computes with the insertion; afterwards, or after an error, it is as it was."""
    with ExitStack() as stack:
        for name, replacement in insertion.replaced.items():
            path, _, child = name.rpartition(".")
            parent = model.get_submodule(path)
            stack.callback(setattr, parent, child, parent.get_submodule(child))
            setattr(parent, child, replacement)
        # Now, so that they are on what was put in place: it sees the whole batch, and the model's own module may not.
        for name, adapter in insertion.after.items():
            stack.callback(model.get_submodule(name).register_forward_hook(_after(adapter)).remove)
        for (first, last), joined in insertion.beside.items():
            given: list[Tensor] = []
            stack.callback(model.get_submodule(first).register_forward_pre_hook(_note(given)).remove)
            stack.callback(model.get_submodule(last).register_forward_hook(_beside(joined, given)).remove)
        for name, tensor in (insertion.weights() if insertion.weights else {}).items():
            path, _, own = name.rpartition(".")
            # Not by `setattr`, which takes nothing but parameters: a master weight's cast is a tensor with a history.
            parameters: dict[str, Any] = model.get_submodule(path)._parameters
            stack.callback(parameters.__setitem__, own, parameters[own])
            parameters[own] = tensor
        if insertion.forward is not None:
            # On the instance, where it hides the class's own until it is deleted.
            model.forward = insertion.forward(model.forward)
            stack.callback(delattr, model, "forward")
        yield


def key_of(name: str) -> str:
    """A module's name as a key of a module dict, which may hold no dot."""
    return name.replace(".", "/")


def _after(adapter: Callable[[Tensor], Tensor]) -> Callable[[nn.Module, object, Tensor], Tensor]:
    return lambda _module, _args, output: adapter(output)


def _note(given: list[Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def note(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if not given:  # DeBERTa's projections read its relative positions too, after what the sub-layer is given
            given.append(args[0])

    return note


def _beside(adapter: Beside, given: list[Tensor]) -> Callable[[nn.Module, object, Tensor], Tensor]:
    return lambda _module, _args, output: adapter(given.pop(), output)
