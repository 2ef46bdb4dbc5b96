import html
import itertools
import json
import re
from html.parser import HTMLParser

import pytest
from report_studies import make_study, make_trial, usual_study

from adapter_sweep.records import StudyView, TrialState
from adapter_sweep.report import front_rows
from adapter_sweep.report.checks import checks
from adapter_sweep.report.html import report_html
from adapter_sweep.report.markdown import escape, report_markdown
from adapter_sweep.report.rows import importance_rows

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'`| [a](javascript:b) {{7*7}}\n"


class Page(HTMLParser):
    """The elements of a page, and the text of its scripts by type."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.open_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open_script = tag == "script"

    def handle_endtag(self, tag: str) -> None:
        self.open_script = self.open_script and tag != "script"

    def handle_data(self, data: str) -> None:
        if self.open_script:
            self.scripts.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def evil_study() -> StudyView:
    return make_study(
        make_trial(0, 0.8, 10, 1.0, swept={EVIL: EVIL}),
        make_trial(1, 0.9, 20, 1.1, swept={EVIL: "b"}),
        make_trial(2, state=TrialState.FAILED, reason=EVIL, swept={EVIL: "b"}),
        name=EVIL,
        search_space={EVIL: EVIL},
        provenance={EVIL: EVIL},
        config={EVIL: [EVIL, {"a": object}], "url": "postgresql://me:s3cret@host/db"},
        anchors={EVIL: {"accuracy": 0.7}, "far " + EVIL: {"accuracy": 0.1}},
    )


def test_the_page_is_whole_and_fetches_nothing() -> None:
    text = report_html(usual_study())
    page = Page(text)
    assert not [a for _, attributes in page.elements for a in attributes if a in ("src", "onerror")]
    assert all(str(link["href"]).startswith("#") for link in page.named("a"))
    assert page.named("link") == page.named("img") == page.named("iframe") == []
    # Nothing may be fetched, and no script may run but those whose hash the policy holds.
    policy = str(page.named("meta")[1]["content"])
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert policy.count("sha256-") == 2
    assert "eval" not in policy
    assert "showSendToCloud: false" in text
    assert "Trial 1 (placement post_ffn, width 9) reaches accuracy 0.812" in text
    assert "adapter-sweep trial task=movies method.placement=post_attention method.width=11" in text
    assert "over budget" in text
    assert "epochs: 3" in text
    assert "prefers-color-scheme: dark" in text
    assert len(text) < 6_000_000


def test_tables_and_pictures_can_be_read_without_seeing_them() -> None:
    page = Page(report_html(usual_study()))
    assert all("scope" in attributes for attributes in page.named("th"))
    assert len(page.named("caption")) == len(page.named("table")) == 4
    plots = [a for a in page.named("div") if str(a.get("class")).startswith("plot")]
    assert [a["id"] for a in plots] == ["plot0", "plot1", "slice0", "volume"]
    assert all(a["role"] == "img" and "4 complete trials" in str(a["aria-label"]) for a in plots[:3])
    assert all("aria-label" in a for a in page.named("canvas"))
    assert page.named("html") == [{"lang": "en"}]
    # A heading never skips a level, every part has a name, and the first link leads past the rest.
    levels = [int(name[1]) for name, _ in page.elements if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    names = {str(attributes.get("id")) for _, attributes in page.elements}
    assert {str(a["aria-labelledby"]) for a in page.named("section")} <= names
    assert {str(a["href"])[1:] for a in page.named("a")} <= names
    assert page.named("a")[0] == {"class": "skip", "href": "#answer"}


def test_hostile_text_stays_text_in_the_page() -> None:
    text = report_html(evil_study())
    page = Page(text)
    assert len(page.named("script")) == 3
    assert page.named("img") == []
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert "s3cret" not in text
    assert json.loads(page.scripts[0])["trials"]["number"] == [0, 1, 2]
    assert not set("<>&") & set(page.scripts[0])
    # What the script gives to plotly goes through `safe`, and what it gives to the page is set as text.
    assert not re.search(r"innerHTML|insertAdjacentHTML|outerHTML|document\.write", page.scripts[2])


def test_hostile_text_stays_text_in_markdown() -> None:
    text = report_markdown(evil_study())
    prose = re.sub(r"^(`{3,})sh\n.*?\n\1$", "", text, flags=re.S | re.M)
    assert "<script" not in prose
    assert "<img" not in prose
    assert "[a](" not in prose
    lines = [line for line in prose.splitlines() if line.startswith("|")]
    for line in lines[:4]:
        assert len(re.findall(r"(?<!\\)\|", line)) == len(re.findall(r"(?<!\\)\|", lines[0]))


def test_markdown_says_the_same_with_the_picture() -> None:
    text = report_markdown(usual_study())
    assert "(front.png)" in text
    assert "| 0 | post\\_attention | 8 | 0.800 ± 0.020 | 50,000 | 1.020 (1.010 to 1.040) |" in text
    assert "adapter-sweep trial task=movies" in text
    assert escape("a|b\n<i>`c`") == "a\\|b &lt;i&gt;\\`c\\`"


def test_what_matters_is_shown_or_said_to_be_unknown() -> None:
    text = report_html(usual_study())
    assert "Not known: 4 complete trials of 2 searched parameters are too few to tell" in text
    shares = {"accuracy": {"method.width": 0.75, "method.placement": 0.25}, "latency_ratio": {"method.placement": 1.0}}
    known = usual_study(importance=shares)
    assert importance_rows(known).cells == (("width", "75%", "0%"), ("placement", "25%", "100%"))
    assert '<i style="width: 75%"></i>' in report_html(known)
    assert "| width | 75% | 0% |" in report_markdown(known)


def test_every_check_is_in_the_page_and_in_markdown() -> None:
    study = usual_study(provenance={"code_dirty": "true"})
    for check in checks(study):
        assert check.sentence in html.unescape(report_html(study))
        assert escape(check.sentence, 1000) in report_markdown(study)


def test_a_large_study_stays_small() -> None:
    trials = [
        make_trial(i, 0.5 + i % 400 / 1000, 1_000 + 7 * i, 1 + i % 97 / 1000, swept={"train.lr": 1 / (i + 3)})
        for i in range(10_000)
    ]
    study = make_study(*trials, search_space={"train.lr": "tag(log,interval(1e-5,1))"}, n_trials=10_000)
    assert len(report_html(study).encode()) < 8_000_000


def test_the_front_for_the_terminal() -> None:
    rows = front_rows(usual_study())
    assert rows.headers == ("trial", "placement", "width", "accuracy", "trainable_params", "latency_ratio")
    assert rows.numeric == (True, False, True, True, True, True)
    assert rows.cells[1] == ("0", "post_attention", "8", "0.800 ± 0.020", "50,000", "1.020 (1.010 to 1.040)")


@pytest.mark.parametrize(
    "study",
    [
        make_study(),
        make_study(make_trial(0, state=TrialState.RUNNING)),
        make_study(make_trial(0, 0.8, 10), make_trial(1, 0.9, 20)),
        usual_study(objectives={"accuracy": "maximize"}, config={}, anchors={}, provenance={}, search_space={}),
        usual_study(objectives={}),
        usual_study(objectives={"f1": "maximize", "batch_latency_ratio": "minimize"}),
    ],
    ids=["empty", "running", "no-latency", "single", "no-objectives", "unmeasured"],
)
def test_any_study_can_be_told(study: StudyView) -> None:
    assert '<h1 id="answer"' in report_html(study)
    assert report_markdown(study).startswith("# quickstart")
    assert front_rows(study).headers[0] == "trial"
