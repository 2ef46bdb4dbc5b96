"""The hub's data sets that ship as tasks, each read from a small folder laid out like it.

The columns and their types are those of the repository at the pinned revision; only the rows are made here.
"""

import io
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import pytest
import yaml
from datasets import ClassLabel, List, Value
from PIL import Image

from adapter_sweep.config.compose import compose
from adapter_sweep.config.tasks import HubTask
from adapter_sweep.data import load_task
from adapter_sweep.scores import TaskType

TEXT = Value("string")
NER = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC"]
ANSWERS = {"text": List(TEXT), "answer_start": List(Value("int32"))}

Make = Callable[[str, int], dict[str, Any]]


class Like(NamedTuple):
    """How a data set is laid out.

    Attributes:
        columns: with their types; None where the files are JSON lines, which have none.
        row: of a split's name and a number.
        splits: all it has.
        configs: those that the task reads.
    """

    kind: TaskType
    columns: dict[str, Any] | None
    row: Make
    labels: tuple[str, ...]
    splits: tuple[str, ...] = ("train", "validation", "test")
    configs: tuple[str, ...] = ("default",)


def _pair(first: str, second: str | None, label: Callable[[int], Any]) -> Make:
    """A row of GLUE and the like; where test labels are not public, they are -1."""

    def make(split: str, n: int) -> dict[str, Any]:
        texts = {first: f"{split} {n}"} | ({second: "second"} if second else {})
        return texts | {"label": -1 if split.startswith("test") else label(n), "idx": n}

    return make


def _glue(config: str, first: str, second: str | None, labels: Sequence[str], *splits: str) -> Like:
    texts = dict.fromkeys(filter(None, (first, second)), TEXT)
    columns = {**texts, "label": ClassLabel(names=list(labels)) if labels else Value("float32"), "idx": Value("int32")}
    make = _pair(first, second, (lambda n: n % len(labels)) if labels else lambda n: n % 6 / 2)
    kind: TaskType = "classification" if labels else "regression"
    return Like(kind, columns, make, tuple(labels), splits or ("train", "validation", "test"), (config,))


def _labelled(*texts: str) -> Make:
    return lambda split, n: dict.fromkeys(texts, f"{split} {n}") | {"label": n % 2}


def _squad(split: str, n: int) -> dict[str, Any]:
    found = {"text": [str(n)], "answer_start": [len(split) + 1]}
    return {"id": f"{split}{n}", "title": "t", "context": f"{split} {n}", "question": "q", "answers": found}


def _unanswered(split: str, n: int) -> dict[str, Any]:
    return _squad(split, n) | ({"answers": {"text": [], "answer_start": []}} if n % 2 else {})


def _ner(split: str, n: int) -> dict[str, Any]:
    tags = [0, n % 4 * 2 + 1, n % 4 * 2 + 2]
    return {"id": str(n), "tokens": [split, str(n), "x"], "pos_tags": tags, "chunk_tags": tags, "ner_tags": tags}


def _intent(split: str, n: int) -> dict[str, Any]:
    return {
        "id": str(n),
        "label": f"intent_{n % 3}",
        "label_text": f"intent_{n % 3}",
        "text": f"{split} {n}",
        "lang": "x",
    }


def _bank(split: str, n: int) -> dict[str, Any]:
    return {"text": f"{split} {n}", "label": n % 3, "label_text": f"intent {n % 3}"}


def _photo(image: str) -> Make:
    def make(split: str, n: int) -> dict[str, Any]:
        stream = io.BytesIO()
        Image.new("RGB", (4, 4), (n, len(split), split.count("t"))).save(stream, "PNG")
        return {image: {"bytes": stream.getvalue(), "path": None}, "label": n % 3}

    return make


ENTAILED = ("entailment", "not_entailment")
NLI = ("entailment", "neutral", "contradiction")
SAME = ("not_duplicate", "duplicate")
MNLI = ("train", "validation_matched", "validation_mismatched", "test_matched", "test_mismatched")
QA = {"id": TEXT, "title": TEXT, "context": TEXT, "question": TEXT, "answers": ANSWERS}
TAGGED = {
    "id": TEXT,
    "tokens": List(TEXT),
    "pos_tags": List(ClassLabel(names=[f"P{n}" for n in range(47)])),
    "chunk_tags": List(ClassLabel(names=[f"C{n}" for n in range(23)])),
    "ner_tags": List(ClassLabel(names=NER)),
}
PAWS = {"id": Value("int32"), "sentence1": TEXT, "sentence2": TEXT, "label": ClassLabel(names=["0", "1"])}
XNLI = {"premise": TEXT, "hypothesis": TEXT, "label": ClassLabel(names=list(NLI))}
THREE = ("de", "en", "fr")

