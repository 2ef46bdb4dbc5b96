"""The projections inside a transformer layer: which read the hidden states, and which of them make queries and values.

Found by structure: those inside a layer's attention are the attention's, all others the feed-forward block's. The order
in which a layer declares them says nothing (Phi-3 declares attention's out before its in).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from transformers.pytorch_utils import Conv1D

from adapter_sweep.engine.sites import Layer, Site, sublayer_of
from adapter_sweep.errors import UserInputError

__all__ = ["Projections", "chosen_projections", "features", "projections_of"]

_SUFFIX = r"(_?(proj|lin|linear|layer))?"
_NAMES = (("q", "query"), ("k", "key"), ("v", "value"))
_QUERY, _KEY, _VALUE = (re.compile(f"({short}|{name}){_SUFFIX}") for short, name in _NAMES)
_FUSED = re.compile(r"c_attn|in_proj|query_key_value|\w*qkv\w*", re.IGNORECASE)


@dataclass(frozen=True)
class Projections:
    """A layer's projections, by module names.

    Attributes:
        every: all of them, in the model's order.
        entries: site -> those of its sub-layer that read something as wide as the hidden states, in the model's order;
            at least one. The first of them reads what the sub-layer is given, before it reads anything else.
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
    inside = model.get_submodule(layer.name).named_modules()
    modules = {path: module for path, module in inside if isinstance(module, nn.Linear | Conv1D)}
    entries: dict[Site, tuple[str, ...]] = {}
    for site, exit_ in layer.sites.items():
        own = {f"{layer.name}.{path}": module for path, module in modules.items() if sublayer_of(path) == site}
        entries[site] = tuple(n for n, m in own.items() if n != exit_ and features(m)[0] == hidden_size)
        if not entries[site]:
            raise UserInputError(f"backbone: no projection before {exit_} reads the {hidden_size} hidden states")
    return Projections(tuple(f"{layer.name}.{path}" for path in modules), entries, dict(layer.sites))


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
