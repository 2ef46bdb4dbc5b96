import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from task_files import json_lines, problems, sizes, write

from adapter_sweep.engine.tasks import Layout, load_local
from adapter_sweep.engine.tasks.rows import Row
from adapter_sweep.engine.tasks.splits import assemble
from adapter_sweep.errors import UserInputError

SPANS = Layout("spans")


def squad(contexts: int, questions: int = 2, **extra: Any) -> dict[str, Any]:
    """A document as SQuAD has it: the answer of each question is its context's number; two annotators agree."""

    def paragraph(number: int) -> dict[str, Any]:
        context = f" It is number {number}. "
        answer = {"text": str(number), "answer_start": context.index(str(number))}
        return {
            "context": context,
            "qas": [
                {"id": f"{number}-{q}", "question": f"Which, {q}? ", "answers": [answer, answer], **extra}
                for q in range(questions)
            ],
        }

    return {"version": "1.1", "data": [{"title": "t", "paragraphs": [paragraph(n) for n in range(contexts)]}]}


def row(question: str, context: str, answers: object) -> dict[str, object]:
    return {"question": question, "context": context, "answers": answers}


def test_squads_own_json(tmp_path: Path) -> None:
    path = write(tmp_path / "train-v1.1.json", json.dumps(squad(20), indent=1))
    task = load_local(path, SPANS)
    assert sizes(task) == (32, 4, 4)
    assert (task.label_names, task.outputs) == ((), 2)
    assert task.train.text_pairs is not None
    assert (task.train.texts[0], task.train.text_pairs[0]) == ("Which, 0?", " It is number 0. ")
    assert task.train.labels[0] == ((14, "0"),)  # each answer once, and the context as it was


def test_no_context_is_in_two_splits(tmp_path: Path) -> None:
    task = load_local(write(tmp_path / "a.json", json.dumps(squad(30, 5))), SPANS)
    contexts = [set(split.text_pairs or ()) for split in (task.train, task.validation, task.test)]
    assert [len(each) for each in contexts] == [24, 3, 3]
    assert len(set.union(*contexts)) == 30


def test_questions_without_an_answer(tmp_path: Path) -> None:
    document = squad(6)
    for question in document["data"][0]["paragraphs"][2]["qas"]:
        question |= {"answers": [], "is_impossible": True, "plausible_answers": question["answers"]}
    task = load_local(write(tmp_path / "v2.json", json.dumps(document)), SPANS)
    empty = [label for split in (task.train, task.validation, task.test) for label in split.labels if not label]
    assert empty == [(), ()]


def test_json_lines_in_every_spelling_of_answers(tmp_path: Path) -> None:
    spellings: list[object] = [
        {"text": ["b"], "answer_start": [2]},
        {"text": "b", "answer_start": 2},
        [{"text": "b", "answer_start": 2}],
    ]
    prints = set()
    for spelling in spellings:
        rows = [row("q", f"a b {n}", spelling) for n in range(9)]
        task = load_local(json_lines(tmp_path / "t.json", rows), SPANS)
        assert task.train.labels[0] == ((2, "b"),)
        prints.add(task.fingerprint)
    assert len(prints) == 1


def test_one_json_line_is_not_squads_document(tmp_path: Path) -> None:
    assert (
        "1 contexts; a task needs at least 3"
        in problems(json_lines(tmp_path / "t.json", [row("q", "c", [])]), SPANS)[0]
    )


def test_every_malformed_answer_is_named(tmp_path: Path) -> None:
    answers: list[object] = [
        {"text": ["b"], "answer_start": [0]},
        {"text": ["x"], "answer_start": [0]},
        {"text": ["b"], "answer_start": [2, 3]},
        "b",
        None,
        {"text": ["b"], "answer_start": ["2"]},
        {"text": [" "], "answer_start": [1]},
        {"text": ["a"], "answer_start": [-5]},
    ]
    rows = [row(f"q{n}", "a b a", answer) for n, answer in enumerate(answers)]
    path = json_lines(tmp_path / "t.jsonl", [*rows, row("", "a b a", []), row("q", " ", [])])
    assert problems(path, SPANS) == (
        "t.jsonl: an answer is not at its answer_start in the context in lines 1, 2, 8; the first: 'b' at 0, but at 2",
        "t.jsonl: answers have unequal numbers of text and answer_start in line 3",
        "t.jsonl: answers are neither {text, answer_start} nor a list of such in lines 4, 5; the first: 'b'",
        "t.jsonl: an answer is not a text with a whole number as answer_start in line 6; the first: ('b', '2')",
        "t.jsonl: an answer is empty in line 7",
        "t.jsonl: text empty in lines 9, 10",
    )
    (found,) = problems(json_lines(tmp_path / "u.jsonl", [row("q", "a b a", {"text": "a", "answer_start": 3})]), SPANS)
    assert found.endswith("the first: 'a' at 3, which has it 2 times")


