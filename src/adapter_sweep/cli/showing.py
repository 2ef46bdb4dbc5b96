"""`show`: one study, told in a screen. Needs neither torch nor MLflow."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console

from adapter_sweep.cli.printing import open_console, print_confirmed, print_front
from adapter_sweep.cli.standing import counts, done, told, where_is
from adapter_sweep.config import SweepConfig
from adapter_sweep.records import StudyView, TrialState
from adapter_sweep.report import evidence, front
from adapter_sweep.study.commands import command
from adapter_sweep.study.confirmation import read_study
from adapter_sweep.study.management import Overview, overview

__all__ = ["print_study"]

_REASONS = 5  # that are printed; all of them are in trials.csv
_ENDED_ILL = (TrialState.FAILED, TrialState.REFUSED, TrialState.INTERRUPTED)


def print_study(study: str, config: SweepConfig, *, as_json: bool) -> None:
    """Print what a study is and how it stands.

    Raises:
        UserInputError: there is no such study.
        AdapterSweepError: the database cannot be used.
    """
    place = where_is(config)
    found, view = overview(study, **place), read_study(study, **place)
    folder = place["results_dir"] / study
    if as_json:
        about = {
            **told(found),
            "created": view.created.isoformat() if view.created else None,
            "objectives": dict(view.objectives),
            "search_space": dict(view.search_space),
            "front": [trial.number for trial in front(view)],
            "reasons": [{"state": state, "reason": why, "trials": of} for state, why, of in _reasons(view)],
            "folder": str(folder),
            "provenance": dict(view.provenance),
        }
        print(json.dumps(about, indent=2, ensure_ascii=False))
        return
    console = open_console()
    for label, text in _about(found, view):
        console.print(f"{label:<12}{text}")
    _print_reasons(console, view)
    print_front(console, view)
    if view.confirmation is not None and (said := evidence(view)) is not None:
        print_confirmed(console, view, said)
    console.print(f"{'Files':<12}{folder}")
    for label, line in _commands(found, config):
        console.print(f"{label:<12}{line}")


def _about(found: Overview, view: StudyView) -> Iterator[tuple[str, str]]:
    yield "Study", view.name
    sections: Mapping[str, Any] = view.config
    if view.config.get("sweep"):
        yield "Sweep", str(view.config["sweep"])
    for label, section, key in (
        ("Backbone", "backbone", "name"),
        ("Task", "task", "name"),
        ("Method", "method", "kind"),
    ):
        own = sections.get(section) or {}
        name = own.get(key) or own.get("path") or own.get("kind")
        if section == "method" and sections.get("methods"):
            name = ", ".join(sections["methods"])
        if name:
            yield label, str(name)
    yield "Objectives", ", ".join(f"{name} ({direction})" for name, direction in view.objectives.items())
    for number, (key, text) in enumerate(view.search_space.items()):
        yield "" if number else "Searched", f"{key}: {text}"
    states = ", ".join(f"{count} {state}" for state, count in counts(view).items()) or "none begun"
    yield "Trials", f"{done(view)} of {view.n_trials} are done: {states}"
    if view.created is not None and found.changed is not None:
        yield "Time", f"begun {view.created:%Y-%m-%d %H:%M}, newest change {found.changed:%Y-%m-%d %H:%M}"
    if found.deleting:
        yield "Standing", "half deleted"
    elif found.at_work:
        yield "Worked on", ", ".join(found.at_work)
    else:
        stopped = "" if found.stopped is None else f"; it was last asked to stop on {found.stopped:%Y-%m-%d %H:%M}"
        yield "Worked on", f"by nobody{stopped}"


def _reasons(view: StudyView) -> list[tuple[str, str, list[int]]]:
    """Why trials did not come to a result: state, reason, their numbers; the most frequent first."""
    found: dict[tuple[str, str], list[int]] = {}
    for trial in view.in_state(*_ENDED_ILL):
        found.setdefault((str(trial.state), trial.reason or "no reason was kept"), []).append(trial.number)
    return sorted(((*why, numbers) for why, numbers in found.items()), key=lambda one: -len(one[2]))


def _print_reasons(console: Console, view: StudyView) -> None:
    reasons = _reasons(view)
    for state, why, numbers in reasons[:_REASONS]:
        shown = ", ".join(map(str, numbers[:5])) + (" …" if len(numbers) > 5 else "")
        first, *rest = why.splitlines()
        console.print(
            f"{state.capitalize():<12}trial{'s' if len(numbers) > 1 else ''} {shown}: {first}{' …' if rest else ''}"
        )
    if len(reasons) > _REASONS:
        console.print(f"{'':<12}{len(reasons) - _REASONS} further reasons are in {view.name}/trials.csv")


def _commands(found: Overview, config: SweepConfig) -> Iterator[tuple[str, str]]:
    name, place = found.view.name, where_is(config)
    if found.deleting:
        yield "Finish", command("delete", name, **place)
        return
    if found.at_work:
        yield "Stop", command("stop", name, **place)
    elif done(found.view) < found.view.n_trials and found.view.search_space:
        yield "Go on", "the `run` that began it, repeated"
    if found.view.in_state(TrialState.COMPLETE):
        yield "Report", command("report", name, **place)
        yield "Choose", command("best", name, **place)
        if found.view.search_space:
            yield "Confirm", command("confirm", name, **place)
    yield "Keep", command("archive", name, **place)
