"""What may be configured, and in which ranges. One class a variant; an unknown key is refused."""

import difflib
from collections.abc import Mapping
from copy import deepcopy
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from adapter_sweep.errors import UserInputError
from adapter_sweep.records import METRIC_HELP, Direction, ParamValue

__all__ = [
    "BackboneConfig",
    "BottleneckMethod",
    "BudgetConfig",
    "LatencyConfig",
    "StudyConfig",
    "SweepConfig",
    "TaskConfig",
    "TrackingConfig",
    "TrainConfig",
    "validate",
    "with_params",
]

# What a name that becomes a folder may look like: no separator, no leading dot, no look-alike.
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"

_MISSING = "???"  # OmegaConf's mark of a value the user has to give


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)


class _Backbone(_Section):
    pooling: Literal["mean", "cls", "last"] = "mean"
    attention: Literal["eager", "sdpa"] = "sdpa"


class MiniLMBackbone(_Backbone):
    """all-MiniLM-L6-v2, from the package index."""

    kind: Literal["minilm"]


class HubBackbone(_Backbone):
    """A model of the hub; the revision is pinned, so that a result can be reproduced."""

    kind: Literal["hub"]
    name: str = Field(min_length=1)
    revision: str = Field(min_length=1)


class LocalBackbone(_Backbone):
    """A model in a directory."""

    kind: Literal["local"]
    path: str = Field(min_length=1)


BackboneConfig = Annotated[MiniLMBackbone | HubBackbone | LocalBackbone, Field(discriminator="kind")]


class _Task(_Section):
    split_seed: int = Field(0, ge=0)
    max_train_examples: int | None = Field(None, ge=10)
    metric: Literal["accuracy", "macro_f1"] = "accuracy"


class BuiltinTask(_Task):
    """One of the six labelled text sets that come with the product."""

    kind: Literal["builtin"]
    name: Literal["movies", "amazon", "tweets", "editorials", "sms_spam", "questions"]


class _Columns(_Task):
    text: str | list[str]
    label: str = Field(min_length=1)

    @field_validator("text")
    @classmethod
    def _one_or_two(cls, value: str | list[str]) -> str | list[str]:
        if not value or (isinstance(value, list) and (len(value) > 2 or not all(value))):
            raise ValueError("must be one column, or a list of one or two")
        return value

    @property
    def text_columns(self) -> list[str]:
        """The text column, or both columns of a pair."""
        return [self.text] if isinstance(self.text, str) else list(self.text)


class LocalTask(_Columns):
    """The user's own file: CSV, TSV, JSON lines or Parquet."""

    kind: Literal["local"]
    name: str = Field("local", pattern=_NAME)
    path: str = Field(min_length=1)
    validation_path: str | None = None
    test_path: str | None = None
    delimiter: str | None = Field(None, min_length=1, max_length=1)


class HubTask(_Columns):
    """A data set of the hub."""

    kind: Literal["hub"]
    name: str = Field(min_length=1)
    config: str | None = None
    revision: str = Field(min_length=1)
    train_split: str = "train"
    validation_split: str | None = "validation"
    test_split: str | None = "test"


TaskConfig = Annotated[BuiltinTask | LocalTask | HubTask, Field(discriminator="kind")]


class BottleneckMethod(_Section):
    """Houlsby's bottleneck adapters."""

    kind: Literal["bottleneck"]
    width: int = Field(ge=1, le=65536)
    placement: Literal["post_attention", "post_ffn", "both"]
    activation: Literal["relu", "gelu", "silu", "tanh"]
    init_std: float = Field(gt=0, le=1)
    layer_norms: Literal["none", "adapted_layers", "all"]


class TrainConfig(_Section):
    """How each trial is trained."""

    epochs: int = Field(ge=1, le=1000)
    lr: float = Field(gt=0, le=10)
    batch_size: int = Field(ge=1, le=65536)
    max_tokens_per_batch: int = Field(ge=8)
    max_length: int = Field(ge=4, le=131072)
    weight_decay: float = Field(ge=0, le=1)
    warmup_fraction: float = Field(ge=0, le=1)
    max_grad_norm: float = Field(ge=0)
    seed: int = Field(ge=0, lt=2**31)
    threads: int | None = Field(ge=1, le=1024)
    precision: Literal["auto", "bf16", "fp32"]
    device: str = Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")


class LatencyConfig(_Section):
    """How latency is measured."""

    tokens: int = Field(ge=4, le=131072)
    batch_size: int = Field(ge=1, le=65536)
    pairs: int = Field(ge=5, le=100_000)
    batch_pairs: int = Field(ge=5, le=100_000)
    warmup_seconds: float = Field(ge=0, le=600)
    threads: int = Field(ge=1, le=1024)


class TrackingConfig(_Section):
    """Where MLflow shows the study."""

    enabled: bool
    uri: str | None = None


