"""Images as a task: folders of classes, columns of paths or bytes, the hub's; and what is wrong with them."""

import io
import json
import logging
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from adapter_sweep.config.compose import compose
from adapter_sweep.data import load_task
from adapter_sweep.engine.tasks import Layout, TaskData, load_hub, load_images, load_local
from adapter_sweep.engine.tasks.hub import _image_bytes
from adapter_sweep.engine.tasks.labels import BadValueError
from adapter_sweep.engine.tasks.pictures import picture_of
from adapter_sweep.errors import UserInputError
from digit_images import SIDE, save_digits, save_table

TABLE = Layout("classification", ("file",), ("label",), images=True)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 images, of three classes."""
    return save_digits(tmp_path_factory.mktemp("digits"), 60, classes=3)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def sizes(data: TaskData) -> tuple[int, int, int]:
    return len(data.train), len(data.validation), len(data.test)


def problems(call: Any, *args: Any, **options: Any) -> str:
    with pytest.raises(UserInputError) as caught:
        call(*args, **options)
    return "\n".join(caught.value.problems)


# -- where they come from


def test_a_folder_a_class(digits: Path) -> None:
    data = load_images(digits)
    assert (data.type, data.modality) == ("classification", "image")
    assert data.label_names == ("digit 0", "digit 1", "digit 2")
    assert sizes(data) == (48, 6, 6)
    assert data.train.images is not None
    assert [image.digest for image in data.train.images] == list(data.train.texts)
    first = data.train.images[0].decoded(3)
    assert (first.size, first.mode) == ((SIDE, SIDE), "RGB")
    assert str(digits.parent) not in data.source


def test_the_same_images_in_a_table_are_the_same_task(digits: Path, tmp_path: Path) -> None:
    table = save_table(digits, lambda _, file: file.parent.name)
    of_folder, of_table = load_images(digits), load_local(table, TABLE)
    table.unlink()
    assert of_table.fingerprint == of_folder.fingerprint

    files = sorted(digits.rglob("*.png"))
    lines = tmp_path / "digits.jsonl"
    lines.write_text("".join(json.dumps({"file": str(f), "label": f.parent.name}) + "\n" for f in files))
    held = {"file": [file.read_bytes() for file in files], "label": [file.parent.name for file in files]}
    parquet.write_table(pyarrow.table(held), tmp_path / "digits.parquet")
    for name in ("digits.jsonl", "digits.parquet"):
        assert load_local(tmp_path / name, TABLE).fingerprint == of_folder.fingerprint


def test_folders_of_splits(digits: Path, tmp_path: Path) -> None:
    files = sorted(digits.rglob("*.png"))
    for row, file in enumerate(files):
        split = {0: "val", 1: "test"}.get(row % 6, "train")
        own = tmp_path / split / file.parent.name / "deeper" / file.name
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_bytes(file.read_bytes())
    (tmp_path / ".DS_Store").write_bytes(b"no image")
    data = load_images(tmp_path)
    assert sizes(data) == (40, 10, 10)
    assert load_images(tmp_path / "train", validation_path=tmp_path / "val", test_path=tmp_path / "test") == data
    (tmp_path / "more").mkdir()
    assert "more is none; allowed: train, training" in problems(load_images, tmp_path)
    (tmp_path / "more").rmdir()
    assert "give one of them" in problems(load_images, tmp_path, test_path=tmp_path / "test")


def test_the_hub_s_images(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])})
    rows = [
        {"img": {"bytes": f.read_bytes(), "path": None}, "label": int(f.parent.name[-1])} for f in digits.rglob("*.png")
    ]
    (tmp_path / "set").mkdir()
    datasets.Dataset.from_list(rows, features=features).to_parquet(tmp_path / "set" / "train.parquet")
    layout = Layout("classification", ("img",), ("label",), images=True)
    data = load_hub(str(tmp_path / "set"), layout, validation_split=None, test_split=None)
    assert data.label_names == ("a", "b", "c")
    assert sizes(data) == (48, 6, 6)
    assert data.train.inputs() < {(image, None) for image in _all(load_images(digits))}


def _all(data: TaskData) -> list[str]:
    return [digest for split in (data.train, data.validation, data.test) for digest in split.texts]


def test_numbers_and_several_labels(digits: Path) -> None:
    table = save_table(digits, lambda row, _: str(row / 7), "numbers.csv")
    assert load_local(table, Layout("regression", ("file",), ("label",), images=True)).outputs == 1
    table.unlink()
    table = save_table(digits, lambda row, _: ("", "odd", "odd|third", "third")[row % 4], "labels.csv")
    data = load_local(table, Layout("multi_label", ("file",), ("label",), images=True))
    table.unlink()
    assert data.label_names == ("odd", "third")


def test_an_image_that_is_there_twice_is_in_one_split(digits: Path, tmp_path: Path, caplog: Any) -> None:
    files = sorted(digits.rglob("*.png"))
    for copy in ("", " again"):
        for file in files:
            own = tmp_path / file.parent.name / f"{file.stem}{copy}.png"
            own.parent.mkdir(parents=True, exist_ok=True)
            own.write_bytes(file.read_bytes())
    with caplog.at_level(logging.WARNING):
        assert sum(sizes(load_images(tmp_path))) == 60
    assert "removed 60 duplicates" in caplog.text


# -- what is wrong


def test_every_bad_image_is_named(digits: Path) -> None:
    table = save_table(digits, lambda _, file: file.parent.name)
    whole = sorted(digits.rglob("*.png"))[0].read_bytes()
    large = encoded(Image.effect_noise((64, 64), 90))
    bad = {
        "gone.png": None,
        "text.png": b"this is text",
        "short.png": large[: len(large) // 2],
        "deep.png": encoded(Image.new("I;16", (8, 8))),
        "empty.png": b"",
    }
    for name, content in bad.items():
        if content is not None:
            (digits / name).write_bytes(content)
    extra = [*(f"{name},digit 0" for name in bad), ",digit 0", "http://x.org/a.png,digit 0", f"{digits},digit 0"]
    table.write_text(table.read_text() + "\n".join(extra) + "\n")
    found = problems(load_local, table, TABLE)
    for name in bad:
        (digits / name).unlink(missing_ok=True)
    table.unlink()
    assert whole
    assert "image cannot be read (No such file or directory) in line 62; the first: 'gone.png'" in found
    assert "not an image of a known format (PNG, JPEG, WEBP, GIF, BMP, TIFF, PPM) in lines 63, 66" in found
    assert "image is broken or cut short in line 64" in found
    assert "image has more than 8 bits a channel (mode I;16)" in found
    assert "image missing in line 67" in found
    assert "image is an address, not a file's path; download it first in line 68" in found
    assert "image cannot be read (Is a directory) in line 69" in found


def test_too_large_an_image_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Image.new("L", (40, 40)))
    for limit in (1000, 100):  # Pillow warns of the one and refuses the other
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(BadValueError, match=f"image has over {limit:,} pixels"):
            picture_of(data)


def test_an_animation_that_claims_a_large_canvas_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [Image.new("RGBA", (16, 16), color) for color in ("red", "green", "blue")]
    stream = io.BytesIO()
    frames[0].save(stream, "WEBP", save_all=True, append_images=frames[1:])
    small = stream.getvalue()
    assert picture_of(small).note.startswith("have several frames")
    monkeypatch.setattr("PIL.WebPImagePlugin.WebPImageFile.load", lambda _: pytest.fail("it was decoded"))
    assert small[12:16] == b"VP8X"
    for width, height, said in ((5000, 5000, "is an animation of over 16,000,000"), (20_000, 16, "claims 20000 x 16")):
        canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        with pytest.raises(BadValueError, match=said):
            picture_of(small[:24] + canvas + small[30:])


def test_what_a_folder_may_not_be(digits: Path, tmp_path: Path) -> None:
    assert "no such folder" in problems(load_images, tmp_path / "gone")
    assert "a table of images is task=local with task.image" in problems(load_images, next(digits.rglob("*.png")))
    assert "there are no images" in problems(load_images, tmp_path)
    (tmp_path / "cat").mkdir()
    assert f"{tmp_path / 'cat'}: the class has no images" in problems(load_images, tmp_path)
    (tmp_path / "cat" / "notes.txt").write_text("x")
    (tmp_path / "stray.png").write_bytes(b"")
    assert "stray.png: an image that is in no class's folder" in problems(load_images, tmp_path)
    (tmp_path / "stray.png").unlink()
    assert "not an image of a known format" in problems(load_images, tmp_path)


def test_one_class_is_no_task(tmp_path: Path) -> None:
    assert "at least two classes" in problems(load_images, save_digits(tmp_path, 40, classes=1))


def test_an_image_that_changes_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(encoded(Image.new("L", (8, 8))))
    picture = picture_of("a.png", tmp_path)
    file.write_bytes(encoded(Image.new("L", (9, 8))))
    with pytest.raises(UserInputError, match="changed after the data were loaded"):
        picture.decoded(3)

    file.unlink()
    with pytest.raises(UserInputError, match=r"can no longer be read: .*No such file"):
        picture.decoded(3)


def _damaged(whole: bytes) -> Iterator[bytes]:
    for place in range(len(whole)):
        yield whole[:place]
        for wrong in (0, 255):
            yield whole[:place] + bytes([wrong]) + whole[place + 1 :]


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "PNG"])
def test_damage_anywhere_in_a_file_is_told_in_words(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [Image.new("L", (2, 2), 99)]
    refused = 0
    for data in _damaged(encoded(Image.new("L", (2, 2), 7), kind, exif=exif, save_all=True, append_images=frames)):
        try:
            picture_of(data).decoded(3)
        except (BadValueError, UserInputError):
            refused += 1
    assert refused > 80


def test_devices_and_pipes_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    held = datasets.Dataset.from_dict({"img": [{"bytes": None, "path": str(tmp_path / "pipe.png")}]})
    for value in (tmp_path / "pipe.png", "/dev/zero", partial(_image_bytes, held, "img", 0)):
        with pytest.raises(BadValueError, match=r"cannot be read \(a device or a pipe, not a file\)"):
            picture_of(value)


# -- what they show


def test_every_kind_of_image_becomes_red_green_and_blue() -> None:
    grey = picture_of(encoded(Image.new("L", (2, 2), 100)))
    assert (grey.decoded(3).getpixel((0, 0)), grey.note) == ((100, 100, 100), "")
    assert picture_of(encoded(Image.new("1", (2, 2), 1))).decoded(3).getpixel((0, 0)) == (255, 255, 255)
    assert picture_of(encoded(Image.new("RGB", (2, 2), (10, 20, 30)))).decoded(1).mode == "L"
    glass = picture_of(encoded(Image.new("RGBA", (2, 2), (10, 20, 30, 0))))
    assert (glass.decoded(3).getpixel((0, 0)), "laid on white" in glass.note) == ((255, 255, 255), True)
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([0, 0, 0, 9, 8, 7])
    assert picture_of(encoded(palette)).decoded(3).getpixel((0, 0)) == (9, 8, 7)
    printed = picture_of(encoded(Image.new("CMYK", (8, 8)), "JPEG"))
    assert (printed.decoded(3).getpixel((0, 0)), "CMYK" in printed.note) == ((255, 255, 255), True)
    frames = encoded(Image.new("L", (2, 2), 7), "GIF", save_all=True, append_images=[Image.new("L", (2, 2), 99)])
    several = picture_of(frames)
    assert (several.decoded(1).getpixel((0, 0)), "the first is read" in several.note) == (7, True)


def test_a_photograph_stands_upright() -> None:
    image = Image.new("RGB", (4, 2))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    assert picture_of(encoded(image, "JPEG", exif=exif)).decoded(3).size == (2, 4)


def test_notes_are_told_with_their_counts(tmp_path: Path, caplog: Any) -> None:
    for name, colour in (("a", 1), ("b", 200)):
        (tmp_path / name).mkdir()
        for row in range(5):
            image = Image.new("RGBA", (8, 8), (colour, row, 0, 9))
            (tmp_path / name / f"{row}.png").write_bytes(encoded(image))
    with caplog.at_level(logging.WARNING):
        load_images(tmp_path)
    assert "10 images are transparent in parts, which are laid on white" in caplog.text


# -- configured


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (("task=local", "task.image=f", "task.type=tokens"), "tokens is of texts; allowed with images: task.type="),
        (("task=local", "task.image=f", "task.text=t"), "task.image names a column of images; give one of them"),
        (("task=local", "task.image=f", "task.label=f"), "is an image column already"),
        (("task=images", "task.metric=spearman"), "for classification"),
    ],
)
def test_settings_that_contradict(overrides: tuple[str, ...], problem: str) -> None:
    usual = (
        ("task.path=x",)
        if "task.label=f" in overrides or "task=images" in overrides
        else ("task.path=x", "task.label=y")
    )
    assert problem in problems(compose, [*overrides, *usual])


def test_a_task_as_a_user_names_it(digits: Path) -> None:
    data = load_task(compose(["task=images", f"task.path={digits}"]).config)
    assert (data.name, data.modality) == ("images", "image")
    table = save_table(digits, lambda _, file: file.parent.name)
    data = load_task(compose(["task=local", f"task.path={table}", "task.image=file", "task.label=label"]).config)
    table.unlink()
    assert (data.name, data.modality, sizes(data)) == ("local", "image", (48, 6, 6))
