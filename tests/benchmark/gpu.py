"""How many more trials an hour does a cohort train than trials one after another? On a GPU, or small on a CPU.

    PYTHONPATH=src python tests/benchmark/gpu.py [--device auto] [--models MiniLM BERT-base] [--cohorts 4 16 32]

Needs torch and transformers alone, no network and no files: backbones of random weights in the shapes named, random
tokens, batches of 32 texts of 32 tokens, adapters of width 48 at both sites. A trial is so many training steps and a
pass over held-out texts. Every cohort, and one trial alone, is warmed up, then measured in interleaved rounds; the
device has finished all its work at both ends of a reading. Reported are medians over the rounds and their range.

    trials_per_hour   of training and scoring
    own_share         per cent: rate of the needed arithmetic (see products.py) in training, over the device's rate of
                      `F.linear` at the same shapes and as many rows
    best_share        the same over the highest of these rates
    peak_mib          in the warm-up: on a GPU what tensors take at most, on a CPU the process's resident memory
"""

import argparse
import ctypes
import platform
import resource
import time
from contextlib import suppress
from pathlib import Path

import torch
import transformers
from transformers import BertConfig, BertModel

from adapter_sweep.engine.adapters import AdaptedModel, BottleneckSpec
from adapter_sweep.engine.backbone import DTYPES, Attention, Backbone, Precision, wrap_backbone
from adapter_sweep.engine.encoded import Encoded, EncodedTexts
from adapter_sweep.engine.scoring import score_cohort
from adapter_sweep.engine.train_spec import TrainSpec
from adapter_sweep.engine.training import train_cohort
from products import Encoder, linear_rates
from rounds import Figures, Rounds, print_ratios, print_table

BATCH, TOKENS, WIDTH, CLASSES = 32, 32, 48, 2
HEADS = 12
ENCODERS = {"MiniLM": Encoder(6, 384, 1536, WIDTH, CLASSES), "BERT-base": Encoder(12, 768, 3072, WIDTH, CLASSES)}
ALONE = "one trial"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--models", nargs="+", choices=ENCODERS, help="both; on a CPU MiniLM")
    parser.add_argument("--cohorts", nargs="+", type=int, help="4 16 32; on a CPU 4 16")
    parser.add_argument("--steps", type=int, help="of a trial's training: 50; on a CPU 2")
    parser.add_argument("--rounds", type=int, help="5; on a CPU 3")
    parser.add_argument("--precision", choices=tuple(DTYPES), default="bf16")
    parser.add_argument("--attention", choices=("eager", "sdpa"), help="sdpa; on a CPU eager")
    options = parser.parse_args()
    if options.device == "auto":
        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    gpu = options.device == "cuda"
    options.models = options.models or (list(ENCODERS) if gpu else ["MiniLM"])
    options.cohorts = options.cohorts or ([4, 16, 32] if gpu else [4, 16])
    options.steps = options.steps or (50 if gpu else 2)
    options.rounds = options.rounds or (5 if gpu else 3)
    options.attention = options.attention or ("sdpa" if gpu else "eager")
    if gpu:
        name = torch.cuda.get_device_name()
        torch.set_float32_matmul_precision("high")
    else:
        name = f"{platform.machine()} processor, 1 thread"
        torch.set_num_threads(1)
    print(f"{name}, torch {torch.__version__}, transformers {transformers.__version__}")
    print(f"{options.precision} backbone, {options.attention} attention, batches of {BATCH} x {TOKENS} tokens")
    print(f"{options.steps} steps a trial, {options.rounds} rounds: median [min max]")
    for model in options.models:
        _compare(model, options)