class StudyConfig(_Section):
    """The study's name, size and sampler."""

    name: str | None = Field(pattern=_NAME)
    n_trials: int = Field(ge=1, le=10_000_000)
    sampler: Literal["tpe", "nsga2", "gp", "random", "grid"]
    seed: int = Field(ge=0, lt=2**31)
    storage: str | None


class BudgetConfig(_Section):
    """What a configuration may cost; over it, a trial is refused without training."""

    max_trainable_params: int | None = Field(ge=1)
    max_latency_ratio: float | None = Field(gt=0)


class SweepConfig(_Section):
    """Everything: one trial's settings, and what the study varies in them."""

    backbone: BackboneConfig
    task: TaskConfig
    method: BottleneckMethod
    train: TrainConfig
    latency: LatencyConfig
    tracking: TrackingConfig
    study: StudyConfig
    budget: BudgetConfig
    objectives: dict[str, Direction] = Field(min_length=1)
    search_space: dict[str, str]
    results_dir: str = Field(min_length=1)

    @field_validator("objectives")
    @classmethod
    def _known(cls, value: dict[str, Direction]) -> dict[str, Direction]:
        unknown = [name for name in value if name not in METRIC_HELP]
        if unknown:
            raise ValueError(f"{', '.join(unknown)} is not recorded; allowed: {', '.join(METRIC_HELP)}")
        return value


def validate(values: Mapping[str, Any]) -> SweepConfig:
    """Check a composed configuration.

    Raises:
        UserInputError: every problem at once, each naming the key, the value and what is allowed.
    """
    problems = [f"{key}: missing; give it as {key}=VALUE" for key in _missing(values)]
    try:
        config = SweepConfig.model_validate(values)
    except ValidationError as error:
        problems += [_problem(detail, values) for detail in error.errors() if detail["input"] != _MISSING]
    if problems:
        raise UserInputError(*dict.fromkeys(problems))
    return config


def with_params(values: Mapping[str, Any], params: Mapping[str, ParamValue]) -> dict[str, Any]:
    """A copy of a configuration's plain values with some of them set under their Hydra keys."""
    changed = deepcopy(dict(values))
    for key, value in params.items():
        *parents, last = key.split(".")
        section = changed
        for parent in parents:
            section = section[parent]
        section[last] = value
    return changed


def _missing(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    keys = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            keys += _missing(value, f"{prefix}{key}.")
        elif value == _MISSING:
            keys.append(f"{prefix}{key}")
    return keys


def _problem(detail: Any, values: Mapping[str, Any]) -> str:
    """One line for one of pydantic's errors: key, value, what is allowed."""
    # A discriminated union puts its tag into the location; the user's key has none.
    location = [str(part) for part in detail["loc"]]
    if len(location) > 1 and location[0] in ("backbone", "task"):
        location = [location[0], *location[2:]]
    location = [part for part in location if part not in ("str", "list[str]")]
    key = ".".join(location)
    given = detail["input"]
    if detail["type"] == "missing":
        return f"{key}: missing; give it as {key}=VALUE"
    if detail["type"] == "extra_forbidden":
        return f"{key}={given!r}: there is no such key{_near(location, values)}"
    message = detail["msg"].removeprefix("Value error, ")
    context = detail.get("ctx", {})
    if detail["type"] == "literal_error":
        message = f"allowed: {context['expected']}"
    if detail["type"] == "string_pattern_mismatch":
        message = f"must match {context['pattern']}"
    return f"{key}={given!r}: {message[0].lower()}{message[1:]}"


def _near(location: list[str], values: Mapping[str, Any]) -> str:
    section: Any = values
    for part in location[:-1]:
        section = section.get(part, {}) if isinstance(section, Mapping) else {}
    known = _keys_of(location[:-1], section)
    near = difflib.get_close_matches(location[-1], known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(known)}"


def _keys_of(path: list[str], section: Any) -> list[str]:
    models: dict[tuple[str, ...], list[type[BaseModel]]] = {
        (): [SweepConfig],
        ("backbone",): [MiniLMBackbone, HubBackbone, LocalBackbone],
        ("task",): [BuiltinTask, LocalTask, HubTask],
        ("method",): [BottleneckMethod],
        ("train",): [TrainConfig],
        ("latency",): [LatencyConfig],
        ("tracking",): [TrackingConfig],
        ("study",): [StudyConfig],
        ("budget",): [BudgetConfig],
    }
    kind = section.get("kind") if isinstance(section, Mapping) else None
    found = models.get(tuple(path), [])
    matching = [m for m in found if "kind" not in m.model_fields or kind in _kind(m)] or found
    return [name for model in matching for name in model.model_fields]


def _kind(model: type[BaseModel]) -> tuple[Any, ...]:
    annotation: Any = model.model_fields["kind"].annotation
    return tuple(annotation.__args__)
