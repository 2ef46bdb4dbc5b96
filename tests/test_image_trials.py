"""Trials on images, from files to their records: real handwriting, and a random ViT."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from safetensors.torch import load_file

from adapter_sweep.bench import Bench
from adapter_sweep.cohort import Ready, train_trials
from adapter_sweep.config import with_params
from adapter_sweep.config.check import validate
from adapter_sweep.config.compose import compose
from adapter_sweep.engine.activations import Activations
from adapter_sweep.engine.encoding import images as encoding
from adapter_sweep.engine.encoding.images import _decoded_together, encode_images
from adapter_sweep.engine.room import Room
from adapter_sweep.engine.saving import load_adapted
from adapter_sweep.engine.scoring import score
from adapter_sweep.opening import open_bench
from adapter_sweep.trial import Outcome, Prepared, prepare_trial
from digit_images import SIDE, save_digits, save_tiny_vit
from toy_bench import Table, Watch, undisturbed

BOUNDS = {"batch_size": 16, "max_tokens": 4096}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `digits` and `vit`."""
    folder = tmp_path_factory.mktemp("images")
    save_digits(folder / "digits", 400)
    save_tiny_vit(folder / "vit")
    return folder


def settings(files: Path) -> list[str]:
    return [
        *("task=images", f"task.path={files / 'digits'}", "task.max_train_examples=320"),
        *("backbone=local", f"backbone.path={files / 'vit'}", "backbone.attention=eager", "backbone.pooling=mean"),
        *("method.placement=both", "method.layer_norms=all", "method.width=8"),
        *("train.epochs=6", "train.lr=1e-2", "train.batch_size=8", "train.precision=fp32", "train.threads=1"),
        *("train.cohort=1", "train.score_epochs=all", "workers.count=1", "tracking=none"),
        *("latency.pairs=5", "latency.batch_pairs=5", "latency.warmup_seconds=0"),
    ]


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with undisturbed(monkeypatch, tmp_path):
        yield


@pytest.fixture(scope="module")
def bench(files: Path) -> Bench:
    return open_bench(compose(settings(files)).config)


def trained(bench: Bench, folder: Path, *params: dict[str, object]) -> list[Outcome]:
    ready = []
    for position, own in enumerate(params):
        config = validate(with_params(bench.config.model_dump(), own))
        prepared = prepare_trial(config, bench, Table(), Watch())
        assert isinstance(prepared, Prepared)
        ready.append(Ready(prepared, folder / str(position), Watch()))
    found = train_trials(ready, bench)
    assert all(isinstance(outcome, Outcome) for outcome in found), found
    return [outcome for outcome in found if isinstance(outcome, Outcome)]


def test_batches_are_of_pixels(bench: Bench) -> None:
    split = bench.encoded(bench.data.train, 128)
    assert split is bench.encoded(bench.data.train, 64)
    assert (len(split), split.examples, set(split.lengths)) == (320, 320, {5})
    inputs = split.inputs([3, 1])
    assert inputs["pixel_values"].shape == (2, 3, SIDE, SIDE)
    assert torch.equal(split.part([1, 3]).inputs([1, 0])["pixel_values"], inputs["pixel_values"])
    # White is 1 and black -1, by the processor's mean and deviation of a half.
    assert (float(inputs["pixel_values"].min()), float(inputs["pixel_values"].max())) == (-1.0, 1.0)
    other = bench.encoded(bench.data.validation, 128)
    assert len({split.fingerprint, split.part([0, 1]).fingerprint, other.fingerprint}) == 3


def test_large_images_are_decoded_a_few_at_a_time(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = bench.data.train.images
    assert images is not None
    assert len(_decoded_together(images, 3)) == len(images) > 100
    for limit, together in ((2 * SIDE * SIDE, 2), (2 * SIDE * SIDE + 1, 3), (1, 1)):
        monkeypatch.setattr(encoding, "_PIXELS_AT_ONCE", limit)
        assert len(_decoded_together(images, 3)) == together
    whole = bench.encoded(bench.data.test, 128).inputs([0, 1, 2])["pixel_values"]
    room = Room(limit_bytes=10**8, folder=tmp_path)
    again = encode_images(bench.backbone, bench.data, bench.data.test, room)
    assert torch.equal(again.inputs([0, 1, 2])["pixel_values"], whole)


def test_a_trial_learns_and_what_is_saved_predicts_the_same(bench: Bench, tmp_path: Path) -> None:
    (outcome,) = trained(bench, tmp_path, {})
    assert outcome.metrics["accuracy"] > 0.5  # a tenth by chance
    assert outcome.metrics["eval_examples"] == len(outcome.predictions) == 40
    assert outcome.metrics["peak_train_memory_mb"] > 0
    assert outcome.metrics["latency_p50_ms"] > 0
    assert 0 < outcome.metrics["accuracy_stderr"] < 0.1
    assert outcome.weights is not None
    model, names = load_adapted(bench.backbone, outcome.weights.parent)
    assert names == bench.data.label_names
    split = bench.encoded(bench.data.validation, 0)
    assert score(model, split, **BOUNDS).predictions == outcome.predictions
    assert bench.scores(json.loads(json.dumps(outcome.predictions)))["accuracy"] == outcome.metrics["accuracy"]


def test_two_together_end_as_each_does_alone_on_kept_activations(bench: Bench, tmp_path: Path) -> None:
    common: dict[str, object] = {"method.layers": "top:1", "method.layer_norms": "adapted_layers", "train.epochs": 2}
    params = (common, common | {"train.lr": 3e-3, "method.width": 6})
    together = trained(bench, tmp_path / "both", *params)
    for position, outcome in enumerate(together):
        (alone,) = trained(bench, tmp_path / str(position), params[position])
        assert outcome.metrics["cohort_size"] == 2
        assert outcome.metrics["accuracy"] == pytest.approx(alone.metrics["accuracy"], abs=1e-6)
        assert outcome.weights is not None
        assert alone.weights is not None
        saved, expected = load_file(outcome.weights), load_file(alone.weights)
        assert saved.keys() == expected.keys()
        for name, tensor in saved.items():
            torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-5)
    assert bench.below(bench.encoded(bench.data.train, 0), 1) is not None


