import logging
from pathlib import Path

import datasets
import pytest
from task_files import json_lines, problems, sizes, write

from adapter_sweep.engine.tasks import Layout, load_local

TOKENS = Layout("tokens")
SENTENCE = "-DOCSTART- -X- O\n\nEU{n} NNP B-ORG\nrejects VBZ O\nPeter NNP B-PER\nBlackburn NNP I-PER\n\n"


def document(count: int, sentence: str = SENTENCE) -> str:
    return "".join(sentence.format(n=n) for n in range(count))


def test_a_conll_file_is_read_by_its_first_and_last_column(tmp_path: Path) -> None:
    task = load_local(write(tmp_path / "train.txt", document(20)), TOKENS)
    assert sizes(task) == (16, 2, 2)
    assert task.label_names == ("ORG", "PER")
    assert task.outputs == 5
    assert task.train.words is not None
    assert task.train.words[0] == ("EU0", "rejects", "Peter", "Blackburn")
    assert task.train.texts[0] == "EU0 rejects Peter Blackburn"
    assert task.train.labels[0] == ((0, 0, "ORG"), (2, 3, "PER"))


def test_columns_of_a_conll_file_go_by_number(tmp_path: Path) -> None:
    path = write(tmp_path / "train.bio", document(20, "0 EU{n} B-ORG x\n1 is O y\n\n"))
    task = load_local(path, Layout("tokens", ("2",), ("3",)))
    assert task.train.texts[0] == "EU0 is"
    assert problems(path, Layout("tokens", ("word",), ("3",))) == (
        "train.bio: no column 'word'; columns of a CoNLL file are numbers, here 1 to 4",
    )
    assert "no column '5'" in problems(path, Layout("tokens", ("2",), ("5",)))[0]
    assert "no column 'lang' for the language" in problems(path, Layout("tokens", ("2",), ("3",), "lang"))[0]


@pytest.mark.parametrize("first", [0, 1])
def test_a_column_that_counts_is_not_taken_for_the_words(tmp_path: Path, first: int) -> None:
    sentence = f"# source\n{first}\tEU{{n}}\tB-ORG\tO\n{first + 1}\tis\tO\tO\n\n"
    path = write(tmp_path / "train.tsv", document(20, sentence))
    assert problems(path, TOKENS) == (
        "train.tsv: column 1 counts the words of each sentence; name the columns by their numbers, 1 to 4: "
        "task.text=2 for the words, and task.label for the tags, if you mean those",
    )
    assert load_local(path, Layout("tokens", ("2",), ("3",))).train.texts[0] == "EU0 is"


def test_a_held_out_split_without_an_entity_is_refused(tmp_path: Path) -> None:
    train, test = write(tmp_path / "a.conll", document(20)), write(tmp_path / "b.conll", "none O\nhere O\n")
    assert problems(train, TOKENS, test_path=test) == (
        "local: the test split (1 row, as given): none has an entity, so there is nothing to find; "
        "give rows that have some in test",
    )


def test_tabs_comments_and_odd_tokens(tmp_path: Path) -> None:
    """A token may be a hash or a no-break space; what begins with a hash and has no tag is a comment."""
    sentence = "# id = {n}\n# text = a b\n#\tO\n\u00a0\tO\r\n#tag{n}\tB-X\nNew York\tI-X\n\t\n"
    task = load_local(write(tmp_path / "train.annotated", document(9, sentence)), TOKENS)
    assert task.train.words is not None
    assert task.train.words[0] == ("#", "\u00a0", "#tag0", "New York")
    assert task.train.labels[0] == ((2, 3, "X"),)


