"""The report of a study that chooses between methods: what a trial's method has no part in is absent everywhere."""

import csv
import io
import json
import re
from dataclasses import replace

import pytest
from report_studies import make_study, make_trial

from adapter_sweep.records import ParamValue, StudyView
from adapter_sweep.report.checks_space import edge_remarks, size_remark
from adapter_sweep.report.columns import trial_columns
from adapter_sweep.report.figures import front_images
from adapter_sweep.report.finalists import finalists
from adapter_sweep.report.front import front
from adapter_sweep.report.html import report_html
from adapter_sweep.report.markdown import report_markdown
from adapter_sweep.report.picture import picture
from adapter_sweep.report.rows import front_rows, importance_note
from adapter_sweep.report.scales import is_log, numeric_keys
from adapter_sweep.report.slices import slices
from adapter_sweep.report.tables import front_json, trials_csv
from adapter_sweep.report.wording import describe, label, short_keys

SPACE = {
    "method": "choice(wide, narrow, head)",
    "wide.method.width": "tag(log, int(interval(64, 256)))",
    "wide.method.placement": "choice(post_ffn, both)",
    "narrow.method.width": "int(interval(1, 8))",
    "train.lr": "tag(log, interval(1e-4, 1e-2))",
}
SWEPT: list[dict[str, ParamValue]] = [
    {"method": "wide", "method.width": 100, "method.placement": "both", "train.lr": 1e-3},
    {"method": "narrow", "method.width": 8, "train.lr": 1e-3},
    {"method": "head", "train.lr": 2e-3},
    {"method": "head", "train.lr": 3e-3},
]
METRICS = [(0.80, 50_000, 1.08), (0.82, 5_000, 1.04), (0.70, 700, 1.0), (0.60, 700, 1.0)]


def study_of_methods(**more: object) -> StudyView:
    trials = [make_trial(n, *METRICS[n], swept=swept) for n, swept in enumerate(SWEPT)]
    return make_study(*trials, search_space=SPACE, **more)


def test_columns_are_hydra_keys_and_absent_cells_are_empty() -> None:
    study = study_of_methods()
    header, *lines = csv.reader(io.StringIO(trials_csv(study, study.trials)))
    keys = ["method", "method.width", "method.placement", "train.lr"]
    assert header[:6] == ["trial", "state", *keys]
    assert [line[2:6] for line in lines] == [
        ["wide", "100", "both", "0.001"],
        ["narrow", "8", "", "0.001"],
        ["head", "", "", "0.002"],
        ["head", "", "", "0.003"],
    ]
    document = json.loads(front_json(study))
    assert [trial["params"] for trial in document["front"]] == [SWEPT[trial.number] for trial in front(study)]
    assert document["search_space"] == SPACE


def test_the_front_says_which_method_each_trial_is() -> None:
    study = study_of_methods()
    rows = front_rows(study)
    assert rows.headers[:5] == ("trial", "method", "width", "placement", "lr")
    assert [cells[:5] for cells in rows.cells] == [
        ("2", "head", "", "", "0.002"),
        ("1", "narrow", "8", "", "0.001"),
    ]
    names = short_keys(study)
    assert describe(names, study.trials[0]) == "method wide, placement both, width 100, lr 0.001"
    assert [label(names, trial) for trial in study.trials[:3]] == [
        "wide · both · 100",
        "narrow · 8 · 0.001",
        "head · 0.002",
    ]


def test_points_are_told_apart_by_method_in_the_order_given() -> None:
    study = study_of_methods()
    shown = picture(study)
    assert shown.group_by == "method"
    assert [group.name for group in shown.groups] == ["wide", "narrow", "head"]
    assert shown.grouping == {0: 0, 1: 1, 2: 2, 3: 2}
    fewer = picture(replace(study, trials=study.trials[1:]))
    assert [(group.name, group.light) for group in fewer.groups] == [(g.name, g.light) for g in shown.groups]


