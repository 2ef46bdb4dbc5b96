"""Bottleneck adapters (Houlsby et al. 2019, section 2.1) and their place in a frozen backbone.

Shapes: B batch, T tokens, D hidden, M width.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from adapter_sweep.engine.backbone import Backbone, Inputs
from adapter_sweep.engine.depth import norm_depths
from adapter_sweep.engine.sites import LayerNorms, Layers, Layout, layers_of, sites_of

__all__ = [
    "ACTIVATIONS",
    "AdaptedModel",
    "BottleneckAdapter",
    "BottleneckSpec",
    "HeadSpec",
    "MethodSpec",
    "ParamCount",
    "count_params",
    "inserted",
]

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}


@dataclass(frozen=True)
class BottleneckSpec:
    """What decides the architecture and the start of bottleneck adapters.

    Attributes:
        width: bottleneck dimension m, at least 1.
        placement: `post_attention`, `post_ffn` or `both`.
        activation: a key of `ACTIVATIONS`.
        init_std: standard deviation of the projections' normal initialisation, truncated at two of them
            (Houlsby et al. 2019, section 3.1 use 1e-2); biases start at 0.
        layer_norms: which of the backbone's layer norms are trained with the adapters: `none`, those of the
            `adapted_layers`, or `all` (the embeddings' too, as the paper's code does).
        layers: which layers hold adapters: `all`, `top:K` (the K nearest the output), or indices from 0 at the input.
    """

    width: int
    placement: str = "both"
    activation: str = "gelu"
    init_std: float = 1e-2
    layer_norms: LayerNorms = "adapted_layers"
    layers: Layers = "all"


@dataclass(frozen=True)
class HeadSpec:
    """Nothing in the backbone: a linear head on its pooled hidden states, the reference that adapters have to beat."""


MethodSpec = BottleneckSpec | HeadSpec


@dataclass(frozen=True)
class ParamCount:
    """Trainable parameters, by what they are in."""

    adapters: int
    layer_norms: int
    head: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.adapters + self.layer_norms + self.head


def count_params(layout: Layout, spec: MethodSpec, outputs: int) -> ParamCount:
    """The exact number of trainable parameters, by arithmetic: 2·m·d + m + d an adapter; no tensor is made.

    Raises:
        UserInputError: the backbone has no such layers.
    """
    d = layout.hidden_size
    head = (d + 1) * outputs
    if isinstance(spec, HeadSpec):
        return ParamCount(0, 0, head)
    m = spec.width
    sites = sum(1 for _ in sites_of(layout, spec.placement, spec.layers))
    norms = sum(_trained_norms(layout, spec).values())
    return ParamCount(sites * (2 * m * d + m + d), norms, head)


def _trained_norms(layout: Layout, spec: BottleneckSpec) -> dict[str, int]:
    """Module names of the layer norms that are trained -> number of parameters."""
    if spec.layer_norms == "none":
        return {}
    layers = layout.layers if spec.layer_norms == "all" else layers_of(layout, spec.layers)
    norms = {name: size for layer in layers for name, size in layer.norms.items()}
    return {**norms, **layout.other_norms} if spec.layer_norms == "all" else norms


class BottleneckAdapter(nn.Module):
    """x + up(activation(down(x))): [B, T, D] -> [B, T, D].

    Mixed precision as usual (Micikevicius et al. 2018): the parameters, and so their gradients' sums and the
    optimizer's state, are float32; the products are computed in the precision of the hidden states they are applied to.
    """

    def __init__(self, hidden_size: int, spec: BottleneckSpec, generator: torch.Generator) -> None:
        super().__init__()
        self.down = nn.Linear(hidden_size, spec.width)
        self.activation = ACTIVATIONS[spec.activation]()
        self.up = nn.Linear(spec.width, hidden_size)
        for linear in (self.down, self.up):
            _truncated_normal(linear.weight, spec.init_std, generator)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the adapter to hidden states [B, T, D]."""
        h = functional.linear(x, self.down.weight.to(x.dtype), self.down.bias.to(x.dtype))
        adapted: Tensor = x + functional.linear(
            self.activation(h), self.up.weight.to(x.dtype), self.up.bias.to(x.dtype)
        )
        return adapted


