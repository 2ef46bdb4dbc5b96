"""Whether every trial of a study can have the study's objectives: one that lacks one counts as failed."""

from adapter_sweep.config.methods import MERGING
from adapter_sweep.config.naming import applying
from adapter_sweep.config.schema import SweepConfig
from adapter_sweep.errors import UserInputError

__all__ = ["check_objectives"]


def check_objectives(config: SweepConfig) -> None:
    """Check that every method that trials may have comes to a value of every objective.

    Raises:
        UserInputError: each objective that some lack, and which.
    """
    kinds = {method: own.kind for method, own in config.methods.items()} or {config.method.kind: config.method.kind}
    lacking = {
        name: [method for method, kind in kinds.items() if kind not in MERGING]
        for name in config.objectives
        if name.startswith("merged_")
    }
    problems = [
        f"objectives.{name}: only methods that can be merged into the weights have it ({', '.join(MERGING)}); "
        f"not {', '.join(methods)}"
        for name, methods in lacking.items()
        if methods
    ]
    never = [method for method in config.methods or (None,) if not _stops(config, method)]
    if "stopped_epoch" in config.objectives and never:
        named = [method for method in never if method is not None]
        whose = f"; not so for {', '.join(named)}" if named else ""
        problems.append(f"objectives.stopped_epoch: only with train.early_stopping set is there one{whose}")
    if problems:
        raise UserInputError(*problems)


def _stops(config: SweepConfig, method: str | None) -> bool:
    searched = "train.early_stopping" in applying(config.search_space, method)
    return searched or config.train.early_stopping is not None
