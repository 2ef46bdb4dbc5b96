from pathlib import Path
from typing import Any

import pytest

from adapter_sweep.config.compose import compose
from adapter_sweep.config.tasks import HubTask, LocalTask
from adapter_sweep.errors import UserInputError
from adapter_sweep.scores import TASK_METRICS

LOCAL = ("task=local", "task.path=a.csv")
NAMED = (*LOCAL, "task.text=t", "task.label=l")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the repository: its sweeps would be the user's own there."""
    monkeypatch.chdir(tmp_path)


def task(*overrides: str) -> Any:
    return compose(list(overrides)).config.task


def problems(*overrides: str) -> tuple[str, ...]:
    with pytest.raises(UserInputError) as caught:
        compose(list(overrides))
    return caught.value.problems


@pytest.mark.parametrize("kind", TASK_METRICS)
def test_the_metric_is_the_types_first_unless_another_of_its_own_is_named(kind: str) -> None:
    columns = () if kind in ("tokens", "spans") else ("task.text=t", "task.label=l")
    chosen = (*LOCAL, *columns, f"task.type={kind}")
    first, *others = TASK_METRICS[kind]  # type: ignore[index]
    assert task(*chosen).metric == first
    for metric in others:
        assert task(*chosen, f"task.metric={metric}").metric == metric
    strange = "entity_f1" if kind != "tokens" else "accuracy"
    (found,) = problems(*chosen, f"task.metric={strange}")
    assert found.startswith(f"task.metric='{strange}': allowed: '{first}'")
    assert found.endswith(f"for {kind}")


def test_a_built_in_task_takes_the_metrics_of_classes() -> None:
    assert task("task=movies", "task.metric=f1").metric == "f1"
    assert problems("task=movies", "task.metric=spearman")[0].endswith("or 'matthews' for classification")


def test_columns_by_number_and_the_usual_ones() -> None:
    numbered = task(*LOCAL, "task.text=[1,2]", "task.label=3", "task.header=false")
    assert (numbered.text_columns, numbered.label_columns, numbered.header) == (("1", "2"), ("3",), False)
    usual = task(*LOCAL, "task.type=spans")
    assert (usual.text_columns, usual.label_columns) == ((), ())
    several = task(*LOCAL, "task.text=t", "task.label=[a,b]", "task.type=multi_label")
    assert several.label_columns == ("a", "b")


def test_files_by_language() -> None:
    by_language = task(*NAMED[2:], "task=local", "task.path={de: a.csv, fr: b.csv}", "task.test_path={de: c.csv}")
    assert isinstance(by_language, LocalTask)
    assert (by_language.path, by_language.test_path) == ({"de": "a.csv", "fr": "b.csv"}, {"de": "c.csv"})
    beside = task(*NAMED[2:], "task=local", "task.path=[a.txt, b.txt]")
    assert beside.path == ["a.txt", "b.txt"]
    hub = task(*NAMED[2:], "task=hub", "task.name=n", "task.revision=r", "task.config=[de,fr]")
    assert isinstance(hub, HubTask)
    assert hub.config == ["de", "fr"]


@pytest.mark.parametrize(
    ("overrides", "found"),
    [
        (
            ("task.type=token",),
            "task.type='token': allowed: 'classification', 'multi_label', 'regression', 'tokens' or",
        ),
        (("task.text=[a,b,c]",), "task.text=['a', 'b', 'c']: must be one column, or a list of one or two"),
        (("task.text=true",), "task.text=True: must be a column, or a list of columns"),
        (("task.text=t", "task.type=spans", "task.label=l"), "task.text='t': must be a list of two columns: question"),
        (("task.text=[a,b]", "task.type=tokens"), "task.text=['a', 'b']: must be one column, the words"),
        (
            ("task.label=[a,b]",),
            "task.label=['a', 'b']: must be one column; only task.type=multi_label may have several",
        ),
        (("task.label=t",), "task.label='t': is a text column already"),
        (("task.text=null",), "task.text: missing; give it as task.text=VALUE"),
        (
            ("task.path={}",),
            "task.path={}: must be a file, a list of text files that belong side by side, or either by",
        ),
        (("task.path=[a,3]",), "task.path=['a', 3]: must be a file, a list"),
        (("task.path={de: 3}",), "task.path={'de': 3}: must be a file, a list"),
        (
            ("task.path={de: a}", "task.language=lang"),
            "task.path={'de': 'a'}: names the languages, and so does task.lang",
        ),
        (("task.path={de: a}", "task.test_path=b"), "task.test_path='b': give files by language in all of task.path"),
        (("task.validation_path={de: a}",), "task.validation_path={'de': 'a'}: give files by language in all of"),
        (("task.separator=''",), "task.separator='': string should have at least 1 character"),
        (("task.header=maybe",), "task.header='maybe': input should be a valid boolean"),
    ],
)
def test_one_line_a_problem(overrides: tuple[str, ...], found: str) -> None:
    (problem,) = problems(*NAMED, *overrides)
    assert problem.startswith(found)


def test_a_list_of_configurations_and_a_column_both_name_languages() -> None:
    hub = ("task=hub", "task.name=n", "task.revision=r", *NAMED[2:])
    (problem,) = problems(*hub, "task.config=[de,fr]", "task.language=lang")
    assert problem.startswith("task.config=['de', 'fr']: a list names the languages, and so does task.language")
