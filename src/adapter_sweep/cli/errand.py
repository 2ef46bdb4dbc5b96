"""What a worker somewhere on a cluster is to do."""

import os
import signal
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from adapter_sweep.cli.beginning import begin
from adapter_sweep.cli.joining import Here, join_study
from adapter_sweep.config.compose import Composed
from adapter_sweep.config.schema import LocalWorkers
from adapter_sweep.errors import AdapterSweepError
from adapter_sweep.interrupts import LEAVE_SECONDS, listening
from adapter_sweep.study.storage import STORAGE_VARIABLE

__all__ = ["Errand"]

_TIME_NEARLY_OVER = signal.SIGUSR2  # what Slurm sends a job, as we have it


@dataclass(frozen=True)
class Errand:
    """What a worker somewhere on a cluster is to do; plain data.

    A worker that is cancelled or preempted, or whose time is nearly over, is interrupted as a command is by Ctrl-C: it
    keeps a checkpoint, marks its trials and is gone within 9.5 s; whatever is sent it besides changes nothing.

    Attributes:
        composed: the sweep, whose folders are absolute.
        name: its study.
        url: the ledger's database; None where the environment has it.
        folder: the working directory, for where the cluster has it too.
    """

    composed: Composed
    name: str
    url: str | None
    folder: str

    @property
    def _url(self) -> str:
        return self.url or os.environ[STORAGE_VARIABLE]

    @property
    def _tracking(self) -> str | None:
        """The store's address; where the errand lies in a file, the environment has the one with credentials."""
        uri = self.composed.config.tracking.uri
        return os.environ.get("MLFLOW_TRACKING_URI", uri) if self.url is None and uri else uri

    def begin(self, cpus: int) -> None:
        """Begin the study where its trials will run: what a latency means, and `auto`, depends on it.

        Raises:
            AdapterSweepError: it cannot be begun, or this was interrupted.
        """
        with suppress(OSError):  # a folder of the first host alone
            os.chdir(self.folder)
        config = self.composed.config
        train = config.train.model_copy(update={"threads": config.train.threads or cpus})
        study = config.study.model_copy(update={"storage": self._url})
        alone = config.model_copy(
            update={"workers": LocalWorkers(kind="local", count=1), "train": train, "study": study}
        )
        try:
            with listening(LEAVE_SECONDS, again="ignored", also=(_TIME_NEARLY_OVER,)):
                begun = begin(replace(self.composed, config=alone), self.name, single=False)
                if begun.done < begun.total and not begun.ledger.view().anchors:
                    begun.ledger.set_facts(anchors=begun.bench.anchors())
        except KeyboardInterrupt:
            raise AdapterSweepError(f"study {self.name!r}: the worker that began it was interrupted") from None

    def work(self, cpus: int) -> None:
        """Run the study's trials until all have begun, or this is interrupted."""
        with suppress(OSError):
            os.chdir(self.folder)
        config = self.composed.config
        settings = {
            "results_dir": config.results_dir,
            "train.threads": config.train.threads or cpus,
            "train.device": config.train.device,
            "train.cohort": config.train.cohort,
            "train.cache_gb": config.train.cache_gb,
            # A store that is the first host's own files is written there.
            "tracking.enabled": config.tracking.enabled and config.tracking.uri is not None,
        }
        with (
            suppress(KeyboardInterrupt),
            listening(LEAVE_SECONDS, again="ignored", also=(_TIME_NEARLY_OVER,)),
            Path(os.devnull).open("w", encoding="utf-8") as nowhere,
            redirect_stdout(nowhere),
        ):
            join_study(self.name, Here(self._url, self._tracking, 1, settings))
