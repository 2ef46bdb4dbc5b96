"""MLflow's UI as a user meets it: what it shows is what the ledger holds."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import yaml
from browsing import Study, Window
from playwright.sync_api import Locator, Page, expect

from adapter_sweep.records import ParamValue, StudyView, TrialState, TrialView
from adapter_sweep.tracking import Tracker

pytestmark = pytest.mark.browser

OBJECTIVES = ("accuracy", "trainable_params", "latency_ratio")
SWEPT = ("method.width", "method.placement", "train.lr")
MENU = '[data-testid^="saved-views-item"]'
OpenWindow = Callable[..., Window]


def done(study: Study) -> list[TrialView]:
    """The complete trials, the best first."""
    return sorted(study.view.in_state(TrialState.COMPLETE), key=lambda trial: -trial.metrics["accuracy"])


def grid_row(page: Page, run_id: str | None) -> Locator:
    return page.locator(f'.ag-row[row-id="{run_id}"]')


def grid_cell(page: Page, run_id: str | None, column: str) -> str:
    return grid_row(page, run_id).locator(f'[col-id="{column}"]').inner_text().strip()


def order(page: Page) -> list[str]:
    """Run ids from top to bottom."""
    rows = page.locator(".ag-pinned-left-cols-container .ag-row").all()
    places = {row.get_attribute("row-id") or "": int(row.get_attribute("row-index") or 0) for row in rows}
    return sorted(places, key=lambda run_id: places[run_id])


def table(page: Page, heading: str) -> dict[str, str]:
    """A table of two columns, found by the name of the first."""
    found = page.get_by_role("table").filter(has=page.get_by_text(heading, exact=True))
    texts = [text.strip().split("\n") for text in found.get_by_role("row").all_inner_texts()]
    return {cells[0].strip(): cells[-1].strip() for cells in texts[1:]}


def plotted(page: Page, traces: str) -> list[Any]:
    """What the charts on the page were given; `traces` makes of `data`, one chart's traces, what is wanted of it."""
    script = f"() => [...document.querySelectorAll('.js-plotly-plot')].map(({{data}}) => {traces})"
    return list(page.evaluate(script))


def shown(value: ParamValue) -> str:
    return str(value)


def open_trials(window: OpenWindow, ui: dict[str, str], study: Study) -> Window:
    """The trials by the address that `adapter-sweep ui` prints."""
    opened = window()
    opened.page.goto(ui["browser"])
    expect(opened.page.get_by_text(f"{len(study.view.trials)} matching runs")).to_be_visible()
    expect(opened.page.locator(".ag-center-cols-container .ag-row")).to_have_count(len(study.view.trials))
    close_assistant(opened.page)
    return opened


def close_assistant(page: Page) -> None:
    """Close the chat that MLflow opens beside every page."""
    page.locator('[data-component-id="mlflow.assistant.chat_panel.close"]').click()


def test_the_printed_address_lists_the_trials_as_the_ledger_holds_them(
    window: OpenWindow, ui: dict[str, str], study: Study
) -> None:
    opened = open_trials(window, ui, study)
    page = opened.page
    for trial in study.view.trials:
        run_id = trial.mlflow_run_id
        expected = {f"metrics.`{name}`": trial.metrics.get(name) for name in OBJECTIVES}
        read = {column: grid_cell(page, run_id, column) for column in expected}
        assert {column: None if text == "-" else float(text) for column, text in read.items()} == expected
        assert [grid_cell(page, run_id, f"params.`{name}`") for name in SWEPT] == [
            shown(trial.params[name]) for name in SWEPT
        ]
        assert grid_cell(page, run_id, "tags.`adapter_sweep.state`") == trial.state
        name = grid_row(page, run_id).get_by_role("link").inner_text()
        assert re.fullmatch(rf"{trial.number:03d} width=\d+ placement=\w+ lr=[\d.e-]+", name)
        assert f"width={trial.params['method.width']} placement={trial.params['method.placement']} " in name
    accuracies = {trial.mlflow_run_id: trial.metrics.get("accuracy", -1) for trial in study.view.trials}
    listed = [accuracies[run_id] for run_id in order(page)]
    assert listed == sorted(accuracies.values(), reverse=True)
    assert [url for url in opened.requests if not url.startswith((ui["server"], "data:", "blob:"))] == []


