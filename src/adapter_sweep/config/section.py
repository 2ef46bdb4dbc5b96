"""What all sections of a configuration have in common."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

__all__ = ["Float", "Int", "Section"]


def _no_truth_value(value: object) -> object:
    """Pydantic would read `true` as the number 1."""
    if isinstance(value, bool):
        raise ValueError("input should be a number")
    return value


Int = Annotated[int, BeforeValidator(_no_truth_value)]
Float = Annotated[float, BeforeValidator(_no_truth_value)]


class Section(BaseModel):
    """A section: its keys and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)
