"""Latency of adapters against the frozen backbone, read twice: how far do two readings of one thing differ?

    python tests/benchmark/latency.py [--precision fp32] [--pairs 60] [--widths 8 64 256]

Each architecture is read in two rounds, so that a drift of the machine falls between the two readings. The first row
is the backbone against itself: a model whose sites hold nothing, the noise floor by the same procedure.
"""

import argparse
import platform

import torch
import transformers

from adapter_sweep.engine import assets
from adapter_sweep.engine.adapters import AdaptedModel, BottleneckSpec, HeadSpec
from adapter_sweep.engine.latency import LatencySpec, Reading, measure
from adapter_sweep.engine.loading import load_backbone
from adapter_sweep.provenance import cpu_name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="fp32")
    parser.add_argument("--attention", choices=("eager", "sdpa"), default="eager")
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--batch-pairs", type=int, default=20)
    parser.add_argument("--widths", type=int, nargs="+", default=[8, 64, 256])
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    backbone = load_backbone(assets.fetch(assets.MINILM), precision=options.precision, attention=options.attention)
    spec = LatencySpec(32, 8, options.pairs, options.batch_pairs, 1.0, 1)
    models = {"backbone": AdaptedModel(backbone, HeadSpec(), 2, 0)}
    for placement in ("post_attention", "post_ffn", "both"):
        for width in options.widths:
            models[f"{placement} {width}"] = AdaptedModel(backbone, BottleneckSpec(width, placement), 2, 0)
    print(f"{cpu_name()}, python {platform.python_version()}, torch {torch.__version__}, {transformers.__version__}")
    print(f"{options.precision}, {options.attention} attention, 32 tokens, 1 thread, {options.pairs} pairs")
    readings: dict[str, list[tuple[Reading, Reading]]] = {name: [] for name in models}
    for _ in range(options.rounds):
        for name, model in models.items():
            readings[name].append(measure(model, spec))
    for title, index in (("batch 1", 0), ("batch 8", 1)):
        print(f"\n{title:<20} {'p50 ms':>8}  ratio in each round [95 % interval] (noise floor; * noisy)   difference")
        for name, rounds in readings.items():
            found = [pair[index] for pair in rounds]
            shown = "  ".join(_show(reading) for reading in found)
            ratios = [reading.ratio for reading in found]
            print(f"{name:<20} {found[0].p50_ms:>8.2f}  {shown}  {max(ratios) - min(ratios):.3f}")


def _show(reading: Reading) -> str:
    noisy = "*" if reading.noisy else " "
    return f"{reading.ratio:.3f} [{reading.ratio_low:.3f} {reading.ratio_high:.3f}] ({reading.noise_floor:.3f}{noisy})"


if __name__ == "__main__":
    main()
