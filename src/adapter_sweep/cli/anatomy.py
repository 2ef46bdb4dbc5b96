"""What `doctor` says of a backbone: where its adapters would go, in a few lines however deep it is."""

from itertools import groupby

from adapter_sweep.engine.backbone import Backbone
from adapter_sweep.engine.depth import norm_depths, passes_through_layers
from adapter_sweep.engine.modality import count_image_tokens
from adapter_sweep.engine.sites import Layer

__all__ = ["describe_backbone", "fold_layers"]

_INDENT = " " * 20


def describe_backbone(backbone: Backbone) -> str:
    """The backbone's family, size, pooling and padding, its layers' sites and norms, and the norms outside of them."""
    model, layout = backbone.model, backbone.layout
    family = getattr(model.config, "model_type", "no known family")
    lines = [
        f"{backbone.source}: {type(model).__name__} ({family}), reads {backbone.modality}; "
        f"{layout.num_params:,} parameters, hidden size {layout.hidden_size}, {_depth(backbone)}",
        f"pooling {backbone.pooling}; {_reading(backbone)}",
        *fold_layers(layout.layers),
    ]
    places = {-1: "below the layers", len(layout.layers): "above the layers"}
    outside = [
        f"{name} ({places.get(depth, f'between layers {depth} and {depth + 1}')})"
        for name, depth in norm_depths(backbone).items()
    ]
    lines.append(f"norms outside the layers: {', '.join(outside) or 'none'}")
    return f"\n{_INDENT}".join(lines)


def fold_layers(layers: tuple[Layer, ...]) -> list[str]:
    """One line for each run of layers that are alike, such as `encoder.layer.0-5`: its sites and norms by name."""
    lines = []
    for (parent, sites, norms), run in groupby(layers, key=_anatomy):
        indices = [layer.name.rpartition(".")[2] for layer in run]
        span = indices[0] if len(indices) == 1 else f"{indices[0]}-{indices[-1]}"
        lines.append(f"{parent}{span}: {', '.join(sites)}; norms {', '.join(norms) or 'none'}")
    return lines


def _anatomy(layer: Layer) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """A layer's parent, sites and norms, in names that do not tell it from layers like it."""
    inside, index = f"{layer.name}.", layer.name.rpartition(".")[2]
    sites = tuple(f"{site} {name.removeprefix(inside)}" for site, name in layer.sites.items())
    norms = tuple(name.removeprefix(inside) for name in layer.norms)
    return layer.name.removesuffix(index), sites, norms


def _depth(backbone: Backbone) -> str:
    distinct, passes = len(backbone.layout.layers), passes_through_layers(backbone)
    layers = "1 layer" if distinct == 1 else f"{distinct} layers"
    return layers if passes == distinct else f"{layers} whose weights are shared by a depth of {passes}"


def _reading(backbone: Backbone) -> str:
    if backbone.modality == "image":
        return f"{count_image_tokens(backbone.model)} tokens an image"
    if backbone.tokenizer is None:
        return "no tokenizer"
    return f"padding token {backbone.tokenizer.pad_token}, on the {backbone.tokenizer.padding_side}"
