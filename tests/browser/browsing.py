"""What the browser's tests share: a study, and a window of the browser."""

import sys
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import BrowserContext, Page

from adapter_sweep.records import StudyView

COMMAND = [sys.executable, "-c", "from adapter_sweep.cli import main; main()"]


@dataclass(frozen=True)
class Study:
    """A finished study: its working directory, and what its ledger holds."""

    home: Path
    view: StudyView

    @property
    def report(self) -> Path:
        return self.home / "results" / self.view.name / "report.html"


@dataclass
class Window:
    """A page of its own context, and what it did that it should not have done."""

    page: Page
    context: BrowserContext
    requests: list[str]
    errors: list[str]
