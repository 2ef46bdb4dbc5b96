"""A task put together by hand is checked by its type."""

import pytest

from adapter_sweep.engine.tasks import Split, TaskData
from adapter_sweep.errors import UserInputError
from adapter_sweep.scores import TaskType

Labels = tuple[object, ...]


def found(
    kind: TaskType, labels: tuple[Labels, Labels, Labels], names: tuple[str, ...] = ("a", "b")
) -> tuple[str, ...]:
    """What is wrong with a task of three splits; words are `w w w`, contexts `one two`."""

    def split(part: str, own: Labels) -> Split:
        texts = tuple(f"{part} {n}" for n in range(len(own)))
        words = (("w", "w", "w"),) * len(own) if kind == "tokens" else None
        return Split(texts, ("one two",) * len(own) if kind == "spans" else None, own, words)

    try:
        TaskData("t", names, *(split(str(i), own) for i, own in enumerate(labels)), source="s", type=kind)
    except UserInputError as error:
        return error.problems
    return ()


@pytest.mark.parametrize(
    ("kind", "train", "test", "problem"),
    [
        ("multi_label", ((), (0, 1)), ((1,),), None),
        ("multi_label", ((), (0, 1)), ((2,),), "labels [2] of the test split have no name"),
        ("multi_label", ((), (0, 1)), ((1, 0),), "labels of the test split are not in ascending order"),
        ("multi_label", ((0,), (0,)), ((1,),), "all examples of the train split have the same labels"),
        ("regression", (1.0, 2.0), (3.0, 1.5), None),
        ("regression", (1.0, float("nan")), (3.0, 1.5), "labels of the train split are not finite"),
        ("regression", (1.0, 2.0), (3.0, 3.0), "the labels of the test split are all 3"),
        ("tokens", (((0, 1, "a"), (2, 2, "a")), ()), ((),), None),
        ("tokens", ((), ()), ((),), "the train split has no entity"),
        ("tokens", (((0, 1, "a"),),), (((0, 0, "c"),),), "entity types ['c'] of the test split have no name"),
        ("tokens", (((0, 3, "a"),),), ((),), "entities ((0, 3, 'a'),) of the train split overlap, or are not within 3"),
        ("tokens", (((0, 1, "a"), (1, 2, "b")),), ((),), "of the train split overlap"),
        ("tokens", (((1, 0, "a"),),), ((),), "of the train split overlap"),
        ("spans", (((4, "two"), (0, "one")), ()), ((),), None),
        ("spans", ((),), ((),), "the train split has no answer"),
        ("spans", (((3, "two"),),), ((),), "the answer 'two' of the train split is not at character 3 of its context"),
    ],
)
def test_labels_are_what_the_type_says(kind: TaskType, train: Labels, test: Labels, problem: str | None) -> None:
    held = {"regression": (0.0, 1.0), "multi_label": ((0,),)}.get(kind, ((),))
    problems = found(kind, (train, held, test))
    if problem is None:
        assert problems == ()
    else:
        assert len(problems) == 1
        assert problem in problems[0]


def test_words_contexts_and_languages_must_be_there() -> None:
    def task(kind: TaskType, languages: tuple[str, ...] | None = None) -> None:
        train = Split(("x",), None, ((),), languages=languages)
        TaskData("t", ("a",), train, Split(("y",), None, ((),)), Split(("z",), None, ((),)), "s", kind)

    with pytest.raises(UserInputError, match="the train split has no words"):
        task("tokens")
    with pytest.raises(UserInputError, match="the train split has no contexts"):
        task("spans")
    with pytest.raises(UserInputError, match="some splits name their languages and some do not"):
        task("multi_label", ("de",))
