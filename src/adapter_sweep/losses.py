"""What of the loss may be chosen for which type of task."""

from adapter_sweep.scores import TaskType

__all__ = ["smoothing_problems", "weight_problems"]

_SMOOTHED: tuple[TaskType, ...] = ("classification", "tokens")
_WEIGHTED: tuple[TaskType, ...] = ("classification", "multi_label", "tokens")


def smoothing_problems(kind: TaskType, label_smoothing: float) -> list[str]:
    """What is wrong with smoothing the labels of a type of task; empty if nothing is."""
    if not label_smoothing or kind in _SMOOTHED:
        return []
    return [
        f"train.label_smoothing={label_smoothing}: a {kind} task has no classes of which one is right; "
        f"allowed: 0, or a task of type {' or '.join(_SMOOTHED)}"
    ]


def weight_problems(kind: TaskType) -> list[str]:
    """What is wrong with weighing the classes of a type of task; empty if nothing is."""
    if kind in _WEIGHTED:
        return []
    return [
        f"train.class_weights: a {kind} task has no classes to weigh; "
        f"allowed: none, or a task of type {', '.join(_WEIGHTED)}"
    ]
