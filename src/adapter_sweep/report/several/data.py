"""compare.json, compare.csv and regret.csv: a comparison as data, for other programs."""

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence

from adapter_sweep.records import ParamValue
from adapter_sweep.report.front import primary_objective
from adapter_sweep.report.scores import Score
from adapter_sweep.report.several.comparison import Comparison
from adapter_sweep.report.several.sentences import setting_name
from adapter_sweep.report.several.tasks import Regret, Setting, TaskGroup
from adapter_sweep.report.tables import csv_metric, csv_param, csv_text, trial_document
from adapter_sweep.report.wording import plain, swept_keys

__all__ = ["compare_csv", "compare_json", "regret_csv"]

_Z = 1.959963984540054  # half of a 95 % interval, in standard errors


def compare_csv(comparison: Comparison) -> str:
    """The trials on the studies' fronts, study by study; swept parameters and recorded numbers as in trials.csv."""
    standings = comparison.laid.standings
    params = list(dict.fromkeys(key for s in standings for key in swept_keys(s.study)))
    metrics = list(dict.fromkeys(key for s in standings for trial in s.front for key in trial.metrics))
    rows = [
        [
            csv_text(standing.study.name),
            csv_text(standing.label),
            str(trial.number),
            "" if standing.combined is None else str(int(trial.number in standing.combined)),
            *(csv_param(trial.params[key]) if key in trial.params else "" for key in params),
            *(csv_metric(key, trial.metrics.get(key)) for key in metrics),
        ]
        for standing in standings
        for trial in standing.front
    ]
    return _csv(["study", "label", "trial", "on_common_front", *params, *metrics], rows)


def regret_csv(group: TaskGroup) -> str:
    """What each task loses by each task's best and by the one default, a row each, with a 95 % interval."""
    keys = list(dict.fromkeys(key for setting in group.settings for key in setting.params))
    taken = [
        *zip(group.labels, group.best, group.regret, strict=True),
        ("one default", group.default, group.default_regret),
        *([("cheapest default", group.cheapest, group.cheapest_regret)] if group.cheapest is not None else []),
    ]
    rows = []
    for name, place, regrets in taken:
        setting = group.settings[place]
        for label, study, regret in zip(group.labels, group.studies, regrets, strict=True):
            low, high = _interval(regret)
            rows.append(
                [
                    csv_text(name),
                    csv_text(label),
                    csv_text(study.name),
                    *(csv_param(setting.params[key]) if key in setting.params else "" for key in keys),
                    str(regret.loss),
                    *("" if value is None else str(value) for value in (regret.error, low, high)),
                    regret.source,
                    str(int(regret.paired)),
                ]
            )
    names = ["configuration_of", "task", "study", *keys]
    return _csv([*names, "loss", "standard_error", "low_95", "high_95", "split", "paired"], rows)


def compare_json(comparison: Comparison) -> str:
    """The whole comparison as strict JSON."""
    together, laid = comparison.together, comparison.laid
    first = together.studies[0]
    document = {
        "studies": [
            {
                "study": plain(standing.study.name),
                "label": standing.label,
                "complete": len([t for t in standing.study.trials if t.state == "complete"]),
                "hypervolume": standing.hypervolume,
                "on_common_front": None if standing.combined is None else sorted(standing.combined),
                "best": None if standing.best is None else standing.best.number,
                "best_score": _score(standing.score),
                "front": [trial_document(trial) for trial in standing.front],
                "provenance": {plain(key): plain(value) for key, value in standing.study.provenance.items()},
            }
            for standing in laid.standings
        ],
        "objectives": {plain(key): way for key, way in first.objectives.items()},
        "metric": primary_objective(first),
        "same_data": together.same_data,
        "headline": comparison.headline,
        "details": list(comparison.details),
        "warnings": list(together.warnings),
        "hypervolume_box": None
        if laid.box is None
        else {"best": dict(laid.box.best), "reference": dict(laid.box.reference), "logarithmic": list(laid.box.log)},
        "tasks": None if comparison.group is None else _group(comparison, comparison.group),
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _group(comparison: Comparison, group: TaskGroup) -> dict[str, object]:
    settings = group.settings
    return {
        "configurations": [_setting(group, setting) for setting in settings],
        "best": {
            label: {**_setting(group, settings[place]), "test": _score(test)}
            for label, place, test in zip(group.labels, group.best, group.tested, strict=True)
        },
        "regret": {
            taken: _losses(group, row) for taken, row in zip(group.labels, group.regret, strict=True)
        },
        "default": {**_setting(group, settings[group.default]), "regret": _losses(group, group.default_regret)},
        "cheapest_default": None
        if group.cheapest is None
        else {**_setting(group, settings[group.cheapest]), "regret": _losses(group, group.cheapest_regret)},
        "worth": {
            plain(worth.key): {
                label: {**_loss(loss), "best": worth.values[best], "worst": worth.values[worst]}
                for label, loss, best, worst in zip(group.labels, worth.loss, worth.best, worth.worst, strict=True)
            }
            for worth in comparison.worths
        },
        "importance": {
            label: {
                plain(aim): {plain(key): share for key, share in shares.items() if math.isfinite(share)}
                for aim, shares in study.importance.items()
            }
            for label, study in zip(group.labels, group.studies, strict=True)
        },
        "unshared": dict(zip(group.labels, group.unshared, strict=True)),
    }  # fmt: skip


def _setting(group: TaskGroup, setting: Setting) -> dict[str, object]:
    return {
        "name": setting_name(group.studies[0], setting),
        "params": {plain(key): _plain_param(value) for key, value in setting.params.items()},
        "trials": dict(zip(group.labels, ([t.number for t in own] for own in setting.trials), strict=True)),
        "validation": dict(zip(group.labels, map(_score, setting.scores), strict=True)),
    }


def _plain_param(value: ParamValue) -> ParamValue:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return plain(value) if isinstance(value, str) else value


def _losses(group: TaskGroup, row: Sequence[Regret]) -> dict[str, dict[str, object]]:
    return {label: _loss(regret) for label, regret in zip(group.labels, row, strict=True)}


def _loss(regret: Regret) -> dict[str, object]:
    low, high = _interval(regret)
    return {
        "loss": regret.loss,
        "standard_error": regret.error,
        "low_95": low,
        "high_95": high,
        "split": regret.source or None,
        "paired": regret.paired,
    }


def _interval(regret: Regret) -> tuple[float | None, float | None]:
    if regret.error is None:
        return None, None
    return regret.loss - _Z * regret.error, regret.loss + _Z * regret.error


def _score(score: Score | None) -> dict[str, object] | None:
    if score is None:
        return None
    return {
        "value": score.value,
        "standard_error": score.error,
        "split": score.source,
        "seeds": score.seeds,
        "examples": score.examples,
    }


def _csv(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([csv_text(name) for name in headers])
    writer.writerows(rows)
    return out.getvalue()
