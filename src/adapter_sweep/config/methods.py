"""The methods that may be configured, and in which ranges. One class each; see the engine's dataclass of each."""

from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from adapter_sweep.config.layers import parsed_layers, read_layers
from adapter_sweep.config.section import Float, Int, Section

__all__ = [
    "MERGING",
    "METHOD_CLASSES",
    "BitFitMethod",
    "BottleneckMethod",
    "FullMethod",
    "HeadMethod",
    "IA3Method",
    "LayerNormMethod",
    "LoraMethod",
    "MethodConfig",
    "ParallelMethod",
    "PrefixMethod",
    "PromptMethod",
]


def _scaling(value: object) -> object:
    """A number above 0, or the word `learned`: one message for both."""
    if isinstance(value, bool) or (isinstance(value, int | float) and not 0 < value <= 1000):
        raise ValueError("must be learned, or a number over 0 and up to 1000")
    if isinstance(value, str) and value != "learned":
        raise ValueError("must be learned, or a number over 0 and up to 1000")
    return value


def _targets(value: object) -> object:
    """A name, or a list of distinct ones: one message for both."""
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise ValueError("must be attention, all_linear, or a list of distinct names of projections")
    return value


_Layers = Annotated[str, BeforeValidator(read_layers)]
_Scaling = Annotated[Float | Literal["learned"], BeforeValidator(_scaling)]
_Activation = Literal["relu", "gelu", "silu", "tanh"]


class _Method(Section):
    kind: str

    # What neither the architecture nor the time of a pass depends on; and what came later than the first studies, which
    # have its first value: their latency tables are to be found again.
    _values: ClassVar[frozenset[str]] = frozenset()
    _later: ClassVar[dict[str, object]] = {}

    def architecture(self) -> dict[str, Any]:
        """What the time of a pass depends on."""
        found = {
            name: value
            for name, value in self.model_dump(exclude=set(self._values)).items()
            if name not in self._later or value != self._later[name]
        }
        if isinstance(found.get("scaling"), float) and found["scaling"] != 1:
            found["scaling"] = "fixed"  # one multiplication, whatever the number
        return found

    def plain(self) -> dict[str, Any]:
        """The fields of the engine's dataclass."""
        values = self.model_dump(exclude={"kind"})
        if "layers" in values:
            values["layers"] = parsed_layers(values["layers"])
        return values

    @property
    def virtual_tokens(self) -> int:
        """How many positions the method takes from a text."""
        return 0


class BottleneckMethod(_Method):
    """Houlsby's bottleneck adapters, and their variants."""

    kind: Literal["bottleneck"]
    width: Int = Field(ge=1, le=65536)
    placement: Literal["post_attention", "post_ffn", "both"]
    activation: _Activation
    init_std: Float = Field(gt=0, le=1)
    layer_norms: Literal["none", "adapted_layers", "all"]
    layers: _Layers = "all"
    scaling: _Scaling = 1.0
    shared: bool = False

    _values = frozenset({"init_std"})
    _later: ClassVar[dict[str, object]] = {"scaling": 1.0, "shared": False}


class ParallelMethod(_Method):
    """Parallel adapters."""

    kind: Literal["parallel"]
    width: Int = Field(ge=1, le=65536)
    placement: Literal["attention", "ffn", "both"] = "ffn"
    activation: _Activation = "relu"
    scaling: _Scaling = 4.0
    layers: _Layers = "all"


class LoraMethod(_Method):
    """Low-rank updates of projections."""

    kind: Literal["lora"]
    rank: Int = Field(ge=1, le=65536)
    alpha: Float = Field(16.0, gt=0, le=100_000)
    targets: Annotated[str | list[str], BeforeValidator(_targets)] = "attention"
    layers: _Layers = "all"

    _values = frozenset({"alpha"})

    def plain(self) -> dict[str, Any]:
        """The fields of the engine's dataclass."""
        values = super().plain()
        return values | {"targets": tuple(self.targets) if isinstance(self.targets, list) else self.targets}


class IA3Method(_Method):
    """Learned factors on keys, values and the feed-forward's inner activations."""

    kind: Literal["ia3"]
    layers: _Layers = "all"


class _VirtualTokens(_Method):
    length: Int = Field(ge=1, le=4096)

    @property
    def virtual_tokens(self) -> int:
        """How many positions the method takes from a text."""
        return self.length


class PrefixMethod(_VirtualTokens):
    """Learned keys and values before the text's, in every layer."""

    kind: Literal["prefix"]


class PromptMethod(_VirtualTokens):
    """Learned embeddings before the text's."""

    kind: Literal["prompt"]


class BitFitMethod(_Method):
    """The layers' bias terms."""

    kind: Literal["bitfit"]
    layers: _Layers = "all"


class LayerNormMethod(_Method):
    """The layer norms."""

    kind: Literal["layernorm"]
    layer_norms: Literal["layers", "all"] = "all"
    layers: _Layers = "all"

    @field_validator("layers")
    @classmethod
    def _read(cls, value: str, info: ValidationInfo) -> str:
        if value != "all" and info.data.get("layer_norms") == "all":
            raise ValueError("method.layer_norms=all trains those of all layers; allowed: all, or layer_norms=layers")
        return value


class FullMethod(_Method):
    """All of a copy of the backbone."""

    kind: Literal["full"]


class HeadMethod(_Method):
    """A linear head on the frozen backbone's pooled hidden states, and nothing in the backbone."""

    kind: Literal["head"]


_AnyMethod = (
    BottleneckMethod
    | ParallelMethod
    | LoraMethod
    | IA3Method
    | PrefixMethod
    | PromptMethod
    | BitFitMethod
    | LayerNormMethod
    | FullMethod
    | HeadMethod
)
MethodConfig = Annotated[_AnyMethod, Field(discriminator="kind")]
MERGING = ("lora", "ia3")
"""The kinds of methods that can be merged into the backbone's weights."""

METHOD_CLASSES: tuple[type[Section], ...] = get_args(_AnyMethod)
