"""What several studies say together, in sentences: no stronger than their data."""

from collections.abc import Sequence

from adapter_sweep.records import StudyView
from adapter_sweep.report.front import primary_objective
from adapter_sweep.report.scores import anchor_scores, confirmed_score, score_words, unpaired_error
from adapter_sweep.report.several.overlay import Overlay, Standing
from adapter_sweep.report.several.tasks import Regret, Setting, TaskGroup
from adapter_sweep.report.several.worth import Worth
from adapter_sweep.report.wording import describe, is_score, metric_name, number, one_line, short_keys

__all__ = ["group_details", "group_headline", "loss_text", "overlay_details", "overlay_headline", "setting_name"]


def setting_name(study: StudyView, setting: Setting) -> str:
    """A configuration in prose, e.g. `placement both, width 64`."""
    names = {key: name for key, name in short_keys(study).items() if key in setting.params}
    return describe(names, setting.trials[0][0]) or "the one configuration"


def loss_text(key: str, regret: Regret) -> str:
    """A loss with one standard error: in points for a score (`1.2 ± 0.9`), else in the metric's own unit."""
    scale, form = (100, ".1f") if is_score(key) else (1, ".3g")
    # A loss that rounds to nothing is no negative nothing.
    text = f"{regret.loss * scale:{form}}"
    text = text.removeprefix("-") if not float(text) else text
    return text if regret.error is None else f"{text} ± {regret.error * scale:{form}}"


def group_headline(group: TaskGroup) -> str:
    """Whether one configuration will do for every task, in one sentence."""
    key = primary_objective(group.studies[0])
    name = setting_name(group.studies[0], group.settings[group.default])
    count = len(group.labels)
    worst = max(range(count), key=lambda task: group.default_regret[task].loss)
    at_worst = f"{loss_text(key, group.default_regret[worst])}{_unit(key)} on {group.labels[worst]}"
    judged = [regret.beyond_error for regret in group.default_regret]
    if None in judged:
        return (
            f"The configuration that loses least at worst is {name}: {at_worst}; the error of its losses is not known "
            "on every task, so whether one default is good enough everywhere is not known either."
        )
    within = judged.count(False)
    if group.default_regret[worst].loss <= 0:
        answer = f"{name} scores no lower than each task's own best on any of the {count} tasks"
        return f"One default is good enough everywhere: {answer}{_cheapest(group, key)}."
    if within == count:
        return (
            f"One default is good enough everywhere, as far as this data can tell: {name} loses at most {at_worst}, "
            f"within one standard error on each of the {count} tasks{_cheapest(group, key)}."
        )
    if group.cheapest is not None:
        name = setting_name(group.studies[0], group.settings[group.cheapest])
        return (
            f"One default is good enough everywhere, as far as this data can tell: {name} is within one standard error "
            f"of each task's own best on all {count} tasks, and loses at most {_largest(group, key)}."
        )
    return (
        f"No one configuration does as well as each task's own best: {name} loses least at worst, {at_worst}, and is "
        f"within one standard error on {within} of {count} tasks."
    )


def _cheapest(group: TaskGroup, key: str) -> str:
    """The cheapest configuration that will do as well, where it is another one."""
    if group.cheapest is None or group.cheapest == group.default:
        return ""
    setting = group.settings[group.cheapest]
    params = number("trainable_params", setting.trials[0][0].metrics.get("trainable_params"))
    costs = f" ({params} trainable parameters)" if params else ""
    return (
        f"; the cheapest that does, {setting_name(group.studies[0], setting)}{costs}, loses at most "
        f"{_largest(group, key)}"
    )


def _largest(group: TaskGroup, key: str) -> str:
    """The most that any task loses by the cheapest default."""
    worst = max(range(len(group.labels)), key=lambda task: group.cheapest_regret[task].loss)
    return f"{loss_text(key, group.cheapest_regret[worst])}{_unit(key)} on {group.labels[worst]}"


def group_details(group: TaskGroup, worths: Sequence[Worth]) -> list[str]:
    """What to know beside it: what matters where, the dearest transfer, and how far the numbers go."""
    key = primary_objective(group.studies[0])
    details = [sentence for worth in worths if (sentence := _worth_sentence(group, worth, key))]
    details += [*_untold(group, worths), *_beside_anchors(group, key)]
    count = len(group.labels)
    pairs = [(taken, task) for taken in range(count) for task in range(count) if taken != task]
    taken, task = max(pairs, key=lambda pair: group.regret[pair[0]][pair[1]].loss)
    dearest = group.regret[taken][task]
    if dearest.loss > 0:
        details.append(
            f"The dearest transfer: {group.labels[task]} with the best of {group.labels[taken]} loses "
            f"{loss_text(key, dearest)}{_unit(key)}."
        )
    else:
        details.append("No task loses by taking another's best.")
    details.append(
        f"{len(group.settings):,} configurations were completed on all {count} tasks; best ones are chosen on the "
        "validation split."
    )
    if any(group.unshared):
        left = ", ".join(f"{label} {n:,}" for label, n in zip(group.labels, group.unshared, strict=True) if n)
        details.append(f"Configurations that some task lacks are left out of the comparison: {left}.")
    cells = [group.regret[a][b] for a, b in pairs if group.regret[a][b].source]
    tested = sum(cell.source == "test" for cell in cells)
    if tested == len(cells) and cells:
        details.append("Every loss is measured on the test split, which had no part in choosing.")
    elif cells:
        some = f"{tested:,} of {len(cells):,} losses are measured on the test split. The others" if tested else "Losses"
        details.append(
            f"{some} are measured on the validation split that also chose the best, which makes them rather too large."
        )
    return details


