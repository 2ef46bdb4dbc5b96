"""What the configuration's sections have in common."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

__all__ = ["NAME", "Float", "Int", "Section"]

# What a name that becomes a folder may look like: no separator, no leading dot, no look-alike.
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"


def _no_truth_value(value: object) -> object:
    """Pydantic would read `true` as the number 1."""
    if isinstance(value, bool):
        raise ValueError("input should be a number")
    return value


Int = Annotated[int, BeforeValidator(_no_truth_value)]
Float = Annotated[float, BeforeValidator(_no_truth_value)]


class Section(BaseModel):
    """A section of the configuration; an unknown key is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)
