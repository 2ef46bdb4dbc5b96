import csv
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_studies import make_study, make_trial, usual_study
from task_groups import confirm, make_task

from adapter_sweep.errors import AdapterSweepError
from adapter_sweep.records import StudyView
from adapter_sweep.report.several import compare, write_comparison
from adapter_sweep.report.several.data import compare_csv, compare_json, regret_csv
from adapter_sweep.report.several.figures import comparison_images
from adapter_sweep.report.several.html import comparison_html
from adapter_sweep.report.several.markdown import comparison_markdown
from adapter_sweep.report.several.write import comparison_folder

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'`| [a](javascript:b) {{7*7}}\n"
MOVIES = make_task("movies", (0.80, 0.81, 0.79, 0.78), importance={"accuracy": {"method.width": 0.4}})
QUESTIONS = make_task("questions", (0.70, 0.72, 0.86, 0.90), seed=2)


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def evil(name: str, **more: object) -> StudyView:
    return make_study(
        make_trial(0, 0.8, 10, 1.0, swept={EVIL: EVIL, "=k": "=1+1"}),
        make_trial(1, 0.9, 20, 1.1, swept={EVIL: "b", "=k": "b"}),
        name=name,
        search_space={EVIL: EVIL},
        config={"task": {"name": EVIL}, "url": "postgresql://me:s3cret@host/db", EVIL: EVIL},
        **more,
    )


def evil_comparison():
    first = evil(EVIL, provenance={EVIL: EVIL, "data_fingerprint": "a", "model": EVIL})
    return compare([first, evil("=b", provenance={"data_fingerprint": "b", "model": "x"})])


def test_every_file_is_written_beside_the_studies_folders(tmp_path: Path) -> None:
    comparison = compare([MOVIES, QUESTIONS])
    paths = write_comparison(comparison, tmp_path)
    assert paths.report_html.parent == tmp_path / "compare-tasks-movies+tasks-questions"
    files = ["compare.csv", "compare.json", "front.png", "front.svg", "regret.csv", "report.html", "report.md"]
    assert sorted(path.name for path in paths.report_html.parent.iterdir()) == files
    overlaid = write_comparison(compare([usual_study(name="a"), usual_study(name="b")]), tmp_path)
    assert overlaid.regret_csv is None
    with pytest.raises(AdapterSweepError, match="does not exist"):
        write_comparison(comparison, tmp_path / "gone")


def test_folders_collide_with_no_study_and_no_other_comparison() -> None:
    def folder(*names: str) -> str:
        return comparison_folder([make_study(name=name) for name in names])

    assert folder("a-b", "c") == "compare-a-b+c" != folder("a", "b-c")
    assert "+" in folder("x" * 100, "y" * 100)  # no study's name holds one
    longest = [folder("x" * 100, "y" * 99 + end) for end in "12"]
    assert longest[0] != longest[1]
    assert all(len(name) <= 120 for name in longest)
    assert len(folder(*(f"tasks-{i}" for i in range(200)))) <= 120


def test_the_page_is_whole_fetches_nothing_and_can_be_read_without_seeing() -> None:
    text = comparison_html(compare([MOVIES, QUESTIONS]))
    page = Page(text)
    assert not [a for _, attributes in page.elements for a in attributes if a in ("src", "href", "onerror")]
    policy = str(page.named("meta")[1]["content"])
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert policy.count("sha256-") == 2
    assert all("scope" in attributes for attributes in page.named("th"))
    assert len(page.named("caption")) == len(page.named("table")) == 8
    plots = [a for a in page.named("div") if a.get("class") == "plot"]
    assert len(plots) == 2
    assert all(a["role"] == "img" and "questions goes from" in str(a["aria-label"]) for a in plots)
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert "18.0 ± 2.7" in text
    assert len(text) < 6_000_000


def test_regret_is_told_by_numbers_and_only_tinted_by_colour() -> None:
    comparison = compare([MOVIES, QUESTIONS])
    regret = comparison.answers[1]
    assert regret.rows.headers == ("configuration taken", "movies", "questions")
    assert regret.rows.cells == (
        ("best of movies", "its best", "18.0 ± 2.7"),
        ("best of questions", "3.0 ± 2.8", "its best"),
        ("one default", "3.0 ± 2.8", "its best"),
    )
    assert regret.shade[0] == (None, 0.0, 1.0)
    assert regret.shade[1][1] == pytest.approx(3 / 18)
    (importance,) = [s for s in comparison.answers if s.title.startswith("Which")]
    assert importance.rows.cells == (("width", "40%", ""),)


