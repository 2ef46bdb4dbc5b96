"""A study that chooses between methods: each trial has its own method's parameters, whatever suggests them."""

from multiprocessing import get_context
from pathlib import Path

import pytest
from ledgers import finish, finish_elsewhere, start

from adapter_sweep.config.naming import plain_params
from adapter_sweep.config.space import grid_points, parse_space
from adapter_sweep.errors import UserInputError
from adapter_sweep.records import TrialState

IN_MEMORY = "sqlite://"  # where only suggestions matter

# What compose makes of `method=choice(wide,narrow,head)` with a range of its own for each, and a rate that head lacks.
METHODS = {
    "method": "choice(wide, narrow, head)",
    "wide.method.width": "choice(64, 256)",
    "wide.method.placement": "choice(post_ffn, both)",
    "narrow.method.width": "int(interval(1, 8))",
    "train.lr": "tag(log, interval(1e-4, 1e-2))",
    "head.train.lr": "choice(0.1)",
}
GRID = METHODS | {"narrow.method.width": "range(1, 4)", "train.lr": "range(0.1, 0.4, 0.1)"}
KEYS = {
    "wide": ["method", "method.width", "method.placement", "train.lr"],
    "narrow": ["method", "method.width", "train.lr"],
    "head": ["method", "train.lr"],
}
WIDTHS = {"wide": {64, 256}, "narrow": set(range(1, 9)), "head": {None}}


def check(params: dict[str, object]) -> None:
    method = str(params["method"])
    assert sorted(params) == sorted(KEYS[method])
    assert params.get("method.width") in WIDTHS[method]
    lr = params["train.lr"]
    assert lr == 0.1 if method == "head" else isinstance(lr, float) and 1e-4 <= lr <= 1e-2


@pytest.mark.parametrize(("sampler", "n_trials"), [("tpe", 25), ("nsga2", 55), ("random", 25)])
def test_every_sampler_gives_a_trial_its_methods_parameters(
    tmp_path: Path, sampler: str, n_trials: int, capfd: pytest.CaptureFixture[str]
) -> None:
    ledger = start(tmp_path, METHODS, sampler=sampler, url=IN_MEMORY)
    finish(ledger, n_trials)  # past what each sampler draws at random before it learns
    trials = ledger.view().trials
    for trial in trials:
        check(dict(trial.params))
    assert {trial.params["method"] for trial in trials} == set(KEYS)
    assert capfd.readouterr() == ("", "")


def test_tpe_learns_within_each_method(tmp_path: Path) -> None:
    """The better width of `wide` is its larger one, that of `narrow` its smaller ones: one width has no such trend."""
    ledger = start(tmp_path, METHODS, sampler="tpe", url=IN_MEMORY)
    while (asked := ledger.ask(60)) is not None:
        trial, slot = asked
        params = plain_params(trial.params)
        width = float(str(params.get("method.width", 0)))
        good = {"wide": width / 256, "narrow": 9 - width, "head": 0.0}[str(params["method"])]
        # `narrow` is the better by accuracy, `wide` by its cost: both stay on the front, and `head` does not.
        cost = {"wide": 1.0 - width / 256, "narrow": 2.0 + width, "head": 20.0}[str(params["method"])]
        ledger.tell(trial, TrialState.COMPLETE, metrics={"accuracy": good, "trainable_params": cost})
        slot.close()
    late = [trial.params for trial in ledger.view().trials[30:]]
    wide = [params["method.width"] for params in late if params["method"] == "wide"]
    narrow = [int(str(params["method.width"])) for params in late if params["method"] == "narrow"]
    assert wide.count(256) > 0.6 * len(wide) > 0
    assert sum(width <= 4 for width in narrow) > 0.6 * len(narrow) > 0
    assert len(wide) + len(narrow) > 0.8 * len(late)