def test_what_is_trained_in_parts_and_checkpointed_is_the_same(bench: Bench, tmp_path: Path) -> None:
    short: dict[str, object] = {"train.epochs": 1}
    (whole,) = trained(bench, tmp_path / "whole", short)
    (parts,) = trained(
        bench, tmp_path / "parts", short | {"train.micro_batches": 2, "train.gradient_checkpointing": True}
    )
    for (_, one), (_, other) in zip(whole.curves["train_loss"], parts.curves["train_loss"], strict=True):
        assert one == pytest.approx(other, rel=1e-3)


def test_states_below_a_layer_are_those_of_the_whole_pass(bench: Bench, tmp_path: Path) -> None:
    split = bench.encoded(bench.data.validation, 0)
    activations = Activations(bench.backbone, Room(limit_bytes=0, folder=tmp_path))  # in mapped files
    stored = activations.below(split, 1, **BOUNDS)
    assert stored is not None
    whole = bench.backbone.model(**split.inputs(range(len(split))), output_hidden_states=True)
    torch.testing.assert_close(stored.states.view(len(split), 5, -1), whole.hidden_states[1], rtol=1e-5, atol=1e-5)


def test_anchors_and_provenance(bench: Bench) -> None:
    anchors = bench.anchors()
    assert list(anchors) == ["majority class", "frozen backbone", "head-only probe"]
    assert anchors["head-only probe"]["accuracy"] > 0.5 > anchors["majority class"]["accuracy"]
    assert bench.provenance()["data_fingerprint"] == bench.data.fingerprint


# -- what does not fit together


def refused(*overrides: str) -> str:
    from adapter_sweep.errors import UserInputError

    with pytest.raises(UserInputError) as caught:
        open_bench(compose(list(overrides)).config)
    return "\n".join(caught.value.problems)


def test_each_backbone_wants_its_own_kind_of_task(files: Path, tiny_settings: list[str]) -> None:
    images = [each for each in settings(files) if each.startswith("task")]
    texts = [each for each in tiny_settings if not each.startswith("task")]
    assert "reads texts, and task images is of images" in refused(*texts, *images)
    assert "reads images, and task local is of texts" in refused(*settings(files)[3:], *tiny_settings[3:])


def test_a_method_of_virtual_tokens_is_refused(files: Path) -> None:
    own = [each for each in settings(files) if not each.startswith("method")]
    assert "method=prompt: ViTModel takes no" in refused(*own, "method=prompt")


def test_a_processor_of_another_size_is_refused(files: Path, tmp_path: Path) -> None:
    vit = save_tiny_vit(tmp_path / "vit", side=12)
    about = json.loads((vit / "preprocessor_config.json").read_text())
    (vit / "preprocessor_config.json").write_text(json.dumps(about | {"size": {"height": 8, "width": 8}}))
    bench = open_bench(compose([*settings(files), f"backbone.path={vit}"]).config)
    with pytest.raises(Exception, match="makes images of 3 channels, 8 x 8, and the model takes 3 channels, 12 x 12"):
        bench.encoded(bench.data.validation, 0)


def test_a_backbone_of_grey_images_gets_grey_ones(files: Path, tmp_path: Path) -> None:
    vit = save_tiny_vit(tmp_path / "vit", channels=1)
    bench = open_bench(compose([*settings(files), f"backbone.path={vit}"]).config)
    assert bench.encoded(bench.data.validation, 0).inputs([0])["pixel_values"].shape == (1, 1, SIDE, SIDE)


# -- as a user runs it


def test_a_study_runs_and_is_confirmed(files: Path, cli: Callable[..., CompletedProcess[str]], tmp_path: Path) -> None:
    own = [each for each in settings(files) if not each.startswith(("method.width", "train.epochs"))]
    space = ["method.width=choice(4,8)", "study.sampler=random", "study.n_trials=2", "study.name=digits"]
    done = cli("run", *own, *space, "train.epochs=3")
    assert done.returncode == 0, done.stderr
    best = max(float(trial["accuracy"]) for trial in read_trials(tmp_path / "results" / "digits" / "trials.csv"))
    assert best > 0.3
    done = cli("confirm", "digits", "confirm.seeds=2", "confirm.finalists=1")
    assert done.returncode == 0, done.stderr
    assert "test" in done.stdout


def read_trials(path: Path) -> list[dict[str, str]]:
    import csv

    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