PRESETS = {
    "cola": _glue("cola", "sentence", None, ("unacceptable", "acceptable")),
    "sst2": _glue("sst2", "sentence", None, ("negative", "positive")),
    "mrpc": _glue("mrpc", "sentence1", "sentence2", ("not_equivalent", "equivalent"))._replace(
        row=lambda split, n: {"idx": n, **_labelled("sentence1", "sentence2")(split, n)}  # its test labels are public
    ),
    "stsb": _glue("stsb", "sentence1", "sentence2", ()),
    "qqp": _glue("qqp", "question1", "question2", SAME),
    "mnli": _glue("mnli", "premise", "hypothesis", NLI, *MNLI),
    "qnli": _glue("qnli", "question", "sentence", ENTAILED),
    "rte": _glue("rte", "sentence1", "sentence2", ENTAILED),
    "xnli": Like("classification", XNLI, _labelled("premise", "hypothesis"), NLI, configs=THREE),
    "paws_x": Like(
        "classification",
        PAWS,
        lambda split, n: {"id": n, **_labelled("sentence1", "sentence2")(split, n)},
        ("0", "1"),
        configs=THREE,
    ),
    "massive": Like("classification", None, _intent, ("intent_0", "intent_1", "intent_2"), configs=THREE),
    "banking77": Like("classification", None, _bank, ("intent 0", "intent 1", "intent 2"), ("train", "test")),
    "squad": Like("spans", QA, _squad, (), ("train", "validation"), ("plain_text",)),
    "squad_v2": Like("spans", QA, _unanswered, (), ("train", "validation"), ("squad_v2",)),
    "cifar10": Like(
        "classification",
        {"img": datasets.Image(), "label": ClassLabel(names=["airplane", "automobile", "bird"])},
        _photo("img"),
        ("airplane", "automobile", "bird"),
        ("train", "test"),
        ("plain_text",),
    ),
    "food101": Like(
        "classification",
        {"image": datasets.Image(), "label": ClassLabel(names=["apple_pie", "baklava", "waffles"])},
        _photo("image"),
        ("apple_pie", "baklava", "waffles"),
        ("train", "validation"),
    ),
    "conll2003": Like("tokens", TAGGED, _ner, ("LOC", "MISC", "ORG", "PER")),
}
CONF = Path(__file__).parents[3] / "conf" / "task"


def laid_out(folder: Path, like: Like) -> Path:
    """A folder as the data set's repository: a file for each configuration and split, named in the card's header."""
    card = []
    for config in like.configs:
        files = []
        for split in like.splits:
            rows = [like.row(f"{config} {split}" if len(like.configs) > 1 else split, n) for n in range(60)]
            file = folder / config / f"{split}.{'jsonl' if like.columns is None else 'parquet'}"
            file.parent.mkdir(parents=True, exist_ok=True)
            if like.columns is None:
                file.write_text("".join(json.dumps(row) + "\n" for row in rows))
            else:
                datasets.Dataset.from_list(rows, features=datasets.Features(like.columns)).to_parquet(file)
            files.append({"split": split, "path": str(file.relative_to(folder))})
        card.append({"config_name": config, "data_files": files})
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': card})}---\n")
    return folder


def test_every_data_set_that_ships_is_here_and_pinned() -> None:
    shipped = {file.stem: yaml.safe_load(file.read_text()) for file in CONF.glob("*.yaml")}
    pinned = {name: values["revision"] for name, values in shipped.items() if "defaults" in values}
    assert pinned.keys() == PRESETS.keys()
    assert all(re.fullmatch("[0-9a-f]{40}", revision) for revision in pinned.values())


@pytest.mark.parametrize("preset", PRESETS)
def test_a_data_set_is_read_as_its_task_says(preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    like = PRESETS[preset]
    config = compose([f"task={preset}"]).config
    assert isinstance(config.task, HubTask)
    named = config.task.config
    assert named is None or like.configs == ((named,) if isinstance(named, str) else tuple(named))

    folder = laid_out(tmp_path / preset, like)
    data = load_task(compose([f"task={preset}", f"task.name={folder}"]).config)
    assert (data.type, data.label_names) == (like.kind, like.labels)
    assert (data.train.text_pairs is not None) == (like.kind == "spans" or len(config.task.text_columns) == 2)
    languages = None if len(like.configs) == 1 else set(like.configs)
    for split in (data.train, data.validation, data.test):
        assert (set(split.languages) if split.languages is not None else None) == languages
    # A split that is given is all there; one that is not comes out of the training rows.
    rows = 60 * len(like.configs)
    carved = [config.task.validation_split, config.task.test_split].count(None)
    assert len(data.train) == rows - carved * (rows // 10)
    assert len(data.validation) == (rows if config.task.validation_split else rows // 10)
    assert len(data.test) == (rows if config.task.test_split else rows // 10)
