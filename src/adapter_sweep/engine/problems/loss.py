"""What of the loss a trial may choose, and for which types of task it means something."""

from collections import Counter
from dataclasses import dataclass

from adapter_sweep.engine.problems.tags import tags_of
from adapter_sweep.engine.tasks.data import Split, TaskData
from adapter_sweep.errors import UserInputError
from adapter_sweep.losses import smoothing_problems, weight_problems
from adapter_sweep.scores import TaskType

__all__ = ["LossSpec", "check_loss", "class_weights"]


@dataclass(frozen=True)
class LossSpec:
    """What of the loss a trial may choose.

    Attributes:
        label_smoothing: share of each target that is spread evenly over the classes (Szegedy et al. 2016, section 7).
        class_weights: how much an example of each class counts, or a word of each tag; of a `multi_label` task how
            much a label that holds counts beside one that does not. None where all count the same.
    """

    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None


def check_loss(kind: TaskType, spec: LossSpec) -> None:
    """Check that what is chosen means something for a type of task.

    Raises:
        UserInputError: it does not.
    """
    problems = smoothing_problems(kind, spec.label_smoothing)
    if spec.class_weights is not None:
        problems += weight_problems(kind)
    if problems:
        raise UserInputError(*problems)


def class_weights(split: Split, data: TaskData) -> tuple[float, ...]:
    """The weights that let all classes of a split count the same in sum, whichever is how rare.

    They are scikit-learn's `balanced` ones, n / (k · n_c) with the k classes that occur; a class that does not is 0.
    The classes of a `tokens` task are its tags, of all words, one more than two a type. Of a `multi_label` task they
    are the ratio of these weights, n without the label / n with it, and 1 where all examples are alike.

    Raises:
        UserInputError: the task has no classes.
    """
    if problems := weight_problems(data.type):
        raise UserInputError(*problems)
    if data.type == "multi_label":
        holds = Counter(label for labels in split.labels for label in labels)
        counts = [holds[label] for label in range(data.outputs)]
        return tuple((len(split) - n) / n if 0 < n < len(split) else 1.0 for n in counts)
    classes = Counter(split.labels)
    if data.type == "tokens":
        assert split.words is not None
        pairs = zip(split.labels, split.words, strict=True)
        classes = Counter(tag for found, words in pairs for tag in tags_of(found, len(words), data.label_names))
    total = classes.total()
    return tuple(total / (len(classes) * classes[c]) if classes[c] else 0.0 for c in range(data.outputs))
