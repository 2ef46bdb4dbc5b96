"""Where adapters go: the sub-layer outputs of any transformer, found by structure rather than by model name.

A transformer layer has two sub-layers, attention and feed-forward, and each ends in a projection back to the hidden
size, whose output is what the residual connection adds. That projection is the site: Houlsby et al. (2019, section
2.1 and figure 2) put the adapter "directly after" it, before the residual add and the layer norm.

The same rule holds where a layer is not BERT's. Where both sub-layers read the same input and one residual adds both
(GPT-NeoX, Phi), each has its site all the same. Where a norm or a scale stands between the projection and the residual
(Gemma 2 and 3), the site is still the projection: the norm comes behind the adapter, as it does in BERT.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from torch import nn
from transformers.pytorch_utils import Conv1D

from adapter_sweep.errors import UserInputError

__all__ = [
    "PLACEMENTS",
    "SITES",
    "Layer",
    "LayerNorms",
    "Layers",
    "Layout",
    "Site",
    "chosen_indices",
    "find_layout",
    "layers_of",
    "sites_of",
    "sublayer_of",
]

Site = Literal["post_attention", "post_ffn"]
SITES: tuple[Site, ...] = ("post_attention", "post_ffn")
PLACEMENTS: dict[str, tuple[Site, ...]] = {
    "post_attention": ("post_attention",),
    "post_ffn": ("post_ffn",),
    "both": SITES,
}
LayerNorms = Literal["none", "adapted_layers", "all"]
# `all`, `top:K`, or the indices themselves.
Layers = str | tuple[int, ...]

_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)
_TOP = re.compile(r"top:([0-9]{1,9})")


@dataclass(frozen=True)
class Layer:
    """One transformer layer.

    Attributes:
        index: position, from 0 at the input.
        name: module name inside the backbone, e.g. `encoder.layer.0`.
        sites: site -> name of the module whose output it is.
        norms: layer norm's module name -> its number of parameters. The norms of queries and keys inside an attention
            (Qwen3, Gemma 3) are among them.
    """

    index: int
    name: str
    sites: dict[Site, str]
    norms: dict[str, int]


@dataclass(frozen=True)
class Layout:
    """What of a backbone matters to adapters. Needs no weights: a model on the meta device has one too.

    Attributes:
        hidden_size: d, the width of the hidden states.
        layers: the distinct layers. A backbone that shares one layer's weights across its depth (ALBERT) has one layer
            here, and one adapter a site, shared across the depth exactly as the layer's own weights are.
        other_norms: layer norms outside the layers (embeddings, final norm) -> number of parameters.
        num_params: parameters of the backbone.
    """

    hidden_size: int
    layers: tuple[Layer, ...]
    other_norms: dict[str, int]
    num_params: int


def find_layout(model: nn.Module) -> Layout:
    """Find the layers, sites and layer norms of a transformers model without a task head.

    Raises:
        UserInputError: the sites cannot be found; says what was looked for and what exists.
    """
    config = getattr(model, "config", None)
    hidden_size = getattr(config, "hidden_size", None)
    if not isinstance(hidden_size, int):
        raise UserInputError(
            f"backbone: {type(model).__name__} has no config.hidden_size; adapters need a transformers model with one"
        )
    found = _layers_with_sites(model, hidden_size)
    if not found:
        raise UserInputError(_not_found(model, hidden_size))
    _check_lists(model, found)
    modules = dict(model.named_modules())
    layers = [
        Layer(index, name, sites, {n: _size(m) for n, m in _norms(modules[name], prefix=name)})
        for index, (name, sites) in enumerate(found.items())
    ]
    inside = {norm for layer in layers for norm in layer.norms}
    other = {name: _size(module) for name, module in _norms(model) if name not in inside}
    return Layout(hidden_size, tuple(layers), other, sum(p.numel() for p in model.parameters()))


def layers_of(layout: Layout, layers: Layers = "all") -> tuple[Layer, ...]:
    """The layers that hold adapters, from the input upwards.

    Args:
        layout: the backbone's.
        layers: `all`, `top:K` (the K layers nearest the output), or distinct indices from 0 at the input.

    Raises:
        UserInputError: the backbone has no such layers, or none are named.
    """
    count = len(layout.layers)
    if layers == "all":
        return layout.layers
    if isinstance(layers, str):
        found = _TOP.fullmatch(layers)
        top = int(found[1]) if found else 0
        chosen = set(range(count - top, count)) if 1 <= top <= count else set()
    else:
        chosen = set(layers) if len(set(layers)) == len(layers) else set()
    if not chosen or min(chosen) < 0 or max(chosen) >= count:
        raise UserInputError(_no_such_layers(layers, count))
    return tuple(layer for layer in layout.layers if layer.index in chosen)


def chosen_indices(layout: Layout, layers: Layers) -> Literal["all"] | tuple[int, ...]:
    """The one way to say which layers are chosen: `all`, or the indices of fewer, ascending.

    Raises:
        UserInputError: the backbone has no such layers.
    """
    chosen = layers_of(layout, layers)
    return "all" if len(chosen) == len(layout.layers) else tuple(layer.index for layer in chosen)


def sites_of(layout: Layout, placement: str, layers: Layers = "all") -> Iterator[tuple[Layer, Site, str]]:
    """Each (layer, site, module name) that a placement fills in the chosen layers, from the input upwards.

    Raises:
        UserInputError: the backbone has no such layers.
    """
    for layer in layers_of(layout, layers):
        for site in PLACEMENTS[placement]:
            yield layer, site, layer.sites[site]


def sublayer_of(path: str) -> Site:
    """The site of the sub-layer that a module belongs to, by its name in its layer."""
    return "post_attention" if _ATTENTION.search(path) else "post_ffn"


def _layers_with_sites(model: nn.Module, hidden_size: int) -> dict[str, dict[Site, str]]:
    """Layer's name -> its sites: the innermost members of module lists that have both.

    Innermost, because ALBERT nests a list of layers in a list of groups. Both, because T5 splits a layer into a list of
    its two sub-layers, neither of which is a layer.
    """
    found = {name: _find_sites(member, name, hidden_size) for name, member in _members(model)}
    whole = {name: sites for name, sites in found.items() if len(sites) == len(SITES)}
    return {name: sites for name, sites in whole.items() if not any(other.startswith(name + ".") for other in whole)}


def _members(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList):
            for child, member in module.named_children():
                yield (f"{name}.{child}" if name else child), member


def _check_lists(model: nn.Module, found: Iterable[str]) -> None:
    """No layer may be left out in silence: not beside those found, nor in another list (Swin's narrower stages)."""
    names = tuple(found)
    lists = {name.rpartition(".")[0] for name in names}
    without = [
        name
        for name, member in _members(model)
        if not any(f"{name}.".startswith(f"{layer}.") or layer.startswith(f"{name}.") for layer in names)
        and (name.rpartition(".")[0] in lists or any(_ATTENTION.search(child) for child, _ in member.named_children()))
    ]
    if without:
        raise UserInputError(
            f"backbone: {type(model).__name__} has layers that end in projections to its hidden size, after the "
            f"attention and after the feed-forward block, and layers without, the first of them {without[0]}; adapters "
            "need the same two sites in each layer"
        )


def _find_sites(layer: nn.Module, name: str, hidden_size: int) -> dict[Site, str]:
    """The last projection to the hidden size inside the attention, and the last one outside it."""
    found: dict[Site, str] = {}
    for path, module in layer.named_modules():
        if _output_features(module) == hidden_size:
            found[sublayer_of(path)] = f"{name}.{path}"
    return {site: found[site] for site in SITES if site in found}


def _output_features(module: nn.Module) -> int | None:
    if isinstance(module, nn.Linear):
        return module.out_features
    return module.nf if isinstance(module, Conv1D) else None


def _norms(root: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    for path, module in root.named_modules():
        own = list(module.parameters(recurse=False))
        if own and "norm" in type(module).__name__.lower() and not list(module.children()):
            yield (f"{prefix}.{path}" if prefix else path), module


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _no_such_layers(layers: Layers, count: int) -> str:
    given = layers if isinstance(layers, str) else f"[{','.join(map(str, layers))}]"
    if count == 1:
        return f"method.layers={given}: the backbone has 1 distinct layer; allowed: all, top:1 or [0]"
    return (
        f"method.layers={given}: the backbone has {count} distinct layers; allowed: all, top:1 to top:{count}, or a "
        f"list of distinct indices from 0 at the input to {count - 1} at the output, e.g. [0,{count - 1}]"
    )


def _not_found(model: nn.Module, hidden_size: int) -> str:
    lists = [name for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    return (
        f"backbone: no adapter sites found in {type(model).__name__}. Looked for a module list of layers, each with a "
        f"module named like 'attn' or 'attention' that ends in a projection to the hidden size {hidden_size}, and a "
        f"feed-forward projection to it outside the attention; module lists found: {', '.join(lists) or 'none'}"
    )
