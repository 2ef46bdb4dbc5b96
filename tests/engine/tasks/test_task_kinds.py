"""Several labels, and numbers: what a cell may hold, and what a file may look like."""

from pathlib import Path

import pytest
from task_files import json_lines, problems, sizes, write

from adapter_sweep.engine.tasks import Layout, TaskData, load_local
from adapter_sweep.errors import UserInputError

MULTI = Layout("multi_label", ("text",), ("label",))
NUMBERS = Layout("regression", ("text",), ("label",))


def loaded(path: Path, layout: Layout, first: int) -> list[object]:
    """The labels of the first rows, by their texts `t0`, `t1`, …"""
    task = load_local(path, layout)
    splits = (task.train, task.validation, task.test)
    labels = {text: label for split in splits for text, label in zip(split.texts, split.labels, strict=True)}
    return [labels[f"t{n}"] for n in range(first)]


# -- several labels


def test_a_cell_with_labels_is_a_list_or_text(tmp_path: Path) -> None:
    csv = write(
        tmp_path / "a.csv",
        'text,label\nt0,b|a\nt1,\nt2, a \nt3,"[""b"", ""a""]"\nt4,[]\n' + "".join(f"u{n},c\n" for n in range(9)),
    )
    assert loaded(csv, MULTI, 5) == [(0, 1), (), (0,), (0, 1), ()]
    values: list[object] = [["b", "a", "b"], [], "a", '["a"]', "b|a"]
    rows = [{"text": f"t{n}", "label": value} for n, value in enumerate(values)]
    more = [{"text": f"u{n}", "label": ["c"]} for n in range(9)]
    assert loaded(json_lines(tmp_path / "a.jsonl", rows + more), MULTI, 5) == [(0, 1), (), (0,), (0,), (0, 1)]


def test_another_separator(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "text\tlabel\nt0\tb; a\n" + "".join(f"u{n}\tc\n" for n in range(9)))
    layout = Layout("multi_label", ("text",), ("label",), separator=";")
    assert load_local(path, layout).label_names == ("a", "b", "c")


def test_several_columns_of_zero_and_one(tmp_path: Path) -> None:
    """Their order is the labels', and one that never holds is a label still."""
    head = "text,toxic,insult,rare\nt0,1,0,0\nt1,0,0,0\nt2,1.0,true,0\n"
    path = write(tmp_path / "a.csv", head + "".join(f"u{n},{n % 2},1,0\n" for n in range(20)))
    layout = Layout("multi_label", ("text",), ("toxic", "insult", "rare"))
    assert loaded(path, layout, 3) == [(0,), (), (0, 1)]
    task = load_local(path, layout)
    assert (task.label_names, task.outputs) == (("toxic", "insult", "rare"), 3)
    write(path, path.read_text() + "v,2,0,0\nw,,0,1\n")
    assert problems(path, layout) == (
        "a.csv: label 'toxic' is neither 0 nor 1 in line 25; the first: '2'",
        "a.csv: label missing in line 26",
    )


def test_every_label_that_can_be_is_in_each_carved_split(tmp_path: Path) -> None:
    rows = [{"text": f"t{n}", "label": ["common", *(["rare"] if n % 20 == 0 else [])]} for n in range(100)]
    rows += [{"text": f"e{n}", "label": []} for n in range(30)]
    task = load_local(json_lines(tmp_path / "a.jsonl", rows), MULTI, max_train_examples=20)
    for split in (task.train, task.validation, task.test):
        assert set(split.labels) == {(0,), (0, 1), ()}
    assert len(task.train) == 20


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (['["a"', "[1"], "a.jsonl: label is not a JSON list in lines 1, 2; the first: '[\"a\"'"),
        ([None, ["a"]], "a.jsonl: label missing in line 1"),
        ([3, {"a": 1}], "a.jsonl: label is int, not a list of labels or text in line 1"),
        (
            [["a", None], "b||c"],
            "a.jsonl: one of the labels is empty or no label in lines 1, 2; the first: ['a', None]",
        ),
        ([["a"]] * 9, "local: a task with one label needs train rows without it; all have 'a'"),
        ([[]] * 9, "local: a task needs at least one label in its train rows; there are none"),
        ([["a", "b"]] * 9, "task local: all examples of the train split have the same labels"),
        ([["a"], ["b"]], "local: there are 2 distinct train rows; a task needs at least 3"),
    ],
)
def test_labels_that_cannot_be(tmp_path: Path, values: list[object], found: str) -> None:
    rows = [{"text": f"t{n}", "label": value} for n, value in enumerate(values)]
    assert problems(json_lines(tmp_path / "a.jsonl", rows), MULTI)[0].startswith(found)


# -- numbers


def numbers(path: Path, count: int = 100) -> Path:
    return write(path, "text,label\n" + "".join(f"t{n},{n / 4}\n" for n in range(count)))


