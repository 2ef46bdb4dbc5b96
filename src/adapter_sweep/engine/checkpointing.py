"""Gradient checkpointing: layers drop their activations in the forward pass, and compute them again in the backward."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch.utils.checkpoint import checkpoint

from adapter_sweep.engine.backbone import Backbone

__all__ = ["checkpointed"]


@contextmanager
def checkpointed(backbone: Backbone) -> Iterator[None]:
    """While open, each layer keeps its input alone (Chen et al. 2016, section 3).

    It has to stay open, with all that is attached to the layers, until the backward pass is over. The numbers are the
    same, bit for bit on a CPU. Not transformers' own switch: that wants training mode, which turns dropout on, and an
    input that needs a gradient, which a frozen backbone's has not.
    """
    with ExitStack() as stack:
        for layer in backbone.layout.layers:
            module = backbone.model.get_submodule(layer.name)
            if "forward" not in vars(module):  # else the layer is skipped in this pass
                # On the instance, where it hides the class's own until it is deleted.
                module.forward = _recomputed(module.forward)
                stack.callback(delattr, module, "forward")
        yield


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def again(*args: Any, **kwargs: Any) -> Any:
        # Nothing is random in a backbone in evaluation mode.
        return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)

    return again
