"""BitFit: the bias terms alone (Ben Zaken et al. 2022)."""

from copy import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from adapter_sweep.engine.backbone import Backbone
from adapter_sweep.engine.methods.insertion import Insertion, key_of
from adapter_sweep.engine.methods.parts import Parts, Trained
from adapter_sweep.engine.sites import Layers, Layout, layers_of
from adapter_sweep.errors import UserInputError

__all__ = ["BitFitSpec"]


@dataclass(frozen=True)
class BitFitSpec:
    """Every bias term of the backbone's layers, those of the layer norms included.

    Where a module has biases of its own beside other modules (DeBERTa's attention), the model goes through the backbone
    alone: nothing can stand in for such a module for a part of the batch.

    Attributes:
        layers: of which layers: `all`, `top:K` (the K nearest the output), or indices from 0 at the input.
    """

    near_identity: ClassVar[bool] = True

    layers: Layers = "all"

    def count(self, model: nn.Module, layout: Layout) -> Trained:
        """See `Method`."""
        return Trained(sum(size for biases in self._biases(model, layout).values() for size in biases.values()))

    def build(self, backbone: Backbone, generator: torch.Generator) -> Parts:
        """See `Method`."""
        model = backbone.model
        adapters: dict[str, nn.Module] = {}
        replaced: dict[str, nn.Module] = {}
        beside: dict[str, _Biases] = {}
        for name, biases in self._biases(model, backbone.layout).items():
            module = model.get_submodule(name)
            if next(module.children(), None) is None:
                adapters[key_of(name)] = replaced[name] = _TrainedBias(module, list(biases))
            else:
                adapters[key_of(name)] = beside[name] = _Biases(module, list(biases))

        def weights() -> dict[str, Tensor]:
            return {f"{name}.{own}": bias for name, held in beside.items() for own, bias in held.cast().items()}

        return Parts(adapters, insertion=Insertion(replaced=replaced, weights=weights if beside else None))

    def lowest_layer(self, backbone: Backbone) -> int | None:
        """See `Method`."""
        names = self._biases(backbone.model, backbone.layout)
        held = (layer for layer in backbone.layout.layers if any(n.startswith(f"{layer.name}.") for n in names))
        return min(layer.index for layer in held)

    def _biases(self, model: nn.Module, layout: Layout) -> dict[str, dict[str, int]]:
        """Module name -> its bias terms' own names and sizes."""
        found: dict[str, dict[str, int]] = {}
        for layer in layers_of(layout, self.layers):
            for path, module in model.get_submodule(layer.name).named_modules(prefix=layer.name):
                own = {name: p.numel() for name, p in module.named_parameters(recurse=False) if name.endswith("bias")}
                if own:
                    found[path] = own
        if not found:
            raise UserInputError(f"method=bitfit: {type(model).__name__} has no bias terms in its layers")
        return found


class _Biases(nn.Module):
    """Float32 copies of a module's biases."""

    def __init__(self, module: nn.Module, names: list[str]) -> None:
        super().__init__()
        self._dtypes = {name: module.get_parameter(name).dtype for name in names}
        self.biases = nn.ParameterDict(
            {name: nn.Parameter(module.get_parameter(name).detach().float().clone()) for name in names}
        )

    def cast(self) -> dict[str, Tensor]:
        """The biases in the module's precision."""
        return {name: self.biases[name].to(dtype) for name, dtype in self._dtypes.items()}


class _TrainedBias(_Biases):
    """A module of the backbone with float32 biases of its own, which it adds in its own precision."""

    def __init__(self, module: nn.Module, names: list[str]) -> None:
        super().__init__(module, names)
        own = copy(module)  # which shares everything, and then has a table of parameters of its own
        own._parameters = dict(module._parameters)
        self._module = (own,)  # in a tuple, so that it is not registered as a submodule

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes, with these biases."""
        parameters: dict[str, Any] = self._module[0]._parameters
        parameters.update(self.cast())
        return self._module[0](*args, **kwargs)