def test_a_wrong_start_in_squad_is_named_by_its_question(tmp_path: Path) -> None:
    document = squad(9)
    document["data"][0]["paragraphs"][4]["qas"][1]["answers"] = [{"text": "4", "answer_start": 3}]
    assert problems(write(tmp_path / "a.json", json.dumps(document)), SPANS) == (
        "a.json: an answer is not at its answer_start in the context in question 4-1; the first: '4' at 3, but at 14",
    )


def test_what_squad_lacks_is_named(tmp_path: Path) -> None:
    broken = {"data": [{"paragraphs": [{"context": "c"}, 3]}, {}]}
    assert problems(write(tmp_path / "a.json", json.dumps(broken)), SPANS) == (
        "a.json: data[0].paragraphs[0].qas: missing, or no list",
        "a.json: data[0].paragraphs[1]: not an object",
        "a.json: data[1].paragraphs: missing, or no list",
    )
    path = write(tmp_path / "b.json", json.dumps(squad(9, is_impossible=True)))
    assert problems(path, SPANS)[0] == "b.json: data[0].paragraphs[0].qas[0]: is_impossible, and has answers"
    assert "has no columns but question, context, answers" in problems(path, Layout("spans", ("q", "c"), ("a",)))[0]


def test_without_any_answer_there_is_nothing_to_learn(tmp_path: Path) -> None:
    rows = [row("q", f"c{n}", []) for n in range(9)]
    assert problems(json_lines(tmp_path / "t.jsonl", rows), SPANS) == ("task local: the train split has no answer",)


def test_contexts_that_differ_in_white_space_are_one(caplog: pytest.LogCaptureFixture) -> None:
    rows = [Row(f"q{n}", f"number  {n // 2}\n" if n % 2 else f"number {n // 2}", ((0, "number"),)) for n in range(60)]
    task = assemble("t", "s", type="spans", train=rows)
    contexts = [{context.split()[1] for context in split.text_pairs or ()} for split in (task.train, task.test)]
    assert (sizes(task), [len(each) for each in contexts]) == ((48, 6, 6), [24, 3])
    assert not contexts[0] & contexts[1]
    assert caplog.messages == []
    given = assemble("t", "s", type="spans", train=rows, test=[rows[0]._replace(pair="number\t0")])
    assert "q0" not in given.train.texts + given.validation.texts
    assert caplog.messages == [
        "t: removed 1 train rows that are in test",
        "t: 1 contexts of test are in train too, with other questions",
    ]


def test_answers_to_one_question_are_merged_in_every_split(caplog: pytest.LogCaptureFixture) -> None:
    """Places count in the first row's context, whatever the white space of the others."""
    context = "a red  fox"
    rows = [
        Row("q", context, ((2, "red"),)),
        Row("q", context, ()),
        Row("q", "a red fox", ((2, "red fox"), (2, "red"))),
        Row("other", context, ()),
    ]
    more = [Row("q", f"c{n}", ((0, "c"),)) for n in range(9)]
    task = assemble("t", "s", type="spans", train=more, validation=more[:1], test=rows)
    assert task.test.labels == (((2, "red"), (2, "red  fox")), ())
    assert caplog.messages[0] == "t, test: merged the answers of 2 rows into earlier ones with their question"
    task = assemble("t", "s", type="spans", train=[*rows, *more], validation=more[:1], test=more[1:2])
    assert task.train.labels[:2] == (((2, "red"), (2, "red  fox")), ())


def test_given_splits_that_share_contexts_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train = json_lines(tmp_path / "a.jsonl", [row("q", f"c{n}", {"text": "c", "answer_start": 0}) for n in range(9)])
    test = json_lines(tmp_path / "b.jsonl", [row("other", "c1", [])])
    load_local(train, SPANS, test_path=test)
    assert "local: 1 contexts of test are in train too, with other questions" in caplog.messages


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 4)), max_size=60), st.integers(0, 2**32))
def test_carving_keeps_contexts_whole_and_loses_nothing(pairs: list[tuple[int, int]], seed: int) -> None:
    rows = [Row(f"q{question}", f"c{context}", ((0, "c"),)) for context, question in pairs]
    try:
        task = assemble("t", "s", type="spans", train=rows, split_seed=seed)
    except UserInputError:
        assert len({context for context, _ in pairs}) < 3
        return
    splits = (task.train, task.validation, task.test)
    assert sum(map(len, splits)) == len(set(pairs))
    assert sum(len(set(split.text_pairs or ())) for split in splits) == len({context for context, _ in pairs})
