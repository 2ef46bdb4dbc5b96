"""Where the time of the engine's training steps goes, by operation."""

from typing import Any

from torch.profiler import ProfilerActivity, profile

from cohorts import CohortVariant

_SHOWN = 10


def print_profile(cohort: CohortVariant) -> None:
    """The ten operations that take the most of the processor in training, in per cent of all, themselves alone."""
    cohort.warm_up()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        cohort.train()
    found: list[Any] = list(profiler.key_averages())
    total = sum(event.self_cpu_time_total for event in found)
    found.sort(key=lambda event: -event.self_cpu_time_total)
    print(f"\n{'operation':<44}{'per cent':>10}{'calls':>10}")
    for event in found[:_SHOWN]:
        print(f"{event.key[:42]:<44}{100 * event.self_cpu_time_total / total:>10.1f}{event.count:>10}")
    rest = sum(event.self_cpu_time_total for event in found[_SHOWN:])
    print(f"{'all others':<44}{100 * rest / total:>10.1f}")
