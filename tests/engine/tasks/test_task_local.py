import json
import logging
from pathlib import Path
from typing import Any

import pandas
import pytest

from adapter_sweep.engine.tasks import Layout, TaskData, load_local
from adapter_sweep.errors import UserInputError


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def csv_rows(count: int, prefix: str = "text", labels: tuple[str, ...] = ("no", "yes")) -> str:
    return "".join(f"{prefix} {i},{labels[i % len(labels)]}\n" for i in range(count))


def load(path: Path, text: tuple[str, ...] = ("text",), **options: Any) -> TaskData:
    return load_local(path, Layout("classification", text, ("label",)), **options)


def problems(path: Path, **options: Any) -> tuple[str, ...]:
    with pytest.raises(UserInputError) as caught:
        load(path, **options)
    return tuple(problem.replace(str(path.parent) + "/", "") for problem in caught.value.problems)


def all_texts(task: TaskData) -> set[str]:
    return {text for split in (task.train, task.validation, task.test) for text in split.texts}


@pytest.fixture
def table() -> pandas.DataFrame:
    return pandas.DataFrame(
        {
            "text": [f"text {i}" for i in range(60)],
            "pair": ["second"] * 60,
            "label": [i % 3 for i in range(60)],
        }
    )


@pytest.mark.parametrize("extension", ["csv", "tsv", "jsonl", "ndjson", "json", "parquet", "CSV"])
@pytest.mark.parametrize("label_type", ["int64", "float64", "str"])
def test_every_format_and_label_type_gives_the_same_task(
    tmp_path: Path, table: pandas.DataFrame, extension: str, label_type: str
) -> None:
    path = tmp_path / f"data.{extension}"
    table["label"] = table["label"].astype(label_type)
    if extension == "parquet":
        table.to_parquet(path)
    elif extension.lower() in ("csv", "tsv"):
        table.to_csv(path, index=False, sep="\t" if extension == "tsv" else ",")
    else:
        table.to_json(path, orient="records", lines=True)
    task = load(path)
    assert (len(task.train), len(task.validation), len(task.test)) == (48, 6, 6)
    assert task.label_names == ("0", "1", "2")
    assert task.fingerprint.startswith("932c194c6f2b")
    assert path.name in task.source
    assert str(path.parent) not in task.source  # it is shared with results


def test_two_text_columns(tmp_path: Path, table: pandas.DataFrame) -> None:
    table.to_csv(tmp_path / "d.csv", index=False)
    task = load(tmp_path / "d.csv", text=("text", "pair"))
    assert task.test.text_pairs == ("second",) * 6


def test_csv_quirks(tmp_path: Path) -> None:
    """A byte-order mark, spaces in the header, quoted line breaks, blank lines, NA as text, a long text."""
    path = write(
        tmp_path / "d.csv",
        "\ufeff text , label \r\n"
        '"two\nlines, ""quoted""",yes\r\n\r\nNA,no\nnull,yes\nNone, no \n' + "x" * 200_000 + ",no\n" + csv_rows(6),
    )
    task = load(path)
    assert {'two\nlines, "quoted"', "NA", "null", "None", "x" * 200_000} <= all_texts(task)
    assert task.label_names == ("no", "yes")


def test_another_delimiter(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", "text;label\n" + csv_rows(6).replace(",", ";"))
    assert len(all_texts(load(path, delimiter=";"))) == 6
    assert problems(path) == (
        "d.csv: no column 'text' for text; the columns are 'text;label'; is the delimiter ','?",
        "d.csv: no column 'label' for the label; the columns are 'text;label'; is the delimiter ','?",
    )
    assert "give one character" in problems(path, delimiter="||")[0]


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([True, False], ("False", "True")),
        ([10, 9], ("9", "10")),
        ([1.0, 0.5], ("0.5", "1")),
        (["b", 1], ("1", "b")),
        ([-1, 1], ("-1", "1")),
    ],
)
def test_labels_become_names(tmp_path: Path, labels: list[object], names: tuple[str, ...]) -> None:
    lines = [json.dumps({"text": f"t{i}", "label": labels[i % 2]}) for i in range(6)]
    assert load(write(tmp_path / "d.jsonl", "\n".join(lines))).label_names == names


def test_given_held_out_files_stay_as_they_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train = write(tmp_path / "a.csv", "text,label\n" + csv_rows(20) + csv_rows(3))
    held = write(tmp_path / "b.jsonl", '{"text": "text 1", "label": "yes"}\n' * 2)
    test = write(tmp_path / "c.tsv", "label\ttext\nno\ttext 0\n")
    with caplog.at_level(logging.WARNING):
        task = load(train, validation_path=held, test_path=test)
    assert task.validation.texts == ("text 1", "text 1")
    assert task.test.texts == ("text 0",)
    assert len(task.train) == 18
    assert caplog.messages == [
        "local: removed 3 duplicates, 0 of them with another label",
        "local: removed 1 train rows that are in test",
        "local: removed 1 train rows that are in validation",
    ]


