"""`datasets.load_dataset` takes a folder as well as a hub name, so the real loader runs without network."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest

from adapter_sweep.engine.tasks import Layout, TaskData, load_hub
from adapter_sweep.errors import AdapterSweepError, UserInputError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three Parquet splits with class names; like GLUE, test has no labels."""
    features = datasets.Features(
        {
            "sentence": datasets.Value("string"),
            "other": datasets.Value("string"),
            "stars": datasets.Value("int64"),
            "label": datasets.ClassLabel(names=["zebra", "ant"]),
        }
    )
    home = tmp_path / "set"
    home.mkdir()
    for split, count in (("train", 40), ("validation", 6), ("test", 5)):
        rows = [
            {
                "sentence": f"{split} {i}",
                "other": f"other {i}",
                "stars": i % 3 - 1,
                "label": -1 if split == "test" else i % 2,
            }
            for i in range(count)
        ]
        datasets.Dataset.from_list(rows, features=features).to_parquet(home / f"{split}.parquet")
    return home


def load(folder: Path, text: tuple[str, ...] = ("sentence",), label: str = "label", **options: Any) -> TaskData:
    return load_hub(str(folder), Layout("classification", text, (label,)), **{"test_split": None, **options})


def sizes(task: TaskData) -> tuple[int, int, int]:
    return len(task.train), len(task.validation), len(task.test)


def test_class_names_keep_their_order_and_missing_splits_are_carved(folder: Path) -> None:
    task = load(folder)
    assert task.label_names == ("zebra", "ant")
    assert sizes(task) == (36, 6, 4)
    assert task.validation.texts[:2] == ("validation 0", "validation 1")
    assert task.validation.labels[:2] == (0, 1)
    assert str(folder) in task.source
    assert sizes(load(folder, validation_split=None)) == (32, 4, 4)


def test_a_split_without_labels_is_carved_with_a_warning(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert sizes(load(folder, test_split="test")) == (36, 6, 4)
    assert "split 'test': has no labels (all are -1); test is carved from train" in caplog.text


def test_train_without_labels_is_refused(folder: Path) -> None:
    with pytest.raises(UserInputError, match="split 'test': there are no rows"):
        load(folder, train_split="test", validation_split=None)


def test_two_texts_and_number_labels_where_minus_one_is_a_class(folder: Path) -> None:
    task = load(folder, text=("sentence", "other"), label="stars")
    assert task.label_names == ("-1", "0", "1")
    assert task.validation.text_pairs is not None
    assert task.validation.text_pairs[0] == "other 0"


def test_a_csv_folder_with_text_labels(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    rows = "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(20))
    (tmp_path / "c" / "train.csv").write_text("sentence,label\n" + rows)
    task = load(tmp_path / "c", validation_split=None, max_train_examples=4)
    assert task.label_names == ("a", "b")
    assert sizes(task) == (4, 2, 2)


def test_every_problem_at_once(folder: Path) -> None:
    with pytest.raises(UserInputError) as caught:
        load(folder, text=("text",), validation_split="dev")
    first, second = caught.value.problems
    assert "no column 'text' for text; the columns are 'sentence', 'other', 'stars', 'label'" in first
    assert "no such split for validation; there are train, validation, test, or none to carve" in second


def test_text_that_is_no_string_is_refused(folder: Path) -> None:
    with pytest.raises(UserInputError, match=r"text is int, not a string in rows 1, 2, 3, 4, 5, … \(40 in all\)"):
        load(folder, text=("stars",))


def test_an_unknown_config_lists_those_there_are(folder: Path) -> None:
    with pytest.raises(UserInputError, match=r"config nope: BuilderConfig 'nope' not found.*default"):
        load(folder, config="nope")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AdapterSweepError, match="cannot be loaded"):
        load(tmp_path / "none")


@pytest.mark.parametrize(
    "offline",
    [True, pytest.param(False, marks=pytest.mark.slow)],  # the hub client retries for half a minute
)
def test_an_unreachable_hub_says_what_to_do(tmp_path: Path, offline: bool) -> None:
    code = (
        "from adapter_sweep.engine.tasks import Layout, load_hub\n"
        "try:\n"
        "    load_hub('someone/something', revision='v1', layout=Layout('classification', ('text',), ('label',)))\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    env = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    env |= {
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HOME": str(tmp_path),
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        **({"HF_HUB_OFFLINE": "1"} if offline else {}),
    }
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("AdapterSweepError data set someone/something, revision v1: "), done
    assert "HF_HUB_OFFLINE" in done.stdout


def test_lists_of_class_indices_are_labels_and_tags(tmp_path: Path) -> None:
    names = datasets.ClassLabel(names=["z", "y", "x"])
    tags = datasets.ClassLabel(names=["O", "B-A", "I-A"])
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "labels": datasets.List(names),
            "words": datasets.List(datasets.Value("string")),
            "tags": datasets.List(tags),
        }
    )
    rows = [
        {"text": f"t {n}", "labels": [2, 0] if n % 2 else [], "words": ["t", str(n)], "tags": [1, 2]} for n in range(30)
    ]
    (tmp_path / "set").mkdir()
    datasets.Dataset.from_list(rows, features=features).to_parquet(tmp_path / "set" / "train.parquet")
    carved: dict[str, Any] = {"validation_split": None, "test_split": None}
    several = load_hub(str(tmp_path / "set"), Layout("multi_label", ("text",), ("labels",)), **carved)
    assert several.label_names == ("z", "y", "x")
    assert set(several.train.labels) == {(), (0, 2)}
    tagged = load_hub(str(tmp_path / "set"), Layout("tokens", ("words",), ("tags",)), **carved)
    assert tagged.label_names == ("A",)
    assert set(tagged.train.labels) == {((0, 1, "A"),)}


