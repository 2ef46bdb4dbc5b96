"""What may be configured, and in which ranges. One class a variant; an unknown key is refused."""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    field_validator,
    model_serializer,
)

from adapter_sweep.config.methods import METHOD_CLASSES, MethodConfig
from adapter_sweep.config.section import NAME as _NAME
from adapter_sweep.config.section import RESERVED, PathText
from adapter_sweep.config.section import Float as _Float
from adapter_sweep.config.section import Int as _Int
from adapter_sweep.config.section import Section as _Section
from adapter_sweep.config.tasks import BuiltinTask, HubTask, ImagesTask, LocalTask, TaskConfig
from adapter_sweep.records import METRIC_HELP, Direction, is_recorded

__all__ = [
    "SECTIONS",
    "BackboneConfig",
    "BudgetConfig",
    "LatencyConfig",
    "LocalWorkers",
    "RayWorkers",
    "SlurmWorkers",
    "StudyConfig",
    "SweepConfig",
    "TaskConfig",
    "TrackingConfig",
    "TrainConfig",
    "WorkersConfig",
]


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
    name: PathText
    revision: PathText


class LocalBackbone(_Backbone):
    """A model in a directory."""

    kind: Literal["local"]
    path: PathText


BackboneConfig = Annotated[MiniLMBackbone | HubBackbone | LocalBackbone, Field(discriminator="kind")]


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
    label_smoothing: _Float = Field(0.0, ge=0, lt=1)
    class_weights: Literal["none", "balanced"] = "none"
    early_stopping: _Int | None = Field(None, ge=1, le=1000)
    micro_batches: _Int = Field(1, ge=1, le=65536)
    gradient_checkpointing: bool = False
    seed: _Int = Field(ge=0, lt=2**31)
    data_seed: _Int | None = Field(None, ge=0, lt=2**31)
    score_epochs: Literal["all", "last"] = "all"
    checkpoint_every: Literal["auto"] | Annotated[_Int, Field(ge=1)] | None = "auto"
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


class LocalWorkers(_Section):
    """Processes of this host run a study's trials."""

    kind: Literal["local"] = "local"
    count: _Int | None = Field(ge=1, le=1024)


class RayWorkers(_Section):
    """Ray places workers on a cluster, and starts those again whose node dies."""

    kind: Literal["ray"]
    count: _Int | None = Field(ge=1, le=1024)
    cpus: _Float = Field(gt=0, le=1024)
    gpus: _Float = Field(ge=0, le=64)
    address: str | None = None


class SlurmWorkers(_Section):
    """Slurm runs each worker as a job; `local` as the cluster runs them as processes of this host, to try it out."""

    kind: Literal["slurm"]
    count: _Int = Field(ge=1, le=1024)
    cpus: _Int = Field(ge=1, le=1024)
    gpus: _Int = Field(ge=0, le=64)
    memory_gb: _Float | None = Field(None, gt=0, le=100_000)
    minutes: _Int = Field(ge=1, le=100_000)
    partition: str | None = None
    account: str | None = None
    cluster: Literal["slurm", "local"] = "slurm"


def _kind_of_workers(values: Any) -> Any:
    """A section that names no kind is of this host's processes: so it was before there were others."""
    return values.get("kind", "local") if isinstance(values, dict) else getattr(values, "kind", None)


WorkersConfig = Annotated[
    Annotated[LocalWorkers, Tag("local")] | Annotated[RayWorkers, Tag("ray")] | Annotated[SlurmWorkers, Tag("slurm")],
    Discriminator(_kind_of_workers),
]


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
    max_retries: _Int = Field(2, ge=0, le=100)
    heartbeat_seconds: _Int = Field(30, ge=1, le=3600)

    @field_validator("name")
    @classmethod
    def _not_a_confirmation(cls, name: str | None) -> str | None:
        if name is not None and name.endswith(".confirmed"):
            raise ValueError("a name that ends in .confirmed is that of another study's finalists")
        if name is not None and name.casefold() in RESERVED:
            raise ValueError(f"one of ours in the results folder; allowed is any but {', '.join(sorted(RESERVED))}")
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
    """Everything: one trial's settings, and what the study varies in them.

    Where `method` is searched, `methods` holds the settings of each method that is chosen, and `method` those of the
    first. Composing fills it; nobody sets it by hand.
    """

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
    methods: dict[str, MethodConfig] = Field(default_factory=dict)
    results_dir: PathText

    @model_serializer(mode="wrap")
    def _without_empty_methods(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        if not self.methods:
            del values["methods"]
        return values

    @field_validator("objectives")
    @classmethod
    def _known(cls, value: dict[str, Direction]) -> dict[str, Direction]:
        unknown = [name for name in value if not is_recorded(name)]
        if unknown:
            allowed = f"{', '.join(METRIC_HELP)}, and a metric's name with _ and a language, e.g. accuracy_de"
            raise ValueError(f"{', '.join(unknown)} is not recorded; allowed: {allowed}")
        return value


# The keys of each section, for messages; of a section that comes in kinds, one class a kind.
SECTIONS: dict[str, tuple[type[BaseModel], ...]] = {
    "backbone": (MiniLMBackbone, HubBackbone, LocalBackbone),
    "task": (BuiltinTask, LocalTask, ImagesTask, HubTask),
    "method": METHOD_CLASSES,
    "train": (TrainConfig,),
    "latency": (LatencyConfig,),
    "workers": (LocalWorkers, RayWorkers, SlurmWorkers),
    "tracking": (TrackingConfig,),
    "study": (StudyConfig,),
    "confirm": (ConfirmConfig,),
    "budget": (BudgetConfig,),
}