@pytest.mark.parametrize("count", [2, 10, 13])
def test_ten_methods_have_a_look_of_their_own(count: int) -> None:
    names = [f"method{n}" for n in range(count)]
    trials = [
        make_trial(n, 0.5 + n / 100, 1_000 * (n + 1), 1.0, swept={"method": name}) for n, name in enumerate(names)
    ]
    study = make_study(*trials, search_space={"method": f"choice({','.join(names)})"})
    groups = picture(study).groups
    assert len({(group.shape, group.light) for group in groups}) == min(count, 11)
    png, svg = front_images(study)
    assert png
    assert svg
    page = report_html(study)
    assert all(f"method {name}<" in page for name in names)


def test_trials_without_the_grouping_parameter_are_not_taken_for_another() -> None:
    with_it = make_trial(0, 0.8, 1_000, 1.0, swept={"method.placement": "both"})
    without = make_trial(1, 0.7, 700, 1.0, swept={"train.lr": 1e-3})
    shown = picture(make_study(with_it, without))
    assert shown.groups[shown.grouping[0]].name == "both"
    assert shown.groups[shown.grouping[1]].name == "not set"


def test_the_page_holds_no_value_for_what_is_absent() -> None:
    columns = trial_columns(study_of_methods())
    width, placement = columns["params"][1:3]  # type: ignore[index]
    assert width["key"] == "method.width"
    values = width.get("v") or [None if at < 0 else width["d"][at] for at in width["at"]]
    assert values == [100, 8, None, None]
    assert placement["at"] == [0, -1, -1, -1]


def test_slices_are_of_the_trials_that_have_the_parameter() -> None:
    study = study_of_methods()
    assert numeric_keys(study) == ["method.width", "train.lr"]
    assert is_log(study, "method.width")
    words = {cut.key: cut.words for cut in slices(study)}
    assert words["method.width"].startswith("Scatter chart of 2 complete trials: accuracy over width, from 8 to 100")
    assert words["train.lr"].startswith("Scatter chart of 4 complete trials")


def test_an_edge_is_that_of_the_methods_own_range() -> None:
    known, remarks = edge_remarks(study_of_methods())
    assert known
    assert remarks == ["The best trial, 1, lies at the high end of narrow's width (8)."]


def test_trials_are_counted_method_by_method() -> None:
    study = study_of_methods(config={"study": {"sampler": "random"}})
    enough, sentence = size_remark(study)
    assert enough is False
    assert sentence.startswith("4 complete trials of 3 methods; fewer than 10 for each parameter")
    assert sentence.endswith("as of wide (1 for 3), narrow (1 for 2), head (2 for 1).")
    grid = replace(study, config={"study": {"sampler": "grid"}}, search_space=SPACE | {"train.lr": "choice(1, 2)"})
    assert size_remark(grid) == (False, f"4 of the grid's {193 * 2 * 2 + 8 * 2 + 2:,} points are complete.")
    fixed = make_study(
        *(make_trial(n, 0.5, 1.0, 1.0, swept={"method": m, "train.lr": 0.1}) for n, m in enumerate("ab")),
        search_space={"method": "choice(a, b)", "a.train.lr": "choice(0.1)", "b.train.lr": "choice(0.1)"},
        config={"study": {"sampler": "random"}},
    )
    assert size_remark(fixed)[0] is True


def test_finalists_of_different_methods_have_their_own_parameters() -> None:
    found = [finalist.params for finalist in finalists(study_of_methods(), 2)]
    assert found[:2] == [SWEPT[1], SWEPT[2]]
    assert {params["method"] for params in found} == {params["method"] for params in SWEPT}  # the best of each


def test_importance_is_told_over_all_and_within_each_method() -> None:
    shares = {"accuracy": {"method": 0.9, "train.lr": 0.1}}
    within = {"wide": {"accuracy": {"method.width": 0.75, "train.lr": 0.25}}}
    study = study_of_methods(importance=shares, importance_within=within)
    assert importance_note(study).endswith("fewer than two parameters that vary: narrow (1), head (2).")
    page, text = report_html(study), report_markdown(study)
    assert "Among the trials of wide" in page
    assert "Among the trials of wide" in text
    assert re.search(r"\| method \| 90%.*\| lr \| 10%.*\| width \| 75%", text, re.DOTALL)
    assert json.loads(front_json(study))["importance_within_methods"] == within
    assert importance_note(make_study()) == ""
    alone = report_markdown(replace(study, importance={}))
    assert "Over all trials nothing is told" in alone
