"""The report as a reader opens it: a file, without a network."""

import re
from collections.abc import Callable

import pytest
from browsing import Study, Window
from playwright.sync_api import Page, expect

from adapter_sweep.records import TrialState

pytestmark = pytest.mark.browser

OpenWindow = Callable[..., Window]
SCHEMES = ("light", "dark")


def open_report(window: OpenWindow, study: Study, **options: object) -> Window:
    opened = window(offline=True, **options)
    opened.page.goto(study.report.as_uri())
    opened.page.wait_for_function("() => [...document.querySelectorAll('.plot')].every(({data}) => data?.length)")
    return opened


def hover_words(page: Page) -> str:
    return " ".join(page.locator(".hoverlayer .hovertext").all_text_contents())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_report_needs_no_network_and_raises_nothing(window: OpenWindow, study: Study, scheme: str) -> None:
    opened = open_report(window, study, color_scheme=scheme)
    page = opened.page
    expect(page.get_by_role("heading", level=1)).to_contain_text("reaches accuracy")
    assert page.locator(".plot").count() >= 2
    opened.page.locator("body").press("End")
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
    page.get_by_text(f"All {len(study.view.trials)} trials", exact=True).click()
    trials = page.get_by_role("table", name=f"All trials of {study.view.name}")
    headers = trials.get_by_role("columnheader").all_inner_texts()
    rows = [row.locator("th, td").all_inner_texts() for row in trials.locator("tbody tr").all()]
    assert len(rows) == len(study.view.trials)
    for cells in rows:
        row = dict(zip(headers, cells, strict=True))
        trial = study.view.trials[int(row["trial"].split()[0])]
        assert row["state"] == trial.state
        assert row["width"] == str(trial.params["method.width"])
        assert row["placement"] == trial.params["method.placement"]
        assert int(row["trainable_params"].replace(",", "")) == trial.metrics["trainable_params"]
    why = page.get_by_role("table", name="Trials without a result, and why")
    for trial in study.view.in_state(TrialState.REFUSED):
        expect(why.get_by_role("row").filter(has_text=str(trial.reason))).to_have_count(1)


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
