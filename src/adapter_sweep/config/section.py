"""What the configuration's sections have in common."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

__all__ = ["NAME", "RESERVED", "Float", "Int", "PathText", "Section", "no_control_characters"]

# What a name that becomes a folder may look like: no separator, no leading dot, no look-alike.
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
# What lies beside the studies' folders in the results folder.
RESERVED = frozenset({"optuna.db", "mlflow.db", "mlflow.lock", "mlartifacts"})


def no_control_characters(value: str) -> str:
    """Refuse what no file system and no terminal takes as it is."""
    if not value.isprintable() or any(0xD800 <= ord(character) <= 0xDFFF for character in value):
        raise ValueError("control characters and invisible ones are not allowed")
    return value


PathText = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(no_control_characters)]


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