def test_problems_of_all_files_come_together(tmp_path: Path) -> None:
    train = write(tmp_path / "a.csv", "text,label\n" + "".join(f"t{i},\n" for i in range(7)) + ",no\n")
    held = write(tmp_path / "b.csv", "sentence,label\nx,y\n")
    assert problems(train, validation_path=held, test_path=tmp_path / "c.csv") == (
        "a.csv: label missing in lines 2, 3, 4, 5, 6, … (7 in all)",
        "a.csv: text empty in line 9",
        "b.csv: no column 'text' for text; the columns are 'sentence', 'label'",
        "c.csv: no such file",
    )


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        (
            "d.xlsx",
            "",
            "d.xlsx: unknown extension '.xlsx'; it may be .csv, .tsv, .jsonl, .ndjson, .json, .parquet, .txt",
        ),
        ("d.csv", "", "d.csv: the file is empty"),
        ("d.csv", "text,label\n", "d.csv: there are no rows"),
        ("d.csv", "text,text,label\na,b,c\n", "d.csv: 2 columns are called 'text'; text needs one"),
        ("d.csv", "text,label\na,b\na,b,c\nx\n", "d.csv: line 3 has 3 cells, the header has 2"),
        ("d.csv", 'text,label\n"a\nb",y\n,n\n', "d.csv: text empty in line 4"),
        (
            "d.csv",
            'text,label\nok,y\n"open,y\nz,n\n',
            "malformed row that starts in line 3: unexpected end of data",
        ),
        ("d.csv", 'text,label\n"a"b,y\n', "malformed row that starts in line 2"),
        ("d.csv", b"text,label\nok,y\ncaf\xe9,n\n", "d.csv: not UTF-8: byte 0xe9 in line 3 (byte 19)"),
        ("d.csv", b"\xef\xbb\xbftext,label\ncaf\xe9,n\n", "d.csv: not UTF-8: byte 0xe9 in line 2 (byte 17)"),
        ("d.csv", "text,label\n" + csv_rows(9, labels=("one",)), "local: a task needs at least two classes"),
        ("d.csv", "text,label\n" + csv_rows(4), "local: each class needs at least 3 distinct train rows"),
        ("d.jsonl", '{"text": "a"\n', "d.jsonl: line 1 is not JSON"),
        (
            "d.json",
            '[\n{"text": "a"}\n]',
            "d.json: an array of JSON over several lines; one JSON object a line is expected",
        ),
        ("d.json", '{\n"text": "a"}', "d.json: one document of JSON over several lines; one JSON object a line"),
        ("d.jsonl", '{"text": "a", "label": null}\n', "d.jsonl: label missing in line 1"),
        ("d.jsonl", '{"text": "a", "label": NaN}\n', "d.jsonl: label missing in line 1"),
        (
            "d.jsonl",
            '{"text": "a", "label": [1]}\n',
            "label is list, not text, a whole number or true/false in line 1",
        ),
        ("d.jsonl", '\n{"label": 1}\n{"text": "a", "label": 1}', "d.jsonl: text empty in line 2"),
        ("d.jsonl", '{"text": 3, "label": 1}\n', "d.jsonl: text is int, not a string in line 1"),
        ("d.jsonl", '{"text": "\\ud800", "label": 1}\n', "half of a Unicode surrogate pair in line 1"),
        ("d.parquet", "not parquet", "d.parquet: not a Parquet file"),
    ],
)
def test_a_bad_file(tmp_path: Path, name: str, content: str | bytes, problem: str) -> None:
    assert problem in "\n".join(problems(write(tmp_path / name, content)))


def test_a_missing_file_is_named_absolutely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserInputError) as caught:
        load(Path("no.csv"))
    assert caught.value.problems == (f"{tmp_path / 'no.csv'}: no such file",)
    (tmp_path / "folder.csv").mkdir()
    assert problems(tmp_path / "folder.csv") == ("folder.csv: this is not a file",)


@pytest.mark.parametrize("columns", [(), ("a", "b", "c"), ("label",)])
def test_a_bad_choice_of_columns(tmp_path: Path, columns: tuple[str, ...]) -> None:
    assert len(problems(tmp_path / "d.csv", text=columns)) == 1


def test_delimiter_is_for_csv_only(tmp_path: Path) -> None:
    assert problems(write(tmp_path / "d.jsonl", "{}"), delimiter=";") == (
        "delimiter=';': only .csv and .tsv files have one, not d.jsonl",
    )


def test_subset_and_seed(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", "text,label\n" + csv_rows(100))
    assert len(load(path, max_train_examples=10).train) == 10
    assert load(path, split_seed=1).fingerprint != load(path).fingerprint
