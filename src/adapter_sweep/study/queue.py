"""What is asked for next: configurations whose trials were interrupted, and those that are known beforehand."""

from collections.abc import Iterable, Mapping, Sequence

from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from adapter_sweep.config import Dimension
from adapter_sweep.config.naming import METHOD, applying, named_params
from adapter_sweep.records import ParamValue, TrialState
from adapter_sweep.study.facts import PREFIX, deaths, planned_params, retry_of, state_of
from adapter_sweep.study.grid import first_left
from adapter_sweep.study.rows import Rows

__all__ = ["Queue"]


class Queue:
    """The trials that wait in a study, first come, first served.

    Args:
        points: what the trials' parameters are to be, in this order; None where they are sampled.
    """

    def __init__(
        self, rows: Rows, space: Mapping[str, Dimension], points: Sequence[Mapping[str, ParamValue]] | None
    ) -> None:
        self._rows = rows
        self._space = space
        self._points = points

    def prepare(self, trials: Sequence[FrozenTrial]) -> bool:
        """Have something to ask for; False where all points have begun."""
        if self._points is None or _waiting(trials):
            return True
        point = first_left(self._points, (planned_params(trial) for trial in trials))
        if point is not None:
            self.add(point)
        return point is not None

    def next_goes_alone(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether the first of those that wait is of a configuration that a process died with."""
        return any(deaths(trials, trial.number) for trial in _waiting(trials)[:1])

    def waiting(self) -> list[dict[str, ParamValue]]:
        """The parameters of those that wait."""
        return [planned_params(trial) for trial in _waiting(self._rows.trials())]

    def add(self, params: Mapping[str, ParamValue], **facts: object) -> None:
        """Have a trial of these parameters, and these facts, wait behind the others."""
        # What a queued trial is to have is told with it, or it would be lost should it die before it has it.
        attrs = {PREFIX + name: value for name, value in {"params": dict(params), **facts}.items()}
        self._rows.study.enqueue_trial(named_params(self._space, params), user_attrs=attrs)

    def restore(self) -> None:
        """Queue the configuration of every interrupted trial that is not queued yet.

        To be called with the study locked.
        It is queued once the trial has ended for good: one that another process ends otherwise at the same moment would
        be run twice. Should this process die in between, the next one that asks makes up for it.
        """
        trials = self._rows.trials()
        queued = {retry_of(trial) for trial in trials}
        for trial in trials:
            if trial.state == OptunaState.FAIL and trial.number not in queued and self._is_to_be_repeated(trial):
                self.add(planned_params(trial), retry_of=trial.number)

    def _is_to_be_repeated(self, trial: FrozenTrial) -> bool:
        if state_of(trial) is not TrialState.INTERRUPTED:
            return False
        params = planned_params(trial)
        return bool(params) and params.keys() == applying(self._space, params.get(METHOD)).keys()


def _waiting(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in trials if trial.state == OptunaState.WAITING]
