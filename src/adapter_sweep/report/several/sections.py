"""The tables of a comparison, the same in report.html and report.md."""

from collections.abc import Sequence
from dataclasses import dataclass

from adapter_sweep.records import StudyView, TrialState, TrialView
from adapter_sweep.report.front import primary_objective
from adapter_sweep.report.rows import IMPORTANCE_HELP, Rows
from adapter_sweep.report.scores import Score, score_words, validation_score
from adapter_sweep.report.several.overlay import Overlay
from adapter_sweep.report.several.sentences import loss_text, setting_name
from adapter_sweep.report.several.studies import Together, settings_that_differ
from adapter_sweep.report.several.tasks import Regret, TaskGroup
from adapter_sweep.report.several.worth import Worth
from adapter_sweep.report.wording import (
    describe,
    is_score,
    metric_name,
    number,
    one_line,
    param,
    ratio_text,
    short_keys,
)

__all__ = ["Section", "group_sections", "overlay_sections"]

_FRONT_ROWS = 200  # members of one front listed at most; compare.csv holds all
_SETTING_ROWS = 60
_CAME_FROM = ("adapter-sweep", "model", "data", "device", "threads", "precision", "attention")


@dataclass(frozen=True)
class Section:
    """A table with a title and what to know to read it.

    Attributes:
        title: the heading.
        notes: sentences above the table.
        rows: the table; its first column names the row.
        shade: per row and column, how strongly to tint the cell, 0 to 1; None for no tint. Empty for no tint at all.
    """

    title: str
    notes: tuple[str, ...]
    rows: Rows
    shade: tuple[tuple[float | None, ...], ...] = ()


def group_sections(group: TaskGroup, worths: Sequence[Worth]) -> list[Section]:
    """The tables of a task group."""
    importance = _importance(group)
    return [_best(group), _regret(group), *([_worth(group, worths)] if worths else []), *importance]


def overlay_sections(together: Together, laid: Overlay) -> list[Section]:
    """The tables of any comparison."""
    differ = _differences(together)
    return [_standings(together, laid), _fronts(laid), *([differ] if differ.rows.cells else []), _sources(together)]


def _best(group: TaskGroup) -> Section:
    first = group.studies[0]
    names = {key: name for key, name in short_keys(first).items() if any(key in s.params for s in group.settings)}
    key = primary_objective(first)
    tested = any(score is not None for score in group.tested)
    cells = []
    for task in range(len(group.studies)):
        setting, test = group.settings[group.best[task]], group.tested[task]
        trial = setting.trials[task][0]
        cells.append(
            (
                group.labels[task],
                str(trial.number),
                *(param(setting.params[name]) if name in setting.params else "" for name in names),
                score_words(key, setting.scores[task]),
                *([_tested(key, test)] if tested else []),
                number("trainable_params", trial.metrics.get("trainable_params")),
                ratio_text(trial),
            )
        )
    headers = ["task", "trial", *names.values(), "validation", *(["test"] if tested else [])]
    headers += ["trainable parameters", "latency ratio"]
    words = {name for key, name in names.items() if any(isinstance(s.params.get(key), str) for s in group.settings)}
    numeric = tuple(name not in {"task", *words} for name in headers)
    notes = ["Chosen on validation among the configurations that every task has completed; ± is one standard error."]
    return Section("The best configuration of each task", tuple(notes), Rows(tuple(headers), tuple(cells), numeric))


def _tested(key: str, score: Score | None) -> str:
    return (
        "" if score is None else f"{score_words(key, score)} ({score.seeds} {'seed' if score.seeds == 1 else 'seeds'})"
    )