def test_numbers_are_carved_by_their_size(tmp_path: Path) -> None:
    task = load_local(numbers(tmp_path / "a.csv"), NUMBERS)
    assert sizes(task) == (80, 10, 10)
    assert (task.label_names, task.outputs) == ((), 1)
    for split in (task.validation, task.test):  # one of each tenth
        assert sorted(int(label / 2.5) for label in split.labels) == list(range(10))
    small = load_local(numbers(tmp_path / "a.csv"), NUMBERS, max_train_examples=16)
    assert len({int(label / 2.5) for label in small.train.labels}) >= 7
    assert set(small.train.texts) < set(task.train.texts)


def test_a_number_may_be_text_or_a_number(tmp_path: Path) -> None:
    rows = [{"text": f"t{n}", "label": value} for n, value in enumerate(["1.5", 1.5, 2, "-1e3", " 4 ", *range(40)])]
    assert loaded(json_lines(tmp_path / "a.jsonl", rows), NUMBERS, 5) == [1.5, 1.5, 2.0, -1000.0, 4.0]


def test_every_label_that_is_no_number_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,label\na,good\nb,\nc,inf\nd,1_0\ne,"3,8"\nf,nan\n')
    assert problems(path, NUMBERS) == (
        "a.csv: label is not a number in lines 2, 5, 6; the first: 'good'",
        "a.csv: label missing in line 3",
        "a.csv: label is not a finite number in lines 4, 7; the first: 'inf'",
    )
    rows = [{"text": "a", "label": True}, {"text": "b", "label": [1]}, {"text": "c", "label": None}]
    assert problems(json_lines(tmp_path / "a.jsonl", rows), NUMBERS) == (
        "a.jsonl: label is not a number in lines 1, 2; the first: True",
        "a.jsonl: label missing in line 3",
    )


def test_labels_that_are_all_the_same_have_no_correlation(tmp_path: Path) -> None:
    constant = write(tmp_path / "a.csv", "text,label\n" + "".join(f"t{n},3\n" for n in range(20)))
    assert problems(constant, NUMBERS) == (
        "task local: the labels of the train split are all 3",
        "task local: the labels of the validation split are all 3",
        "task local: the labels of the test split are all 3",
    )
    held = write(tmp_path / "b.csv", "text,label\nu,3\nv,3\n")
    train = numbers(tmp_path / "c.csv")
    assert problems(train, NUMBERS, test_path=held) == (
        "local: the test split (2 rows, as given): all labels are 3, and a correlation needs labels that differ; "
        "give rows that have some in test",
    )


def test_a_carved_split_with_nothing_to_find_says_where_it_comes_from(tmp_path: Path) -> None:
    helps = "give more rows, another split_seed, or rows of your own for"
    why = "that is too few, and a correlation needs labels that differ"
    assert problems(numbers(tmp_path / "a.csv", 12), NUMBERS) == (
        f"local: the validation split (1 row, cut from 12 train rows): {why}; {helps} validation",
        f"local: the test split (1 row, cut from 12 train rows): {why}; {helps} test",
    )
    rows = [{"text": f"t{n}", "label": ["a", "b"] if n < 2 else []} for n in range(40)]
    assert problems(json_lines(tmp_path / "a.jsonl", rows), MULTI) == tuple(
        f"local: the {part} split (4 rows, cut from 40 train rows): none has a label, so there is nothing to find; "
        f"{helps} {part}"
        for part in ("validation", "test")
    )


def test_one_label_that_holds_or_not_is_a_task(tmp_path: Path) -> None:
    cells = write(tmp_path / "a.csv", "text,label\n" + "".join(f"t{n},{'toxic' * (n % 2)}\n" for n in range(40)))
    columns = write(tmp_path / "b.csv", "text,a,b\n" + "".join(f"t{n},{n % 2},0\n" for n in range(40)))
    task = load_local(cells, MULTI)
    assert (task.label_names, task.outputs, set(task.test.labels)) == (("toxic",), 1, {(), (0,)})
    assert load_local(columns, Layout("multi_label", ("text",), ("a", "b"))).label_names == ("a", "b")


@pytest.mark.parametrize("name", ["English", "en (US)", "e", "de fr"])
def test_a_language_that_is_no_code_is_refused(tmp_path: Path, name: str) -> None:
    files = {"de": side_by_side(tmp_path / "de", 20), name: side_by_side(tmp_path / "other", 20)}
    with pytest.raises(UserInputError) as caught:
        load_local(files, LINES)
    assert caught.value.problems == (
        f"local: language {name!r}: give a code, two or three letters and what follows after - or _, "
        "like de, pt_BR or zh-Hant",
    )


# -- what a file may look like


