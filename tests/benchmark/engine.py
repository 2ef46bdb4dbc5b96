"""How fast does the engine train beside what people use today? Interleaved rounds on one thread, one table.

    pip install -e '.[benchmark]'
    python tests/benchmark/engine.py [--rounds 5] [--examples 640] [--epochs 1] [--variants ours tuned …]
    python tests/benchmark/engine.py --subject pairs    # or decoder: see subjects.py
    python tests/benchmark/engine.py --ablation     # the engine without one of its techniques at a time
    python tests/benchmark/engine.py --cache        # what is kept below the lowest trained layer, and what that saves
    python tests/benchmark/engine.py --profile      # where a training step's time goes

Every measurement is a process of its own on one thread: the same film reviews, number of examples, epochs and rate,
and the same adapters (both sites, width 48; LoRA of rank 8). Each first warms up with two steps and one scoring batch
of its own kind, so no figure holds what torch does once. Reported are medians over the rounds and their range.

    trainer   a plain transformers.Trainer over the same adapters, at its defaults, with no tracker and no checkpoints
    tuned     the same as an expert would: bf16 autocast, batches of similar length, batch 32, no needless logging
    lora      peft LoRA on the query and value projections under a plain Trainer
    ours      this engine, one trial, as `adapter-sweep` runs it
    cohort4, cohort16   so many trials in one pass; each example counts once for each of them

The machine's rate is of `F.linear` at the backbone's own shapes, and the rate reached is the arithmetic that the texts
need (see products.py), padding left out, over the wall time of all that training or scoring does.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from rounds import Figures, Rounds, apart, interleaved, print_machine, print_ratios, print_shares, print_table
from subjects import SUBJECTS, subject_overrides

if TYPE_CHECKING:
    from adapter_sweep.config import SweepConfig
    from cohorts import CohortVariant
    from trainers import TrainerVariant

OTHERS = ("trainer", "tuned", "lora")
COHORTS = {"ours": 1, "cohort4": 4, "cohort16": 16}
RATES = ("train_per_cpu_s", "train_per_wall_s", "eval_per_cpu_s", "eval_per_wall_s")
CACHED = {"head": ("method=head",), **{f"top:{k}": (f"method.layers=top:{k}",) for k in (1, 2, 3)}}
WIDTH, LR, LENGTH = 48, 1e-3, 128
T = TypeVar("T")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--examples", type=int, default=640)
    parser.add_argument("--epochs", type=int, help="1 unless given; 3 with --cache")
    parser.add_argument("--held-out", type=int, default=0, help="texts to score; all 1,008 unless given")
    parser.add_argument("--subject", default="movies", choices=SUBJECTS)
    parser.add_argument("--variants", nargs="+", default=[*OTHERS, *COHORTS], choices=[*OTHERS, *COHORTS])
    mode = parser.add_mutually_exclusive_group()
    for name in ("ablation", "cache", "profile"):
        mode.add_argument(f"--{name}", action="store_true")
    mode.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.epochs = options.epochs or (3 if options.cache else 1)
    if options.one:
        print(json.dumps(_one(options.one, options)))
        return
    print_machine()
    # Before the first round: it fetches the assets and measures what is chosen, once for all processes.
    chosen = apart(__file__, "choices", _arguments(options))
    print(f"ours: {'bf16' if chosen['bf16'] else 'fp32'} backbone, {'eager' if chosen['eager'] else 'sdpa'} attention")
    if options.profile:
        from step_profile import print_profile

        print_profile(_cohort((), options, 1))
        return
    print(
        f"{options.subject}: {options.examples} examples x {options.epochs} epochs, "
        f"{options.rounds} rounds: median [min max]\n"
    )
    (_ablation if options.ablation else _cache if options.cache else _comparison)(options)


def _comparison(options: argparse.Namespace) -> None:
    names = options.variants
    rounds = _rounds([*names, *(["products"] if _counted(options) else [])], options)
    print_table(rounds, names, [*RATES, "peak_mib", "accuracy"])
    ours, others = ([name for name in names if (name in COHORTS) is wanted] for wanted in (True, False))
    cohorts = [(name, "ours") for name in ours if name != "ours" and "ours" in ours]
    print("\nratios within a round")
    print_ratios(rounds, [(name, other) for name in ours for other in others] + cohorts, RATES)
    if not _counted(options):
        return
    print("\nthe machine's rate of F.linear, GFLOP/s")
    print_table(rounds, ["products"], [key for key in rounds[0]["products"] if key.startswith("fp32")])
    print_table(rounds, ["products"], [key for key in rounds[0]["products"] if key.startswith("bf16")])
    if ours:
        print("\nGFLOP/s reached")
        print_table(rounds, ours, ["train_gflops", "eval_gflops"])
        print("\nof the machine's rate in the backbone's precision (mix), per cent")
        print_shares(rounds, ours, _shares)


def _counted(options: argparse.Namespace) -> bool:
    """Whether the arithmetic is known: products.py has that of BERT's layers."""
    return bool(options.subject != "decoder")


def _shares(found: dict[str, Figures], name: str) -> Figures:
    own = found[name]
    rate = found["products"]["bf16 mix" if own["bf16"] else "fp32 mix"]
    return {"training": own["train_gflops"] / rate, "evaluation": own["eval_gflops"] / rate}


def _ablation(options: argparse.Namespace) -> None:
    from ablations import ABLATIONS

    rounds = _rounds(["ours", *(f"without {name}" for name in ABLATIONS)], options)
    print_table(rounds, list(rounds[0]), [*RATES, "peak_mib", "accuracy"])
    print("\nours over ours without a technique, within a round")
    print_ratios(rounds, [("ours", f"without {name}") for name in ABLATIONS], RATES)
    for name, ablation in ABLATIONS.items():
        print(f"without {name}: {ablation.instead}")


