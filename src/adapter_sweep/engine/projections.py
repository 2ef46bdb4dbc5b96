"""The projections inside a transformer layer: which read the hidden states, and which of them make queries and values.

Found by structure: a layer's projections stand in the order attention's in, attention's out, feed-forward's in,
feed-forward's out, in every family whose sites are found.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from transformers.pytorch_utils import Conv1D

from adapter_sweep.engine.sites import Layer, Site
from adapter_sweep.errors import UserInputError

__all__ = ["Projections", "chosen_projections", "features", "projections_of"]

_SUFFIX = r"(_?(proj|lin|linear|layer))?"
_NAMES = (("q", "query"), ("k", "key"), ("v", "value"))
_QUERY, _KEY, _VALUE = (re.compile(f"({short}|{name}){_SUFFIX}") for short, name in _NAMES)
_FUSED = re.compile(r"c_attn|query_key_value|\w*qkv\w*", re.IGNORECASE)


@dataclass(frozen=True)
class Projections:
    """A layer's projections, by module names.

    Attributes:
        every: all of them, in the model's order.
        entries: site -> those that read what its sub-layer is given, in the model's order; at least one.
        exits: site -> the one whose output the site takes.
    """

    every: tuple[str, ...]
    entries: dict[Site, tuple[str, ...]]
    exits: dict[Site, str]

    @property
    def queries_and_values(self) -> tuple[str, ...]:
        """The projections to queries and to values; the one to all three where they are fused.

        Raises:
            UserInputError: they have unknown names.
        """
        return self._attending((_QUERY, _VALUE), "queries and values")

    @property
    def keys_and_values(self) -> tuple[str, ...]:
        """The projections to keys and to values; the one to queries too where they are fused.

        Raises:
            UserInputError: they have unknown names.
        """
        return self._attending((_KEY, _VALUE), "keys and values")

    def _attending(self, patterns: Sequence[re.Pattern[str]], what: str) -> tuple[str, ...]:
        names = self.entries["post_attention"]
        ends = {name: name.rpartition(".")[2] for name in names}
        fused = [name for name, end in ends.items() if _FUSED.fullmatch(end)]
        if fused:
            return tuple(fused)
        found = [name for pattern in patterns for name, end in ends.items() if pattern.fullmatch(end)]
        if len(found) != len(patterns):
            raise UserInputError(
                f"method: the projections to {what} are not known by name; attention's are {', '.join(ends.values())}"
            )
        return tuple(name for name in names if name in found)


def projections_of(model: nn.Module, layer: Layer, hidden_size: int) -> Projections:
    """Find a layer's projections.

    Raises:
        UserInputError: none reads what one of the sub-layers is given.
    """
    modules = {f"{layer.name}.{path}": module for path, module in model.get_submodule(layer.name).named_modules()}
    every = [name for name, module in modules.items() if isinstance(module, nn.Linear | Conv1D)]
    ends = sorted(layer.sites.items(), key=lambda site: every.index(site[1]))
    entries: dict[Site, tuple[str, ...]] = {}
    start = 0
    for site, last in ends:
        within = every[start : every.index(last)]
        entries[site] = tuple(name for name in within if features(modules[name])[0] == hidden_size)
        start = every.index(last) + 1
        if not entries[site]:
            raise UserInputError(f"backbone: no projection before {last} reads the {hidden_size} hidden states")
    return Projections(tuple(every), entries, dict(layer.sites))


def chosen_projections(projections: Projections, targets: Sequence[str]) -> tuple[str, ...]:
    """The projections of these names, each the end of a module's whole name.

    Raises:
        UserInputError: one names none.
    """
    found: list[str] = []
    for target in targets:
        matching = [name for name in projections.every if f".{name}".endswith(f".{target}")]
        if not matching:
            ends = dict.fromkeys(name.rpartition(".")[2] for name in projections.every)
            raise UserInputError(f"method.targets: no projection is called {target!r}; there are: {', '.join(ends)}")
        found += matching
    return tuple(name for name in projections.every if name in found)


def features(projection: nn.Module) -> tuple[int, int]:
    """What goes into a projection and what comes out."""
    if isinstance(projection, Conv1D):  # whose weight is the other way round
        inputs, outputs = projection.weight.shape
        return inputs, outputs
    assert isinstance(projection, nn.Linear)
    return projection.in_features, projection.out_features
