"""Methods that the library peft implements as layers around a model's own: its layers, put into a shared backbone."""

import copy
from collections.abc import Iterable, Mapping
from importlib import import_module
from itertools import chain
from typing import Any

from torch import nn

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
    layers: dict[str, nn.Module] = {name: twin.get_submodule(name) for name in trained}
    adapters = {key_of(name): _Tuned(layer, trained[name]) for name, layer in layers.items()}
    return Parts(adapters, insertion=Insertion(replaced=layers), merged=lambda: _merged(layers))


class _Tuned(nn.Module):
    """What is trained in one of peft's layers, in float32, as trained elsewhere; the layer itself is not registered."""

    def __init__(self, layer: nn.Module, tables: Iterable[str]) -> None:
        super().__init__()
        for table in tables:
            by_adapter: Any = getattr(layer, table)
            held: Any = by_adapter["default"]
            parameter: nn.Parameter = getattr(held, "weight", held)  # of a linear layer, or itself
            parameter.data = parameter.data.float()  # peft makes it in the precision of the frozen weights
            self.register_parameter(table, parameter)


def _merged(layers: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """A copy of each layer's own module, with what was trained beside it in its weights."""
    merged: dict[str, nn.Module] = {}
    for name, layer in layers.items():
        own: Any = copy.deepcopy(layer)  # its weights too: the frozen ones are shared
        own.merge()
        merged[name] = own.get_base_layer()
    return merged
