"""How fast does the engine train beside what people use today? Interleaved rounds, one core, one table.

    pip install -e '.[benchmark]' && python tests/benchmark/engine.py [--rounds 5] [--examples 640]

Every measurement is a process of its own on one thread: the same film reviews, number of examples, epochs and rate,
and the same adapters (both sites, width 48; LoRA of rank 8). Reported are medians over the rounds and their range,

    trainer   a plain transformers.Trainer over the same adapters, at its defaults
    tuned     the same as an expert would: bf16, batches of similar length, batch 32, no needless logging
    lora      peft LoRA on the query and value projections under a plain Trainer
    ours      this engine, one trial
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

VARIANTS = ("trainer", "tuned", "lora", "ours")
WIDTH, LR, LENGTH = 48, 1e-3, 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--examples", type=int, default=640)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--one", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_measure(options.one, options.examples, options.epochs)))
        return
    rounds: list[dict[str, dict[str, float]]] = []
    for number in range(options.rounds):
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
        rounds.append({name: _run(name, options) for name in options.variants})
    _print(rounds, options)


def _run(name: str, options: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", name, "--examples", str(options.examples)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [*command, "--epochs", str(options.epochs)], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def _print(rounds: list[dict[str, dict[str, float]]], options: argparse.Namespace) -> None:
    import torch
    import transformers

    from adapter_sweep.provenance import cpu_name

    print(f"{cpu_name()}, python {platform.python_version()}, torch {torch.__version__}, {transformers.__version__}")
    print(
        f"{options.examples} examples x {options.epochs} epochs, {len(rounds)} interleaved rounds: median [min max]\n"
    )
    columns = ("train_per_cpu_s", "train_per_wall_s", "eval_per_s", "peak_mib", "accuracy")
    print(f"{'':10}" + "".join(f"{column:>26}" for column in columns))
    for name in options.variants:
        cells = [_spread([r[name][column] for r in rounds]) for column in columns]
        print(f"{name:10}" + "".join(f"{cell:>26}" for cell in cells))
    print("\nours over the others, within a round")
    for name in options.variants:
        if name != "ours" and "ours" in options.variants:
            for column in ("train_per_cpu_s", "train_per_wall_s", "eval_per_s"):
                print(f"{name:10}{column:>20}{_spread([r['ours'][column] / r[name][column] for r in rounds]):>26}")


def _spread(values: list[float]) -> str:
    digits = 3 if max(values) < 10 else 1
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f} {max(values):.{digits}f}]"


def _measure(name: str, examples: int, epochs: int) -> dict[str, float]:
    import torch

    from adapter_sweep.engine import assets
    from adapter_sweep.engine.backbone import load_backbone
    from adapter_sweep.engine.batches import encode_texts
    from adapter_sweep.engine.precision import choose_precision
    from adapter_sweep.engine.tasks import load_builtin

    torch.set_num_threads(1)
    data = load_builtin("movies", max_train_examples=examples)
    precision = choose_precision("auto", torch.device("cpu")).value if name == "ours" else "fp32"
    attention: Any = "eager" if name == "ours" else "sdpa"  # sdpa is the library's default
    backbone = load_backbone(assets.fetch(assets.MINILM), precision=precision, attention=attention)
    tokenizer = backbone.tokenizer
    assert tokenizer is not None
    split, held_out = (
        encode_texts(tokenizer, s.texts, s.labels, max_length=LENGTH) for s in (data.train, data.validation)
    )
    train, score = (_ours if name == "ours" else _trainer)(name, backbone, split, epochs)
    cpu, wall = time.process_time(), time.perf_counter()
    train()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    started = time.perf_counter()
    predictions = score(held_out)
    seconds = time.perf_counter() - started
    right = sum(p == y for p, y in zip(predictions, held_out.labels, strict=True))
    return {
        "train_per_cpu_s": examples * epochs / cpu,
        "train_per_wall_s": examples * epochs / wall,
        "eval_per_s": len(held_out) / seconds,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "accuracy": right / len(held_out),
    }


Pair = tuple[Callable[[], object], Callable[[Any], list[int]]]


def _ours(_name: str, backbone: Any, split: Any, epochs: int) -> Pair:
    from adapter_sweep.engine.adapters import AdaptedModel, BottleneckSpec
    from adapter_sweep.engine.training import TrainSpec, score, train

    model = AdaptedModel(backbone, BottleneckSpec(WIDTH), 2, seed=0)
    spec = TrainSpec(epochs, LR, 32)
    return (
        lambda: train(model, split, spec),
        lambda held_out: list(score(model, held_out, batch_size=128, max_tokens=4096).predictions),
    )


def _trainer(name: str, backbone: Any, split: Any, epochs: int) -> Pair:
    import torch
    from torch import nn
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    from adapter_sweep.engine.adapters import AdaptedModel, BottleneckSpec
    from adapter_sweep.engine.backbone import pool

    class Classifier(nn.Module):
        """What a user writes: the transformer inside, in training mode when the Trainer says so, dropout included."""

        def __init__(self) -> None:
            super().__init__()
            if name == "lora":
                from peft import LoraConfig, get_peft_model

                self.encoder: Any = get_peft_model(backbone.model, LoraConfig(r=8, target_modules=["query", "value"]))
                self.head: Any = nn.Linear(backbone.layout.hidden_size, 2)
            else:
                self.encoder = backbone.model
                self.adapted = AdaptedModel(backbone, BottleneckSpec(WIDTH), 2, seed=0)
                self.head = self.adapted.head

        def forward(self, input_ids: Any, attention_mask: Any, labels: Any = None) -> dict[str, Any]:
            if name == "lora":
                hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
                logits = self.head(pool(hidden, attention_mask, "mean"))
            else:
                logits = self.adapted(input_ids, attention_mask)
            return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}

    def rows(encoded: Any) -> list[dict[str, Any]]:
        return [{"input_ids": list(i), "labels": y} for i, y in zip(encoded.ids, encoded.labels, strict=True)]

    folder = tempfile.mkdtemp()
    common: dict[str, Any] = {
        "output_dir": folder,
        "num_train_epochs": epochs,
        "learning_rate": LR,
        "use_cpu": True,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "seed": 0,
    }
    if name == "tuned":
        common |= {
            "bf16": True,
            "bf16_full_eval": False,
            "per_device_train_batch_size": 32,
            "per_device_eval_batch_size": 128,
            "train_sampling_strategy": "group_by_length",
            "logging_strategy": "no",
        }
    torch.manual_seed(0)
    trainer = Trainer(
        model=Classifier(),
        args=TrainingArguments(**common),
        train_dataset=rows(split),  # type: ignore[arg-type]
        data_collator=DataCollatorWithPadding(backbone.tokenizer),
    )
    return trainer.train, lambda held_out: trainer.predict(rows(held_out)).predictions.argmax(-1).tolist()  # type: ignore[arg-type,union-attr]


if __name__ == "__main__":
    main()
