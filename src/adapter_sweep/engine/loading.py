"""Backbones from disk or the hub: weights as safetensors alone, and none of them made up."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import (
    MODEL_MAPPING,
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoTokenizer,
    PreTrainedTokenizerBase,
)
from transformers.utils.hub import cached_file

from adapter_sweep.engine.backbone import Attention, Backbone, Pooling, Precision, wrap_backbone
from adapter_sweep.engine.modality import modality_of
from adapter_sweep.engine.refusing import TELLING_FILES, refuse_code_and_pickles
from adapter_sweep.errors import AdapterSweepError, UserInputError

__all__ = ["load_backbone", "prepare_tokenizer"]

_TOKENIZERS = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")


def load_backbone(
    source: str | Path,
    *,
    revision: str | None = None,
    pooling: Pooling = "mean",
    attention: Attention | None = None,
    precision: Precision = "fp32",
    label: str | None = None,
) -> Backbone:
    """Load a transformer from a directory or the hub: weights only as safetensors, remote code never.

    Of an encoder-decoder the encoder is kept; the files may hold the whole model or the encoder alone. A model that
    names code of its own, or weights that are no safetensors, is refused before any of it is read.

    Args:
        attention: the attention kernel; the library's choice for this model unless given.

    Raises:
        UserInputError: no such directory, no safetensors in it, no place for adapters in the model, no token to pad
            with, or no such kernel.
        AdapterSweepError: the hub could not be reached.
    """
    where = label or (f"{source}@{revision}" if revision else str(source))
    options: dict[str, Any] = {"trust_remote_code": False}
    if isinstance(source, Path):
        _check_folder(source)
        options["local_files_only"] = True
    elif revision:
        options["revision"] = revision
    tokenizer = processor = None
    try:
        refuse_code_and_pickles(where, _telling_files(source, options))
        config = AutoConfig.from_pretrained(source, **options)
        reads_images = _reads_images(config)
        if isinstance(source, Path):
            _check_reader(source, reads_images=reads_images)
        if reads_images:
            # The same pixels, whether torchvision is installed or not.
            processor = AutoImageProcessor.from_pretrained(source, backend="pil", **options)  # type: ignore[no-untyped-call]
        else:
            tokenizer = AutoTokenizer.from_pretrained(source, **options)
        model, loaded = AutoModel.from_pretrained(
            source,
            config=config,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        # What the hub cannot deliver is no fault of the user's; what lies in a folder, or does not fit, is.
        if "trust_remote_code" in str(error):
            raise UserInputError(
                f"backbone: {where} needs code of its own, which is never run here; expected a model that transformers "
                "has the classes of"
            ) from error
        kind = AdapterSweepError if isinstance(error, OSError) and not isinstance(source, Path) else UserInputError
        raise kind(
            f"backbone: {where} could not be loaded: {_first_line(error)}. Expected: a model directory or hub name "
            "with config.json, a tokenizer or image processor, and safetensors weights (offline: HF_HUB_OFFLINE=1, or "
            "backbone=local)"
        ) from error
    if tokenizer is not None:
        prepare_tokenizer(tokenizer, where)
    named = dict(model.named_parameters(remove_duplicate=False))
    backbone = wrap_backbone(model, tokenizer, pooling=pooling, source=where, precision=precision, processor=processor)
    _check_loaded(backbone, loaded, named)
    if attention is not None:
        backbone.use_attention(attention)
    return backbone


def prepare_tokenizer(tokenizer: PreTrainedTokenizerBase, where: str) -> None:
    """See that a tokenizer has a token to pad with, and pads and cuts on the right, where no token's position moves.

    Raises:
        UserInputError: it has neither a padding token nor one that can stand in for it.
    """
    if tokenizer.pad_token_id is None:
        # A padded position is masked everywhere, so any token will do.
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token_id is None:
        raise UserInputError(
            f"backbone: the tokenizer of {where} has no token to pad with: neither a padding token nor one for the end "
            "of a text or for what is unknown; name one as pad_token in its tokenizer_config.json"
        )
    tokenizer.padding_side = tokenizer.truncation_side = "right"


def _telling_files(source: str | Path, options: Mapping[str, Any]) -> dict[str, Path]:
    """Those of the model's files that say what else is loaded: in its folder, or fetched from the hub."""
    if isinstance(source, Path):
        paths = {name: source / name for name in TELLING_FILES}
        return {name: path for name, path in paths.items() if path.is_file()}
    found = {
        name: cached_file(source, name, revision=options.get("revision"), _raise_exceptions_for_missing_entries=False)
        for name in TELLING_FILES
    }
    return {name: Path(path) for name, path in found.items() if path is not None}


def _reads_images(config: object) -> bool:
    mapping: Any = MODEL_MAPPING
    kinds = mapping.get(type(config), ())  # none of a class that `AutoModel` will refuse
    return "image" in {modality_of(kind) for kind in (kinds if isinstance(kinds, tuple) else (kinds,))}


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise UserInputError(
            f"backbone.path: {folder} is not a directory; expected one with config.json and safetensors"
        )
    if not (folder / "config.json").is_file():
        raise UserInputError(f"backbone.path: {folder} has no config.json; found: {_listing(folder)}")
    if not list(folder.glob("*.safetensors")):
        raise UserInputError(
            f"backbone.path: {folder} has no *.safetensors, and no other format is read; found: {_listing(folder)}"
        )


def _check_reader(folder: Path, *, reads_images: bool) -> None:
    what, names = ("image processor", _PROCESSORS) if reads_images else ("tokenizer", _TOKENIZERS)
    if not any((folder / name).is_file() for name in names):
        # transformers would make a tokenizer up from nothing, and every text would become unknown tokens.
        raise UserInputError(
            f"backbone.path: {folder} has no {what}; expected one of {', '.join(names)}; found: {_listing(folder)}"
        )


def _check_loaded(backbone: Backbone, loaded: Mapping[str, Any], named: Mapping[str, Tensor]) -> None:
    """A weight the files do not hold would be random, and every result with it; what is not kept may be missing.

    Args:
        backbone: what was kept of the model.
        loaded: what transformers says about loading the model.
        named: every parameter of the whole model, under each of its names.
    """
    kept = {id(parameter) for parameter in backbone.model.parameters()}
    missing = sorted(name for name in loaded["missing_keys"] if name in named and id(named[name]) in kept)
    if missing:
        raise UserInputError(
            f"backbone: {backbone.source} lacks {len(missing)} weights that its config.json asks for, "
            f"the first {missing[0]}"
        )


def _listing(folder: Path) -> str:
    names = sorted(p.name for p in folder.iterdir())
    return (", ".join(names[:8]) + (" …" if len(names) > 8 else "")) or "nothing"


def _first_line(error: BaseException) -> str:
    return next((line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()), type(error).__name__)