def test_numbers_that_are_all_minus_one_are_no_labels(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"sentence": f"n {n}", "score": float(n % 7)} for n in range(40)]
    home = folder.parent / "scores"
    home.mkdir()
    datasets.Dataset.from_list(rows).to_parquet(home / "train.parquet")
    hidden = [{"sentence": "h", "score": -1.0}] * 3
    datasets.Dataset.from_list(hidden).to_parquet(home / "test.parquet")
    task = load_hub(str(home), Layout("regression", ("sentence",), ("score",)), validation_split=None)
    assert sizes(task) == (32, 4, 4)
    assert "has no labels (all are -1); test is carved from train" in caplog.text


def named(home: Path, config: str, names: list[str], labels: list[int]) -> None:
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)})
    rows = {"text": [f"{config} {n}" for n in range(30)], "label": [labels[n % len(labels)] for n in range(30)]}
    (home / config).mkdir(parents=True)
    datasets.Dataset.from_dict(rows, features=features).to_parquet(home / config / "train.parquet")
    configs = sorted(each.name for each in home.iterdir() if each.is_dir())
    card = "".join(f"- config_name: {each}\n  data_files: {each}/train.parquet\n" for each in configs)
    (home / "README.md").write_text(f"---\nconfigs:\n{card}---\n")


def load_named(home: Path) -> TaskData:
    configs = sorted(each.name for each in home.iterdir() if each.is_dir())
    layout = Layout("classification", ("text",), ("label",))
    return load_hub(str(home), layout, config=configs, validation_split=None, test_split=None)


def test_class_names_are_cleaned_as_labels_are_and_joined_over_configs(tmp_path: Path) -> None:
    named(tmp_path / "set", "de", ["pos", "neg ", "1.0"], [0, 1, 2])
    named(tmp_path / "set", "fr", ["neg", "unsure"], [0, 1])
    assert load_named(tmp_path / "set").label_names == ("pos", "neg", "1", "unsure")


def test_class_names_that_cannot_be(tmp_path: Path) -> None:
    named(tmp_path / "a", "de", ["1", "1.0"], [0, 1])
    named(tmp_path / "b", "de", ["x", " "], [0, 1])
    for home, why in ((tmp_path / "a", "two are the same"), (tmp_path / "b", "one is empty")):
        with pytest.raises(UserInputError, match=f"split 'train': class names of column 'label': {why}"):
            load_named(home)


def test_an_index_without_a_name_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "set"
    home.mkdir()
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.List(datasets.ClassLabel(names=["x", "y"]))}
    )
    rows = [{"text": f"t{n}", "label": [n % 2]} for n in range(30)]
    table = datasets.Dataset.from_list([*rows, {"text": "u", "label": [-1]}], features=features)
    table.to_parquet(home / "train.parquet")
    layout = Layout("multi_label", ("text",), ("label",))
    with pytest.raises(UserInputError, match=r"none of its class names: '-1 \(an index without a name\)'"):
        load_hub(str(home), layout, validation_split=None, test_split=None)


@pytest.mark.parametrize("damage", ["empty", "half", "gone", "info"])
def test_a_damaged_copy_in_the_cache_is_made_again_with_a_word(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    whole = load(folder)
    (arrow,) = (tmp_path / "cache").rglob("*-train.arrow")
    if damage == "gone":
        arrow.unlink()
    elif damage == "info":
        (arrow.parent / "dataset_info.json").write_bytes(b"")
    else:
        arrow.write_bytes(arrow.read_bytes()[: 0 if damage == "empty" else arrow.stat().st_size // 2])
    assert load(folder).train == whole.train
    assert "its copy in the cache is damaged" in caplog.text


def test_what_others_say_of_damage_is_told_without_its_password(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = datasets.load_dataset

    def load_dataset(*arguments: Any, **options: Any) -> Any:
        if "cache_dir" not in options:
            raise OSError("half a file from https://ann:s3cret@host/x")
        return real(*arguments, **options)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    load(folder)
    assert "is damaged (half a file from https://***@host/x)" in caplog.text