def _compare(name: str, options: argparse.Namespace) -> None:
    device, encoder = torch.device(options.device), ENCODERS[name]
    backbone = _backbone(encoder, options.precision, options.attention, device)
    sizes = {ALONE: 1, **{f"cohort of {count}": count for count in options.cohorts}}
    peaks = {label: _peak_mib(backbone, count, device) for label, count in sizes.items()}
    rounds: Rounds = []
    for number in range(options.rounds):
        order = list(sizes) if number % 2 == 0 else list(reversed(sizes))
        rates = {label: _rates(encoder, sizes[label], options.precision, device) for label in order}
        best = max(rate["mix"] for rate in rates.values())
        found = {label: _trials(backbone, sizes[label], options.steps, device) for label in order}
        for label, figures in found.items():
            work = sizes[label] * options.steps * BATCH * encoder.training_flops(TOKENS)
            reached = work / figures["train_s"] / 1e12
            figures |= {"own_share": 100 * reached / rates[label]["mix"], "best_share": 100 * reached / best}
            figures |= {**rates[label], "peak_mib": peaks[label]}
        rounds.append(found)
    print(f"\n{name}: {encoder.layers} layers, hidden size {encoder.hidden}")
    print_table(rounds, list(sizes), ["trials_per_hour", "own_share", "best_share", "peak_mib"])
    print("within a round")
    print_ratios(rounds, [(label, ALONE) for label in sizes if label != ALONE], ["trials_per_hour", "peak_mib"])
    print(f"the device's rate of F.linear in {options.precision}, TFLOP/s")
    print_table(rounds, list(sizes), list(rates[ALONE]))


def _backbone(encoder: Encoder, precision: Precision, attention: Attention, device: torch.device) -> Backbone:
    torch.manual_seed(0)
    config = BertConfig(
        num_hidden_layers=encoder.layers,
        hidden_size=encoder.hidden,
        intermediate_size=encoder.feed_forward,
        num_attention_heads=HEADS,
    )
    backbone = wrap_backbone(
        BertModel(config), None, pooling="mean", source=f"random weights of size {encoder.hidden}", precision=precision
    )
    backbone.use_attention(attention)
    backbone.model.to(device)
    return backbone


def _rates(encoder: Encoder, count: int, precision: Precision, device: torch.device) -> Figures:
    """TFLOP/s at the rows of a training batch of so many trials."""
    rates = linear_rates(encoder, count * BATCH * TOKENS, DTYPES[precision], device)
    return {shape: rate / 1e12 for shape, rate in rates.items()}


def _texts(rows: int, vocabulary: int) -> Encoded:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, vocabulary, (rows, TOKENS), generator=generator).tolist()
    return EncodedTexts(tuple(map(tuple, ids)), tuple(row % CLASSES for row in range(rows)), pad_id=0)


def _trials(backbone: Backbone, count: int, steps: int, device: torch.device) -> Figures:
    """So many trials together: each trains for the steps, and is scored on a quarter as many batches, one at least."""
    split = _texts(BATCH * steps, backbone.vocabulary_size)
    held_out = _texts(BATCH * max(1, steps // 4), backbone.vocabulary_size)
    models = [AdaptedModel(backbone, BottleneckSpec(WIDTH), CLASSES, seed=seed) for seed in range(count)]
    spec = TrainSpec(epochs=1, lr=1e-3, batch_size=BATCH)
    rows = BATCH * (4 if device.type == "cuda" else 1)  # as the product scores
    started = _now(device)
    trained = train_cohort(models, split, [spec] * count)
    train_s = _now(device) - started
    score_cohort(models, held_out, batch_size=rows, max_tokens=4096)
    seconds = _now(device) - started
    for result in trained:
        if result.error is not None:
            raise result.error
    return {"trials_per_hour": 3600 * count / seconds, "train_s": train_s}


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _peak_mib(backbone: Backbone, count: int, device: torch.device) -> float:
    """The peak memory of so many trials together, over the first steps that they warm up with."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        _trials(backbone, count, 2, device)
        return torch.cuda.max_memory_allocated(device) / 2**20
    with suppress(OSError, AttributeError):  # where memory kept or an earlier peak cannot be forgotten, it counts too
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    _trials(backbone, count, 2, device)
    return _resident_peak_kib() / 1024


def _resident_peak_kib() -> int:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
