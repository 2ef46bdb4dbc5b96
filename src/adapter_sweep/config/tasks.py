"""What may be configured of a task: which data, what is predicted, and by which metric it is scored."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from adapter_sweep.config.section import NAME, Int, PathText, Section, no_control_characters
from adapter_sweep.scores import IMAGE_TYPES, TASK_METRICS, Modality, TaskType

__all__ = ["BuiltinTask", "HubTask", "ImagesTask", "LocalTask", "Paths", "TaskConfig"]

_NAMELESS = ("tokens", "spans")  # types whose data have usual columns

Paths = str | list[str] | dict[str, str | list[str]]
"""A file; text files side by side; or one of these for each language."""


def _read_columns(value: object) -> object:
    """A column, or a list; one without a name goes by its number, which a shell gives as a number."""
    columns = [
        str(each) if isinstance(each, int) and not isinstance(each, bool) else each
        for each in (value if isinstance(value, list) else [value])
    ]
    if value is not None and not (columns and all(isinstance(each, str) and each for each in columns)):
        raise ValueError("must be a column, or a list of columns")
    return columns if isinstance(value, list) else columns[0]


def _read_paths(value: object) -> object:
    by_language = list(value.values()) if isinstance(value, dict) and all(isinstance(key, str) for key in value) else []
    given = by_language or ([] if isinstance(value, dict) else [value])
    files = [file for each in given for file in (each if isinstance(each, list) else [each])]
    if value is not None and not (files and all(isinstance(file, str) and file for file in files)):
        raise ValueError(
            "must be a file, a list of text files that belong side by side, or either by language: {de: …}"
        )
    for file in files:
        no_control_characters(file)
    return value


_Columns = Annotated[str | list[str] | None, BeforeValidator(_read_columns)]
_Paths = Annotated[Paths, BeforeValidator(_read_paths)]


def _read_metric(value: object, info: ValidationInfo) -> object:
    """A metric of the type, the first one for null; of a type that is wrong, and told of, any."""
    known = "type" in info.data or info.data.get("kind") in ("builtin", "images")
    kind: TaskType = info.data.get("type", "classification")
    allowed = TASK_METRICS[kind]
    if value is None:
        return allowed[0]
    if known and value not in allowed:
        *others, last = (repr(metric) for metric in allowed)
        expected = f"{', '.join(others)} or {last}" if others else last
        raise PydanticCustomError("literal_error", "not a metric of the type", {"expected": f"{expected} for {kind}"})
    return value


_Metric = Annotated[str, BeforeValidator(_read_metric)]


class _Task(Section):
    kind: str
    name: str
    split_seed: Int = Field(0, ge=0)
    max_train_examples: Int | None = Field(None, ge=10)

    @property
    def modality(self) -> Modality:
        """What the examples are."""
        return "text"


class BuiltinTask(_Task):
    """One of the six labelled text sets that come with the product: classification, all of them."""

    kind: Literal["builtin"]
    name: Literal["movies", "amazon", "tweets", "editorials", "sms_spam", "questions"]
    metric: _Metric = Field(None, validate_default=True)


class _TableTask(_Task):
    type: TaskType = "classification"
    metric: _Metric = Field(None, validate_default=True)
    image: str | None = Field(None, min_length=1)
    text: _Columns = Field(None, validate_default=True)
    label: _Columns = Field(None, validate_default=True)
    language: str | None = Field(None, min_length=1)
    separator: str = Field("|", min_length=1)

    @property
    def modality(self) -> Modality:
        """Images where there is a column of them."""
        return "text" if self.image is None else "image"

    @field_validator("image")
    @classmethod
    def _of_images(cls, value: str | None, info: ValidationInfo) -> str | None:
        kind = info.data.get("type")
        if value is not None and kind is not None and kind not in IMAGE_TYPES:
            raise ValueError(f"{kind} is of texts; allowed with images: task.type={', '.join(IMAGE_TYPES)}")
        return value

    @field_validator("text")
    @classmethod
    def _texts(cls, value: str | list[str] | None, info: ValidationInfo) -> str | list[str] | None:
        kind = info.data.get("type")
        if info.data.get("image") is not None:
            if value is not None:
                raise ValueError("task.image names a column of images; give one of them")
            return value
        if value is None and kind is not None and kind not in _NAMELESS:
            raise PydanticCustomError("missing", "missing")
        count = len(value) if isinstance(value, list) else 1
        if value is not None and kind == "spans" and count != 2:
            raise ValueError("must be a list of two columns: question and context")
        if value is not None and kind == "tokens" and count != 1:
            raise ValueError("must be one column, the words")
        if count > 2:
            raise ValueError("must be one column, or a list of one or two")
        return value

    @field_validator("label")
    @classmethod
    def _labels(cls, value: str | list[str] | None, info: ValidationInfo) -> str | list[str] | None:
        kind = info.data.get("type")
        if value is None and kind is not None and kind not in _NAMELESS:
            raise PydanticCustomError("missing", "missing")
        labels = _listed(value)
        if len(labels) > 1 and kind is not None and kind != "multi_label":
            raise ValueError("must be one column; only task.type=multi_label may have several")
        for what, columns in (("text", info.data.get("text")), ("image", info.data.get("image"))):
            if set(labels) & set(_listed(columns)):
                raise ValueError(f"is {'an' if what == 'image' else 'a'} {what} column already")
        return value

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The text column, or both columns of a pair, or the column of images; none for the type's usual ones."""
        return _listed(self.text if self.image is None else self.image)

    @property
    def label_columns(self) -> tuple[str, ...]:
        """The label column, or those of several labels; none for the type's usual one."""
        return _listed(self.label)


