"""Reading SQuAD's own JSON, versions 1.1 and 2.0: questions within paragraphs within articles."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adapter_sweep.engine.tasks.columns import Record
from adapter_sweep.engine.tasks.layout import Layout
from adapter_sweep.errors import UserInputError

__all__ = ["is_squad", "read_squad"]

_SHOWN = 5


def is_squad(value: object) -> bool:
    """Whether a JSON document has SQuAD's outermost level."""
    return isinstance(value, dict) and isinstance(value.get("data"), list)


def read_squad(path: Path, document: dict[str, Any], layout: Layout) -> list[Record]:
    """The questions, each placed by its identifier, or by its number where it has none.

    Raises:
        UserInputError: keys that are missing, or columns asked for: SQuAD has one question, context and answers.
    """
    usual = Layout("spans")
    if layout.columns != usual.columns:
        raise UserInputError(f"{path}: SQuAD's JSON has no columns but {', '.join(usual.columns)}; name none")
    problems: list[str] = []
    records = list(_questions(document, problems))
    if problems:
        raise UserInputError(*(f"{path}: {problem}" for problem in problems[:_SHOWN]))
    return records


def _questions(document: dict[str, Any], problems: list[str]) -> Iterator[Record]:
    number = 0
    for article_at, article in _items(document, "data", "", problems):
        for paragraph_at, paragraph in _items(article, "paragraphs", article_at, problems):
            for at, question in _items(paragraph, "qas", paragraph_at, problems):
                number += 1
                place = question.get("id") or f"number {number}"
                if question.get("is_impossible") and question.get("answers"):
                    problems.append(f"{at}: is_impossible, and has answers")
                yield Record(place, (question.get("question"), paragraph.get("context")), (question.get("answers"),))


def _items(parent: dict[str, Any], key: str, where: str, problems: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a list under a key, each with where it stands, `data[0].paragraphs[1]`."""
    at = f"{where}.{key}".lstrip(".")
    children = parent.get(key)
    if not isinstance(children, list):
        problems.append(f"{at}: missing, or no list")
        return
    for index, child in enumerate(children):
        if isinstance(child, dict):
            yield f"{at}[{index}]", child
        else:
            problems.append(f"{at}[{index}]: not an object")