def _regret(group: TaskGroup) -> Section:
    key = primary_objective(group.studies[0])
    sources = {cell.source for row in (*group.regret, group.default_regret) for cell in row if cell.source}
    mixed = len(sources) > 1
    rows = [(f"best of {label}", row) for label, row in zip(group.labels, group.regret, strict=True)]
    rows.append(("one default", group.default_regret))
    if group.cheapest is not None:
        rows.append(("cheapest default", group.cheapest_regret))
    most = max((abs(cell.loss) for _, row in rows for cell in row), default=0.0) or 1.0
    cells = tuple((name, *(_cell(key, cell, mixed) for cell in row)) for name, row in rows)
    shade = tuple((None, *(max(0.0, cell.loss) / most for cell in row)) for _, row in rows)
    unit = ("points of " if is_score(key) else "") + metric_name(key, *group.studies)
    split = " and ".join(sorted(sources)) or "validation"
    paired = any(cell.paired for _, row in rows for cell in row)
    notes = [
        f"What the task of a column loses by the configuration of a row, in {unit} on the {split} "
        "split, ± one standard error of the difference"
        + (" (paired by example and seed where both were confirmed)" if paired else "")
        + "; below 0 it gains. “its best” is the task's own.",
        f"“one default” is the shared configuration whose largest loss is the smallest, on validation: "
        f"{setting_name(group.studies[0], group.settings[group.default])}.",
    ]
    if not sources:
        notes.insert(0, "All tasks have one and the same best configuration: there is nothing to lose.")
    if group.cheapest is not None:
        notes.append(
            "“cheapest default” has the fewest parameters of those that lose no more than one standard error on any "
            f"task, on validation: {setting_name(group.studies[0], group.settings[group.cheapest])}."
        )
    headers = ("configuration taken", *group.labels)
    return Section(
        "Regret: what a task loses by taking another's best",
        tuple(notes),
        Rows(headers, cells, (False, *(True for _ in group.labels))),
        shade,
    )


def _cell(key: str, regret: Regret, mixed: bool) -> str:
    if not regret.source:
        return "its best"
    return loss_text(key, regret) + (f" ({regret.source})" if mixed else "")


def _worth(group: TaskGroup, worths: Sequence[Worth]) -> Section:
    key, names = primary_objective(group.studies[0]), short_keys(group.studies[0])
    most = max((loss.loss for worth in worths for loss in worth.loss), default=0.0) or 1.0
    cells = tuple(
        (
            f"{names.get(worth.key, one_line(worth.key, 60))}: {', '.join(worth.values)}",
            *(
                f"{loss_text(key, loss)} ({worth.values[best]})"
                for loss, best in zip(worth.loss, worth.best, strict=True)
            ),
        )
        for worth in worths
    )
    shade = tuple((None, *(loss.loss / most for loss in worth.loss)) for worth in worths)
    notes = (
        "What the worst value of a hyperparameter loses against the best one, each with the best of the other "
        "hyperparameters, on validation, ± one standard error of the difference; in brackets the best value. A loss "
        "within its error is no difference that this data can tell.",
    )
    rows = Rows(("hyperparameter", *group.labels), cells, (False, *(True for _ in group.labels)))
    return Section("What each hyperparameter is worth", notes, rows, shade)


def _importance(group: TaskGroup) -> list[Section]:
    key = primary_objective(group.studies[0])
    shares = [study.importance.get(key, {}) for study in group.studies]
    keys = list(dict.fromkeys(name for share in shares for name in share))
    if not keys:
        return []
    names = short_keys(group.studies[0])
    cells = tuple(
        (names.get(name, one_line(name, 60)), *(f"{s[name]:.0%}" if name in s else "" for s in shares)) for name in keys
    )
    shade = tuple((None, *(share.get(name) for share in shares)) for name in keys)
    notes = (f"Objective: {metric_name(key, *group.studies)}. {IMPORTANCE_HELP}",)
    rows = Rows(("hyperparameter", *group.labels), cells, (False, *(True for _ in group.labels)))
    return [Section("Which hyperparameter matters for which task", notes, rows, shade)]