def _cache(options: argparse.Namespace) -> None:
    kept = [f"{name} kept" for name in CACHED]
    rounds = _rounds([name for pair in zip(CACHED, kept, strict=True) for name in pair], options)
    for figures in (figures for r in rounds for figures in r.values()):
        figures["with_capture_s"] = figures["train_s"] + figures["capture_s"]
    print_table(rounds, list(rounds[0]), ["train_s", "capture_s", "with_capture_s", "peak_mib", "accuracy"])
    print("\nseconds without what is kept over those with it, within a round")
    print_ratios(rounds, [(name, f"{name} kept") for name in CACHED], ["train_s", "with_capture_s", "peak_mib"])


def _rounds(names: Iterable[str], options: argparse.Namespace) -> Rounds:
    return interleaved(__file__, list(names), _arguments(options), options.rounds)


def _arguments(options: argparse.Namespace) -> list[str]:
    sizes = {"--examples": options.examples, "--epochs": options.epochs, "--held-out": options.held_out}
    return [*(word for name, value in sizes.items() for word in (name, str(value))), "--subject", options.subject]


def _one(name: str, options: argparse.Namespace) -> Figures:
    """What a process of its own measures."""
    if name == "choices":
        backbone = _cohort((), options, 1).bench.backbone
        return {"bf16": float(backbone.precision == "bf16"), "eager": float(backbone.attention == "eager")}
    if name == "products":
        return _products(options)
    if name in OTHERS:
        from trainers import TrainerVariant

        return _measured(TrainerVariant(name, _config((), options), options.held_out))
    if name in COHORTS:
        cohort = _cohort((), options, COHORTS[name])
        figures = _measured(cohort)
        return {**figures, **_reached(cohort, figures)} if _counted(options) else figures
    if name.startswith("without "):
        from ablations import ABLATIONS

        ablation = ABLATIONS[name.removeprefix("without ")]
        with ablation.patched():
            return _measured(_cohort(ablation.overrides, options, 1))
    method = name.removesuffix(" kept")
    return _cached(_cohort(CACHED[method], options, 1), kept=method != name)


def _config(overrides: Iterable[str], options: argparse.Namespace) -> "SweepConfig":
    from adapter_sweep.config.compose import compose

    overrides = list(overrides)
    sizes = [*subject_overrides(options.subject, options.examples), f"train.epochs={options.epochs}", f"train.lr={LR}"]
    width = [] if "method=head" in overrides else [f"method.width={WIDTH}"]
    return compose([*sizes, f"train.max_length={LENGTH}", *width, *overrides]).config


def _cohort(overrides: Iterable[str], options: argparse.Namespace, members: int) -> "CohortVariant":
    from cohorts import CohortVariant

    return CohortVariant(_config(overrides, options), members, options.held_out)


def _measured(variant: "CohortVariant | TrainerVariant") -> Figures:
    import torch

    torch.set_num_threads(1)
    variant.warm_up()
    train_cpu, train_wall, _ = _timed(variant.train)
    eval_cpu, eval_wall, accuracy = _timed(variant.score)
    trained = variant.members * len(variant.split) * variant.config.train.epochs
    scored = variant.members * len(variant.held_out)
    return {
        "train_per_cpu_s": trained / train_cpu,
        "train_per_wall_s": trained / train_wall,
        "eval_per_cpu_s": scored / eval_cpu,
        "eval_per_wall_s": scored / eval_wall,
        "peak_mib": _peak_mib(),
        "accuracy": accuracy,
    }


def _timed(call: Callable[[], T]) -> tuple[float, float, T]:
    """CPU seconds, wall seconds and what the call gives."""
    cpu, wall = time.process_time(), time.perf_counter()
    given = call()
    return time.process_time() - cpu, time.perf_counter() - wall, given


def _reached(cohort: "CohortVariant", figures: Figures) -> Figures:
    """GFLOP/s of the needed arithmetic: that of a mean text, times the texts of a wall second."""
    encoder = cohort.encoder
    lengths, held_out = ([len(ids) for ids in split.ids] for split in (cohort.split, cohort.held_out))
    training = encoder.total(lengths, training=True) / len(lengths)
    scoring = encoder.total(held_out, training=False) / len(held_out)
    return {
        "bf16": float(cohort.bench.backbone.precision == "bf16"),
        "train_gflops": training * figures["train_per_wall_s"] / 1e9,
        "eval_gflops": scoring * figures["eval_per_wall_s"] / 1e9,
    }


def _products(options: argparse.Namespace) -> Figures:
    """The machine's rates at the rows of a typical batch of one trial."""
    import torch

    from products import linear_rates

    cohort = _cohort((), options, 1)
    rows, tokens = cohort.typical
    encoder = cohort.encoder
    figures: Figures = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        rates = linear_rates(encoder, rows * tokens, dtype, torch.device("cpu"))
        figures |= {f"{name} {shape}": rate / 1e9 for shape, rate in rates.items()}
    return figures


def _cached(cohort: "CohortVariant", *, kept: bool) -> Figures:
    """Training with the hidden states below the lowest trained layer kept, or computed in each step."""
    cohort.warm_up()
    capture = 0.0
    if kept:
        layer = cohort.models[0].lowest_trained_layer
        _, capture, cohort.below = _timed(lambda: cohort.bench.below(cohort.split, layer))
        if cohort.below is None:
            raise SystemExit("nothing was kept")
    _, seconds, _ = _timed(cohort.train)
    peak = _peak_mib()
    return {"train_s": seconds, "capture_s": capture, "peak_mib": peak, "accuracy": cohort.score()}


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
