"""The configuration: typed, range-checked, every problem reported at once."""

from adapter_sweep.config.check import validate, with_params
from adapter_sweep.config.schema import SweepConfig
from adapter_sweep.config.space import Choices, Dimension, FloatRange, IntRange, parse_dimension

__all__ = [
    "Choices",
    "Dimension",
    "FloatRange",
    "IntRange",
    "SweepConfig",
    "parse_dimension",
    "validate",
    "with_params",
]
