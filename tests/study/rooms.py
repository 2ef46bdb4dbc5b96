"""A study whose workers are real processes, on the toy task."""

from pathlib import Path
from typing import Any

from adapter_sweep.config.space import parse_space
from adapter_sweep.study.ledger import Ledger, storage_url
from adapter_sweep.study.messages import Job
from adapter_sweep.study.workers import run_workers
from toy_bench import StudyWatch, toy_values

SPACE = {"method.width": "int(interval(2, 9))"}


class Room:
    """A study on the toy task, which workers open by themselves."""

    def __init__(self, tiny_bert: Path, toy_csv: Path, folder: Path, url: str | None = None) -> None:
        self.values = toy_values(tiny_bert)
        self.values["task"]["path"] = str(toy_csv)
        self.study: dict[str, Any] = {
            "name": "toy",
            "url": storage_url(url, folder),
            "results_dir": folder,
            "definition": {"search_space": SPACE},
            "objectives": self.values["objectives"],
            "space": parse_space(SPACE),
            "sampler": "random",
            "seed": 0,
        }
        self.ledger = Ledger.start(**self.study)
        self.watch = StudyWatch()
        self.told: list[int] = []

    def run(self, n_trials: int, workers: int, **changes: Any) -> None:
        job = Job(**{"ledger": self.study, "values": self.values, "n_trials": n_trials, "threads": 1, **changes})
        run_workers(self.ledger, [job] * workers, self.watch, told=self.told.append)
