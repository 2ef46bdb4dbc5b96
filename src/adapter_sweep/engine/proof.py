"""Proof that the sites found by structure are sites: tried on the model itself, whatever its family."""

from collections.abc import Callable
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from adapter_sweep.engine.modality import example_inputs
from adapter_sweep.engine.sites import Layout
from adapter_sweep.errors import UserInputError

__all__ = ["check_sites"]


@torch.inference_mode()
def check_sites(model: nn.Module, layout: Layout) -> None:
    """Check that a layer's sites compute, and that they are all its projections have to say.

    With every site's output set to zero, whatever the layers' other projections compute must not reach the hidden
    states: then each sub-layer ends in a site, and an adapter there has the whole of its output.

    Raises:
        UserInputError: a site is never called, or a sub-layer's output goes round it.
    """
    inputs = example_inputs(model)
    sites = {name for layer in layout.layers for name in layer.sites.values()}
    called: set[str] = set()

    def hidden(others: float) -> Tensor:
        with ExitStack() as stack:
            for layer in layout.layers:
                for path, module in model.get_submodule(layer.name).named_modules(prefix=layer.name):
                    if path in sites:
                        stack.callback(module.register_forward_hook(_silence(path, called)).remove)
                    elif isinstance(module, nn.Linear | Conv1D):
                        stack.callback(module.register_forward_hook(_shift(others)).remove)
            states: Tensor = model(**inputs).last_hidden_state
        return states

    plain, shifted = hidden(0.0), hidden(1.0)
    idle = sorted(sites - called)
    if idle:
        raise UserInputError(
            f"backbone: {type(model).__name__} never computes {idle[0]}, where an adapter would have to go"
        )
    if not torch.equal(plain, shifted):
        raise UserInputError(
            f"backbone: in {type(model).__name__} a sub-layer's output reaches the hidden states otherwise than "
            f"through {' and '.join(name for name in layout.layers[0].sites.values())} and their like"
        )


def _silence(name: str, called: set[str]) -> Callable[[nn.Module, object, Tensor], Tensor]:
    def hook(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
        called.add(name)
        return torch.zeros_like(output)

    return hook


def _shift(by: float) -> Callable[[nn.Module, object, Tensor], Tensor]:
    return lambda _module, _args, output: output + by
