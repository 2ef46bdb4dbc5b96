"""The user's own folders of images as a task."""

from os import PathLike
from pathlib import Path

from adapter_sweep.engine.tasks.columns import Record, to_rows
from adapter_sweep.engine.tasks.data import TaskData
from adapter_sweep.engine.tasks.layout import Layout
from adapter_sweep.engine.tasks.pictures import SUFFIXES
from adapter_sweep.engine.tasks.rows import Row
from adapter_sweep.engine.tasks.splits import assemble
from adapter_sweep.errors import UserInputError

__all__ = ["load_images"]

_AnyPath = str | PathLike[str]
_LAYOUT = Layout("classification", ("the folder's file",), ("its folder",), images=True)
# Folders that hold a split, under the names that are usual for them.
_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing"),
}
_NO_DATA = ("thumbs.db", "desktop.ini")  # what file managers leave in folders of images; and all that is hidden


def load_images(
    path: _AnyPath,
    *,
    validation_path: _AnyPath | None = None,
    test_path: _AnyPath | None = None,
    split_seed: int = 0,
    max_train_examples: int | None = None,
    name: str = "images",
) -> TaskData:
    """A classification task from folders with a folder for each class, whose images lie in it at any depth.

    Where `path` has a folder `train`, it and its neighbours `validation` and `test` are such folders. Two images are
    the same where their files are; for splits that are not given, and for duplicates, see `load_local`.

    Raises:
        UserInputError: everything that is wrong with the folders and the images.
    """
    places = {"train": path, "validation": validation_path, "test": test_path}
    given = {part: Path(each).expanduser().absolute() for part, each in places.items() if each is not None}
    problems = [f"{where}: {_missing(where)}" for where in given.values() if not where.is_dir()]
    if problems:
        raise UserInputError(*problems)
    given |= _split_folders(given)
    splits: dict[str, list[Row]] = {}
    for part, where in given.items():
        try:
            records = _records(where)
        except UserInputError as error:
            problems += error.problems
            continue
        splits[part], wrong = to_rows(records, str(where), "file", _LAYOUT, folder=where)
        problems += wrong
    if problems:
        raise UserInputError(*dict.fromkeys(problems))
    return assemble(
        name,
        ", ".join(f"{part}: folder {given[part].name} ({len(rows)} images)" for part, rows in splits.items()),
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        split_seed=split_seed,
        max_train_examples=max_train_examples,
    )


def _missing(where: Path) -> str:
    return (
        "a file, not a folder; a table of images is task=local with task.image" if where.exists() else "no such folder"
    )


def _split_folders(given: dict[str, Path]) -> dict[str, Path]:
    """The folders of splits in the training folder; none where it has the classes' own.

    Raises:
        UserInputError: there is a folder beside them that is no split's, or a split is given twice.
    """
    root = given["train"]
    inside = {each.name: each for each in _listed(root) if each.is_dir()}
    found: dict[str, Path] = {}
    problems = []
    for part, names in _SPLITS.items():
        own = [inside.pop(name) for name in names if name in inside]
        if len(own) > 1:
            problems.append(f"{root}: {own[0].name} and {own[1].name} are both {part}; keep one")
        if own:
            found[part] = own[0]
    if "train" not in found or any(not each.is_dir() for each in _listed(found["train"])):
        return {}  # classes that happen to be called so
    if inside:
        problems.append(
            f"{root}: it has train, so its folders are splits, and {', '.join(sorted(inside)[:5])} is none; allowed: "
            + ", ".join(name for names in _SPLITS.values() for name in names)
        )
    problems += [
        f"{part}_path={given[part]}: {root} has a folder {found[part].name}; give one of them"
        for part in ("validation", "test")
        if part in given and part in found
    ]
    if problems:
        raise UserInputError(*problems)
    return found


def _records(root: Path) -> list[Record]:
    """The images of a folder, each with its class."""
    problems = []
    records = []
    for own in _listed(root):
        if not own.is_dir():
            if own.suffix.lower() in SUFFIXES:
                problems.append(f"{own}: an image that is in no class's folder")
            continue
        files = sorted(each for each in own.rglob("*") if each.is_file() and not _is_left_out(each, root))
        if not files:
            problems.append(f"{own}: the class has no images")
        records += [Record(str(file.relative_to(root)), (file,), (own.name,)) for file in files]
    if not records and not problems:
        problems.append(f"{root}: there are no images; expected a folder for each class with its images in it")
    if problems:
        more = len(problems) - 5
        raise UserInputError(*problems[:5], *([f"{root}: {more} more problems like these"] if more > 0 else []))
    return records


def _listed(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if not _is_left_out(each, folder))


def _is_left_out(file: Path, root: Path) -> bool:
    parts = file.relative_to(root).parts
    return any(part.startswith(".") for part in parts) or file.name.lower() in _NO_DATA