def test_from_the_start_page_to_the_saved_view(window: OpenWindow, ui: dict[str, str], study: Study) -> None:
    page = window().page
    page.goto(ui["server"])
    close_assistant(page)
    page.get_by_role("button", name="Model training").click()
    page.get_by_role("link", name="Experiments").first.click()
    page.get_by_role("link", name="browser", exact=True).first.click()

    # Parent and children: one run of the study, which opens to its trials.
    expect(page.get_by_role("link", name="study browser")).to_be_visible()
    expect(page.locator(".ag-center-cols-container .ag-row")).to_have_count(1)
    grid_row(page, study.view.mlflow_run_id).get_by_role("button").first.click()
    for trial in study.view.trials:
        expect(grid_row(page, trial.mlflow_run_id).get_by_role("link")).to_have_text(
            re.compile(rf"^{trial.number:03d} width=")
        )

    # By hand: sorted by accuracy, the trials that have one come first, the best on top.
    page.get_by_role("button", name=re.compile("^Sort")).click()
    page.get_by_test_id("sort-select-accuracy").click()
    best = done(study)
    expect(page.locator('.ag-header-cell[col-id="metrics.`accuracy`"]')).to_be_visible()
    expect(page.locator('.ag-row[row-index="0"] [col-id="metrics.`accuracy`"]')).to_have_text(
        str(best[0].metrics["accuracy"])
    )
    values = {trial.mlflow_run_id: trial.metrics["accuracy"] for trial in best}
    assert [values[run_id] for run_id in order(page)[: len(best)]] == [trial.metrics["accuracy"] for trial in best]

    page.get_by_role("button", name="Views").click()
    page.locator(MENU).get_by_text("Trials by accuracy").click()
    expect(page.get_by_text(f"{len(study.view.trials)} matching runs")).to_be_visible()
    expect(page.locator('.ag-header-cell[col-id="metrics.`latency_ratio`"]')).to_be_visible()


def test_the_description_says_what_it_is_and_leads_to_trials_and_report(
    window: OpenWindow, ui: dict[str, str], study: Study
) -> None:
    opened = open_trials(window, ui, study)
    page = opened.page
    refused = len(study.view.in_state(TrialState.REFUSED))
    expect(page.get_by_text(f"{len(done(study))} complete, {refused} refused; task local")).to_be_visible()
    page.locator('[data-component-id="mlflow.experiment.metadata_editor.expand_button"]').click()
    trials = page.get_by_role("link", name="Trials with their parameters and costs")
    assert f"{ui['server']}/{trials.get_attribute('href')}" == ui["browser"]
    for key, text in study.view.search_space.items():
        expect(page.get_by_text(f"{key}: {text}", exact=True)).to_be_visible()
    with opened.context.expect_page() as report:
        page.get_by_role("link", name="The report").click()
    page = report.value
    for name in ("report.html", "report.md", "front.png", "trials.csv", "config.yaml"):
        expect(page.get_by_text(name, exact=True)).to_be_visible()
    page.get_by_text("report.html", exact=True).click()
    expect(page.frame_locator("iframe").get_by_role("heading", level=1)).to_contain_text("reaches accuracy")
    page.get_by_text("front.png", exact=True).click()
    page.wait_for_function("() => [...document.images].some(({naturalWidth}) => naturalWidth > 500)")


def test_selected_trials_are_compared_side_by_side(window: OpenWindow, ui: dict[str, str], study: Study) -> None:
    page = open_trials(window, ui, study).page
    chosen = done(study)[:3]
    for trial in chosen:
        grid_row(page, trial.mlflow_run_id).locator(".ag-selection-checkbox input").check()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", name="Comparing 3 Runs")).to_be_visible()
    metrics = page.get_by_role("combobox").nth(1)
    for name in OBJECTIVES:
        metrics.click()
        page.keyboard.type(name)
        page.locator(f'[title="{name}"][aria-selected="false"]').click()
        page.keyboard.press("Escape")
    page.wait_for_function("() => document.querySelector('.js-plotly-plot')?.data?.[0]?.dimensions?.length >= 6")
    (dimensions,) = plotted(page, "data[0].dimensions.map(({label, values, ticktext}) => [label, values, ticktext])")
    axes = {
        label: [words[int(value)] for value in values] if words else list(values) for label, values, words in dimensions
    }
    by_run: Sequence[TrialView] = sorted(chosen, key=lambda trial: page.url.index(str(trial.mlflow_run_id)))
    for name in SWEPT:
        assert axes[name] == [trial.params[name] for trial in by_run]
    for name in OBJECTIVES:
        assert axes[name] == [trial.metrics[name] for trial in by_run]

    for name in SWEPT:
        row = page.get_by_role("row").filter(has=page.get_by_text(name, exact=True)).inner_text()
        assert row.split("\t") == [name, *(shown(trial.params[name]) for trial in by_run)]

    page.get_by_role("tab", name="Scatter Plot").click()
    page.wait_for_function("() => document.querySelector('.js-plotly-plot')?.data?.[0]?.mode === 'markers'")
    ((x, y),) = plotted(page, "[data[0].x, data[0].y]")
    assert len(x) == len(y) == 3


