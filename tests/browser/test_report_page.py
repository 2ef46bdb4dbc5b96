"""The report as a reader opens it: a file, without a network."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterable

import pytest
from browsing import COMMAND, Study, Window
from playwright.sync_api import Page, expect

from adapter_sweep.records import TrialState
from adapter_sweep.report import confirmed_rows, evidence
from adapter_sweep.study.confirmation import read_study
from adapter_sweep.study.ledger import storage_url

pytestmark = pytest.mark.browser

OpenWindow = Callable[..., Window]
SCHEMES = ("light", "dark")


@pytest.fixture(scope="module")
def confirmed(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A copy of the study, its finalists confirmed."""
    home = shutil.copytree(study.home, tmp_path_factory.mktemp("confirmed") / "home")
    command = [*COMMAND, "confirm", study.view.name, "confirm.seeds=3", "confirm.finalists=3", "tracking=none"]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = home / "results"
    return Study(home, read_study(study.view.name, url=storage_url(None, results), results_dir=results))


def open_report(window: OpenWindow, study: Study, **options: object) -> Window:
    opened = window(offline=True, **options)
    opened.page.goto(study.report.as_uri())
    opened.page.locator("#plot0").scroll_into_view_if_needed()  # charts are drawn when they come into sight
    drawn(opened.page, "#plot0, #plot1")
    return opened


def drawn(page: Page, selector: str) -> None:
    """Wait until every chart is drawn that the selector finds."""
    page.wait_for_function(
        "(selector) => [...document.querySelectorAll(selector)].every(({data}) => data?.length)",
        arg=selector,
        timeout=60_000,
    )


def words(cells: Iterable[str]) -> str:
    return " ".join(" ".join(cells).split())


def hover_words(page: Page) -> str:
    return " ".join(page.locator(".hoverlayer .hovertext").all_text_contents())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_report_needs_no_network_and_raises_nothing(window: OpenWindow, study: Study, scheme: str) -> None:
    opened = open_report(window, study, color_scheme=scheme)
    page = opened.page
    expect(page.get_by_role("heading", level=1)).to_contain_text("reaches accuracy")
    assert page.locator(".plot").count() >= 2
    for chart in page.locator(".plot").all():
        chart.scroll_into_view_if_needed()
        drawn(page, f"#{chart.get_attribute('id')}")
    for details in page.locator("details > summary").all():
        details.click()
    assert all(url.startswith(("file:", "data:", "blob:")) for url in opened.requests)
    assert opened.errors == []
    background, ink = page.evaluate(
        "() => [getComputedStyle(document.body), getComputedStyle(document.documentElement)]"
        ".map(({backgroundColor, color}) => [backgroundColor, color])"
    )[0]
    dark = [sum(map(int, re.findall(r"\d+", colour)[:3])) < 3 * 128 for colour in (background, ink)]
    assert dark == ([True, False] if scheme == "dark" else [False, True])
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")


def test_a_point_tells_its_trial(window: OpenWindow, study: Study) -> None:
    page = open_report(window, study).page
    best = max(study.view.in_state(TrialState.COMPLETE), key=lambda trial: trial.metrics["accuracy"])
    plot = page.locator(".plot").first
    plot.scroll_into_view_if_needed()
    place = plot.evaluate(
        """(plot, accuracy) => {
            const front = plot.data.find(({mode, y, text}) => mode === 'markers' && text && y.includes(accuracy));
            const {xaxis, yaxis} = plot._fullLayout, {x, y} = plot.getBoundingClientRect();
            const across = xaxis.d2p(front.x[front.y.indexOf(accuracy)]);
            return [x + xaxis._offset + across, y + yaxis._offset + yaxis.d2p(accuracy)];
        }""",
        best.metrics["accuracy"],
    )
    page.mouse.move(place[0] - 40, place[1] - 40)
    page.mouse.move(*place, steps=8)
    expect(page.locator(".hoverlayer .hovertext")).not_to_have_count(0)
    assert f"{best.metrics['accuracy']:.3f}" in hover_words(page)


