import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from adapter_sweep.durable import replacing, write_text

_WRITER = """
import sys
from pathlib import Path
from adapter_sweep.durable import write_text
path, texts = Path(sys.argv[1]), ["a" * 2_000_000, "b" * 2_000_000]
print("begun", flush=True)
while True:
    for text in texts:
        write_text(path, text)
"""


def test_what_fails_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")

    def cut_short() -> None:
        with replacing(path) as aside:
            aside.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_short()
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("file", "old")]


def test_it_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced = tmp_path / "file", []
    sync = os.fsync

    def watched(descriptor: int) -> None:
        synced.append((os.path.realpath(f"/proc/self/fd/{descriptor}"), path.exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    with replacing(path) as aside:
        aside.write_text("new")
    assert synced == [(str(aside), False), (str(tmp_path), True)]


def test_a_writer_killed_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for seconds in (0.001, 0.005, 0.02):
        with subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(seconds)
            process.send_signal(signal.SIGKILL)
        if path.exists():
            text = path.read_text()
            assert (len(text), len(set(text))) == (2_000_000, 1)


def test_many_may_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    texts = [str(number) * 1000 for number in range(8)]
    threads = [threading.Thread(target=write_text, args=(path, text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in texts
    assert list(tmp_path.iterdir()) == [path]