def _standings(together: Together, laid: Overlay) -> Section:
    first = laid.standings[0].study
    key = primary_objective(first)
    own_names = any(s.label != s.study.name for s in laid.standings)
    cells = tuple(
        (
            s.label,
            *([one_line(s.study.name, 60)] if own_names else []),
            f"{len(s.study.in_state(TrialState.COMPLETE)):,}",
            f"{len(s.front):,}",
            "" if s.hypervolume is None else f"{s.hypervolume:.3f}",
            *([] if s.combined is None else [f"{len(s.combined):,}"]),
            score_words(key, s.score) if s.score else "",
            "" if s.best is None else number("trainable_params", s.best.metrics.get("trainable_params")),
            "" if s.best is None else ratio_text(s.best),
        )
        for s in laid.standings
    )
    headers = ["label", *(["study"] if own_names else []), "complete trials", "on its front", "hypervolume"]
    headers += [*(["on the common front"] if together.same_data else []), f"best {metric_name(key, *together.studies)}"]
    headers += ["its trainable parameters", "its latency ratio"]
    rows = Rows(tuple(headers), cells, tuple(name not in ("label", "study") for name in headers))
    notes = []
    if laid.box is not None:
        names = {name: metric_name(name, *together.studies) for name in laid.box.reference}
        corner = ", ".join(f"{names[name]} {number(name, v)}" for name, v in laid.box.reference.items())
        best = ", ".join(f"{names[name]} {number(name, v)}" for name, v in laid.box.best.items())
        logs = f" ({', '.join(metric_name(name) for name in laid.box.log)} by logarithm)" if laid.box.log else ""
        notes.append(
            f"Hypervolume is the share that a front dominates of the box between the common reference point ({corner}) "
            f"and the best values of all ({best}), each axis scaled to that box{logs}. It has no error bar."
        )
    if not together.same_data:
        notes.append("Across different data it tells the shape of each front, and ranks nothing.")
    return Section("The fronts side by side", tuple(notes), rows)


def _fronts(laid: Overlay) -> Section:
    first, studies = laid.standings[0].study, [standing.study for standing in laid.standings]
    keys = [*first.objectives, *(key for key in ("trainable_params", "latency_ratio") if key not in first.objectives)]
    keys = [k for k in keys if any(k in trial.metrics for s in laid.standings for trial in s.front)]
    cells = []
    for standing in laid.standings:
        names = short_keys(standing.study)
        for trial in standing.front[:_FRONT_ROWS]:
            values = (_value(standing.study, trial, key) for key in keys)
            mark = () if standing.combined is None else ("yes" if trial.number in standing.combined else "",)
            cells.append((standing.label, str(trial.number), describe(names, trial), *values, *mark))
    left = sum(max(0, len(s.front) - _FRONT_ROWS) for s in laid.standings)
    notes = ["Cheapest first, study by study."] + ([f"{left:,} more are in compare.csv."] if left else [])
    last = () if laid.standings[0].combined is None else ("on the common front",)
    headers = (
        "label",
        "trial",
        "configuration",
        *(metric_name(key, *studies) for key in keys),
        *last,
    )
    numeric = (False, True, False, *(True for _ in keys), *(False for _ in last))
    return Section("Trials on the fronts", tuple(notes), Rows(headers, tuple(cells), numeric))


def _value(study: StudyView, trial: TrialView, key: str) -> str:
    if key == primary_objective(study):
        return score_words(key, validation_score(study, trial))
    return ratio_text(trial, key) if key.endswith("latency_ratio") else number(key, trial.metrics.get(key))


def _differences(together: Together) -> Section:
    found = settings_that_differ(together)
    cells = tuple((one_line(key, 60), *values) for key, values in found[:_SETTING_ROWS])
    left = len(found) - len(cells)
    notes = (f"{left:,} more differ; each study's own report has its whole configuration.",) if left else ()
    rows = Rows(("setting", *together.labels), cells, (False, *(False for _ in together.labels)))
    return Section("Settings that differ", notes, rows)


def _sources(together: Together) -> Section:
    cells = tuple(
        (label, one_line(study.name, 60), *(one_line(study.provenance.get(key, ""), 80) for key in _CAME_FROM))
        for label, study in zip(together.labels, together.studies, strict=True)
    )
    headers = ("label", "study", "code", *_CAME_FROM[1:])
    return Section("Where the numbers come from", (), Rows(headers, cells, tuple(False for _ in headers)))
