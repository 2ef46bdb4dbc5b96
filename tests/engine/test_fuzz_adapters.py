"""A trained adapter's files, spoilt: refused in words, or the very weights that were saved."""

import json
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st

from adapter_sweep.engine.adapters import AdaptedModel
from adapter_sweep.engine.methods import spec_of
from adapter_sweep.engine.saving import CONFIG_FILE, WEIGHTS_FILE, load_adapted, save_adapted
from adapter_sweep.errors import UserInputError
from families import tiny_backbone
from fuzzing import fuzz

_BACKBONE = tiny_backbone("bert")
_FLIPS = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 7)), max_size=3)
_ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=5,
)


def _saved(folder: Path) -> tuple[bytes, bytes]:
    if not (folder / "good").exists():
        model = AdaptedModel(_BACKBONE, spec_of("bottleneck", {"width": 2}), 2, seed=0)
        save_adapted(model, folder / "good", label_names=("a", "b"))
    return (folder / "good" / WEIGHTS_FILE).read_bytes(), (folder / "good" / CONFIG_FILE).read_bytes()


def _spoilt(content: bytes, flips: list[tuple[int, int]], cut: int) -> bytes:
    changed = bytearray(content)
    for at, bit in flips:
        changed[at % len(changed)] ^= 1 << bit
    return bytes(changed[: max(0, len(changed) - cut)])


def _load(folder: Path, weights: bytes, about: bytes) -> AdaptedModel | None:
    (folder / WEIGHTS_FILE).write_bytes(weights)
    (folder / CONFIG_FILE).write_bytes(about)
    try:
        model, labels = load_adapted(_BACKBONE, folder)
    except UserInputError as error:
        assert str(folder) in str(error)
        return None
    assert all(isinstance(label, str) for label in labels)
    return model


@fuzz(few=100, flips=_FLIPS, cut=st.one_of(st.just(0), st.integers(0, 5000)), header=st.booleans())
def test_spoilt_weights(folder: Path, flips: list[tuple[int, int]], cut: int, header: bool) -> None:
    weights, about = _saved(folder)
    flips = [(at % 400, bit) for at, bit in flips] if header else flips
    model = _load(folder, _spoilt(weights, flips, cut), about)
    if model is not None and not flips:
        assert cut == 0
        for name, tensor in load_adapted(_BACKBONE, folder / "good")[0].state_dict().items():
            assert torch.equal(tensor, model.state_dict()[name])


@fuzz(few=100, flips=_FLIPS, cut=st.one_of(st.just(0), st.integers(0, 900)))
def test_a_spoilt_description(folder: Path, flips: list[tuple[int, int]], cut: int) -> None:
    weights, about = _saved(folder)
    _load(folder, weights, _spoilt(about, flips, cut))


_PLACES = st.sampled_from(
    [
        *(("format",), ("method",), ("spec",), ("spec", "width"), ("spec", "layers"), ("spec", "placement")),
        *(("label_names",), ("problem",), ("problem", "outputs"), ("problem", "per_token"), ("pooling",)),
        *(("precision",), ("backbone",), ("backbone", "fingerprint"), ("spec", "nothing"), ("spec", "activation")),
    ]
)


@fuzz(
    few=100,
    examples=[
        {"place": ("problem", "outputs"), "value": 10**12},
        {"place": ("spec", "width"), "value": 10**12},
        {"place": ("spec", "width"), "value": -1},
        {"place": ("label_names",), "value": "ab"},
    ],
    place=_PLACES,
    value=_ANYTHING,
)
def test_a_description_that_says_something_else(folder: Path, place: tuple[str, ...], value: Any) -> None:
    weights, about = _saved(folder)
    description = json.loads(about)
    section = description
    for key in place[:-1]:
        section = section[key]
    section[place[-1]] = value
    _load(folder, weights, json.dumps(description).encode())
