"""Studies to report on, made up."""

from collections.abc import Mapping
from datetime import UTC, datetime

from adapter_sweep.records import Direction, ParamValue, StudyView, TrialState, TrialView

OBJECTIVES: dict[str, Direction] = {
    "accuracy": "maximize",
    "trainable_params": "minimize",
    "latency_ratio": "minimize",
}


def make_trial(
    number: int,
    accuracy: float | None = None,
    params: float | None = None,
    ratio: float | None = None,
    *,
    state: TrialState = TrialState.COMPLETE,
    reason: str | None = None,
    swept: Mapping[str, ParamValue] | None = None,
    **more: float,
) -> TrialView:
    metrics = {
        "accuracy": accuracy,
        "trainable_params": params,
        "latency_ratio": ratio,
        "eval_examples": 408.0,
    }
    known = {key: float(value) for key, value in {**metrics, **more}.items() if value is not None}
    placement = ("post_attention", "post_ffn", "both")[number % 3]
    chosen = {"method.placement": placement, "method.width": 8 + number} if swept is None else dict(swept)
    return TrialView(
        number=number,
        state=state,
        params=chosen,
        metrics=known if accuracy is not None else {},
        reason=reason,
        started=datetime(2026, 1, 1, tzinfo=UTC),
        overrides=("task=movies", *(f"{key}={value}" for key, value in chosen.items())),
        mlflow_run_id=f"run{number}",
    )


def make_study(*trials: TrialView, name: str = "quickstart", **more: object) -> StudyView:
    fields: dict[str, object] = {
        "objectives": OBJECTIVES,
        "search_space": {
            "method.placement": "choice(post_attention,post_ffn,both)",
            "method.width": "range(8,20)",
        },
        "n_trials": 12,
        "provenance": {"torch": "2.11.0", "device": "cpu"},
        "config": {"task": {"metric": "accuracy"}, "train": {"epochs": 3}},
        "anchors": {"majority class": {"accuracy": 0.5}, "head-only probe": {"accuracy": 0.78}},
        **more,
    }
    return StudyView(name=name, trials=tuple(trials), **fields)  # type: ignore[arg-type]


def usual_study(**more: object) -> StudyView:
    interval = {"latency_ratio_low": 1.01, "latency_ratio_high": 1.04, "latency_noise_floor": 0.005}
    return make_study(
        make_trial(0, 0.800, 50_000, 1.02, **interval),
        make_trial(1, 0.812, 550_000, 1.08, **interval),
        make_trial(2, 0.700, 60_000, 1.09, **interval),
        make_trial(3, 0.750, 20_000, 1.01, **interval),
        make_trial(4, state=TrialState.FAILED, reason="GuardError: the loss is not finite"),
        make_trial(5, state=TrialState.REFUSED, reason="over budget"),
        **more,
    )
