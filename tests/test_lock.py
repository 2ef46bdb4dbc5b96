"""The lock file: of this project's dependencies, whole, and of no machine's own index."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_TREE = Path(__file__).parents[1]


def _locked() -> list[tuple[Requirement, int]]:
    """Each pin, and how many hashes it has."""
    text = re.sub(r"^#.*\n", "", (_TREE / "requirements.lock").read_text(encoding="utf-8"), flags=re.MULTILINE)
    entries = re.split(r"(?<!\\)\n(?=\S)", text.strip())
    return [(Requirement(entry.split("\\\n")[0].strip()), entry.count("--hash=sha256:")) for entry in entries]


def test_every_dependency_is_locked_within_its_bounds() -> None:
    project = tomllib.loads((_TREE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins: dict[str, list[Requirement]] = {}
    for pin, _ in _locked():
        pins.setdefault(canonicalize_name(pin.name), []).append(pin)
    for text in project["dependencies"]:
        wanted = Requirement(text)
        found = pins.get(canonicalize_name(wanted.name), [])
        assert found, f"{text} is not in requirements.lock; make it again, as its first lines say"
        for pin in found:
            version = next(iter(pin.specifier)).version
            assert wanted.specifier.contains(version, prereleases=True), f"{text}, and requirements.lock has {version}"


def test_every_pin_is_exact_and_has_hashes() -> None:
    locked = _locked()
    assert len(locked) > 50
    for pin, hashes in locked:
        assert [each.operator for each in pin.specifier] == ["=="]
        assert hashes, pin.name


def test_the_lock_names_no_index() -> None:
    text = (_TREE / "requirements.lock").read_text(encoding="utf-8")
    assert not re.search(r"https?:|file:|--(?:extra-)?index-url|--find-links \S", text)
