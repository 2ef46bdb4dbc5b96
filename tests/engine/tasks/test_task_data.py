import subprocess
import sys
from dataclasses import replace

import pytest

from adapter_sweep.engine.tasks import Split, TaskData
from adapter_sweep.errors import UserInputError


def split(*texts: str, labels: tuple[int, ...] | None = None) -> Split:
    return Split(texts, None, labels if labels is not None else tuple(i % 2 for i in range(len(texts))))


def task(train: Split, validation: Split, test: Split, names: tuple[str, ...] = ("no", "yes")) -> TaskData:
    return TaskData("t", names, train, validation, test, "made here")


WHOLE = task(split("a", "b", "c"), split("d"), split("e"))


def test_a_whole_task() -> None:
    assert [len(WHOLE.train), len(WHOLE.validation), len(WHOLE.test)] == [3, 1, 1]


def test_every_problem_is_reported_at_once() -> None:
    with pytest.raises(UserInputError) as caught:
        task(split("a", "b", labels=(1, 1)), split("b", labels=(2,)), split())
    assert caught.value.problems == (
        "task t: the test split is empty",
        "task t: labels [2] of the validation split have no name",
        "task t: the train split needs at least two classes",
        "task t: 1 texts are in both train and validation",
    )


def test_a_pair_is_one_input() -> None:
    def paired(first: str, second: str) -> Split:
        return Split((first, first + "!"), (second, second), (0, 1))

    assert task(paired("a", "x"), paired("a", "y"), paired("b", "x")).train.text_pairs == ("x", "x")
    with pytest.raises(UserInputError, match="2 texts are in both train and test"):
        task(paired("a", "x"), paired("a", "y"), paired("a", "x"))
    with pytest.raises(UserInputError, match="some splits have two texts"):
        task(paired("a", "x"), paired("a", "y"), split("c"))


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="2 texts but 1 labels"):
        Split(("a", "b"), None, (0,))
    with pytest.raises(ValueError, match="1 texts but 2 second texts"):
        Split(("a",), ("b", "c"), (0,))


@pytest.mark.parametrize(
    "other",
    [
        replace(WHOLE, label_names=("no", "maybe")),
        replace(WHOLE, train=split("b", "a", "c", labels=(1, 0, 0))),  # the order counts
        replace(WHOLE, train=split("a", "b", "c", labels=(0, 1, 1))),
        replace(WHOLE, validation=WHOLE.test, test=WHOLE.validation),
        replace(WHOLE, train=split("a", "bc", "c")),
    ],
)
def test_the_fingerprint_changes_with_the_content(other: TaskData) -> None:
    assert other.fingerprint != WHOLE.fingerprint


def test_the_fingerprint_is_of_the_content_alone() -> None:
    assert replace(WHOLE, name="u", source="elsewhere").fingerprint == WHOLE.fingerprint
    assert WHOLE.fingerprint == "5428818102203f5191a00a0c4f334d19d62b198d9dd175bb839cdf0390bb3a82"


def test_the_package_imports_without_the_data_libraries() -> None:
    code = (
        "import sys\n"
        "for name in ('datasets', 'evaluate', 'platformdirs', 'pandas', 'sklearn', 'pyarrow', 'numpy'):\n"
        "    sys.modules[name] = None\n"  # an import of it raises ImportError
        "from adapter_sweep.engine.tasks import load_builtin, load_local, load_hub, TaskData, Split\n"
        "from adapter_sweep.engine.metrics import load_metric\n"
    )
    path = f"import sys; sys.path[:0] = {[p for p in sys.path if p]!r}\n"
    done = subprocess.run([sys.executable, "-c", path + code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