def test_tags_that_break_the_scheme_are_read_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "t.conll", document(9, "a{n} I-X\nb O\nc B-X\n\n"))
    with caplog.at_level(logging.WARNING):
        task = load_local(path, TOKENS)
    assert task.train.labels[0] == ((0, 0, "X"), (2, 2, "X"))
    (message,) = caplog.messages
    assert message.endswith("9 entities do not begin or end as the tags' scheme says; they are read as conlleval does")
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        load_local(write(tmp_path / "iob1.conll", document(9, "a{n} I-X\nb O\nc I-X\nd B-X\n\n")), TOKENS)
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("t.conll", "a O\nb x O\nc O\n", ("t.conll: line 2 has 3 columns, the others have 2",)),
        (
            "t.conll",
            "a O\n\nb PER\nc B\n\tO\n",
            (
                "t.conll: line 3: the tag 'PER' is neither O nor B-, I-, E- or S- and a type",
                "t.conll: line 4: the tag 'B' is neither O nor B-, I-, E- or S- and a type",
                "t.conll: line 5 has no token",
            ),
        ),
        ("t.conll", "word\nanother\n", ("t.conll: no lines with a token and a tag, parted by a tab or by spaces",)),
        (
            "t.conll",
            "-DOCSTART- O\n\n# 1\n",
            ("t.conll: no lines with a token and a tag, parted by a tab or by spaces",),
        ),
        ("t.csv", "a,b\n", ("t.csv: words and tags are read from JSON lines, Parquet or CoNLL files, not from CSV",)),
        (
            "t.conll",
            "a O\n\nb O\n\nc O\n",
            ("local: a task needs at least one entity type in its train rows; there are none",),
        ),
        (
            "t.conll",
            "a B-X\n\nb O\n",
            (
                "local: there are 2 distinct train rows; a task needs at least 3, because validation and test are "
                "split from them",
            ),
        ),
    ],
)
def test_a_bad_conll_file(tmp_path: Path, name: str, content: str, found: tuple[str, ...]) -> None:
    assert problems(write(tmp_path / name, content), TOKENS) == found


def test_many_bad_lines_are_counted(tmp_path: Path) -> None:
    found = problems(write(tmp_path / "t.conll", "a B\n" * 9), TOKENS)
    assert len(found) == 6
    assert found[-1] == "t.conll: … 4 more such lines"


def test_json_lines_and_parquet_have_lists_of_words_and_tags(tmp_path: Path) -> None:
    rows = [{"tokens": [f"w{n}", "x"], "ner_tags": ["S-A", "O"]} for n in range(9)]
    path = json_lines(tmp_path / "t.jsonl", rows)
    task = load_local(path, TOKENS)
    assert task.train.labels[0] == ((0, 0, "A"),)
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "t.parquet")
    assert load_local(tmp_path / "t.parquet", TOKENS).fingerprint == task.fingerprint
    assert problems(path, Layout("tokens", ("words",), ("ner_tags",)))[0].startswith(
        "t.jsonl: no column 'words' for text"
    )


def test_every_malformed_row_of_lists_is_named(tmp_path: Path) -> None:
    rows: list[tuple[object, object]] = [
        (["a"], ["O", "O"]),
        ("a b", ["O"]),
        (["a"], None),
        ([], []),
        (["a", ""], ["O", "O"]),
        (["a"], [3]),
        (["a"], ["PER"]),
        (["\ud800"], ["O"]),
        (["a", "b"], ["O"]),
    ]
    path = json_lines(tmp_path / "t.jsonl", [{"tokens": words, "ner_tags": tags} for words, tags in rows])
    assert problems(path, TOKENS) == (
        "t.jsonl: words and tags differ in number in lines 1, 9; the first: 1 words, 2 tags",
        "t.jsonl: words are str, not a list in line 2",
        "t.jsonl: tags missing in line 3",
        "t.jsonl: no words in line 4",
        "t.jsonl: one of the words is empty in line 5",
        "t.jsonl: one of the tags is int, not text in line 6; the first: 3",
        "t.jsonl: a tag is neither O nor B-, I-, E- or S- and a type in line 7; the first: 'PER'",
        "t.jsonl: text has half of a Unicode surrogate pair in line 8",
    )


def test_held_out_types_must_be_in_train(tmp_path: Path) -> None:
    train = write(tmp_path / "a.conll", document(9))
    test = write(tmp_path / "b.conll", "Rome B-LOC\n\n")
    assert problems(train, TOKENS, test_path=test) == ("local: test has labels that train has not: 'LOC'",)