class LocalTask(_TableTask):
    """The user's own file: CSV, TSV, JSON lines, Parquet, plain lines, CoNLL or SQuAD's JSON."""

    kind: Literal["local"]
    name: str = Field("local", pattern=NAME)
    path: _Paths
    validation_path: _Paths | None = None
    test_path: _Paths | None = None
    delimiter: str | None = Field(None, min_length=1, max_length=1)
    header: bool = True

    @field_validator("path")
    @classmethod
    def _one_source_of_languages(cls, value: Paths, info: ValidationInfo) -> Paths:
        if isinstance(value, dict) and info.data.get("language") is not None:
            raise ValueError("names the languages, and so does task.language; give one of them")
        return value

    @field_validator("validation_path", "test_path")
    @classmethod
    def _languages_alike(cls, value: Paths | None, info: ValidationInfo) -> Paths | None:
        if value is not None and "path" in info.data and isinstance(value, dict) != isinstance(info.data["path"], dict):
            raise ValueError("give files by language in all of task.path, validation_path and test_path, or in none")
        return value


class ImagesTask(_Task):
    """The user's own images: a folder with a folder for each class, or with `train`, `validation` and `test` so."""

    kind: Literal["images"]
    name: str = Field("images", pattern=NAME)
    metric: _Metric = Field(None, validate_default=True)
    path: PathText
    validation_path: PathText | None = None
    test_path: PathText | None = None

    @property
    def modality(self) -> Modality:
        """Images."""
        return "image"


class HubTask(_TableTask):
    """A data set of the hub."""

    kind: Literal["hub"]
    name: PathText
    config: str | list[str] | None = Field(None, min_length=1)
    revision: PathText
    train_split: str = "train"
    validation_split: str | None = "validation"
    test_split: str | None = "test"

    @field_validator("config")
    @classmethod
    def _own_languages(cls, value: str | list[str] | None, info: ValidationInfo) -> str | list[str] | None:
        if isinstance(value, list) and info.data.get("language") is not None:
            raise ValueError("a list names the languages, and so does task.language; give one of them")
        return value


TaskConfig = Annotated[BuiltinTask | LocalTask | ImagesTask | HubTask, Field(discriminator="kind")]


def _listed(columns: str | list[str] | None) -> tuple[str, ...]:
    return () if columns is None else (columns,) if isinstance(columns, str) else tuple(columns)
