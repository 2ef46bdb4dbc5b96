"""One image: what it is known by, where its bytes are, and what they show.

Pillow is imported on use only: tasks on texts run where it is not installed.
"""

from __future__ import annotations

import errno
import hashlib
import io
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from adapter_sweep.engine.tasks.labels import BadValueError
from adapter_sweep.errors import UserInputError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["SUFFIXES", "Picture", "file_bytes", "picture_of"]

# No other format is opened: some of those Pillow knows run programs (EPS), and none of them is a photograph's.
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
_DEEP = ("I", "F")  # and all that begin with I;16
_CHANNELS = {1: "L", 3: "RGB"}
# Of an animation all of the canvas is made for each frame, however little the file holds of it.
_MOVING = ("WEBP", "GIF")
_MOVING_PIXELS = 16_000_000
_WEBP_SIDE = 16_383  # of a frame; a header can claim a thousand times that


@dataclass(frozen=True)
class Picture:
    """An image that can be decoded.

    Attributes:
        digest: sha256 over its file's bytes; two images are the same where it is.
        read: gives the bytes.
        note: how what it shows differs from what is read of it, in a few words; empty where it does not.
    """

    digest: str
    read: Callable[[], bytes] = field(compare=False, repr=False)
    note: str = field(default="", compare=False)

    def decoded(self, channels: int) -> Image:
        """The image upright, with 8 bits in each of its channels: 1 (grey) or 3 (red, green, blue).

        Grey has the same value in all three. What is transparent lies on white. Of several frames it is the first.

        Raises:
            UserInputError: it is no longer what it was when the data were loaded, or cannot be decoded.
            KeyError: another number of channels.
        """
        try:
            data = self.read()
        except OSError as error:
            raise UserInputError(f"an image can no longer be read: {error}") from error
        if hashlib.sha256(data).hexdigest() != self.digest:
            raise UserInputError(f"an image changed after the data were loaded (its sha256 was {self.digest[:12]}…)")
        mode = _CHANNELS[channels]
        try:
            return _converted(_opened(data), mode)
        except Exception as error:  # what a decoder meets in broken bytes it may answer with nearly any error
            name = type(error).__name__
            raise UserInputError(f"an image (sha256 {self.digest[:12]}…) cannot be decoded: {name}: {error}") from error


def picture_of(value: object, folder: Path | None = None) -> Picture:
    """The image that a table's value stands for, decoded once to see that it can be.

    Args:
        value: a path, the bytes of a file, `{bytes, path}` as `datasets` has them, or what gives the bytes.
        folder: what a relative path is relative to.

    Raises:
        BadValueError: it is missing, is no image of a known format, is broken, far too large, or has more than 8 bits a
            channel.
    """
    read = _reader(value, folder)
    try:
        data = read()
    except OSError as error:
        raise BadValueError(f"image cannot be read ({error.strerror or error})", _shown(value)) from error
    try:
        note = _checked(data)
    except BadValueError as error:
        raise BadValueError(error.what, error.shown or _shown(value)) from error
    return Picture(hashlib.sha256(data).hexdigest(), read, note)


def file_bytes(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        OSError: there is none, or it is a device or a pipe, which may have no end.
    """
    if not (path.is_file() or path.is_dir()) and path.exists():
        raise OSError(errno.EINVAL, "a device or a pipe, not a file", str(path))
    return path.read_bytes()


def _reader(value: object, folder: Path | None) -> Callable[[], bytes]:
    if isinstance(value, Mapping) and {"bytes", "path"} <= value.keys():
        value = value["bytes"] if value["bytes"] is not None else value["path"]
    if value is None or value in ("", b""):
        raise BadValueError("image missing")
    if isinstance(value, bytes):
        return partial(bytes, value)
    if isinstance(value, str) and "://" in value:
        raise BadValueError("image is an address, not a file's path; download it first", repr(value))
    if isinstance(value, str | Path):
        path = Path(value).expanduser()
        return partial(file_bytes, path if folder is None else folder / path)
    if callable(value):
        read: Callable[[], bytes] = value
        return read
    raise BadValueError(f"image is {type(value).__name__}, not a file's path or its bytes")


def _shown(value: object) -> str:
    return repr(str(value)) if isinstance(value, str | Path) else ""


def _opened(data: bytes) -> Image:
    """The image, not yet decoded.

    Raises:
        BadValueError: it is none, or so large that it may be an attack.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, which nobody asks for
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(data), formats=_FORMATS)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise BadValueError(f"image has over {Image.MAX_IMAGE_PIXELS:,} pixels; make it smaller") from error
    except UnidentifiedImageError as error:
        raise BadValueError(f"not an image of a known format ({', '.join(_FORMATS)})") from error
    except Exception as error:  # a broken header can break a decoder in nearly any way
        raise BadValueError(f"image is broken ({type(error).__name__})", str(error)) from error


def _checked(data: bytes) -> str:
    """What `Picture.note` says of an image, decoded whole to see that it is all there."""
    image = _opened(data)
    if image.mode in _DEEP or image.mode.startswith("I;16"):
        raise BadValueError(
            f"image has more than 8 bits a channel (mode {image.mode}), and which of its values are black and white is "
            "not known; save it with 8 bits"
        )
    transparent, printed = _is_transparent(image), image.mode == "CMYK"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frames = getattr(image, "n_frames", 1)  # counted by going through the file
            _check_canvas(image, frames)
            image.draft("RGB", (1, 1))  # of a JPEG all is read, and little of it computed
            image.load()
            image.getexif()  # says how it stands
    except BadValueError:
        raise
    except Exception as error:  # and here too
        raise BadValueError("image is broken or cut short", str(error)) from error
    if transparent:
        return "are transparent in parts, which are laid on white"
    if printed:
        return "are CMYK, converted to RGB without a colour profile"
    return "have several frames, of which the first is read" if frames > 1 else ""


def _check_canvas(image: Image, frames: int) -> None:
    """See that a few bytes do not ask for seconds of work: of an animation."""
    if image.format == "WEBP" and max(image.size) > _WEBP_SIDE:
        raise BadValueError(f"image claims {image.width} x {image.height} pixels, and a WEBP has at most {_WEBP_SIDE}")
    if image.format in _MOVING and frames > 1 and image.width * image.height > _MOVING_PIXELS:
        raise BadValueError(f"image is an animation of over {_MOVING_PIXELS:,} pixels; save its first frame alone")


def _is_transparent(image: Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info


def _converted(image: Image, mode: str) -> Image:
    from PIL import Image, ImageOps

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        upright = ImageOps.exif_transpose(image)
        if _is_transparent(upright):
            whole = upright.convert("RGBA")
            ground = Image.new("RGBA", whole.size, "white")
            upright = Image.alpha_composite(ground, whole)
        return upright.convert(mode)
