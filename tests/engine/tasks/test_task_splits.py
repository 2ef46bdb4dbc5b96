import logging
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter_sweep.engine.tasks.carving import carve
from adapter_sweep.engine.tasks.data import Split, TaskData
from adapter_sweep.engine.tasks.rows import Row, drop_duplicates, sort_label_names
from adapter_sweep.engine.tasks.splits import assemble
from adapter_sweep.errors import UserInputError


def rows(count: int, labels: str = "ab", prefix: str = "t") -> list[Row]:
    return [Row(f"{prefix}{i}", None, labels[i % len(labels)]) for i in range(count)]


def sizes(task: TaskData) -> tuple[int, int, int]:
    return len(task.train), len(task.validation), len(task.test)


def any_rows(*languages: str) -> st.SearchStrategy[Row]:
    texts = st.text("0123456789", min_size=1, max_size=2)
    spoken = st.sampled_from(languages) if languages else st.none()
    return st.builds(Row, texts, st.none(), st.sampled_from("abc"), st.none(), st.none(), spoken, st.none())


ROWS = any_rows()


def check_whole(task: TaskData) -> None:
    splits: dict[str, Split] = {"train": task.train, "validation": task.validation, "test": task.test}
    texts = {name: set(split.texts) for name, split in splits.items()}
    assert not texts["train"] & texts["validation"]
    assert not texts["train"] & texts["test"]
    assert not texts["validation"] & texts["test"]


@settings(max_examples=150, deadline=None)
@given(st.lists(ROWS, max_size=60) | st.lists(any_rows("de", "fr"), max_size=60), st.integers(0, 2**32))
def test_carved_splits_never_share_a_text_and_hold_every_class(train: list[Row], seed: int) -> None:
    try:
        task = assemble("t", "s", train=train, split_seed=seed)
    except UserInputError:
        counts = Counter(row.label for row in {row.text: row for row in reversed(train)}.values())
        assert len(counts) < 2 or min(counts.values()) < 3
        return
    check_whole(task)
    assert sum(sizes(task)) == len({row.text for row in train})
    for split in (task.train, task.validation, task.test):
        assert set(split.labels) == set(range(len(task.label_names)))


@settings(max_examples=150, deadline=None)
@given(st.lists(ROWS, max_size=40), st.lists(ROWS, max_size=10), st.lists(ROWS, max_size=10))
def test_given_splits_never_share_a_text_and_test_is_intact(
    train: list[Row], validation: list[Row], test: list[Row]
) -> None:
    try:
        task = assemble("t", "s", train=train, validation=validation, test=test)
    except UserInputError:
        return
    check_whole(task)
    assert list(task.test.texts) == [row.text for row in test]
    in_test = {row.text for row in test}
    assert list(task.validation.texts) == [row.text for row in validation if row.text not in in_test]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(ROWS, st.integers(0, 30)), min_size=40, max_size=120),
    st.integers(0, 2**32 - 1),
)
def test_a_document_is_in_one_split(pairs: list[tuple[Row, int]], seed: int) -> None:
    train = [Row(f"{i} {row.text}", None, "ab"[i % 2], f"d{group}") for i, (row, group) in enumerate(pairs)]
    by_text = {row.text: row.group for row in train}
    try:
        task = assemble("t", "s", train=train, split_seed=seed)
    except (UserInputError, ValueError):  # fewer documents than folds
        return
    groups = [{by_text[text] for text in split.texts} for split in (task.train, task.validation, task.test)]
    assert sum(map(len, groups)) == len(set.union(*groups))


def test_shares_and_class_balance() -> None:
    task = assemble("t", "s", train=rows(1000, "aaab"))
    assert sizes(task) == (800, 100, 100)
    assert task.test.labels.count(1) == 25


def test_only_what_is_missing_is_carved() -> None:
    task = assemble("t", "s", train=rows(100), test=rows(7, prefix="u"))
    assert sizes(task) == (90, 10, 7)
    task = assemble("t", "s", train=rows(100), test=rows(7, prefix="u"), validation=rows(5, prefix="v"))
    assert sizes(task) == (100, 5, 7)


def test_the_seed_alone_decides() -> None:
    one, same, other = (assemble("t", "s", train=rows(50), split_seed=seed) for seed in (1, 1, 2))
    assert one.fingerprint == same.fingerprint != other.fingerprint


def test_the_smallest_split_that_works() -> None:
    assert sizes(assemble("t", "s", train=rows(6))) == (2, 2, 2)


def test_rare_labels_are_held_out_together() -> None:
    train = [Row(f"t{i}", None, tuple(sorted((f"l{i}", f"l{i + 1}")))) for i in range(100)]
    assert sizes(assemble("t", "s", type="multi_label", train=train)) == (80, 10, 10)


