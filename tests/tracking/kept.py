"""A study that a tracker reads as it reads a ledger."""

from dataclasses import dataclass

from adapter_sweep.records import StudyView, TrialView


@dataclass(frozen=True)
class Kept:
    """A study in memory."""

    study: StudyView

    def view(self) -> StudyView:
        return self.study

    def view_trial(self, number: int) -> TrialView:
        return next(trial for trial in self.study.trials if trial.number == number)
