"""report.html: one file with everything in it, that fetches nothing and lets nothing in."""

import json
from collections.abc import Mapping

from adapter_sweep.records import StudyView, TrialState
from adapter_sweep.report.front import front
from adapter_sweep.report.page import part, render_page, script_policy
from adapter_sweep.report.picture import picture
from adapter_sweep.report.plots import panels_json, text_alternative
from adapter_sweep.report.rows import front_rows, trial_rows
from adapter_sweep.report.wording import command, describe, metric_name, one_line, plain, short_keys

__all__ = ["report_html"]

_TABLE_ROWS = 1_000  # trials in the page's table at most; trials.csv holds all
_TROUBLE_ROWS = 200  # failures and refusals listed at most
_COMMANDS = 200  # reproducing commands listed at most


def report_html(study: StudyView) -> str:
    """The study as a self-contained page."""
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    shown, members, words = picture(study), front(study), short_keys(study)
    library, script = (get_plotlyjs() if shown.panels else ""), part("report.js")
    trouble = study.in_state(TrialState.FAILED, TrialState.REFUSED, TrialState.PRUNED, TrialState.INTERRUPTED)
    return render_page(
        "report.html.j2",
        study=study,
        title=one_line(study.name, 120),
        answer=shown.answer,
        shown=shown,
        y_name=metric_name(shown.y),
        captions=[(metric_name(panel.x), text_alternative(shown, panel)) for panel in shown.panels],
        front=front_rows(study),
        picks={
            t.number: why for t, why in ((shown.answer.near, "cheapest within 1 SE"), (shown.answer.best, "best")) if t
        },
        commands=[(trial.number, describe(words, trial), command(trial)) for trial in members[:_COMMANDS]],
        commands_left=max(0, len(members) - _COMMANDS),
        trials=trial_rows(study, study.trials[:_TABLE_ROWS], every=True),
        trouble=[
            (t.number, t.state.value, describe(words, t), one_line(t.reason or "", 600))
            for t in trouble[:_TROUBLE_ROWS]
        ],
        trouble_count=len(trouble),
        provenance={one_line(key): one_line(value, 600) for key, value in study.provenance.items()},
        config=_yaml(study.config),
        created=study.created.isoformat(sep=" ", timespec="minutes") if study.created else "",
        # Markup: our own files, and JSON in which no markup character is left.
        style=Markup(part("report.css")),
        library=Markup(library),
        script=Markup(script),
        data=Markup(panels_json(study, shown)),
        script_hashes=script_policy(library, script),
    )


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