class _TrainedNorm(nn.Module):
    """A float32 copy of a backbone's layer norm, trained in its place."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = deepcopy(norm).float().requires_grad_(True)

    def forward(self, x: Tensor) -> Tensor:
        norm = self.norm
        if isinstance(norm, nn.LayerNorm) and x.device.type == "cpu":
            # On the CPU torch normalises bf16 with float32 weights, in float32, without a copy of either.
            return functional.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
        normed: Tensor = norm(x.float())
        return normed.to(x.dtype)


class AdaptedModel(nn.Module):
    """A frozen backbone with adapters, trained layer norms and a linear head; only these are its parameters.

    The backbone is shared, not copied: its modules are hooked while the model computes and left as found afterwards,
    so many adapted models can stand on one backbone and its weights can never move.

    Guarantees: the same seed gives the same start; nothing of the backbone is among `parameters()`.

    Args:
        backbone: what it stands on.
        spec: what is trained besides the head.
        outputs: of the head, C.
        seed: of the start.
        per_token: whether the head reads every token's hidden state, rather than the pooled one.

    Raises:
        UserInputError: the backbone has no layers such as the method names.
    """

    def __init__(
        self, backbone: Backbone, spec: MethodSpec, outputs: int, seed: int, *, per_token: bool = False
    ) -> None:
        super().__init__()
        self.spec = spec
        self.outputs = outputs
        self.per_token = per_token
        self._backbone = (backbone,)  # in a tuple, so that it is not registered as a submodule
        layout = backbone.layout
        generator = torch.Generator().manual_seed(seed)
        modules = dict(backbone.model.named_modules())
        self._site_modules: dict[str, nn.Module] = {}
        self.adapters = nn.ModuleDict()
        self._norm_names: tuple[str, ...] = ()
        if isinstance(spec, BottleneckSpec):
            for layer, site, name in sites_of(layout, spec.placement, spec.layers):
                place = f"{layer.index}.{site}"
                self._site_modules[place] = modules[name]
                self.adapters[_key(place)] = BottleneckAdapter(layout.hidden_size, spec, generator)
            self._norm_names = tuple(_trained_norms(layout, spec))
        self.norms = nn.ModuleDict({_key(name): _TrainedNorm(modules[name]) for name in self._norm_names})
        self.head = nn.Linear(layout.hidden_size, outputs)
        _truncated_normal(self.head.weight, 0.02, generator)
        nn.init.zeros_(self.head.bias)
        self.to(next(backbone.model.parameters()).device)

    @property
    def backbone(self) -> Backbone:
        """The backbone the adapters stand on."""
        return self._backbone[0]

    @property
    def site_adapters(self) -> dict[str, tuple[nn.Module, BottleneckAdapter]]:
        """Each filled site -> the backbone's module whose output the adapter takes, and the adapter."""
        return {
            site: (module, cast(BottleneckAdapter, self.adapters[_key(site)]))
            for site, module in self._site_modules.items()
        }

    @property
    def trained_norms(self) -> dict[str, nn.Module]:
        """The backbone's module name of each trained layer norm -> the norm in its place."""
        return {name: self.norms[_key(name)] for name in self._norm_names}

    @property
    def lowest_trained_layer(self) -> int | None:
        """The index of the lowest layer that holds an adapter or a trained layer norm: below it nothing is trained.

        A trained norm outside the layers counts by where it computes (see `norm_depths`): -1 below the first layer,
        the number of layers above the last. None where only the head is trained.
        """
        layout = self.backbone.layout
        trained = set(self._norm_names)
        found = [layer.index for layer in layout.layers if trained & layer.norms.keys()]
        if isinstance(self.spec, BottleneckSpec):
            found.append(layers_of(layout, self.spec.layers)[0].index)
        outside = trained & layout.other_norms.keys()
        if outside:
            depths = norm_depths(self.backbone)
            found += [depths[name] for name in outside]
        return min(found, default=None)

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
        """While open, the backbone computes with these adapters and layer norms; afterwards it is as it was."""
        with inserted(self.backbone.model, list(self.site_adapters.values()), self.trained_norms):
            yield


@contextmanager
def inserted(
    model: nn.Module,
    adapters: Iterable[tuple[nn.Module, Callable[[Tensor], Tensor]]],
    norms: Mapping[str, nn.Module],
) -> Iterator[None]:
    """While open, a model's modules are adapted; afterwards the model is as it was.

    Args:
        model: the model to change for a while.
        adapters: module of the model -> what its output goes through.
        norms: name of a module of the model -> the module that stands in for it.
    """
    with ExitStack() as stack:
        for module, adapter in adapters:
            stack.callback(module.register_forward_hook(_output_hook(adapter)).remove)
        for name, replacement in norms.items():
            parent_path, _, child = name.rpartition(".")
            parent = model.get_submodule(parent_path)
            stack.callback(setattr, parent, child, parent.get_submodule(child))
            setattr(parent, child, replacement)
        yield


def _output_hook(adapter: Callable[[Tensor], Tensor]) -> Callable[[nn.Module, object, Tensor], Tensor]:
    return lambda _module, _args, output: adapter(output)


def _key(name: str) -> str:
    """A module dict's keys may hold no dot."""
    return name.replace(".", "/")


def _numel(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _truncated_normal(weight: Tensor, std: float, generator: torch.Generator) -> None:
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std, generator=generator)