def test_cells_of_two_splits_say_which() -> None:
    tested = replace(QUESTIONS, confirmation=confirm({3: (900, 910, 905), 1: (900, 850, 855)}))
    best, regret = compare([MOVIES, tested]).answers[:2]
    assert "test" in best.rows.headers
    assert best.rows.cells[1][5].startswith("0.905 ± ")
    assert regret.rows.cells[0][2].startswith("3.7 ± ")
    assert regret.rows.cells[0][2].endswith(" (test)")
    assert regret.rows.cells[1][1] == "3.0 ± 2.8 (validation)"


def test_hostile_text_stays_text() -> None:
    comparison = evil_comparison()
    page = Page(comparison_html(comparison))
    assert len(page.named("script")) == 3
    assert page.named("img") == []
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    prose = comparison_markdown(comparison)
    assert not re.search(r"<script|<img|(?<!\\)\[a\]\(", prose)
    everything = comparison_html(comparison) + prose + compare_json(comparison) + compare_csv(comparison)
    assert "s3cret" not in everything


def test_no_cell_becomes_a_formula() -> None:
    reader = csv.DictReader(io.StringIO(compare_csv(evil_comparison())))
    rows = list(reader)
    assert "'=k" in (reader.fieldnames or [])
    assert {row["study"] for row in rows} == {EVIL, "'=b"}
    assert rows[0]["'=k"] == "'=1+1"
    assert rows[0]["trainable_params"] == "10"
    hostile = make_task("=movies", (0.80, 0.81, 0.79, 0.78))
    group = compare([hostile, QUESTIONS]).group
    assert group is not None
    assert next(csv.DictReader(io.StringIO(regret_csv(group))))["configuration_of"] == "'=movies"


def test_regret_as_data_has_its_interval() -> None:
    group = compare([MOVIES, QUESTIONS]).group
    assert group is not None
    rows = list(csv.DictReader(io.StringIO(regret_csv(group))))
    assert len(rows) == 6
    row = rows[1]
    assert (row["configuration_of"], row["task"], row["split"], row["paired"]) == (
        "movies", "questions", "validation", "0"
    )  # fmt: skip
    assert float(row["loss"]) == pytest.approx(0.18)
    assert float(row["high_95"]) - float(row["loss"]) == pytest.approx(1.96 * float(row["standard_error"]), rel=1e-3)


def test_json_is_strict_and_records_the_reference_point() -> None:
    def strict(text: str) -> dict[str, object]:
        return json.loads(text, parse_constant=lambda word: (_ for _ in ()).throw(ValueError(word)))

    document = strict(compare_json(compare([usual_study(name="a"), usual_study(name="b")])))
    assert document["hypervolume_box"]["reference"]["accuracy"] < 0.5  # below the weakest anchor
    assert [study["on_common_front"] for study in document["studies"]] == [[0, 1, 3], [0, 1, 3]]
    tasks = strict(compare_json(compare([MOVIES, QUESTIONS])))["tasks"]
    assert tasks["default"]["params"] == {"method.width": 64, "method.placement": "both"}
    assert tasks["importance"]["movies"] == {"accuracy": {"method.width": 0.4}}
    assert tasks["cheapest_default"] is None
    assert document["tasks"] is None
    assert strict(compare_json(evil_comparison()))["metric"] == "accuracy"


@pytest.mark.parametrize(
    "studies",
    [
        [make_study(name="a"), make_study(name="b")],
        [usual_study(name="a"), make_study(name="b")],
        [make_study(make_trial(0, 0.8, 10), name="a"), make_study(make_trial(0, 0.9, 0), name="b")],
        [usual_study(name=n, objectives={"accuracy": "maximize"}) for n in "ab"],
        [usual_study(name=n, objectives={"trainable_params": "minimize"}) for n in "ab"],
        [make_task(f"t{i}", (0.8, 0.7, 0.6, 0.5)) for i in range(9)],
        [usual_study(name="$\\frac{$ <b>&\x00\ud800 名前"), usual_study(name="b")],
    ],
    ids=["empty", "one-empty", "no-front", "single", "costs", "many", "hostile"],
)
def test_any_studies_can_be_told_and_drawn(studies: list[StudyView]) -> None:
    comparison = compare(studies)
    assert "<h1>" in comparison_html(comparison)
    assert comparison_markdown(comparison).startswith("# ")
    assert json.loads(compare_json(comparison))["studies"]
    png, svg = comparison_images(studies, comparison.chart, comparison.title)
    assert png.startswith(b"\x89PNG")
    ElementTree.fromstring(svg)
    marks = [(mark.shape, mark.light) for mark in comparison.chart.marks]
    assert len(set(marks)) == len(marks)
