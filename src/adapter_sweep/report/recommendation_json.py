"""A choice as JSON, for scripts."""

import json

from adapter_sweep.records import StudyView
from adapter_sweep.report.choosing import Choice, Option, noise_between
from adapter_sweep.report.recommendation import RULE, option_name
from adapter_sweep.report.tables import trial_document
from adapter_sweep.report.wording import plain

__all__ = ["choice_json"]

_TOLD = ("trial", "params", "metrics", "overrides", "command", "weights_path", "mlflow_run_id")


def choice_json(study: StudyView, choice: Choice) -> str:
    """The choice as strict JSON; `recommended` is null where nothing fits."""
    chosen = choice.recommended
    document = {
        "study": plain(study.name),
        "budget": {option_name(limit): limit.value for limit in choice.limits},
        "rule": RULE,
        "metric": choice.primary,
        "split": choice.options[0].score.source if choice.options else None,
        "considered": len(choice.options),
        "fitting": len(choice.fitting),
        "recommended": _document(choice, chosen, None),
        "best_within_budget": _document(choice, choice.best, chosen),
        "next_cheaper": _document(choice, choice.cheaper, chosen),
        "next_dearer": _document(choice, choice.dearer, chosen),
        "knee": _document(choice, choice.knee, chosen),
        "nearest": {option_name(limit): _document(choice, option, None) for limit, option in choice.nearest},
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _document(choice: Choice, option: Option | None, beside: Option | None) -> dict[str, object] | None:
    """An option as JSON; with what it gains and costs beside another one, where there is one."""
    if option is None:
        return None
    score = option.score
    document: dict[str, object] = {
        **{key: value for key, value in trial_document(option.trial).items() if key in _TOLD},
        "score": {
            "value": score.value,
            "standard_error": score.error,
            "split": score.source,
            "seeds": score.seeds,
            "examples": score.examples,
        },
    }
    if beside is None or beside is option:
        return document
    return document | {
        "beside_recommended": {
            choice.primary: score.value - beside.score.value,
            **{key: option.trial.metrics[key] - beside.trial.metrics[key] for key in choice.costs},
        },
        "alike_within_noise": [
            key
            for key in choice.costs
            if abs(option.trial.metrics[key] - beside.trial.metrics[key])
            <= noise_between(key, option.trial, beside.trial)
        ],
    }
