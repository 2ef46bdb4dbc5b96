"""Does a bf16 backbone cost accuracy? MiniLM adapters trained in bf16 and in fp32, all else the same.

    python tests/benchmark/precision.py [--tasks movies questions] [--seeds 5] [--epochs 3] [--examples 2000]

One thread. A seed sets the adapters' start and the order of batches, and is used once in each precision, one after the
other; the split is the same for all. The attention kernel is the one that trains faster in each precision, as a study
takes it. Adapters, head and optimizer state are in fp32 either way. The difference of the means is shown beside the
seeds' standard deviation and the standard error of the paired differences.
"""

import argparse
import platform
import statistics

import torch
import transformers

from adapter_sweep.engine import assets
from adapter_sweep.engine.adapters import AdaptedModel, BottleneckSpec
from adapter_sweep.engine.attention import choose_attention, typical_batch
from adapter_sweep.engine.backbone import Backbone, Precision
from adapter_sweep.engine.encoding.texts import encode_texts
from adapter_sweep.engine.loading import load_backbone
from adapter_sweep.engine.metrics import load_metric
from adapter_sweep.engine.scoring import score
from adapter_sweep.engine.tasks import load_builtin
from adapter_sweep.engine.train_spec import TrainSpec
from adapter_sweep.engine.training import train
from adapter_sweep.provenance import cpu_name

PRECISIONS: tuple[Precision, ...] = ("bf16", "fp32")
BATCH_SIZE, MAX_TOKENS, MAX_LENGTH = 32, 4096, 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=["movies", "questions"])
    parser.add_argument("--examples", type=int, default=2000, help="training examples at most; 0: all")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    source = assets.fetch(assets.MINILM)
    backbones = {precision: load_backbone(source, precision=precision) for precision in PRECISIONS}
    print(f"{cpu_name()}, python {platform.python_version()}, torch {torch.__version__}, {transformers.__version__}")
    print(f"width {options.width}, both sites, learning rate {options.lr:g}, {options.epochs} epochs, 1 thread")
    for task in options.tasks:
        _compare(task, backbones, options)


def _compare(task: str, backbones: dict[Precision, Backbone], options: argparse.Namespace) -> None:
    """Train every seed in each precision, in turn, and print what came of it."""
    data = load_builtin(task, max_train_examples=options.examples or None)
    tokenizer = backbones["fp32"].tokenizer
    assert tokenizer is not None
    split, held_out = (
        encode_texts(tokenizer, part.texts, part.labels, max_length=MAX_LENGTH)
        for part in (data.train, data.validation)
    )
    metric = load_metric("accuracy")
    classes = len(data.label_names)
    print(f"\n{task}: {len(split)} training and {len(held_out)} validation examples, {classes} classes", flush=True)
    batch = typical_batch([len(ids) for ids in split.ids], batch_size=BATCH_SIZE, max_tokens=MAX_TOKENS)
    for precision, backbone in backbones.items():
        choice = choose_attention("auto", backbone, batch)
        print(f"  {precision}: attention {choice.value}, {choice.reason}", flush=True)
    accuracies: dict[Precision, list[float]] = {precision: [] for precision in backbones}
    seconds: dict[Precision, list[float]] = {precision: [] for precision in backbones}
    for seed in range(options.seeds):
        for precision, backbone in backbones.items():
            model = AdaptedModel(backbone, BottleneckSpec(options.width), classes, seed=seed)
            spec = TrainSpec(options.epochs, options.lr, BATCH_SIZE, MAX_TOKENS, seed=seed)
            seconds[precision].append(train(model, split, spec).seconds)
            scores = score(model, held_out, batch_size=4 * BATCH_SIZE, max_tokens=MAX_TOKENS)
            accuracies[precision].append(metric(scores.predictions, held_out.labels))
            found = f"accuracy {accuracies[precision][-1]:.4f}, {seconds[precision][-1]:.1f} s"
            print(f"  seed {seed} {precision}: {found}", flush=True)
    _print(accuracies, seconds)


def _print(accuracies: dict[Precision, list[float]], seconds: dict[Precision, list[float]]) -> None:
    print(f"  {'':6}{'mean':>8}{'sd':>8}{'seconds':>9}  accuracies")
    for precision, found in accuracies.items():
        shown = " ".join(f"{accuracy:.4f}" for accuracy in found)
        median = statistics.median(seconds[precision])
        print(f"  {precision:6}{statistics.mean(found):8.4f}{_sd(found):8.4f}{median:9.1f}  {shown}")
    paired = [a - b for a, b in zip(accuracies["bf16"], accuracies["fp32"], strict=True)]
    speed_up = statistics.median(seconds["fp32"]) / statistics.median(seconds["bf16"])
    print(
        f"  bf16 - fp32: {statistics.mean(paired):+.4f} (standard error {_sd(paired) / len(paired) ** 0.5:.4f}), "
        f"seeds' sd {max(map(_sd, accuracies.values())):.4f}; bf16 trains at {speed_up:.2f}x the speed",
        flush=True,
    )


def _sd(values: list[float]) -> float:
    """The sample's standard deviation; of one value nothing is known."""
    return statistics.stdev(values) if len(values) > 1 else float("nan")


if __name__ == "__main__":
    main()
