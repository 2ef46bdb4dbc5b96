"""report.html of a comparison: one file with everything in it, that fetches nothing and lets nothing in."""

import html
import json

from adapter_sweep.records import StudyView, TrialView
from adapter_sweep.report.page import part, render_page, script_policy
from adapter_sweep.report.picture import axis_title
from adapter_sweep.report.scores import score_words, validation_score
from adapter_sweep.report.several.chart import Chart, Panel
from adapter_sweep.report.several.comparison import Comparison
from adapter_sweep.report.wording import describe, metric_name, number, one_line, ratio_text, short_keys

__all__ = ["comparison_html"]

_HOVER_LIMIT = 240  # characters of configuration in one hover text


def comparison_html(comparison: Comparison) -> str:
    """The comparison as a self-contained page."""
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    shown, studies = comparison.chart, comparison.together.studies
    library, script = (get_plotlyjs(), part("several/compare.js")) if shown.panels else ("", "")
    return render_page(
        "several/compare.html.j2",
        title=comparison.title,
        headline=comparison.headline,
        details=comparison.details,
        captions=[_caption(studies, shown, panel) for panel in shown.panels],
        answers=comparison.answers,
        sections=comparison.sections,
        # Markup: our own files, and JSON in which no markup character is left.
        style=Markup(part("report.css") + part("several/compare.css")),
        library=Markup(library),
        script=Markup(script),
        data=Markup(_data(studies, shown)),
        script_hashes=script_policy(library, script) or "'none'",
    )


def _caption(studies: tuple[StudyView, ...], shown: Chart, panel: Panel) -> tuple[str, str]:
    """A panel's caption, and the same in words for those who do not see it."""
    title = f"{metric_name(shown.y, *studies)} over {metric_name(panel.x)}"
    parts = []
    for mark, line in zip(shown.marks, panel.lines, strict=True):
        if line.front:
            first, last = line.front[0].metrics, line.front[-1].metrics
            ends = [f"{number(shown.y, end[shown.y])} at {number(panel.x, end[panel.x])}" for end in (first, last)]
            parts.append(f"{mark.name} goes from {ends[0]} to {ends[1]}")
    return title, f"Fronts of {title}: {'; '.join(parts)}. The tables below hold the same numbers."


def _data(studies: tuple[StudyView, ...], shown: Chart) -> str:
    """The panels as JSON that may stand inside a script element.

    Texts are escaped twice over: for plotly, which reads pseudo-HTML in them, and for the page, where no `<` or `&`
    of the data remains.
    """
    names = [short_keys(study) for study in studies]
    document = {
        "y": {"title": html.escape(axis_title(studies[0], shown.y, *studies)), "range": shown.y_range},
        "studies": [
            {"name": html.escape(mark.name), "shape": mark.shape, "light": mark.light, "dark": mark.dark}
            for mark in shown.marks
        ],
        "panels": [
            {
                "title": html.escape(axis_title(studies[0], panel.x)),
                "log": panel.log,
                "range": panel.x_range,
                "step": "vh" if studies[0].objectives.get(panel.x) == "maximize" else "hv",
                "lines": [
                    {
                        "steps": [[x for x, _ in line.steps], [y for _, y in line.steps]],
                        **{
                            kind: {
                                "x": [t.metrics[panel.x] for t in trials],
                                "y": [t.metrics[shown.y] for t in trials],
                                "text": [_hover(study, words, shown, mark.name, t) for t in trials],
                            }
                            for kind, trials in (("front", line.front), ("quiet", line.quiet))
                        },
                    }
                    for study, words, mark, line in zip(studies, names, shown.marks, panel.lines, strict=True)
                ],
            }
            for panel in shown.panels
        ],
    }
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _hover(study: StudyView, words: dict[str, str], shown: Chart, label: str, trial: TrialView) -> str:
    """A trial's hover text, a line for each thing."""
    lines = [f"{label}, trial {trial.number}", one_line(describe(words, trial), _HOVER_LIMIT)]
    lines.append(f"{metric_name(shown.y, study)} {score_words(shown.y, validation_score(study, trial))}")
    for key in dict.fromkeys([*(panel.x for panel in shown.panels), "trainable_params", "latency_ratio"]):
        value = ratio_text(trial, key) if key.endswith("latency_ratio") else number(key, trial.metrics.get(key))
        if value and key != shown.y:
            lines.append(f"{metric_name(key, study)} {value}")
    return "<br>".join(html.escape(line) for line in lines if line)
