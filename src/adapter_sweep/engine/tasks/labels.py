"""From what a cell holds to a label, for each task type."""

import json
import math
import re
from collections.abc import Mapping, Sequence

from adapter_sweep.engine.tasks.entities import is_tag

__all__ = ["Answer", "BadValueError", "answers", "class_name", "encodable", "label_set", "number", "tagged_words"]

Answer = tuple[int, str]
"""First character in the context, text."""


class BadValueError(ValueError):
    """What a cell may not hold.

    Attributes:
        what: the kind of problem, the same for all cells that have it.
        shown: this cell's own, where it helps to see one.
    """

    def __init__(self, what: str, shown: str = "") -> None:
        super().__init__(what, shown)
        self.what, self.shown = what, shown


def class_name(value: object) -> str:
    """A class as text, the same whatever type a format gave it: 1, 1.0, `"1"` and `"1.0"` are all `1`."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise BadValueError("label missing")
    if not isinstance(value, str | bool | int | float):
        raise BadValueError(f"label is {type(value).__name__}, not text, a whole number or true/false")
    text = re.sub(r"^(-?\d+)\.0+$", r"\1", str(value).strip())
    if not text:
        raise BadValueError("label missing")
    return text


def number(value: object) -> float:
    """A finite number, from a number or a text that is one."""
    if value is None or (isinstance(value, float) and math.isnan(value)) or value == "":
        raise BadValueError("label missing")
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str) or "_" in str(value):
            raise ValueError
        found = float(value)
    except (ValueError, OverflowError):
        raise BadValueError("label is not a number", repr(value)) from None
    if not math.isfinite(found):
        raise BadValueError("label is not a finite number", repr(value))
    return found


def label_set(values: Sequence[object], columns: Sequence[str], separator: str) -> tuple[str, ...]:
    """The labels that hold, sorted: of one cell a list, a text that is a JSON list, or labels with a separator between
    them; of several cells the columns that are 1.
    """
    if len(values) > 1:
        return tuple(sorted(column for column, value in zip(columns, values, strict=True) if _holds(value, column)))
    (value,) = values
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            raise BadValueError("label is not a JSON list", repr(value)) from None
    if isinstance(value, str):
        value = value.split(separator) if value.strip() else []
    if value is None:
        raise BadValueError("label missing")
    if isinstance(value, Mapping) or not isinstance(value, Sequence):
        raise BadValueError(f"label is {type(value).__name__}, not a list of labels or text")
    try:
        return tuple(sorted({class_name(each) for each in value}))
    except BadValueError:
        raise BadValueError("one of the labels is empty or no label", repr(value)) from None


def _holds(value: object, column: str) -> bool:
    name = class_name(value).lower()
    if name not in ("0", "1", "false", "true"):
        raise BadValueError(f"label {column!r} is neither 0 nor 1", repr(value))
    return name in ("1", "true")


def tagged_words(words: object, tags: object) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words of a sentence and as many tags."""
    for what, values in (("words", words), ("tags", tags)):
        if values is None:
            raise BadValueError(f"{what} missing")
        if isinstance(values, str | Mapping) or not isinstance(values, Sequence):
            raise BadValueError(f"{what} are {type(values).__name__}, not a list")
        for each in values:
            if not isinstance(each, str):
                raise BadValueError(f"one of the {what} is {type(each).__name__}, not text", repr(each))
    assert isinstance(words, Sequence)
    assert isinstance(tags, Sequence)
    if len(words) != len(tags):
        raise BadValueError("words and tags differ in number", f"{len(words)} words, {len(tags)} tags")
    if not words:
        raise BadValueError("no words")
    if not all(words):
        raise BadValueError("one of the words is empty")
    if not all(map(encodable, words)):
        raise BadValueError("text has half of a Unicode surrogate pair")
    if wrong := [tag for tag in tags if not is_tag(tag)]:
        raise BadValueError("a tag is neither O nor B-, I-, E- or S- and a type", repr(wrong[0]))
    return tuple(words), tuple(tags)


def answers(value: object, context: str) -> tuple[Answer, ...]:
    """The accepted answers, each once, from `{text: […], answer_start: […]}` or a list of `{text, answer_start}`."""
    found: list[Answer] = []
    for text, start in _answer_pairs(value):
        if not isinstance(text, str) or isinstance(start, bool) or not isinstance(start, int):
            raise BadValueError("an answer is not a text with a whole number as answer_start", repr((text, start)))
        if not text.strip():
            raise BadValueError("an answer is empty")
        if start < 0 or context[start : start + len(text)] != text:
            places = context.count(text)
            right = f", but at {context.index(text)}" if places == 1 else f", which has it {places} times"
            raise BadValueError("an answer is not at its answer_start in the context", f"{text!r} at {start}{right}")
        found.append((start, text))
    return tuple(dict.fromkeys(found))


def _answer_pairs(value: object) -> list[tuple[object, object]]:
    if isinstance(value, Mapping) and {"text", "answer_start"} <= value.keys():
        texts, starts = value["text"], value["answer_start"]
        if isinstance(texts, str):
            return [(texts, starts)]
        if isinstance(texts, Sequence) and isinstance(starts, Sequence) and not isinstance(starts, str):
            if len(texts) == len(starts):
                return list(zip(texts, starts, strict=True))
            raise BadValueError("answers have unequal numbers of text and answer_start")
    elif isinstance(value, Sequence) and all(
        isinstance(e, Mapping) and {"text", "answer_start"} <= e.keys() for e in value
    ):
        return [(each["text"], each["answer_start"]) for each in value]
    raise BadValueError("answers are neither {text, answer_start} nor a list of such", repr(value)[:60])


def encodable(text: str) -> bool:
    """Whether a tokenizer takes a text: JSON can spell half of a surrogate pair, UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
