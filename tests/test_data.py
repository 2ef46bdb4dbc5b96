from pathlib import Path

import pytest

from adapter_sweep.cli.checkup import _data
from adapter_sweep.config.compose import compose
from adapter_sweep.data import load_task
from adapter_sweep.errors import UserInputError


def composed(folder: Path, classes: str, *overrides: str) -> list[str]:
    rows = "".join(f"text {n},{classes[n % len(classes)]}\n" for n in range(30))
    (folder / "a.csv").write_text("t,l\n" + rows)
    return ["task=local", f"task.path={folder / 'a.csv'}", "task.text=t", "task.label=l", *overrides]


def test_f1_is_of_the_second_of_two_classes(tmp_path: Path) -> None:
    assert load_task(compose(composed(tmp_path, "ab", "task.metric=f1")).config).label_names == ("a", "b")
    with pytest.raises(UserInputError) as caught:
        load_task(compose(composed(tmp_path, "abc", "task.metric=f1")).config)
    assert caught.value.problems == (
        "task.metric='f1': needs exactly two classes, local has 3: a, b, c; use macro_f1 for more",
    )


def test_every_file_that_is_gone_is_named_by_its_key(tmp_path: Path) -> None:
    files = f"task.path={{de: {tmp_path / 'a.csv'}, fr: [x.txt, y.txt]}}"
    with pytest.raises(UserInputError) as caught:
        load_task(compose([*composed(tmp_path, "ab"), files, "task.test_path={de: z.csv}"]).config)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "task.path=x.txt",
        "task.path=y.txt",
        "task.test_path=z.csv",
    ]


def test_doctor_says_what_the_data_are(tmp_path: Path) -> None:
    said = _data(compose(composed(tmp_path, "abcdefghi")).config)
    assert said.startswith(
        "local: classification, 12 training, 9 validation, 9 test examples; 9 classes (a, b, c, d, e, f,"
    )
    assert "g, h, …); train: " in said
    languages = composed(tmp_path, "12", "task.type=regression", f"task.path={{de: {tmp_path / 'a.csv'}}}")
    assert "24 training, 3 validation, 3 test examples; 1 languages (de); train: " in _data(compose(languages).config)
