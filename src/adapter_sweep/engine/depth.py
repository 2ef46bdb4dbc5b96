"""How deep the layer norms outside the layers compute: below the layers, above them, or in between."""

from collections.abc import Callable
from contextlib import ExitStack

import torch

from adapter_sweep.engine.backbone import Backbone

__all__ = ["norm_depths"]


@torch.inference_mode()
def norm_depths(backbone: Backbone) -> dict[str, int]:
    """Each layer norm outside the layers -> the index below which nothing depends on it.

    That is -1 for a norm that computes below the layers (the embeddings'), the number of layers for one above them (a
    final norm), and for one in between the layer that was begun before it.

    Read off the order of one forward pass over two tokens: the order in which modules are declared need not be the
    order in which they compute (DeBERTa declares the norm of its relative positions behind the layers). Where the pass
    does not show it, because the norm or one of the layers is not called, the answer is -1, which is always safe.
    """
    model, layers = backbone.model, backbone.layout.layers
    calls: list[str] = []

    def noting(name: str) -> Callable[..., None]:
        return lambda *_: calls.append(name)

    with ExitStack() as stack:
        for name in (*(layer.name for layer in layers), *backbone.layout.other_norms):
            stack.callback(model.get_submodule(name).register_forward_pre_hook(noting(name)).remove)
        for layer in layers:  # its end as well
            stack.callback(model.get_submodule(layer.name).register_forward_hook(noting(layer.name)).remove)
        ids = torch.arange(2, device=next(model.parameters()).device).unsqueeze(0)
        model(input_ids=ids, attention_mask=torch.ones_like(ids))
    begun = {layer.name: layer.index for layer in layers}
    if not begun.keys() <= set(calls):
        return dict.fromkeys(backbone.layout.other_norms, -1)
    last = max(position for position, name in enumerate(calls) if name in begun)
    depths = dict.fromkeys(backbone.layout.other_norms, -1)
    for name in depths.keys() & set(calls):
        first = calls.index(name)
        below = [begun[call] for call in calls[:first] if call in begun]
        depths[name] = len(layers) if first > last else max(below, default=-1)
    return depths
