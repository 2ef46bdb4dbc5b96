"""The methods: what is trained besides the head. One dataclass each, whose fields decide architecture and start."""

from collections.abc import Mapping
from typing import Any

from adapter_sweep.engine.methods.bitfit import BitFitSpec
from adapter_sweep.engine.methods.bottleneck import BottleneckSpec
from adapter_sweep.engine.methods.full import FullSpec
from adapter_sweep.engine.methods.head import HeadSpec
from adapter_sweep.engine.methods.ia3 import IA3Spec
from adapter_sweep.engine.methods.lora import LoraSpec
from adapter_sweep.engine.methods.norms import LayerNormSpec
from adapter_sweep.engine.methods.parallel import ParallelSpec
from adapter_sweep.engine.methods.virtual import PrefixSpec, PromptSpec

__all__ = [
    "METHODS",
    "BitFitSpec",
    "BottleneckSpec",
    "FullSpec",
    "HeadSpec",
    "IA3Spec",
    "LayerNormSpec",
    "LoraSpec",
    "MethodSpec",
    "ParallelSpec",
    "PrefixSpec",
    "PromptSpec",
    "spec_of",
]

MethodSpec = (
    BottleneckSpec
    | ParallelSpec
    | LoraSpec
    | IA3Spec
    | PrefixSpec
    | PromptSpec
    | BitFitSpec
    | LayerNormSpec
    | FullSpec
    | HeadSpec
)
# By the names they have in configurations and on disk.
METHODS: dict[str, type[MethodSpec]] = {
    "bottleneck": BottleneckSpec,
    "parallel": ParallelSpec,
    "lora": LoraSpec,
    "ia3": IA3Spec,
    "prefix": PrefixSpec,
    "prompt": PromptSpec,
    "bitfit": BitFitSpec,
    "layernorm": LayerNormSpec,
    "full": FullSpec,
    "head": HeadSpec,
}


def spec_of(method: str, values: Mapping[str, Any]) -> MethodSpec:
    """A method's dataclass from its name and plain values, in which a tuple may be a list.

    Raises:
        KeyError: there is no such method.
        TypeError: it has no such fields.
    """
    kind: Any = METHODS[method]
    spec: MethodSpec = kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})
    return spec