def test_small_strata_of_labels_give_a_tenth_together() -> None:
    train = [Row(f"t{i}", None, (f"l{i % 200:03}",)) for i in range(700)]
    task = assemble("t", "s", type="multi_label", train=train)
    assert sizes(task) == (560, 70, 70)
    held_out = [set(split.labels) for split in (task.validation, task.test)]
    assert [len(each) for each in held_out] == [70, 70]  # as many labels as can be, and others in each
    assert not held_out[0] & held_out[1]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=3, max_size=150), st.integers(0, 2**32))
def test_a_carved_split_of_labels_is_a_tenth_whatever_their_counts(labels: list[int], seed: int) -> None:
    train = [Row(f"t{i}", None, (str(label),)) for i, label in enumerate(labels)]
    taken, rest = carve(train, ["validation", "test"], "multi_label", seed)
    share = max(1, round(len(labels) / 10))
    assert [len(taken["validation"]), len(taken["test"])] == [share, share]
    assert sorted(row.text for part in (*taken.values(), rest) for row in part) == sorted(row.text for row in train)


def test_many_small_classes_give_more_than_a_tenth_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    task = assemble("t", "s", train=[Row(f"t{i}", None, f"c{i % 200}") for i in range(700)])
    assert sizes(task) == (300, 200, 200)
    end = "of 700 rows: it has a row of every class, and many classes have few rows"
    assert caplog.messages == [f"t: validation takes 200 {end}", f"t: test takes 200 {end}"]


def test_subsets_are_nested_stratified_and_leave_held_out_splits_alone() -> None:
    full = assemble("t", "s", train=rows(1000, "aaab"))
    previous: set[str] = set()
    for count in (2, 10, 40, 799, 800, 5000):
        task = assemble("t", "s", train=rows(1000, "aaab"), max_train_examples=count)
        assert len(task.train) == min(count, 800)
        assert (task.validation, task.test) == (full.validation, full.test)
        assert previous <= set(task.train.texts)
        assert abs(task.train.labels.count(1) - len(task.train) / 4) <= 1
        previous = set(task.train.texts)
    assert list(task.train.texts) == list(full.train.texts)


def test_a_pair_is_a_duplicate_only_as_a_whole(caplog: pytest.LogCaptureFixture) -> None:
    pairs = [Row("a", "x", "0"), Row("a", "y", "1"), Row("a", "x", "1")]
    assert drop_duplicates(pairs, "t") == pairs[:2]
    assert caplog.messages == ["t: removed 1 duplicates, 1 of them with another label"]


def test_pairs_that_share_a_text_with_train_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    train = [Row(f"t{i}", f"p{i}", "ab"[i % 2]) for i in range(20)]
    test = [Row("t0", "new", "a"), Row("p1", "new", "b"), Row("alone", "too", "a")]
    assemble("t", "s", train=train, validation=test[2:], test=test[:2])
    assert caplog.messages == ["t: 2 of 2 pairs of test have a text that is in train too, in another pair"]


def test_what_is_held_out_leaves_train_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        train = rows(20)
        task = assemble("t", "s", train=train, validation=train[:4], test=train[2:6])
    assert sizes(task) == (14, 2, 4)
    assert caplog.messages == [
        "t: removed 4 train rows that are in test",
        "t: removed 2 validation rows that are in test",
        "t: removed 2 train rows that are in validation",
    ]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"train": rows(5)}, r"at least 3 distinct train rows, because validation and test are .* 'b' has 2"),
        ({"train": rows(3), "test": rows(2, prefix="u")}, "at least 2 .* because validation .*'b' has 1"),
        ({"train": rows(9, "a")}, "at least two classes in its train rows; there is only 'a'"),
        ({"train": []}, "there are no rows"),
        ({"train": rows(9), "test": rows(4, "abcd", "u")}, "test has labels that train has not: 'c', 'd'"),
        ({"train": rows(9), "test": []}, "the test split has no rows"),
        ({"train": rows(30, "abc"), "max_train_examples": 2}, "max_train_examples=2 is too small for 3"),
    ],
)
def test_problems(arguments: dict[str, object], problem: str) -> None:
    with pytest.raises(UserInputError, match=problem):
        assemble("t", "s", **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["10", "9", "-1"], ["-1", "9", "10"]),
        (["b", "10", "9"], ["10", "9", "b"]),
        (["True", "False"], ["False", "True"]),
    ],
)
def test_label_names_in_order(labels: list[str], expected: list[str]) -> None:
    assert sort_label_names(labels) == expected
