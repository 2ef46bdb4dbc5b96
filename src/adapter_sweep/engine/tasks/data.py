"""What a task is once loaded: three splits of texts and class indices, checked when they are put together."""

import hashlib
import json
from dataclasses import dataclass, field
from itertools import combinations

from adapter_sweep.errors import UserInputError

__all__ = ["Split", "TaskData"]


@dataclass(frozen=True)
class Split:
    """Examples in order: `texts[i]` (with `text_pairs[i]`, for tasks on two texts) has class `labels[i]`."""

    texts: tuple[str, ...]
    text_pairs: tuple[str, ...] | None
    labels: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.labels):
            raise ValueError(f"{len(self.texts)} texts but {len(self.labels)} labels")
        if self.text_pairs is not None and len(self.text_pairs) != len(self.texts):
            raise ValueError(f"{len(self.texts)} texts but {len(self.text_pairs)} second texts")

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
        label_names: the class of each label index.
        source: where the texts come from, for a person: the origin with its version, hash or path.
        fingerprint: SHA-256 over the label names and the content of all splits, order included.

    Raises:
        UserInputError: a split is empty, an input is in two splits, a label has no name, or the train split
            has fewer than two classes.
    """

    name: str
    label_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    source: str
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        problems = [f"task {self.name}: the {name} split is empty" for name, split in splits.items() if not split]
        for name, split in splits.items():
            wrong = sorted({label for label in split.labels if not 0 <= label < len(self.label_names)})
            if wrong:
                problems.append(f"task {self.name}: labels {wrong} of the {name} split have no name")
        if len(set(self.train.labels)) < 2:
            problems.append(f"task {self.name}: the train split needs at least two classes")
        if len({split.text_pairs is None for split in splits.values()}) > 1:
            problems.append(f"task {self.name}: some splits have two texts an example and some have one")
        inputs = {name: split.inputs() for name, split in splits.items()}
        for one, other in combinations(splits, 2):
            shared = len(inputs[one] & inputs[other])
            if shared:
                problems.append(f"task {self.name}: {shared} texts are in both {one} and {other}")
        if problems:
            raise UserInputError(*problems)
        object.__setattr__(self, "fingerprint", _fingerprint(self.label_names, *splits.values()))


def _fingerprint(label_names: tuple[str, ...], *splits: Split) -> str:
    digest = hashlib.sha256(json.dumps(label_names).encode())
    for split in splits:  # JSON, because it separates every value from the next
        digest.update(json.dumps([split.texts, split.text_pairs, split.labels]).encode())
    return digest.hexdigest()