def test_the_tables_show_what_the_ledger_holds(window: OpenWindow, study: Study) -> None:
    page = open_report(window, study).page
    trials = page.get_by_role("table", name=f"All trials of {study.view.name}")
    headers = trials.get_by_role("columnheader").all_inner_texts()
    rows = [row.locator("th, td").all_inner_texts() for row in trials.locator("tbody tr").all()]
    assert len(rows) == len(study.view.trials)
    for cells in rows:
        row = dict(zip(headers, cells, strict=True))
        trial = study.view.trials[int(row["trial"])]
        assert row["state"].removesuffix(", on the front") == trial.state
        assert row["width"] == str(trial.params["method.width"])
        assert row["placement"] == trial.params["method.placement"]
        assert int(row["trainable parameters"].replace(",", "")) == trial.metrics["trainable_params"]
    why = page.get_by_role("table", name="Trials without a result, and why")
    for trial in study.view.in_state(TrialState.REFUSED):
        expect(why.get_by_role("row").filter(has_text=str(trial.reason))).to_have_count(1)


def test_trials_are_searched_sorted_and_opened(window: OpenWindow, study: Study) -> None:
    page = open_report(window, study).page
    trials = page.get_by_role("table", name=f"All trials of {study.view.name}")

    def shown() -> list[int]:
        return [int(text) for text in trials.locator("tbody th button").all_inner_texts()]

    trials.locator("thead button").filter(has_text="width").click()
    widths = [study.view.trials[number].params["method.width"] for number in shown()]
    assert widths == sorted(widths)  # type: ignore[type-var]
    page.get_by_label("State").select_option("refused")
    assert set(shown()) == {trial.number for trial in study.view.in_state(TrialState.REFUSED)}
    page.get_by_label("Search").fill("no trial is called this")
    expect(page.get_by_text("No trial is like that.")).to_be_visible()
    page.get_by_label("Search").fill("")
    page.get_by_label("State").select_option("complete")
    first = study.view.trials[shown()[0]]
    trials.locator("tbody th button").first.press("Enter")
    expect(trials.get_by_text("adapter-sweep trial ")).to_contain_text(f"method.width={first.params['method.width']}")
    assert first.mlflow_run_id is not None
    expect(trials.get_by_role("link", name=first.mlflow_run_id)).to_be_visible()


def test_the_keyboard_reaches_the_front_and_the_commands(window: OpenWindow, study: Study) -> None:
    page = open_report(window, study).page
    reached: list[str] = []
    for _ in range(80):
        page.keyboard.press("Tab")
        tag = page.evaluate("() => document.activeElement.closest('#front, .front') && document.activeElement.tagName")
        if tag == "TR":
            reached.append(hover_words(page))
        summary = page.evaluate(
            "() => document.activeElement.tagName === 'SUMMARY' && document.activeElement.innerText"
        )
        if summary and summary.startswith("Commands"):
            break
    else:
        pytest.fail("the commands were not reached")
    assert reached
    assert all("accuracy" in words for words in reached)
    page.keyboard.press("Enter")
    expect(page.get_by_text("adapter-sweep trial ").first).to_be_visible()


def test_the_report_prints(window: OpenWindow, study: Study) -> None:
    page = open_report(window, study, color_scheme="dark").page
    pdf = page.pdf(format="A4")
    assert pdf.startswith(b"%PDF")
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 8


def test_finalists_come_first(window: OpenWindow, confirmed: Study) -> None:
    opened = open_report(window, confirmed)
    page = opened.page
    expect(page.get_by_role("heading", level=1)).to_contain_text(re.compile("test accuracy|worth shipping"))
    table = page.get_by_role("table", name=re.compile("Finalists.*test split"))
    shown = [row.locator("th, td").all_inner_texts() for row in table.locator("tbody tr").all()]
    found = evidence(confirmed.view)
    assert found is not None
    expected = confirmed_rows(confirmed.view, found)
    assert [" ".join(" ".join(cells).split()) for cells in shown] == [
        " ".join(" ".join(cells).split()) for cells in expected.cells
    ]
    assert {"majority class", "frozen backbone", "head-only probe"} <= {cells[0] for cells in shown}
    assert opened.errors == []
