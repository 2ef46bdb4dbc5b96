"""What a model's small files may not ask for: code of its own, weights that are pickles, another model's weights.

transformers runs no code of a model's own (`auto_map`) unless told to. Other ways remain: an index of safetensors may
name files of any format, which are then unpickled, and a configuration may name an attention kernel or another model's
weights, which are then fetched.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from adapter_sweep.errors import UserInputError

__all__ = ["TELLING_FILES", "refuse_code_and_pickles"]

_INDEX = "model.safetensors.index.json"
_ADAPTER = "adapter_config.json"
_CONFIGS = ("config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json")
_DEPTH = 50
TELLING_FILES = (*_CONFIGS, _INDEX, _ADAPTER)
"""Files that name what is loaded beside them."""


def refuse_code_and_pickles(where: str, files: Mapping[str, Path]) -> None:
    """See that nothing of a model but safetensors and JSON is asked for.

    Args:
        where: what the model is called in messages.
        files: those of `TELLING_FILES` that there are.

    Raises:
        UserInputError: everything that is refused, or is no JSON object.
    """
    problems = []
    for name, path in files.items():
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            problems.append(f"backbone: {where}: {name} cannot be read: {error}")
            continue
        if name == _ADAPTER:
            found = ["makes it another model's adapter, which would be fetched unasked; expected a whole model, merged"]
        elif not isinstance(about, dict):
            found = ["is no JSON object"]
        else:
            found = list(_weights_elsewhere(about) if name == _INDEX else _asked_for(about))
        problems += [f"backbone: {where}: {name} {what}" for what in dict.fromkeys(found)]
    if problems:
        raise UserInputError(*problems)


def _weights_elsewhere(index: Mapping[str, Any]) -> Iterator[str]:
    shards = index.get("weight_map")
    if not (isinstance(shards, dict) and isinstance(index.get("metadata"), dict)):
        yield "has no weight_map, or no metadata"
        return
    for shard in dict.fromkeys(map(str, shards.values())):
        if not shard.endswith(".safetensors"):
            yield f"names {shard!r}: weights are read as *.safetensors only, for a pickle can run code"
        elif not shard.isprintable() or Path(shard).name != shard:
            yield f"names {shard!r}: expected files of the model's own folder"


def _asked_for(about: Any, key: str = "", depth: int = 0) -> Iterator[str]:
    """What a configuration, or a part of it, may not ask for."""
    if depth > _DEPTH:
        yield f"is nested deeper than {_DEPTH} levels"
    for name, value in about.items():
        if name == "transformers_weights" and value is not None and not str(value).endswith(".safetensors"):
            yield f"has {key}transformers_weights={value!r}: weights are read as *.safetensors only"
        elif name == "configuration_files":
            yield f"has {key}{name}: another file would be read in its place, which nobody looked at"
        elif name in ("attn_implementation", "_attn_implementation") and value not in (None, "eager", "sdpa"):
            yield f"has {key}{name}={value!r}: a kernel may be fetched and run for it; allowed: eager, sdpa"
        elif isinstance(value, dict) and depth <= _DEPTH:
            yield from _asked_for(value, f"{key}{name}.", depth + 1)