def test_the_charts_of_the_saved_view(window: OpenWindow, ui: dict[str, str], study: Study) -> None:
    page = open_trials(window, ui, study).page
    page.locator('label:has(input[name="runs-view-mode"][value="CHART"])').click()
    chart = page.locator("svg").filter(has=page.get_by_text("method.placement", exact=True))
    for name in (*SWEPT, *OBJECTIVES):
        expect(chart.get_by_text(name, exact=True).first).to_be_visible()
    page.get_by_text("latency_ratio vs. accuracy").scroll_into_view_if_needed()
    page.wait_for_function("() => document.querySelectorAll('.js-plotly-plot').length >= 2")
    points = plotted(page, "data.flatMap(({x, y}) => x.map((value, place) => [value, y[place]]))")
    for name in ("trainable_params", "latency_ratio"):
        wanted = sorted((trial.metrics[name], trial.metrics["accuracy"]) for trial in done(study))
        assert wanted in [sorted((x, y) for x, y in chart if y is not None) for chart in points]


def test_one_run_shows_numbers_curves_configuration_and_data(
    window: OpenWindow, ui: dict[str, str], study: Study
) -> None:
    page = open_trials(window, ui, study).page
    trial = done(study)[0]
    grid_row(page, trial.mlflow_run_id).get_by_role("link").click()
    expect(page.get_by_text(f"complete: accuracy = {trial.metrics['accuracy']:.4g}")).to_be_visible()
    expect(page.get_by_text("adapter-sweep trial ").first).to_contain_text(
        f"method.width={trial.params['method.width']}"
    )
    expect(page.get_by_text(f"local ({trial.provenance['data_fingerprint'][:36]})")).to_be_visible()
    numbers = {name: float(text) for name, text in table(page, "Metric").items()}
    assert numbers == trial.metrics
    assert table(page, "Parameter") == {name: shown(value) for name, value in trial.params.items()}

    page.get_by_role("tab", name="Model metrics").click()
    assert {"accuracy", "train_loss"} <= trial.curves.keys()
    for name, curve in trial.curves.items():
        page.get_by_placeholder("Search metric charts").fill(f"^{name}$")
        page.wait_for_function(
            "(name) => [...document.querySelectorAll('.js-plotly-plot')].some((p) => p.data?.[0].metricKey === name)",
            arg=name,
        )
        ((key, line),) = plotted(page, "[data[0].metricKey, data[0].x.map((step, place) => [step, data[0].y[place]])]")
        assert key == name
        assert [tuple(point) for point in line[: len(curve)]] == curve
        assert line[-1] == [curve[-1][0], trial.metrics[name]]
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("config.yaml", exact=True).click()
    expect(page.locator("code.language-yaml")).to_contain_text("max_tokens_per_batch")
    assert yaml.safe_load(page.locator("code.language-yaml").text_content() or "") == trial.config


def test_a_refused_trial_tells_why(window: OpenWindow, ui: dict[str, str], study: Study) -> None:
    page = open_trials(window, ui, study).page
    trial = study.view.in_state(TrialState.REFUSED)[0]
    grid_row(page, trial.mlflow_run_id).get_by_role("link").click()
    expect(page.get_by_text(f"refused: {trial.reason}")).to_be_visible()


def test_descriptions_show_foreign_text_as_text(window: OpenWindow, ui: dict[str, str], study: Study) -> None:
    reason = "<img src=x onerror=alert(1)> **bold** [link](http://example.com/a_b_c) `code` | a & b 1. ~~no~~"
    trial = TrialView(0, TrialState.FAILED, {"train.lr": 0.1}, reason=reason, overrides=("task.text='a\n<b>b</b>'",))
    hostile = StudyView("hostile", {"accuracy": "maximize"}, {"train.lr": reason}, 1, (trial,))
    run_id = Tracker(study.home / "results", hostile.name).publish_trial(hostile, trial)
    page = window().page
    page.goto(f"{ui['server']}/#/experiments/2/runs/{run_id}")
    expect(page.get_by_text(f"failed: {reason}", exact=True)).to_be_visible()
    expect(page.get_by_text("<b>b</b>").first).to_be_visible()
    assert page.get_by_role("img", name="x").count() == page.get_by_role("link", name="link").count() == 0
