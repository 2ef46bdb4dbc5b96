"""Whether every trial of a study can have the study's objectives: one that lacks one counts as failed."""

from adapter_sweep.config.methods import MERGING
from adapter_sweep.config.naming import applying
from adapter_sweep.config.schema import SweepConfig
from adapter_sweep.config.tasks import HubTask, LocalTask, TaskConfig
from adapter_sweep.errors import UserInputError
from adapter_sweep.scores import TASK_METRICS, TaskType, metric_and_language

__all__ = ["check_objectives"]


def check_objectives(config: SweepConfig) -> None:
    """Check that trials of the task, with every method they may have, come to a value of every objective.

    Raises:
        UserInputError: each objective that some lack, and which.
    """
    kinds = {method: own.kind for method, own in config.methods.items()} or {config.method.kind: config.method.kind}
    lacking = {
        name: [method for method, kind in kinds.items() if kind not in MERGING]
        for name in config.objectives
        if name.startswith("merged_")
    }
    problems = [
        f"objectives.{name}: only methods that can be merged into the weights have it ({', '.join(MERGING)}); "
        f"not {', '.join(methods)}"
        for name, methods in lacking.items()
        if methods
    ]
    never = [method for method in config.methods or (None,) if not _stops(config, method)]
    if "stopped_epoch" in config.objectives and never:
        named = [method for method in never if method is not None]
        whose = f"; not so for {', '.join(named)}" if named else ""
        problems.append(f"objectives.stopped_epoch: only with train.early_stopping set is there one{whose}")
    problems += _unscored(config)
    if problems:
        raise UserInputError(*problems)


def _unscored(config: SweepConfig) -> list[str]:
    """Objectives that are a score, but none that trials of the task are given."""
    task = config.task
    kind: TaskType = getattr(task, "type", "classification")
    scored = {"accuracy", task.metric, *(TASK_METRICS[kind] if kind != "classification" else ())}
    allowed = ", ".join(sorted(scored, key=lambda name: (name != "accuracy", name)))
    spoken = _languages(task)
    problems = []
    for name in config.objectives:
        metric, language = metric_and_language(name) or ("", "")
        if name.startswith("test_"):
            problems.append(f"objectives.{name}: the test split is read by confirm alone; allowed: {allowed}")
        elif language and spoken is not None:
            ours = [f"{task.metric}_{each}" for each in spoken]
            if name not in ours:
                of = f"task.metric={task.metric} has: {', '.join(ours)}" if ours else f"the data have none: {allowed}"
                problems.append(f"objectives.{name}: no score of a language that trials have; {of}")
        elif language and metric != task.metric:
            problems.append(f"objectives.{name}: languages are scored by task.metric alone, which is {task.metric}")
        elif metric and not language and name not in scored:
            problems.append(f"objectives.{name}: trials of this task have no such score; allowed: {allowed}")
    return problems


def _languages(task: TaskConfig) -> list[str] | None:
    """The languages that a configuration names, in order; None where a column of the data does."""
    if not isinstance(task, LocalTask | HubTask):
        return []
    if task.language is not None:
        return None
    named = task.path if isinstance(task, LocalTask) else task.config
    several = isinstance(named, dict) if isinstance(task, LocalTask) else isinstance(named, list) and len(named) > 1
    return list(named or ()) if several else []


def _stops(config: SweepConfig, method: str | None) -> bool:
    searched = "train.early_stopping" in applying(config.search_space, method)
    return searched or config.train.early_stopping is not None
