"""What of a study's configuration makes its trials comparable, whichever version of this product began it."""

from collections.abc import Collection, Mapping
from typing import Any, get_args

from pydantic import BaseModel

from adapter_sweep.config.schema import SECTIONS

__all__ = ["EFFORT", "MEMORY", "as_defined_now", "effort"]

MEMORY = ("micro_batches", "gradient_checkpointing")
"""Keys of `train` that trade time for memory and leave the updates as they are."""

EFFORT = ("threads", "cohort", "cache_gb", "score_epochs", "checkpoint_every", *MEMORY)
"""Keys of `train` that decide how fast it trains, in what memory, and what is watched, not what comes out."""


def effort(objectives: Collection[str]) -> tuple[str, ...]:
    """The keys of `train` that a study may go on with otherwise: where memory is an objective, not what decides it."""
    return tuple(key for key in EFFORT if key not in MEMORY or "peak_train_memory_mb" not in objectives)


def as_defined_now(definition: Mapping[str, Any]) -> dict[str, Any]:
    """A study's definition as it would be written now.

    A key that came after the study was begun has the value it stands for, its default, and `train` has no key that may
    change; see `effort`. Of a section that is not there nothing is said.
    """
    found = {key: _filled(key, value) for key, value in definition.items()}
    if isinstance(found.get("methods"), Mapping):
        found["methods"] = {name: _filled("method", own) for name, own in found["methods"].items()}
    if isinstance(found.get("train"), Mapping):
        free = effort(definition.get("objectives", ()))
        found["train"] = {key: value for key, value in found["train"].items() if key not in free}
    return found


def _filled(name: str, section: Any) -> Any:
    if not isinstance(section, Mapping):
        return section
    model = next((model for model in SECTIONS.get(name, ()) if _is_of(model, section)), None)
    if model is None:
        return section
    # A default that is checked is no value yet: what it comes to depends on others. Such keys have always been told.
    fields = {key: field for key, field in model.model_fields.items() if not field.validate_default}
    return {key: field.default for key, field in fields.items() if not field.is_required()} | dict(section)


def _is_of(model: type[BaseModel], section: Mapping[str, Any]) -> bool:
    kind = model.model_fields.get("kind")
    return kind is None or section.get("kind") in get_args(kind.annotation)
