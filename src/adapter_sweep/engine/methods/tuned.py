"""Methods that the library peft implements as layers around a model's own: its layers, put into a shared backbone."""

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from adapter_sweep.engine.methods.insertion import Insertion, key_of
from adapter_sweep.engine.methods.parts import Parts
from adapter_sweep.errors import UserInputError

__all__ = ["peft", "tuned_parts"]


def peft(method: str) -> Any:
    """The library, which only some methods need.

    Raises:
        UserInputError: it is not installed.
    """
    try:
        return import_module("peft")
    except ImportError as error:
        raise UserInputError(f"method={method}: the package peft is not installed; pip install peft") from error


def tuned_parts(model: nn.Module, config: Any, trained: Mapping[str, Iterable[str]]) -> Parts:
    """The layers that peft puts around a model's modules, taken out again.

    peft changes the model it is given, so it is given a twin: another structure around the same tensors, of which only
    the layers are kept. They stand in for the backbone's modules while a model is adapted.

    Args:
        model: the backbone's.
        config: peft's, whose `target_modules` match the modules of `trained` and no others.
        trained: module's name -> peft's names of the tables that hold what is trained in its layer.
    """
    twin = copy.deepcopy(model, {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())})
    peft("lora").inject_adapter_in_model(config, twin)
    layers = {name: _Tuned(twin.get_submodule(name), tables) for name, tables in trained.items()}
    adapters = {key_of(name): layer for name, layer in layers.items()}
    return Parts(
        adapters,
        insertion=Insertion(replaced=layers),
        merged=lambda: {name: layer.merged() for name, layer in layers.items()},
    )


class _Tuned(nn.Module):
    """One of peft's layers. What is trained in it is float32, its products are in the precision of the hidden states.

    peft itself computes in the precision of what is trained: on a backbone in bf16 that would cost more than other
    methods' adapters do, for no other reason. Factors of features are vectors here: weight decay would pull a matrix
    towards 0, where a factor's start is 1.
    """

    def __init__(self, layer: nn.Module, tables: Iterable[str]) -> None:
        super().__init__()
        # Table -> peft's own table of parameters that it ends in, the name there, and the shape peft gives it.
        self._places: dict[str, tuple[dict[str, Any], str, torch.Size]] = {}
        for table in tables:
            by_adapter: Any = getattr(layer, table)
            factors = isinstance(by_adapter, nn.ParameterDict)  # or a dict of linear layers
            holder, name = (by_adapter, "default") if factors else (by_adapter["default"], "weight")
            value = holder._parameters[name].detach().float()  # peft makes it in the precision of the frozen weights
            holder._parameters[name] = None
            self._places[table] = holder._parameters, name, value.shape
            self.register_parameter(table, nn.Parameter(value.flatten() if factors else value))
        # In a tuple, so that it is not registered as a submodule; last, for then it is read from.
        self._layer = (layer,)

    def forward(self, x: Tensor) -> Tensor:
        """What the projection computes, tuned."""
        with self._filled(x.dtype):
            output: Tensor = self._layer[0](x)
        return output

    def merged(self) -> nn.Module:
        """A copy of the layer's own module, with what is trained beside it in its weights."""
        with torch.no_grad(), self._filled(torch.float32):
            own: Any = copy.deepcopy(self._layer[0])  # its weights too: the frozen ones are shared
        own.merge()
        base: nn.Module = own.get_base_layer()
        return base

    @contextmanager
    def _filled(self, dtype: torch.dtype) -> Iterator[None]:
        """While open, peft's layer has what is trained, in this precision."""
        for table, (place, name, shape) in self._places.items():
            place[name] = self.get_parameter(table).view(shape).to(dtype)
        try:
            yield
        finally:
            for place, name, _ in self._places.values():
                place[name] = None

    def __getattr__(self, name: str) -> Any:
        # What is read of a projection instead of called is the model's own (T5 asks for its weight's precision).
        try:
            return super().__getattr__(name)
        except AttributeError:
            if "_layer" not in self.__dict__:
                raise
            return getattr(self._layer[0], name)