def test_a_genetic_sampler_crosses_every_methods_parameters(tmp_path: Path) -> None:
    ledger = start(tmp_path, METHODS, sampler="nsga2", url=IN_MEMORY)
    finish(ledger, 2)
    kept = ledger._study.trials[0].params
    assert kept.keys() == METHODS.keys()  # in the ledger; a trial shows its own
    check(dict(ledger.view().trials[0].params))


def test_the_grid_holds_each_methods_points_once(tmp_path: Path) -> None:
    points = grid_points(parse_space(GRID))
    assert len(points) == 2 * 2 * 3 + 3 * 3 + 1
    ledger = start(tmp_path, GRID, sampler="grid")
    finish(ledger, 100)
    found = [frozenset(trial.params.items()) for trial in ledger.view().trials]
    assert len(found) == len(set(found)) == len(points)
    for trial in ledger.view().trials:
        assert sorted(trial.params) == sorted(KEYS[str(trial.params["method"])])


def test_an_interval_is_no_grids_whoever_has_it() -> None:
    with pytest.raises(UserInputError, match=r"search_space\.head\.train\.lr: the grid sampler needs choice"):
        grid_points(parse_space(GRID | {"head.train.lr": "interval(0.1, 0.2)"}))


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "grid"])
def test_an_interrupted_trial_is_repeated_as_it_was(tmp_path: Path, sampler: str) -> None:
    space = GRID if sampler == "grid" else METHODS
    ledger = start(tmp_path, space, sampler=sampler)
    finish(ledger, 12)
    asked = ledger.ask(13)
    assert asked is not None
    params = plain_params(asked[0].params)
    ledger.tell(asked[0], TrialState.INTERRUPTED)
    asked[1].close()
    again = start(tmp_path, space, sampler=sampler)
    assert again.queued() == [params]
    finish(again, 13)
    assert again.view().trials[-1].params == params


def test_configurations_are_queued_under_their_hydra_keys(tmp_path: Path) -> None:
    wanted = [
        {"method": "head", "train.lr": 0.1},
        {"method": "narrow", "method.width": 3, "train.lr": 1e-3},
        {"method": "wide", "method.width": 256, "method.placement": "both", "train.lr": 1e-2},
    ]
    ledger = start(tmp_path, METHODS, points=wanted)
    finish(ledger, 10)
    assert [dict(trial.params) for trial in ledger.view().trials] == wanted
    other = start(tmp_path, METHODS, name="other", sampler="tpe")
    other.queue(wanted[1])
    finish(other, 1)
    assert other.view().trials[0].params == wanted[1]


def test_two_processes_share_a_study(tmp_path: Path) -> None:
    start(tmp_path, GRID, sampler="grid")
    with get_context("spawn").Pool(2) as pool:
        arguments = [(tmp_path, 22, GRID, {"sampler": "grid"})] * 2
        done = pool.starmap(finish_elsewhere, arguments)
    trials = start(tmp_path, GRID, sampler="grid").view().trials
    assert sorted(number for numbers in done for number in numbers) == list(range(22))
    assert len({frozenset(trial.params.items()) for trial in trials}) == 22


def test_other_methods_are_another_study(tmp_path: Path) -> None:
    start(tmp_path, METHODS)
    with pytest.raises(UserInputError) as caught:
        start(tmp_path, METHODS | {"method": "choice(wide, narrow)"})
    assert any("search_space.method: " in problem for problem in caught.value.problems)


def test_a_trials_configuration_has_its_methods_settings(tmp_path: Path) -> None:
    ledger = start(tmp_path, METHODS, points=[{"method": "narrow", "method.width": 3, "train.lr": 1e-3}])
    settings = {"wide": {"kind": "bottleneck", "width": 64}, "narrow": {"kind": "bottleneck", "width": 8}}
    ledger.set_facts(config={"method": settings["wide"], "methods": settings, "train": {"lr": 1.0, "epochs": 2}})
    finish(ledger, 1)
    config = ledger.view_trial(0).config
    assert config["method"] == {"kind": "bottleneck", "width": 3}
    assert config["train"] == {"lr": 1e-3, "epochs": 2}
