"""Proof that the sites found by structure are sites: tried on the model itself, whatever its family."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from adapter_sweep.engine.modality import example_inputs
from adapter_sweep.engine.sites import Layer, Layout
from adapter_sweep.errors import UserInputError

__all__ = ["check_sites"]


@torch.inference_mode()
def check_sites(model: nn.Module, layout: Layout) -> None:
    """Check that a layer's sites compute, and that they are all its projections have to say.

    With every site's output set to zero, whatever else the layers compute from weights of their own must not reach the
    hidden states, norms aside: then each sub-layer ends in a site, and an adapter there has the whole of its output. A
    mixture of experts beside the site, for one, is seen so.

    Raises:
        UserInputError: a site is never called, or a sub-layer's output goes round it.
    """
    inputs = example_inputs(model)
    sites = {name for layer in layout.layers for name in layer.sites.values()}
    others = {name for layer in layout.layers for name in _others(model.get_submodule(layer.name), layer)}
    called: set[str] = set()

    def hidden(factor: float) -> Tensor:
        with ExitStack() as stack:
            for name in sites:
                stack.callback(model.get_submodule(name).register_forward_hook(_silence(name, called)).remove)
            for name in others:
                stack.callback(model.get_submodule(name).register_forward_hook(_scale(factor)).remove)
            states: Tensor = model(**inputs).last_hidden_state
        return states

    plain, scaled = hidden(1.0), hidden(2.0)
    idle = sorted(sites - called)
    if idle:
        raise UserInputError(
            f"backbone: {type(model).__name__} never computes {idle[0]}, where an adapter would have to go"
        )
    if not torch.equal(plain, scaled):
        raise UserInputError(
            f"backbone: in {type(model).__name__} a sub-layer's output reaches the hidden states otherwise than "
            f"through {' and '.join(layout.layers[0].sites.values())} and their like"
        )


def _others(module: nn.Module, layer: Layer) -> Iterator[str]:
    """Names of a layer's modules with weights of their own, but for its norms, its sites and what holds a site."""
    sites = layer.sites.values()
    for name, part in module.named_modules(prefix=layer.name):
        weighs = next(part.parameters(recurse=False), None) is not None
        if weighs and name not in layer.norms and not any(f"{site}.".startswith(f"{name}.") for site in sites):
            yield name


def _silence(name: str, called: set[str]) -> Callable[[nn.Module, object, Tensor], Tensor]:
    def hook(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
        called.add(name)
        return torch.zeros_like(output)

    return hook


def _scale(factor: float) -> Callable[[nn.Module, object, object], Tensor | None]:
    """Scaling, which leaves at zero what only scales a site's output (DINOv2's layer scale)."""
    return lambda _module, _args, output: output * factor if isinstance(output, Tensor) else None
