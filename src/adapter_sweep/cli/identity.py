"""What a study is: its name, what makes its trials comparable, and what may be shown of it."""

import re
from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from adapter_sweep.config.compose import Composed
from adapter_sweep.config.definitions import effort
from adapter_sweep.config.naming import METHOD, own_name
from adapter_sweep.config.quoting import literal
from adapter_sweep.credentials import mask_credentials
from adapter_sweep.records import ParamValue, StudyView

if TYPE_CHECKING:
    from adapter_sweep.bench import Bench  # torch, which the commands that read do without

__all__ = ["definition", "facts_of_definition", "masked", "reproducing", "reproducing_with", "shareable", "study_name"]

# What a trial's result does not depend on: it is no part of a study's definition or of a trial's command.
_AROUND = ("study", "results_dir", "tracking", "workers", "confirm")


def study_name(composed: Composed, prefix: str = "") -> str:
    """The study's name: the user's, or the sweep's (else the task's), with what no folder can hold replaced."""
    base = re.sub(r"[^A-Za-z0-9._-]+", "-", composed.sweep or composed.config.task.name).lstrip("-._")[:80]
    return composed.config.study.name or prefix + (base.rstrip("-.") or "sweep")


def definition(composed: Composed, bench: "Bench", *, single: bool) -> dict[str, Any]:
    """What makes two trials of a study comparable; a study is never continued with another."""
    around = (*_AROUND, "method", "train", "latency", "budget") if single else _AROUND
    kept = {key: value for key, value in composed.values.items() if key not in around}
    if "train" in kept:  # a study may go on with more workers of fewer threads, or with less memory
        free = effort(composed.config.objectives)
        kept["train"] = {key: value for key, value in kept["train"].items() if key not in free}
    return {
        **kept,
        **facts_of_definition(bench),
    }


def facts_of_definition(bench: "Bench") -> dict[str, Any]:
    """The part of a definition that is found out, not given.

    What `auto` came to is in it: accuracies in two precisions and latencies of two devices are not comparable.
    """
    found = ("device", "precision", "attention", "model_fingerprint", "data_fingerprint")
    return {key: bench.provenance()[key] for key in found}


def shareable(composed: Composed) -> dict[str, Any]:
    """The configuration as it may be shown: no password in a URL."""
    return masked(composed.values)


def masked(values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration's plain values as they may be shown."""
    shown = deepcopy(dict(values))
    for section, key in (("study", "storage"), ("tracking", "uri")):
        if shown[section][key]:
            shown[section][key] = mask_credentials(shown[section][key])
    return shown


def reproducing(composed: Composed, bench: "Bench") -> tuple[str, ...]:
    """What `adapter-sweep trial` needs beside a trial's own parameters to repeat it."""
    keys = {text: text.lstrip("+~").split("=")[0] for text in composed.overrides}
    chosen = {"train.precision": bench.backbone.precision, "backbone.attention": bench.backbone.attention}
    kept = [text for text, key in keys.items() if key.split(".")[0] not in _AROUND and key not in chosen]
    where = [] if composed.config_dir is None else [f"--config-dir={composed.config_dir}"]
    return (*where, *kept, *(f"{key}={value}" for key, value in chosen.items()))


def reproducing_with(study: StudyView) -> tuple[str, ...]:
    """What `adapter-sweep trial` needs to repeat any trial of a study, as the study's own trials have it.

    Where methods are chosen between, what trials of one of them alone have goes by its name.
    """
    newest = {trial.params.get(METHOD): trial for trial in study.trials if trial.overrides}
    found: dict[ParamValue, list[str]] = {}
    for method, trial in newest.items():
        own = {f"{key}={literal(value)}" for key, value in trial.params.items()}
        found[method] = [text for text in trial.overrides if text not in own]
    shared = [text for text in next(iter(found.values()), []) if all(text in others for others in found.values())]
    rest = [own_name(str(method), text) for method, texts in found.items() for text in texts if text not in shared]
    return (*shared, *rest)
