"""Workers on a Ray cluster. The only importer of ray, which is an optional part."""

import os
import warnings
from collections.abc import Callable
from typing import Any

from adapter_sweep.cli.errand import Errand
from adapter_sweep.cli.following import Seen
from adapter_sweep.config.schema import RayWorkers
from adapter_sweep.errors import AdapterSweepError, UserInputError
from adapter_sweep.study.storage import sqlite_file

__all__ = ["RayCrew"]

_LOOK_SECONDS = 1.0


class RayCrew:
    """A study's workers as Ray's tasks, which Ray places. One whose process or node died is followed by another."""

    def __init__(self, errand: Errand, workers: RayWorkers) -> None:
        """Connect to the cluster, or start Ray on this host.

        Raises:
            UserInputError: Ray is not installed, or the ledger is a file of one host and the cluster has several.
            AdapterSweepError: the cluster cannot be reached.
        """
        self._errand, self._workers = errand, workers
        alone = workers.address is None and not os.environ.get("RAY_ADDRESS")
        self._ray = _import(alone=alone)
        self._tasks: list[Any] = []
        _connect(self._ray, workers.address, alone=alone)
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        if len(nodes) > 1 and errand.url is not None and sqlite_file(errand.url) is not None:
            self.close()
            raise UserInputError(
                f"workers=ray: the cluster has {len(nodes)} nodes, and an SQLite ledger is for one host; use "
                "study.storage=postgresql://…, which all of them can reach"
            )
        self._cpus = max(1, int(workers.cpus))

    def begin(self, waiting: Callable[[], None]) -> None:
        """On a worker's place: the head of a cluster may be another kind of machine."""
        try:
            task = self._task(Errand.begin, tries=3).remote(self._errand, self._cpus)
            while not self._ray.wait([task], timeout=_LOOK_SECONDS)[0]:
                waiting()
            self._ray.get(task)
        except self._ray.exceptions.RayError as error:
            raise _cause(error) from None

    def start(self, most: int) -> int:
        """Have Ray start workers, no more than `most`, nor than are asked for in all; how many."""
        count = min(most, (self._workers.count or self._room()) - len(self._tasks))
        work = self._task(Errand.work)
        self._tasks += [work.remote(self._errand, self._cpus) for _ in range(count)]
        return count

    def look(self) -> Seen:
        """What has become of the tasks."""
        if not self._tasks:
            return Seen.of(0, ())
        done, self._tasks = self._ray.wait(self._tasks, num_returns=len(self._tasks), timeout=0)
        ends: list[Exception | str] = []
        for task in done:
            try:
                self._ray.get(task)
                ends.append("it ended by itself")
            except self._ray.exceptions.TaskCancelledError:
                ends.append("it was cancelled")
            except self._ray.exceptions.RayTaskError as error:
                ends.append(_cause(error))
            except self._ray.exceptions.RayError as error:  # its process, or its node
                ends.append(str(error))
        return Seen.of(len(self._tasks), ends)

    def leave(self) -> None:
        """Interrupt the workers."""
        for task in self._tasks:
            self._ray.cancel(task)  # is Ctrl-C to the worker

    def close(self) -> None:
        """Leave the cluster; what was started for this command alone ends."""
        self._ray.shutdown()

    def _task(self, function: Any, *, tries: int = 1) -> Any:
        """Whoever follows the study has another task in place of one that was lost: here Ray tries it once."""
        needs = {"num_cpus": self._workers.cpus, "num_gpus": self._workers.gpus}
        return self._ray.remote(**needs, max_retries=tries - 1, max_calls=1)(function)

    def _room(self) -> int:
        """Workers that the cluster as it is now has room for, one at least: Ray waits for more nodes where it may."""
        has = self._ray.cluster_resources()
        room = int(has.get("CPU", 0) // self._workers.cpus)
        if self._workers.gpus:
            room = min(room, int(has.get("GPU", 0) // self._workers.gpus))
        return max(1, room)


def _import(*, alone: bool) -> Any:
    if alone:
        # Named for other systems, it is what Ray asks whether hosts beside this one may connect: if not, it listens on
        # 127.0.0.1, and else on all addresses, whatever it is told of its own.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a worker without GPUs keeps its environment
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's own is 15: beside anything else, a trial would wait
    try:
        import ray
    except ImportError:
        raise UserInputError("workers=ray: Ray is not installed; install adapter-sweep[ray]") from None
    return ray


def _connect(ray: Any, address: str | None, *, alone: bool) -> None:
    # A cluster of one host listens on that host alone, and nobody needs its dashboard.
    local: dict[str, Any] = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"} if alone else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Ray's own, of what comes in its next version
            ray.init(address=address, log_to_driver=True, configure_logging=False, **local)
    except Exception as error:  # connections, versions, sessions: Ray has a kind for each
        raise AdapterSweepError(f"workers=ray: no cluster at {address or 'this host'}: {error}") from None


def _cause(error: Any) -> Exception:
    """Our own error where it was one; else Ray's, which holds the worker's traceback."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, AdapterSweepError) else AdapterSweepError(str(error))
