"""The bench: a study's backbone and data, loaded once and shared by its trials."""

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch

from adapter_sweep.config import SweepConfig
from adapter_sweep.engine import assets
from adapter_sweep.engine.activations import Activations, Stored
from adapter_sweep.engine.adapters import MethodSpec
from adapter_sweep.engine.anchors import anchor_predictions
from adapter_sweep.engine.backbone import Backbone
from adapter_sweep.engine.encoded import Encoded
from adapter_sweep.engine.encoding import encode_images, encode_split
from adapter_sweep.engine.methods import spec_of
from adapter_sweep.engine.metrics import load_metric
from adapter_sweep.engine.room import Room
from adapter_sweep.engine.tasks import Split, TaskData
from adapter_sweep.errors import AdapterSweepError
from adapter_sweep.jackknife import is_defined, score_error
from adapter_sweep.provenance import code_provenance, cpu_name
from adapter_sweep.scores import TASK_METRICS

__all__ = ["Bench", "method_spec", "scoring_bounds"]

_log = logging.getLogger(__name__)

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
        """A split as a backbone takes it: made once, of texts for each maximum length."""
        return self._encode(split, max_length if self.data.modality == "text" else 0)

    @functools.cached_property
    def _encode(self) -> Callable[[Split, int], Encoded]:
        tokenizer = self.backbone.tokenizer

        @functools.cache
        def encode(split: Split, max_length: int) -> Encoded:
            if tokenizer is None:
                return encode_images(self.backbone, self.data, split, self._room)
            told, causal = self.backbone.takes_token_types, self.backbone.causal
            options: Any = {"token_types": told, "causal": causal, "max_length": max_length}
            encoded = encode_split(tokenizer, self.data, split, **options)
            self._tell_shortened(split, encoded, max_length)
            return encoded

        return encode

    def _tell_shortened(self, split: Split, encoded: Encoded, max_length: int) -> None:
        """Warn of what the head will not see of one of the task's splits; a part of one says nothing new."""
        lost = encoded.shortened
        splits = {"training": self.data.train, "validation": self.data.validation}
        if self.scored == "test":  # else nobody looks at it
            splits["test"] = self.data.test
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

    @functools.cached_property
    def _activations(self) -> Activations:
        return Activations(self.backbone, self._room)

    @functools.cached_property
    def _room(self) -> Room:
        limit = int(self.config.train.cache_gb * 1e9)
        return Room(limit_bytes=limit, folder=assets.cache_dir() / "activations")

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
            "model": self.backbone.name,
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