def _untold(group: TaskGroup, worths: Sequence[Worth]) -> list[str]:
    """The hyperparameters of which too little was tried to tell one's doing from another's."""
    told, names = {worth.key for worth in worths}, short_keys(group.studies[0])
    varied = [
        names.get(key, key)
        for key in dict.fromkeys(key for setting in group.settings for key in setting.params)
        if key not in told and len({s.params[key] for s in group.settings if key in s.params}) > 1
    ]
    if not varied:
        return []
    return [f"Too few configurations were tried on all tasks to tell what {_and(varied)} may be worth alone."]


def _beside_anchors(group: TaskGroup, key: str) -> list[str]:
    """The tasks on which the default is not shown to be better than what trains no adapter."""
    setting = group.settings[group.default if group.cheapest is None else group.cheapest]
    sign = 1 if group.studies[0].objectives.get(key, "maximize") == "maximize" else -1
    named = []
    for task, (label, study) in enumerate(zip(group.labels, group.studies, strict=True)):
        tested = confirmed_score(study, setting.params)
        score = tested or setting.scores[task]
        known = anchor_scores(study) if tested else {n: m[key] for n, m in study.anchors.items() if key in m}
        if not known:
            continue
        best = max(known, key=lambda name: sign * known[name])
        if sign * (score.value - known[best]) <= (score.error or 0.0):
            named.append(
                f"{label} ({one_line(best, 40)} {number(key, known[best])}, default {score_words(key, score)})"
            )
    if not named:
        return []
    return [f"No gain of that default beyond one standard error over what trains no adapter is shown on {_and(named)}."]


def overlay_headline(laid: Overlay, *, same_data: bool) -> str:
    """Which study scores best, and whether that can be told; nothing of the kind for different data."""
    found = [standing for standing in laid.standings if standing.best is not None]
    if not found:
        return "No study has a front yet."
    key = primary_objective(found[0].study)
    if not same_data:
        each = "; ".join(f"{s.label}: {_best_words(s, key)}" for s in found)
        return f"Each study's best {metric_name(key, *(s.study for s in found))}, on data of its own: {each}."
    sign = 1 if found[0].study.objectives.get(key, "maximize") == "maximize" else -1
    order = sorted(found, key=lambda s: -sign * (s.score.value if s.score else 0.0))
    first, others = order[0], order[1:]
    start = f"{first.label} scores best: {_best_words(first, key)}"
    if not others:
        return f"{start}; no other study has a front."
    alike = [s.label for s in others if _within(first, s)]
    apart = [s.label for s in others if _within(first, s) is False]
    parts = []
    if alike:
        parts.append(f"{_and(alike)} {_is(alike)} within one standard error of the difference")
    if apart:
        parts.append(f"{_and(apart)} {_is(apart)} further below")
    if not parts:
        parts.append("the error is not known, so small differences may be chance")
    return f"{start}; {', and '.join(parts)}."


def overlay_details(laid: Overlay) -> list[str]:
    """How the hypervolumes compare, where the studies are of the same data."""
    found = [s for s in laid.standings if s.hypervolume is not None and s.combined is not None]
    if len(found) < 2:
        return []
    order = sorted(found, key=lambda s: -(s.hypervolume or 0.0))
    shares = ", ".join(f"{s.label} {s.hypervolume:.3f}" for s in order)
    members = ", ".join(f"{len(s.combined or ()):,} from {s.label}" for s in order)
    return [
        f"Hypervolume in one box with one reference point: {shares}. It has no error bar: what little separates two "
        "may be chance.",
        f"The front of all studies together: {members}.",
    ]


def _best_words(standing: Standing, key: str) -> str:
    if standing.best is None or standing.score is None:
        return "none"
    words = describe(short_keys(standing.study), standing.best)
    costs = number("trainable_params", standing.best.metrics.get("trainable_params"))
    return (
        f"{score_words(key, standing.score)} by trial {standing.best.number}"
        + (f" ({words})" if words else "")
        + (f" with {costs} trainable parameters" if costs and key != "trainable_params" else "")
    )


def _within(first: Standing, second: Standing) -> bool | None:
    if first.score is None or second.score is None:
        return None
    error = unpaired_error(first.score, second.score)
    return None if error is None else abs(first.score.value - second.score.value) <= error


def _worth_sentence(group: TaskGroup, worth: Worth, key: str) -> str:
    """E.g. `Width makes no difference beyond one standard error on 5 of 6 tasks (at most 0.8 points there), …`."""
    names = short_keys(group.studies[0])
    name = names.get(worth.key, worth.key)
    judged = [loss.beyond_error for loss in worth.loss]
    if None in judged:
        return ""
    count = len(group.labels)
    flat = [task for task in range(count) if not judged[task]]
    matters = [task for task in range(count) if judged[task]]
    told = ", ".join(
        f"{group.labels[task]} ({loss_text(key, worth.loss[task])}{_unit(key)}, best {worth.values[worth.best[task]]})"
        for task in matters
    )
    start = f"With the rest chosen well, {name} makes"
    if not matters:
        most = max(worth.loss, key=lambda loss: loss.loss)
        return (
            f"{start} no difference beyond one standard error on any of the {count} tasks (at most "
            f"{loss_text(key, most)}{_unit(key)})."
        )
    if not flat:
        return f"{start} a difference beyond one standard error on all {count} tasks: {told}."
    return f"{start} no difference beyond one standard error on {len(flat)} of {count} tasks; it does on {told}."


def _unit(key: str) -> str:
    return " points" if is_score(key) else ""


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def _is(words: Sequence[str]) -> str:
    return "is" if len(words) == 1 else "are"