def test_a_file_without_a_header_has_numbered_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "".join(f"text {n},other,{n % 7}\n" for n in range(40)))
    layout = Layout("regression", ("1", "2"), ("3",))
    task = load_local(path, layout, header=False)
    assert len(task.train) + len(task.validation) + len(task.test) == 40
    assert task.train.text_pairs == ("other",) * len(task.train)
    assert problems(path, layout)[0] == (
        "a.csv: no column '1' for text; the columns are 'text 0', 'other', '0'; "
        "columns without names are 1, 2, … with header=false"
    )
    assert problems(path, Layout("regression", ("1",), ("4",)), header=False) == (
        "a.csv: no column '4' for the label; the columns are '1', '2', '3'",
    )
    write(path, "a,b,1\nc,2\n")
    assert problems(path, layout, header=False) == ("a.csv: line 2 has 2 cells, the first line has 3",)


def side_by_side(folder: Path, count: int = 20) -> list[Path]:
    # U+2028 parts lines for Python's splitlines, not for us; the last line ends with a line break.
    texts = write(folder / "text.txt", "".join(f"text\u2028{n} {folder.name}\r\n" for n in range(count)))
    return [texts, write(folder / "labels.txt", "".join(f"{n % 2}\n" for n in range(count)))]


LINES = Layout("classification", ("1",), ("2",))


def test_files_side_by_side_are_columns(tmp_path: Path) -> None:
    paths = side_by_side(tmp_path)
    task = load_local(paths, LINES)
    assert sizes(task) == (16, 2, 2)
    assert task.train.texts[0] == f"text\u2028{0} {tmp_path.name}"
    assert all(path.name in task.source for path in paths)
    write(paths[1], "0\n1\n")
    assert problems(paths, LINES) == ("files side by side need as many lines each: text.txt has 20, labels.txt has 2",)
    assert "no column '3' for the label" in problems(paths, Layout("classification", ("1",), ("3",)))[0]
    other = write(tmp_path / "a.csv", "a\n")
    assert problems([paths[0], other], LINES) == ("a.csv: only .txt files are read side by side, a column each",)


# -- languages


def test_a_file_for_each_language(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = {language: side_by_side(tmp_path / language, 20) for language in ("de", "fr")}
    task = load_local(files, LINES)
    assert sizes(task) == (32, 4, 4)
    for split in (task.train, task.validation, task.test):  # by class and language
        pairs = list(zip(split.labels, split.languages or (), strict=True))
        assert {pairs.count((label, language)) for label in (0, 1) for language in files} == {len(split) // 4}
    assert caplog.messages == []
    apart = load_local({"de": files["de"]}, LINES, test_path={"fr": files["fr"]})
    assert set(apart.train.languages or ()) == {"de"}
    assert set(apart.test.languages or ()) == {"fr"}
    assert caplog.messages == [
        "local: the train split has no rows in fr",
        "local: the validation split has no rows in fr",
        "local: the test split has no rows in de",
    ]


def test_a_column_names_the_language(tmp_path: Path) -> None:
    rows = [{"text": f"t{n}", "label": n % 2, "lang": "de" if n % 3 else " fr "} for n in range(60)]
    layout = Layout("classification", ("text",), ("label",), "lang")
    task = load_local(json_lines(tmp_path / "a.jsonl", rows), layout)
    assert (task.test.languages or ()).count("fr") == 2
    bad = json_lines(tmp_path / "b.jsonl", [*rows, {"text": "x", "label": 1}, {"text": "y", "label": 1, "lang": 3}])
    assert problems(bad, layout) == ("b.jsonl: language missing, or not text in lines 61, 62",)
    other = json_lines(tmp_path / "c.jsonl", [{"text": "z", "label": 1}])
    assert "no column 'lang' for the language" in problems(other, layout)[0]


def test_a_class_rare_in_each_language_is_in_every_split(tmp_path: Path) -> None:
    """Its two rows a language are too few for three splits, its four are enough."""

    def load(count: int) -> TaskData:
        rows = [{"text": f"t{n}", "label": "often", "lang": "de" if n % 2 else "fr"} for n in range(40)]
        rows += [{"text": f"r{n}", "label": "rare", "lang": "de" if n % 2 else "fr"} for n in range(4)]
        layout = Layout("classification", ("text",), ("label",), "lang")
        return load_local(json_lines(tmp_path / "a.jsonl", rows), layout, max_train_examples=count)

    task = load(10)
    assert all(set(split.labels) == {0, 1} for split in (task.train, task.validation, task.test))
    assert set(load(2).train.labels) == {0, 1}
    assert set(load(2).train.texts) < set(task.train.texts)


@pytest.mark.parametrize(
    ("layout", "found"),
    [
        (Layout("spans", ("a",), ("b",)), "text columns ['a']: spans needs two columns, question and context"),
        (Layout("tokens", ("a", "b")), "text columns ['a', 'b']: tokens needs one column"),
        (Layout("regression", ("a",), ("b", "c")), "label columns ['b', 'c']: regression needs one"),
        (Layout("regression", ("a",)), "label columns []: regression needs one"),
        (Layout("regression", ("a",), ("b",), "b"), "columns ['a', 'b', 'b']: one is named twice"),
    ],
)
def test_a_choice_of_columns_that_cannot_be(tmp_path: Path, layout: Layout, found: str) -> None:
    assert problems(tmp_path / "none.csv", layout) == (found,)
