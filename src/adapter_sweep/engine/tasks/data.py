"""What a task is once loaded: three splits of examples and labels, checked when they are put together."""

import hashlib
import json
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from adapter_sweep.engine.tasks.label_checks import label_problems
from adapter_sweep.engine.tasks.pictures import Picture
from adapter_sweep.errors import UserInputError
from adapter_sweep.scores import Modality, TaskType

__all__ = ["Split", "TaskData"]


@dataclass(frozen=True)
class Split:
    """Examples in order: `texts[i]` (with `text_pairs[i]`, for tasks on two texts) has the label `labels[i]`.

    Attributes:
        texts: of a `tokens` task the words joined by spaces, of a `spans` task the questions, of images what they
            are known by: the sha256 of their files.
        text_pairs: the second texts; of a `spans` task the contexts; None for tasks on one text.
        labels: by the task's type: a class index; ascending label indices; a number; entities, each
            (first word, last word, type), in order; accepted answers, each (first character in the context, text),
            none where the context has no answer.
        words: of a `tokens` task, each example's words; else None.
        languages: each example's language, for multilingual data; else None.
        images: of a task on images, each example's; else None.
    """

    texts: tuple[str, ...]
    text_pairs: tuple[str, ...] | None
    labels: tuple[Any, ...]
    words: tuple[tuple[str, ...], ...] | None = None
    languages: tuple[str, ...] | None = None
    images: tuple[Picture, ...] | None = None

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.labels):
            raise ValueError(f"{len(self.texts)} texts but {len(self.labels)} labels")
        beside: dict[str, tuple[object, ...] | None] = {
            "second texts": self.text_pairs,
            "lists of words": self.words,
            "languages": self.languages,
        }
        beside["images"] = self.images
        for what, values in beside.items():
            if values is not None and len(values) != len(self.texts):
                raise ValueError(f"{len(self.texts)} texts but {len(values)} {what}")

    def __len__(self) -> int:
        return len(self.labels)

    def inputs(self) -> set[tuple[str, str | None]]:
        """The distinct inputs: each text with its second text, or with None."""
        return set(zip(self.texts, self.text_pairs or (None,) * len(self), strict=True))


@dataclass(frozen=True)
class TaskData:
    """A task's three splits.

    Attributes:
        name: what the user calls the task.
        label_names: the class or label of each index; the entity types of a `tokens` task; empty where a label is a
            number or an answer.
        source: where the examples come from, for a person: the origin with its version or hash. It is shared with
            results, so of a file it has the name, not the folder.
        type: what is predicted for an example.
        fingerprint: SHA-256 over the label names and the content of all splits, order included.

    Raises:
        UserInputError: a split is empty, an input is in two splits, a label has no name or is not what the type says,
            the train split has nothing to tell apart, or a split's numbers are all the same.
    """

    name: str
    label_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    source: str
    type: TaskType = "classification"
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        problems = [f"task {self.name}: the {name} split is empty" for name, split in splits.items() if not split]
        problems += [f"task {self.name}: {problem}" for problem in label_problems(self.type, self.label_names, splits)]
        if len({split.text_pairs is None for split in splits.values()}) > 1:
            problems.append(f"task {self.name}: some splits have two texts an example and some have one")
        if len({split.languages is None for split in splits.values()}) > 1:
            problems.append(f"task {self.name}: some splits name their languages and some do not")
        inputs = {name: split.inputs() for name, split in splits.items()}
        for one, other in combinations(splits, 2):
            shared = len(inputs[one] & inputs[other])
            if shared:
                what = "texts" if self.train.images is None else "images"
                problems.append(f"task {self.name}: {shared} {what} are in both {one} and {other}")
        if problems:
            raise UserInputError(*problems)
        object.__setattr__(self, "fingerprint", _fingerprint(self.label_names, *splits.values()))

    @property
    def modality(self) -> Modality:
        """What a backbone must read."""
        return "text" if self.train.images is None else "image"

    @property
    def outputs(self) -> int:
        """How many numbers a head gives for an example, or for each token: two a type (B, I) and one for neither
        where entities are found, a start and an end where answers are, one where a number is predicted.
        """
        if self.type == "tokens":
            return 2 * len(self.label_names) + 1
        return {"regression": 1, "spans": 2}.get(self.type, len(self.label_names))


def _fingerprint(label_names: tuple[str, ...], *splits: Split) -> str:
    digest = hashlib.sha256(json.dumps(label_names).encode())
    for split in splits:  # JSON, because it separates every value from the next
        content: list[object] = [split.texts, split.text_pairs, split.labels]
        # Left out where there are none, so that the older kinds of task keep their fingerprints.
        content += [beside for beside in (split.words, split.languages) if beside is not None]
        digest.update(json.dumps(content).encode())
    return digest.hexdigest()
