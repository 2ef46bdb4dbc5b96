"""The errors a user can meet; each message names the thing, its value and what is allowed."""

__all__ = [
    "AdapterSweepError",
    "DiskError",
    "FrozenWeightsError",
    "GuardError",
    "LedgerAwayError",
    "LedgerError",
    "SpoiltProcessError",
    "UserInputError",
]


class AdapterSweepError(Exception):
    """Something failed that is not the user's input: exit status 1."""


class LedgerError(AdapterSweepError):
    """The ledger cannot be read or written: no trial's failure, but the end of this process's work on the study."""


class LedgerAwayError(LedgerError):
    """The ledger cannot be reached, or is locked: it may be back in a while."""


class DiskError(AdapterSweepError):
    """What a trial leaves cannot be kept: no failure of the trial, which is run again once there is room."""


class UserInputError(AdapterSweepError):
    """The user's input is wrong: exit status 2, one line a problem, no traceback.

    Attributes:
        problems: every problem found, each a sentence of its own; never empty.
    """

    def __init__(self, *problems: str) -> None:
        if not problems:
            raise ValueError("a UserInputError needs at least one problem")
        self.problems: tuple[str, ...] = problems
        super().__init__("\n".join(problems))

    def __reduce__(self) -> tuple[type["UserInputError"], tuple[str, ...]]:
        return (type(self), self.problems)


class GuardError(AdapterSweepError):
    """A guard fired: the trial's result cannot be trusted, so the trial fails with this reason."""


class FrozenWeightsError(GuardError):
    """The frozen backbone is no longer what was loaded: no trial of this process can be trusted from here on."""


class SpoiltProcessError(AdapterSweepError):
    """This process can train nothing any more; another one can. Its trials are in the ledger as lost or failed."""
