"""Whatever lies in a task's file: rows as they stand there, or a clean refusal that names the file."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow
from hypothesis import strategies as st
from pyarrow import parquet

from adapter_sweep.engine.tasks import Layout, TaskData, load_local
from adapter_sweep.errors import UserInputError
from fuzzing import fuzz

_SENTENCES = Layout("classification", ("text",), ("label",))
_LABELLED = Layout("multi_label", ("text",), ("label",))
_NUMBERED = Layout("regression", ("text",), ("label",))
_TAGGED = Layout("tokens")
_ASKED = Layout("spans")
_LAYOUTS = st.sampled_from([_SENTENCES, _LABELLED, _NUMBERED, _TAGGED, _ASKED])

_TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
_CELLS = st.one_of(
    _TEXT, st.sampled_from(["", "NA", "nan", "1", "0", "-1", "1e400", '"', "a|b", "[]", '["a"]', "\x00"])
)
_JSON: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), _CELLS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_CELLS, inner, max_size=3)),
    max_leaves=6,
)


def read(folder: Path, name: str, content: bytes, layout: Layout, **options: Any) -> TaskData | None:
    """The task; None where it was refused in words that name the file."""
    file = folder / name
    file.write_bytes(content)
    try:
        data = load_local(file, layout, **options)
    except UserInputError as error:
        assert all(problem.strip() for problem in error.problems)
        assert any(name in problem or "task" in problem or "local" in problem for problem in error.problems)
        return None
    return data


def spoilt(content: bytes, flips: list[tuple[int, int]], cut: int) -> bytes:
    """With some bits turned over, and then cut short."""
    changed = bytearray(content)
    for at, bit in flips:
        if changed:
            changed[at % len(changed)] ^= 1 << bit
    return bytes(changed[: max(0, len(changed) - cut)])


_SPOILING = {
    "flips": st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 7)), max_size=4),
    "cut": st.one_of(st.just(0), st.integers(0, 400)),
}


def texts_of(data: TaskData) -> set[str]:
    return {text for split in (data.train, data.validation, data.test) for text in split.texts if isinstance(text, str)}


@fuzz(rows=st.lists(st.tuples(_CELLS, _CELLS), max_size=30), layout=_LAYOUTS, spoil=st.fixed_dictionaries(_SPOILING))
def test_csv(folder: Path, rows: list[tuple[str, str]], layout: Layout, spoil: dict[str, Any]) -> None:
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([("text", "label"), *rows])
    read(folder, "data.csv", spoilt(stream.getvalue().encode(), **spoil), layout)


@fuzz(content=st.one_of(st.binary(max_size=200), _TEXT.map(str.encode)), layout=_LAYOUTS)
def test_bytes_of_any_kind(folder: Path, content: bytes, layout: Layout) -> None:
    for name in ("data.csv", "data.tsv", "data.jsonl", "data.json", "data.parquet", "data.txt", "data.conll"):
        assert read(folder, name, content, layout) is None  # too few rows, at the least


@fuzz(
    rows=st.lists(
        st.one_of(
            st.fixed_dictionaries({"text": _CELLS, "label": st.sampled_from(["a", "b"])}),
            st.fixed_dictionaries({"text": _JSON, "label": _JSON}),
            st.fixed_dictionaries({"tokens": st.lists(_CELLS, max_size=4), "ner_tags": st.lists(_CELLS, max_size=4)}),
            st.fixed_dictionaries({"question": _JSON, "context": _JSON, "answers": _JSON}),
            _JSON,
        ),
        max_size=30,
    ),
    layout=_LAYOUTS,
    spoil=st.fixed_dictionaries(_SPOILING),
)
def test_json_lines(folder: Path, rows: list[Any], layout: Layout, spoil: dict[str, Any]) -> None:
    content = "\n".join(map(json.dumps, rows)).encode()
    read(folder, "data.jsonl", spoilt(content, **spoil), layout)


@fuzz(
    texts=st.lists(_CELLS, min_size=1, max_size=20),
    labels=st.one_of(
        st.lists(st.integers(-1, 2), min_size=1), st.lists(_CELLS, min_size=1), st.lists(st.floats(), min_size=1)
    ),
    layout=_LAYOUTS,
    spoil=st.fixed_dictionaries(_SPOILING),
)
def test_parquet(folder: Path, texts: list[str], labels: list[Any], layout: Layout, spoil: dict[str, Any]) -> None:
    count = min(len(texts), len(labels))
    sink = io.BytesIO()
    parquet.write_table(pyarrow.table({"text": texts[:count], "label": labels[:count]}), sink)
    read(folder, "data.parquet", spoilt(sink.getvalue(), **spoil), layout)


_TAGS = st.sampled_from(["O", "B-PER", "I-PER", "E-LOC", "S-LOC", "I-", "-", "B", "", "b-x", "O O"])


@fuzz(
    sentences=st.lists(
        st.lists(st.tuples(_CELLS, _TAGS, st.sampled_from([" ", "\t", "  ", "\r"])), max_size=5), max_size=25
    ),
    spoil=st.fixed_dictionaries(_SPOILING),
)
def test_conll(folder: Path, sentences: list[list[tuple[str, str, str]]], spoil: dict[str, Any]) -> None:
    lines = "\n\n".join("\n".join(f"{word}{gap}{tag}" for word, tag, gap in sentence) for sentence in sentences)
    read(folder, "data.conll", spoilt(lines.encode(), **spoil), _TAGGED)


_ANSWER = st.fixed_dictionaries({"text": _CELLS, "answer_start": st.one_of(st.integers(-2, 20), _JSON)})
_QUESTION = st.fixed_dictionaries({"question": _CELLS, "id": _JSON, "answers": st.lists(_ANSWER, max_size=2)})
_PARAGRAPH = st.fixed_dictionaries({"context": _CELLS, "qas": st.lists(st.one_of(_QUESTION, _JSON), max_size=3)})
_ARTICLE = st.fixed_dictionaries({"title": _JSON, "paragraphs": st.lists(st.one_of(_PARAGRAPH, _JSON), max_size=3)})


@fuzz(
    document=st.fixed_dictionaries({"version": _JSON, "data": st.one_of(st.lists(_ARTICLE, max_size=4), _JSON)}),
    spoil=st.fixed_dictionaries(_SPOILING),
)
def test_squad(folder: Path, document: dict[str, Any], spoil: dict[str, Any]) -> None:
    read(folder, "data.json", spoilt(json.dumps(document).encode(), **spoil), _ASKED)


@fuzz(few=50, words=st.lists(_TEXT.filter(lambda text: text.strip() != ""), min_size=1, max_size=3, unique=True))
def test_what_is_well_formed_is_read_as_it_stands(folder: Path, words: list[str]) -> None:
    rows = [(f"{words[i % len(words)]} {i}", f"{'ab'[i % 2]}") for i in range(60)]
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([("text", "label"), *rows])
    as_csv = read(folder, "data.csv", stream.getvalue().encode(), _SENTENCES)
    lines = "\n".join(json.dumps({"text": text, "label": label}) for text, label in rows)
    as_json = read(folder, "data.jsonl", lines.encode(), _SENTENCES)
    assert (as_csv is None) == (as_json is None)
    if as_csv is not None and as_json is not None:
        assert texts_of(as_csv) == texts_of(as_json)
        assert as_csv.label_names == as_json.label_names == ("a", "b")
