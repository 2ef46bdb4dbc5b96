"""report.html: one file with everything in it, that fetches nothing and lets nothing in."""

import json
from collections.abc import Mapping, Sequence

from adapter_sweep.records import StudyView, TrialState, TrialView
from adapter_sweep.report.checks import checks
from adapter_sweep.report.confirmed import confirmed_rows, confirmed_sentences
from adapter_sweep.report.evidence import Evidence
from adapter_sweep.report.front import front
from adapter_sweep.report.hypervolume import hypervolume
from adapter_sweep.report.page import part, render_page, script_policy
from adapter_sweep.report.picture import picture
from adapter_sweep.report.plots import page_json, text_alternative
from adapter_sweep.report.rows import IMPORTANCE_HELP, Rows, front_rows, importance_note, importance_rows, volume_text
from adapter_sweep.report.slices import slices
from adapter_sweep.report.wording import command, describe, metric_name, one_line, plain, short_keys

__all__ = ["report_html"]

_SCRIPTS = ("page.js", "panels.js", "charts.js", "parallel.js", "trials.js")
_TROUBLE_ROWS = 200  # failures and refusals listed at most
_COMMANDS = 200  # reproducing commands listed at most
_TROUBLE = (TrialState.FAILED, TrialState.REFUSED, TrialState.PRUNED, TrialState.INTERRUPTED)


def report_html(study: StudyView, found: Evidence | None = None) -> str:
    """The study as a self-contained page; `found` is what its confirmation shows, where it has one."""
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    shown, members, words = picture(study), front(study), short_keys(study)
    cuts, volume, judged = slices(study), hypervolume(study), checks(study)
    library = get_plotlyjs() if shown.panels or cuts or volume else ""
    script = "".join(['"use strict";\n(() => {\n', *map(part, _SCRIPTS), "})();\n"]) if study.trials else ""
    trouble = study.in_state(*_TROUBLE)
    return render_page(
        "report.html.j2",
        study=study,
        title=one_line(study.name, 120),
        answer=shown.answer,
        shown=shown,
        y_name=metric_name(shown.y, study),
        captions=[(metric_name(panel.x, study), text_alternative(study, shown, panel)) for panel in shown.panels],
        intervals=any(point.y_interval for panel in shown.panels for point in panel.points),
        front=front_rows(study),
        picks={
            t.number: why for t, why in ((shown.answer.near, "cheapest within 1 SE"), (shown.answer.best, "best")) if t
        },
        commands=[(trial.number, describe(words, trial), command(trial)) for trial in members[:_COMMANDS]],
        commands_left=max(0, len(members) - _COMMANDS),
        confirmed=None if found is None else confirmed_rows(study, found),
        said=() if found is None else confirmed_sentences(study, found),
        checks=judged,
        looks=sum(check.verdict == "look at this" for check in judged),
        slices=cuts,
        volume="" if volume is None else volume_text(study, volume),
        importances=_importances(study),
        importance_note=importance_note(study),
        importance_help=IMPORTANCE_HELP,
        complete=len(study.in_state(TrialState.COMPLETE)),
        trouble=_told(trouble[:_TROUBLE_ROWS], words),
        trouble_count=len(trouble),
        provenance={one_line(key): one_line(value, 600) for key, value in study.provenance.items()},
        config=_yaml(study.config),
        created=study.created.isoformat(sep=" ", timespec="minutes") if study.created else "",
        # Markup: our own files, and JSON in which no markup character is left.
        style=Markup(part("report.css")),
        library=Markup(library),
        script=Markup(script),
        data=Markup(page_json(study, shown, cuts, volume)) if script else "",
        script_hashes=script_policy(library, script) or "'none'",
    )


def _importances(study: StudyView) -> list[tuple[str, Rows]]:
    """The tables of importance, each with whose trials it is of: all, or one method's."""
    whole = [("", importance_rows(study))] if study.importance else []
    within = [(one_line(method, 60), importance_rows(study, method)) for method in study.importance_within]
    return [(whose, rows) for whose, rows in (*whole, *within) if rows.cells]


def _told(trials: Sequence[TrialView], words: Mapping[str, str]) -> list[tuple[int, str, str, str]]:
    return [(t.number, t.state.value, describe(words, t), one_line(t.reason or "", 600)) for t in trials]


def _yaml(config: Mapping[str, object]) -> str:
    import yaml

    if not config:
        return ""
    bare = json.loads(json.dumps(_bare(config)))
    return plain(yaml.safe_dump(bare, sort_keys=False, allow_unicode=True, width=100))


def _bare(value: object) -> object:
    """A configuration as dicts, lists and scalars; anything else as its text."""
    if isinstance(value, Mapping):
        return {str(key): _bare(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_bare(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float) else plain(value)
