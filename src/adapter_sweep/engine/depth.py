"""How deep the layer norms outside the layers compute: below the layers, above them, or in between."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack

import torch

from adapter_sweep.engine.backbone import Backbone
from adapter_sweep.engine.modality import example_inputs

__all__ = ["norm_depths", "passes_through_layers"]


def norm_depths(backbone: Backbone) -> dict[str, int]:
    """Each layer norm outside the layers -> the index below which nothing depends on it.

    That is -1 for a norm that computes below the layers (the embeddings'), the number of layers for one above them (a
    final norm), and for one in between the layer that was begun before it.

    Read off the order of one forward pass: the order in which modules are declared need not be the order in which they
    compute (DeBERTa declares the norm of its relative positions behind the layers). For a norm that the pass does not
    call the answer is -1, which is always safe.
    """
    names = (*(layer.name for layer in backbone.layout.layers), *backbone.layout.other_norms)
    calls = _calls(backbone, names)
    begun = {layer.name: layer.index for layer in backbone.layout.layers}
    last = max(position for position, name in enumerate(calls) if name in begun)
    depths = dict.fromkeys(backbone.layout.other_norms, -1)
    for name in depths.keys() & set(calls):
        first = calls.index(name)
        below = [begun[call] for call in calls[:first] if call in begun]
        depths[name] = len(begun) if first > last else max(below, default=-1)
    return depths


def passes_through_layers(backbone: Backbone) -> int:
    """How many layers deep the backbone computes: more than it has, where layers are shared (ALBERT)."""
    return len(_calls(backbone, [layer.name for layer in backbone.layout.layers])) // 2


@torch.inference_mode()
def _calls(backbone: Backbone, names: Iterable[str]) -> list[str]:
    """The modules' names in the order of one forward pass, each where it begins and again where it ends."""
    calls: list[str] = []

    def noting(name: str) -> Callable[..., None]:
        return lambda *_: calls.append(name)

    with ExitStack() as stack:
        for name in names:
            module = backbone.model.get_submodule(name)
            stack.callback(module.register_forward_pre_hook(noting(name)).remove)
            stack.callback(module.register_forward_hook(noting(name)).remove)
        backbone.model(**example_inputs(backbone.model))
    return calls
