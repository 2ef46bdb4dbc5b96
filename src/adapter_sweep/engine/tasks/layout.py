"""Which columns of a table hold what."""

from dataclasses import dataclass

from adapter_sweep.scores import IMAGE_TYPES, TaskType

__all__ = ["Layout"]

# Columns that a type's data sets usually have, under the names that the hub's have.
_USUAL_TEXTS: dict[TaskType, tuple[str, ...]] = {"spans": ("question", "context"), "tokens": ("tokens",)}
_USUAL_LABELS: dict[TaskType, tuple[str, ...]] = {"spans": ("answers",), "tokens": ("ner_tags",)}


@dataclass(frozen=True)
class Layout:
    """What a task predicts, and which columns hold its examples.

    Attributes:
        type: what is predicted.
        text_columns: one, or two for tasks on a pair of texts. None stands for the usual ones: of `spans` `question`
            and `context`; of `tokens` `tokens`, in a CoNLL file the first column.
        label_columns: one; of `multi_label` there may be several, each 0 or 1. None stands for the usual one: of
            `spans` `answers`; of `tokens` `ner_tags`, in a CoNLL file the last column.
        language: the column that names each row's language, for multilingual data.
        separator: stands between the labels in a `multi_label` cell.
        images: whether `text_columns` is one of images rather than of texts.
    """

    type: TaskType = "classification"
    text_columns: tuple[str, ...] = ()
    label_columns: tuple[str, ...] = ()
    language: str | None = None
    separator: str = "|"
    images: bool = False

    @property
    def texts(self) -> tuple[str, ...]:
        """The columns with texts."""
        return self.text_columns or _USUAL_TEXTS.get(self.type, ())

    @property
    def labels(self) -> tuple[str, ...]:
        """The columns with labels."""
        return self.label_columns or _USUAL_LABELS.get(self.type, ())

    @property
    def columns(self) -> tuple[str, ...]:
        """All of them: texts, labels, language."""
        return (*self.texts, *self.labels, *([self.language] if self.language is not None else []))

    def roles(self) -> dict[str, str]:
        """What each column is for, for messages."""
        language = {self.language: "the language"} if self.language is not None else {}
        return {
            **dict.fromkeys(self.texts, "the image" if self.images else "text"),
            **dict.fromkeys(self.labels, "the label"),
            **language,
        }

    def problems(self) -> list[str]:
        """What is wrong with the choice of columns itself; empty if nothing is."""
        problems = []
        low, high = {"tokens": (1, 1), "spans": (2, 2)}.get(self.type, (1, 2))
        if self.images and (self.type not in IMAGE_TYPES or len(self.texts) != 1):
            problems.append(f"image columns {list(self.texts)}: one, in a task of type {', '.join(IMAGE_TYPES)}")
        elif not low <= len(self.texts) <= high:
            wanted = {"tokens": "one column", "spans": "two columns, question and context"}.get(self.type, "one or two")
            problems.append(f"text columns {list(self.texts)}: {self.type} needs {wanted}")
        if not self.labels or (len(self.labels) > 1 and self.type != "multi_label"):
            problems.append(f"label columns {list(self.labels)}: {self.type} needs one")
        if len(set(self.columns)) < len(self.columns):
            problems.append(f"columns {list(self.columns)}: one is named twice")
        return problems
