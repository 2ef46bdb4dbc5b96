"""A real study, made once by the command as a user types it, and a real browser."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from browsing import COMMAND, Study, Window
from playwright.sync_api import Browser, expect, sync_playwright

from adapter_sweep.study.ledger import Ledger, storage_url
from ports import free_port
from tiny_bert import save_toy_csv, tiny_overrides

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE_MS = 90_000  # MLflow's pages take seconds on a quiet machine, and this one may not be quiet

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Debian's Chromium, or another one that is installed; without one the tests are skipped, and in CI fail."""
    found = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    if found is None:
        missing = f"no browser found ({', '.join(CHROMIUM)}); Debian: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


@pytest.fixture(scope="session")
def study(chromium: str, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Eight trials over width, placement and learning rate, of which the widest are refused."""
    home = tmp_path_factory.mktemp("study")
    settings = [
        *tiny_overrides(tiny_bert, save_toy_csv(home / "toy.csv")),
        *("backbone.pooling=mean", "train.epochs=4", "budget.max_trainable_params=2500"),
        "method.width=tag(log,int(interval(2,64)))",
        "method.placement=choice(post_attention,post_ffn,both)",
        "train.lr=tag(log,interval(1e-3,1e-1))",
        *("study.name=browser", "study.n_trials=8", "study.sampler=random"),
    ]
    done = subprocess.run([*COMMAND, "run", *settings], cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = home / "results"
    ledger = Ledger.read("browser", url=storage_url(None, results), results_dir=results)
    view = ledger.view()
    view = replace(view, trials=tuple(ledger.view_trial(trial.number) for trial in view.trials))
    assert {str(trial.state) for trial in view.trials} == {"complete", "refused"}
    return Study(home, view)


@pytest.fixture(scope="module")
def ui(study: Study) -> Iterator[dict[str, str]]:
    """`adapter-sweep ui` on the study's store: what it said, the server's address under the name `server`."""
    process = subprocess.Popen(
        [*COMMAND, "ui", "--port", str(free_port())],
        cwd=study.home,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline() for _ in range(3)]
        found = re.search(r"http://\S+", lines[1])
        assert found is not None, lines
        name, _, address = lines[2].strip().partition(": ")
        yield {"server": found[0], name: address}
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """The browser, without a window."""
    with sync_playwright() as playwright:
        root = hasattr(os, "geteuid") and os.geteuid() == 0  # Chromium's own sandbox refuses to run as root
        started = playwright.chromium.launch(
            executable_path=chromium,
            args=["--disable-dev-shm-usage", *(["--no-sandbox"] if root else [])],  # a container's /dev/shm is small
            env={name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
        )
        yield started
        started.close()


@pytest.fixture
def window(browser: Browser) -> Iterator[Callable[..., Window]]:
    """Open a page in a fresh context (`options`: Playwright's for a context)."""
    with ExitStack() as closing:

        def open_window(**options: object) -> Window:
            context = browser.new_context(viewport={"width": 1920, "height": 1200}, **options)  # type: ignore[arg-type]
            closing.callback(context.close)
            context.set_default_timeout(PATIENCE_MS)
            page = context.new_page()
            opened = Window(page, context, [], [])
            context.on("request", lambda request: opened.requests.append(request.url))
            page.on("pageerror", lambda error: opened.errors.append(str(error)))
            page.on("console", lambda said: opened.errors.append(said.text) if said.type == "error" else None)
            return opened

        yield open_window
