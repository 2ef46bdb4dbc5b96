"""Workers as Slurm jobs. The only importer of submitit, which is an optional part."""

import io
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import Any

from adapter_sweep.cli.errand import Errand
from adapter_sweep.cli.following import Seen
from adapter_sweep.config.schema import SlurmWorkers
from adapter_sweep.credentials import mask_credentials
from adapter_sweep.environment import variables
from adapter_sweep.errors import AdapterSweepError, UserInputError
from adapter_sweep.study.storage import STORAGE_VARIABLE, sqlite_file

__all__ = ["SlurmCrew"]

_TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"
_LAST_LINES = 5  # of a lost job's log, to be shown
_LOOK_SECONDS = 1.0
_NOT_REQUEUED = "UncompletedJobError: Job not requeued"  # submitit's, of a job whose time was over as it began


class SlurmCrew:
    """A study's workers as jobs. A job that ends before the study does, its time over say, is followed by another."""

    def __init__(self, errand: Errand, workers: SlurmWorkers) -> None:
        """Find the scheduler.

        Raises:
            UserInputError: submitit is not installed, or the ledger is a file of one host.
            AdapterSweepError: there is no Slurm here.
        """
        if workers.cluster == "slurm" and errand.url is not None and sqlite_file(errand.url) is not None:
            raise UserInputError(
                "workers=slurm: jobs run on many hosts, and an SQLite ledger is for one; use "
                "study.storage=postgresql://…, which all of them can reach"
            )
        self._errand, self._workers = _without_credentials(errand), workers
        self._environment = _credentials(errand)
        self._jobs: list[Any] = []
        self._executor = _executor(Path(errand.composed.config.results_dir) / f".{errand.name}.jobs", workers)

    def begin(self, waiting: Callable[[], None]) -> None:
        """In a job: the host that submits may be another kind of machine."""
        job = self._submit(Errand.begin)
        try:
            while not job.done():
                waiting()
                time.sleep(_LOOK_SECONDS)
            ended = _end(job)
        except KeyboardInterrupt:
            job.cancel(check=False)
            raise
        if isinstance(ended, str):
            raise AdapterSweepError(f"workers=slurm: the study was not begun: {mask_credentials(ended)}")
        if ended is not None:
            raise ended

    def start(self, most: int) -> int:
        """Submit jobs, no more than `most`, nor than `workers.count` in all; how many."""
        count = min(most, self._workers.count - len(self._jobs))
        for _ in range(count):
            self._jobs.append(self._submit(Errand.work))  # each at once: the next one may be refused
        return count

    def look(self) -> Seen:
        """What has become of the jobs."""
        over = [job for job in self._jobs if job.done()]
        self._jobs = [job for job in self._jobs if job not in over]
        ends = [(job, _end(job)) for job in over]
        return Seen.of(len(self._jobs), [end or f"job {job.job_id} ended by itself" for job, end in ends])

    def leave(self) -> None:
        """Cancel the jobs, which is a signal to each first."""
        for job in self._jobs:
            job.cancel(check=False)

    def close(self) -> None:
        """Cancel what is left."""
        self.leave()

    def _submit(self, task: Any) -> Any:
        try:
            with variables(self._environment), redirect_stderr(io.StringIO()):  # submitit prints sbatch's words as well
                return self._executor.submit(_do, task, self._errand, self._workers.cpus)
        except (RuntimeError, OSError) as error:  # the partition, a limit, no controller; or no room for the job's file
            words = mask_credentials(str(error).strip()) or type(error).__name__
            raise AdapterSweepError(f"workers=slurm: the job could not be submitted: {words}") from None


def _do(task: Any, errand: Errand, cpus: int) -> AdapterSweepError | None:
    """A job: it gives back what went wrong in our own words."""
    try:
        task(errand, cpus)
    except AdapterSweepError as error:
        return error
    return None


def _end(job: Any) -> Exception | str | None:
    """What a job failed with, how it was lost, or None where it did what it was to; waits for it."""
    import submitit

    try:
        found: Exception | None = job.result()
    except submitit.core.utils.UncompletedJobError as error:
        if isinstance(error, submitit.core.utils.FailedJobError) and _NOT_REQUEUED not in str(error):
            return AdapterSweepError(str(error))
        return f"job {job.job_id} was cancelled or lost{_last_words(job)}"  # its trials are found by others
    return found


def _last_words(job: Any) -> str:
    """The end of what a job wrote, to be read after how it ended."""
    try:
        lines = job.paths.stderr.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # it wrote nothing
        return ""
    last = [line for line in lines if line.strip()][-_LAST_LINES:]
    return "".join([f", and wrote last, in {job.paths.stderr}:", *(f"\n  {line}" for line in last)]) if last else ""


def _credentials(errand: Errand) -> dict[str, str]:
    """The environment of a job, which is handed on when it is submitted."""
    assert errand.url is not None
    uri = errand.composed.config.tracking.uri
    return {STORAGE_VARIABLE: errand.url, **({_TRACKING_VARIABLE: uri} if uri else {})}


def _without_credentials(errand: Errand) -> Errand:
    """What a job is to do lies in a file until it runs: the addresses come to it by its environment."""
    config = errand.composed.config
    storage = config.study.storage and mask_credentials(config.study.storage)
    study = config.study.model_copy(update={"storage": storage})
    uri = config.tracking.uri and mask_credentials(config.tracking.uri)
    tracking = config.tracking.model_copy(update={"uri": uri})
    shown = config.model_copy(update={"study": study, "tracking": tracking})
    # Nor may they stand in what was typed, of which a trial's command keeps nothing of these two sections.
    typed = tuple(
        text for text in errand.composed.overrides if not text.lstrip("+").startswith(("study.", "tracking."))
    )
    return replace(errand, url=None, composed=replace(errand.composed, config=shown, overrides=typed))


def _executor(folder: Path, workers: SlurmWorkers) -> Any:
    try:
        import submitit
    except ImportError:
        raise UserInputError("workers=slurm: submitit is not installed; install adapter-sweep[slurm]") from None
    if workers.cluster == "local":
        executor = submitit.AutoExecutor(folder, cluster="local")
        executor.update_parameters(timeout_min=workers.minutes)
        return executor
    try:
        executor = submitit.AutoExecutor(folder, cluster="slurm")
    except RuntimeError as error:  # no `srun`
        raise AdapterSweepError(f"workers=slurm: {error}") from None
    wanted = {
        "timeout_min": workers.minutes,
        "cpus_per_task": workers.cpus,
        "gpus_per_node": workers.gpus or None,
        "mem_gb": workers.memory_gb,
        "slurm_partition": workers.partition,
        "slurm_account": workers.account,
        "slurm_signal_delay_s": 90,
    }
    executor.update_parameters(
        name="adapter-sweep", **{key: value for key, value in wanted.items() if value is not None}
    )
    return executor
