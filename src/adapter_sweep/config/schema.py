"""What may be configured, and in which ranges. One class a variant; an unknown key is refused."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from adapter_sweep.config.methods import METHOD_CLASSES, MethodConfig
from adapter_sweep.config.section import Float as _Float
from adapter_sweep.config.section import Int as _Int
from adapter_sweep.config.section import Section as _Section
from adapter_sweep.records import METRIC_HELP, Direction

__all__ = [
    "SECTIONS",
    "BackboneConfig",
    "BudgetConfig",
    "LatencyConfig",
    "StudyConfig",
    "SweepConfig",
    "TaskConfig",
    "TrackingConfig",
    "TrainConfig",
    "WorkersConfig",
]

# What a name that becomes a folder may look like: no separator, no leading dot, no look-alike.
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"


class _Backbone(_Section):
    kind: str
    pooling: Literal["auto", "mean", "cls", "last"] = "auto"
    attention: Literal["auto", "eager", "sdpa"] = "auto"


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
    kind: str
    name: str
    split_seed: _Int = Field(0, ge=0)
    max_train_examples: _Int | None = Field(None, ge=10)
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

    @field_validator("label")
    @classmethod
    def _no_text(cls, value: str, info: ValidationInfo) -> str:
        text = info.data.get("text")
        if value == text or (isinstance(text, list) and value in text):
            raise ValueError("is a text column already")
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


class TrainConfig(_Section):
    """How each trial is trained."""

    epochs: _Int = Field(ge=1, le=1000)
    lr: _Float = Field(gt=0, le=10)
    batch_size: _Int = Field(ge=1, le=65536)
    max_tokens_per_batch: _Int = Field(ge=8)
    max_length: _Int = Field(ge=4, le=131072)
    weight_decay: _Float = Field(ge=0, le=1)
    warmup_fraction: _Float = Field(ge=0, le=1)
    max_grad_norm: _Float = Field(ge=0)
    seed: _Int = Field(ge=0, lt=2**31)
    data_seed: _Int | None = Field(None, ge=0, lt=2**31)
    score_epochs: Literal["all", "last"] = "all"
    cohort: Literal["auto"] | Annotated[_Int, Field(ge=1, le=1024)] = "auto"
    cache_gb: _Float = Field(1.0, ge=0, le=1_000_000)
    threads: _Int | None = Field(ge=1, le=1024)
    precision: Literal["auto", "bf16", "fp32"]
    device: str = Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")


class LatencyConfig(_Section):
    """How latency is measured."""

    tokens: _Int = Field(ge=4, le=131072)
    batch_size: _Int = Field(ge=1, le=65536)
    pairs: _Int = Field(ge=5, le=100_000)
    batch_pairs: _Int = Field(ge=5, le=100_000)
    warmup_seconds: _Float = Field(ge=0, le=600)
    threads: _Int = Field(ge=1, le=1024)


class WorkersConfig(_Section):
    """How many processes run a study's trials."""

    count: _Int | None = Field(ge=1, le=1024)


class TrackingConfig(_Section):
    """Where MLflow shows the study."""

    enabled: bool
    uri: str | None = None


class StudyConfig(_Section):
    """The study's name, size and sampler."""

    name: str | None = Field(pattern=_NAME)
    n_trials: _Int = Field(ge=1, le=10_000_000)
    sampler: Literal["tpe", "nsga2", "gp", "random", "grid"]
    seed: _Int = Field(ge=0, lt=2**31)
    storage: str | None
    tasks: list[str] | None = Field(None, min_length=1)

    @field_validator("name")
    @classmethod
    def _not_a_confirmation(cls, name: str | None) -> str | None:
        if name is not None and name.endswith(".confirmed"):
            raise ValueError("a name that ends in .confirmed is that of another study's finalists")
        return name

    @field_validator("tasks")
    @classmethod
    def _each_once(cls, tasks: list[str] | None) -> list[str] | None:
        if twice := [task for task in dict.fromkeys(tasks or ()) if (tasks or []).count(task) > 1]:
            raise ValueError(f"each task once; named twice: {', '.join(twice)}")
        return tasks


class ConfirmConfig(_Section):
    """How finalists are confirmed on the test split."""

    seeds: _Int = Field(ge=1, le=1000)
    finalists: _Int = Field(ge=1, le=1000)


class BudgetConfig(_Section):
    """What a configuration may cost; over it, a trial is refused without training."""

    max_trainable_params: _Int | None = Field(ge=1)
    max_latency_ratio: _Float | None = Field(gt=0)


class SweepConfig(_Section):
    """Everything: one trial's settings, and what the study varies in them."""

    backbone: BackboneConfig
    task: TaskConfig
    method: MethodConfig
    train: TrainConfig
    latency: LatencyConfig
    workers: WorkersConfig
    tracking: TrackingConfig
    study: StudyConfig
    confirm: ConfirmConfig
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


# The keys of each section, for messages; of a section that comes in kinds, one class a kind.
SECTIONS: dict[str, tuple[type[BaseModel], ...]] = {
    "backbone": (MiniLMBackbone, HubBackbone, LocalBackbone),
    "task": (BuiltinTask, LocalTask, HubTask),
    "method": METHOD_CLASSES,
    "train": (TrainConfig,),
    "latency": (LatencyConfig,),
    "workers": (WorkersConfig,),
    "tracking": (TrackingConfig,),
    "study": (StudyConfig,),
    "confirm": (ConfirmConfig,),
    "budget": (BudgetConfig,),
}
