import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
import torch
from ledgers import GRID, OBJECTIVES, SPACE, finish, start

from adapter_sweep.config.space import grid_points, parse_space
from adapter_sweep.errors import AdapterSweepError, UserInputError
from adapter_sweep.records import TrialState, TrialView
from adapter_sweep.study.ledger import Ledger, storage_url
from descriptors import open_files

IN_MEMORY = "sqlite://"  # where only suggestions matter
METRICS = {"accuracy": 0.1 + 0.2, "trainable_params": 123_456.0, "train_loss": 5e-324, "eval_examples": 7.0}


def ask(ledger: Ledger, n_trials: int = 10) -> optuna.Trial:
    asked = ledger.ask(n_trials)
    assert asked is not None
    return asked[0]


def states(ledger: Ledger) -> list[TrialState]:
    return [trial.state for trial in ledger.view().trials]


def points(trials: tuple[TrialView, ...]) -> list[tuple[object, ...]]:
    return [tuple(trial.params.values()) for trial in trials]


# -- every state


def test_a_complete_trial_round_trips_exactly(tmp_path: Path) -> None:
    ledger = start(tmp_path)
    trial = ask(ledger)
    ledger.note(trial, overrides=["train.epochs=1"], provenance={"torch": "2"}, weights_path="trials/00000/w")
    params = trial.params
    assert ledger.tell(trial, TrialState.COMPLETE, metrics=METRICS) is TrialState.COMPLETE

    (view,) = start(tmp_path).view().trials
    assert view.metrics == METRICS
    assert view.params == params
    assert list(view.params) == list(SPACE)
    assert (view.number, view.state, view.reason) == (0, TrialState.COMPLETE, None)
    assert view.overrides == ("train.epochs=1",)
    assert view.provenance == {"torch": "2"}
    assert view.weights_path == str(tmp_path / "toy" / "trials" / "00000" / "w")
    assert view.started is not None
    assert view.ended is not None
    assert view.started.tzinfo is not None
    assert view.started <= view.ended


@pytest.mark.parametrize(
    ("state", "in_optuna", "counts"),
    [
        (TrialState.COMPLETE, optuna.trial.TrialState.COMPLETE, True),
        (TrialState.REFUSED, optuna.trial.TrialState.PRUNED, True),
        (TrialState.PRUNED, optuna.trial.TrialState.PRUNED, True),
        (TrialState.FAILED, optuna.trial.TrialState.FAIL, True),
        (TrialState.INTERRUPTED, optuna.trial.TrialState.FAIL, False),
    ],
)
def test_each_end_keeps_its_word(
    tmp_path: Path, state: TrialState, in_optuna: optuna.trial.TrialState, counts: bool
) -> None:
    ledger = start(tmp_path)
    trial = ask(ledger)
    assert states(ledger) == [TrialState.RUNNING]
    ledger.tell(trial, state, metrics=METRICS, reason="because")
    (view,) = ledger.view().trials
    assert (view.state, view.reason, view.metrics) == (state, "because", METRICS)
    assert ledger._study.trials[0].state == in_optuna
    assert len(ledger.view().counted()) == counts


def test_a_running_trial_counts_and_shows_its_parameters(tmp_path: Path) -> None:
    ledger = start(tmp_path)
    asked = ledger.ask(1)
    assert asked is not None
    assert ledger.ask(1) is None
    (view,) = ledger.view().trials
    assert view.state is TrialState.RUNNING
    assert view.params == asked[0].params
    assert view.ended is None
    asked[1].close()


@pytest.mark.parametrize("accuracy", [None, math.nan, math.inf])
def test_a_complete_trial_without_an_objective_fails(tmp_path: Path, accuracy: float | None) -> None:
    ledger = start(tmp_path)
    metrics = {"trainable_params": 1.0} | ({} if accuracy is None else {"accuracy": accuracy})
    assert ledger.tell(ask(ledger), TrialState.COMPLETE, metrics=metrics) is TrialState.FAILED
    assert ledger.view().trials[0].reason == "not measured: accuracy"


def test_a_trial_that_ended_stays_as_it_ended(tmp_path: Path) -> None:
    ledger = start(tmp_path)
    trial = ask(ledger)
    ledger.tell(trial, TrialState.COMPLETE, metrics=METRICS)
    # Ctrl-C just after the ledger was told.
    assert ledger.tell(trial, TrialState.INTERRUPTED, reason="too late") is TrialState.COMPLETE
    (view,) = ledger.view().trials
    assert (view.state, view.metrics, view.reason) == (TrialState.COMPLETE, METRICS, None)
    assert len(ledger._study.trials) == 1  # nothing was queued again


def test_a_trial_told_but_not_ended_is_still_running(tmp_path: Path) -> None:
    ledger = start(tmp_path)
    trial = ask(ledger)
    ledger.note(trial, state=TrialState.COMPLETE)  # what a process that dies within `tell` leaves
    assert states(ledger) == [TrialState.RUNNING]


# -- interruption


def test_an_interrupted_configuration_is_queued_again(tmp_path: Path) -> None:
    ledger = start(tmp_path)
    trial = ask(ledger, 1)
    params = trial.params
    ledger.tell(trial, TrialState.INTERRUPTED)
    assert ledger.view().counted() == []
    again = ask(start(tmp_path), 1)
    assert again.params == params
    ledger.tell(again, TrialState.INTERRUPTED)
    assert ask(ledger, 1).params == params
    assert ledger.ask(1) is None


def test_a_queued_configuration_survives_dying_before_it_is_suggested(tmp_path: Path) -> None:
    ledger = start(tmp_path)
    trial = ask(ledger, 1)
    params = trial.params
    ledger.tell(trial, TrialState.INTERRUPTED)
    ledger._rows.ask()  # taken from the queue, and its process dies at once: no slot, no parameter
    assert ledger.recover() == 1
    assert ask(ledger, 1).params == params


def test_dying_between_telling_and_queueing_queues_once(tmp_path: Path) -> None:
    ledger = start(tmp_path)
    trial = ask(ledger, 1)
    params = trial.params
    ledger.note(trial, state=TrialState.INTERRUPTED)
    ledger._study.tell(trial, state=optuna.trial.TrialState.FAIL)
    for _ in range(2):
        assert ledger.recover() == 0
        assert ledger.queued() == [params]


@pytest.mark.parametrize("cause", [KeyboardInterrupt, RuntimeError])
def test_a_trial_whose_suggestion_fails_is_interrupted_and_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: type[BaseException]
) -> None:
    def fail(*_: object) -> None:
        raise cause

    ledger = start(tmp_path)
    ledger.tell(ask(ledger), TrialState.FAILED)
    before = open_files(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(optuna.samplers.RandomSampler, "sample_independent", fail)
        with pytest.raises(cause):
            ledger.ask(10)
    ledger._rows.database.engine.dispose()
    assert open_files(tmp_path) - before == Counter()
    assert states(ledger) == [TrialState.FAILED, TrialState.INTERRUPTED]
    assert finish(ledger, 2) == [2]


def test_a_slot_that_cannot_be_made_interrupts_the_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = start(tmp_path)

    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("adapter_sweep.study.slots.Slot", full)
        with pytest.raises(OSError, match="No space"):
            ledger.ask(1)
    assert states(ledger) == [TrialState.INTERRUPTED]
    assert finish(ledger, 1) == [1]


def test_a_trial_that_ends_while_it_is_looked_at_is_not_taken_for_abandoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = start(tmp_path), start(tmp_path)
    asked = mine.ask(1)
    assert asked is not None

    def ends_meanwhile(*_: object, **__: object) -> bool:
        mine.tell(asked[0], TrialState.COMPLETE, metrics=METRICS)
        asked[1].close()
        return False  # the lock is free

    monkeypatch.setattr("adapter_sweep.study.recovery.is_held", ends_meanwhile)
    assert other.recover() == 0
    assert states(other) == [TrialState.COMPLETE]


def test_a_live_trial_is_never_recovered_even_from_another_results_folder(tmp_path: Path) -> None:
    url = storage_url(None, tmp_path)
    ledger = start(tmp_path)
    asked = ledger.ask(2)
    assert asked is not None
    other = start(tmp_path / "elsewhere", url=url)
    assert other.recover() == 0
    assert finish(other, 2) == [1]
    assert states(ledger) == [TrialState.RUNNING, TrialState.COMPLETE]
    asked[1].close()


def test_slots_leave_no_file_and_no_descriptor(tmp_path: Path) -> None:
    ledger = start(tmp_path)
    finish(ledger, 3)
    before = open_files(tmp_path)
    finish(ledger, 9)
    ledger._rows.database.engine.dispose()  # its pool keeps as many as were used at once
    assert open_files(tmp_path) - before == Counter()
    assert sorted(p.name for p in ledger._locks.iterdir()) in (["at-work"], ["at-work", "study.lock"])


# -- the definition


def test_a_changed_definition_is_refused_with_the_difference(tmp_path: Path) -> None:
    start(tmp_path, definition={"task": {"name": "movies", "seed": 0}, "space": ("a", "b")})
    start(tmp_path, definition={"task": {"name": "movies", "seed": 0}, "space": ("a", "b")})
    with pytest.raises(UserInputError) as caught:
        start(tmp_path, definition={"task": {"name": "tweets"}, "space": ("a", "b"), "new": 1})
    assert caught.value.problems[1:] == (
        "  new: 'absent' -> 1",
        "  task.name: 'movies' -> 'tweets'",
        "  task.seed: 0 -> 'absent'",
    )


def test_a_study_goes_on_though_keys_have_come_since_it_was_begun(tmp_path: Path) -> None:
    method = {"kind": "lora", "rank": 2}
    start(tmp_path, definition={"method": method, "train": {"epochs": 2, "micro_batches": 4}})
    now = {**method, "alpha": 16.0, "targets": "attention", "layers": "all"}
    train = {"epochs": 2, "label_smoothing": 0.0, "early_stopping": None}
    start(tmp_path, definition={"method": now, "train": train})
    with pytest.raises(UserInputError) as caught:
        start(tmp_path, definition={"method": {**now, "alpha": 1.0}, "train": {**train, "early_stopping": 2}})
    assert caught.value.problems[1:] == ("  method.alpha: 16.0 -> 1.0", "  train.early_stopping: None -> 2")


def test_changed_objectives_in_the_definition_are_refused(tmp_path: Path) -> None:
    start(tmp_path, definition={"objectives": OBJECTIVES})
    other = {"latency_ratio": "minimize"}
    with pytest.raises(UserInputError, match=r"objectives\.latency_ratio: 'absent' -> 'minimize'"):
        start(tmp_path, objectives=other, definition={"objectives": other})


def test_a_study_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    url = storage_url(None, tmp_path)
    start(tmp_path, name="mine")
    theirs = optuna.create_study(study_name="toy", storage=url, directions=["maximize", "minimize"])
    theirs.add_trial(optuna.trial.create_trial(values=[0.0, 1.0]))
    with pytest.raises(UserInputError, match="was not made by adapter-sweep"):
        start(tmp_path)
    with pytest.raises(UserInputError, match="was not made by adapter-sweep"):
        Ledger.read("toy", url=url, results_dir=tmp_path)
    assert theirs.user_attrs == {}


def test_a_study_whose_creation_was_cut_short_is_completed(tmp_path: Path) -> None:
    start(tmp_path, name="other")
    optuna.create_study(study_name="toy", storage=storage_url(None, tmp_path), directions=["maximize", "minimize"])
    assert finish(start(tmp_path), 1) == [0]


# -- samplers


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "gp", "random"])
def test_each_sampler_stays_in_range_and_silent(
    tmp_path: Path, sampler: str, one_thread: None, capfd: pytest.CaptureFixture[str]
) -> None:
    ledger = start(tmp_path, url=IN_MEMORY, sampler=sampler)
    for _ in range(12):  # the first ten of tpe and gp are random
        trial = ask(ledger, 12)
        p = trial.params
        assert list(p) == list(SPACE)
        assert isinstance(p["method.width"], int)
        assert 4 <= p["method.width"] <= 256
        assert p["method.placement"] in ("post_attention", "post_ffn", "both")
        assert 1e-4 <= p["train.lr"] <= 1e-2
        ledger.tell(
            trial,
            TrialState.COMPLETE,
            metrics={"accuracy": math.log(p["method.width"]), "trainable_params": p["method.width"]},
            constraints={"trainable_params": p["method.width"] / 100 - 1},
        )
    assert len(set(points(ledger.view().trials))) == 12
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "gp", "random", "grid"])
def test_each_sampler_chooses_among_layers(
    tmp_path: Path, sampler: str, one_thread: None, capfd: pytest.CaptureFixture[str]
) -> None:
    space = {"method.layers": "choice(all, top:1, [0,1], [4,5])", "train.seed": "choice(0, 1, 2)"}
    ledger = start(tmp_path, space, url=IN_MEMORY, sampler=sampler)
    finish(ledger, 12)
    chosen = {trial.params["method.layers"] for trial in ledger.view().trials}
    assert chosen <= {"all", "top:1", "[0,1]", "[4,5]"}
    assert len(chosen) == 4 if sampler == "grid" else len(chosen) > 1
    assert capfd.readouterr() == ("", "")


def test_an_unknown_sampler_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no sampler is named 'bayes'"):
        finish(start(tmp_path, sampler="bayes"), 1)


def test_the_same_seed_gives_the_same_study_and_a_resumption_no_repetition(tmp_path: Path) -> None:
    once, resumed, other = start(tmp_path / "a"), start(tmp_path / "b"), start(tmp_path / "c", seed=1)
    finish(once, 6)
    finish(resumed, 3)
    finish(start(tmp_path / "b"), 6)
    finish(other, 6)
    assert points(resumed.view().trials) == points(once.view().trials)
    assert len(set(points(once.view().trials))) == 6
    assert not set(points(once.view().trials)) & set(points(other.view().trials))


def test_refused_trials_tell_the_sampler_their_constraint(tmp_path: Path) -> None:
    ledger = start(tmp_path)
    ledger.tell(ask(ledger), TrialState.REFUSED, constraints={"trainable_params": 0.5, "latency_ratio": 0.0})
    (trial,) = ledger._study.trials
    assert trial.constraints == {"trainable_params": 0.5, "latency_ratio": 0.0}


def test_tpe_learns_a_strict_budget(tmp_path: Path) -> None:
    def over_budget(sampler: str) -> int:
        over = 0
        ledger = start(tmp_path / sampler, url=IN_MEMORY, sampler=sampler)
        for number in range(40):
            trial = ask(ledger, 40)
            width = trial.params["method.width"]
            excess = width / 12 - 1
            metrics = {"accuracy": math.log(width), "trainable_params": float(width)}
            state = TrialState.REFUSED if excess > 0 else TrialState.COMPLETE
            ledger.tell(trial, state, metrics=metrics, constraints={"trainable_params": excess})
            over += excess > 0 and number >= 20
        return over

    # About three quarters of the (logarithmic) range is over it.
    random, tpe = over_budget("random"), over_budget("tpe")
    assert random >= 10
    assert tpe <= random / 2


# -- the grid


def test_the_grid_visits_every_point_once_over_interruptions_and_resumptions(tmp_path: Path) -> None:
    every = [tuple(point.values()) for point in grid_points(parse_space(GRID))]
    ledger = start(tmp_path, GRID, sampler="grid")
    assert finish(ledger, 2) == [0, 1]
    trial = ask(ledger, 100)
    ledger.tell(trial, TrialState.INTERRUPTED)
    failed = ask(ledger, 100)
    assert failed.params == trial.params
    ledger.tell(failed, TrialState.FAILED)
    finish(start(tmp_path, GRID, sampler="grid"), 100)
    counted = ledger.view().counted()
    assert sorted(points(tuple(counted)), key=str) == sorted(every, key=str)


def test_a_part_of_the_grid_is_a_shuffled_sample(tmp_path: Path) -> None:
    space = {"method.width": "range(1, 11)", "method.placement": "choice(a, b, c)"}
    ledger = start(tmp_path, space, sampler="grid")
    finish(ledger, 10)
    seen = points(ledger.view().trials)
    assert len(set(seen)) == 10
    assert len({width for width, _ in seen}) > 4  # in order, ten of thirty points have four widths
    assert seen != [tuple(p.values()) for p in grid_points(parse_space(space))][:10]


def test_the_grid_tells_one_from_true(tmp_path: Path) -> None:
    ledger = start(tmp_path, {"x": "choice(1, a)", "y": "choice(true, b)"}, sampler="grid")
    assert len(finish(ledger, 10)) == 4


def test_the_grid_of_a_range_with_an_uneven_step(tmp_path: Path) -> None:
    ledger = start(tmp_path, {"train.lr": "range(0.1, 0.35, 0.1)"}, sampler="grid")
    finish(ledger, 10)
    assert sorted(p for (p,) in points(ledger.view().trials)) == [0.1, 0.2, 0.3]


def test_a_grid_over_an_interval_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match="the grid sampler needs"):
        start(tmp_path, SPACE, sampler="grid")


# -- facts


def test_one_latency_an_architecture_the_first(tmp_path: Path) -> None:
    ledger, other = start(tmp_path), start(tmp_path)
    assert ledger.latency("key") is None
    assert ledger.keep_latency("key", {"latency_ratio": 1.25}) == {"latency_ratio": 1.25}
    assert other.keep_latency("key", {"latency_ratio": 1.5}) == {"latency_ratio": 1.25}
    assert other.latency("key") == {"latency_ratio": 1.25}
    assert other.latency("another") is None


def test_mlflow_runs_are_kept_beside_finished_trials(tmp_path: Path) -> None:
    ledger = start(tmp_path)
    finish(ledger, 3)
    for number in (0, 2):
        ledger.set_mlflow_runs({number: f"run {number}"})
    ledger._rows.set("mlflow_runs:1", {"100": "run 100"})
    assert [t.mlflow_run_id for t in ledger.view().trials] == ["run 0", None, "run 2"]
    assert ledger.view_trial(2).mlflow_run_id == "run 2"


def test_study_facts_round_trip(tmp_path: Path) -> None:
    ledger = start(tmp_path)
    facts = {
        "config": {"train": {"lr": 1e-3}},
        "search_space": SPACE,
        "n_trials": 9,
        "provenance": {"torch": "2"},
        "anchors": {"majority class": {"accuracy": 0.5}},
        "mlflow_run_id": "parent",
    }
    ledger.set_facts(**facts)
    view = Ledger.read("toy", url=storage_url(None, tmp_path), results_dir=tmp_path).view()
    assert {name: getattr(view, name) for name in facts} == facts
    assert view.objectives == OBJECTIVES
    assert list(view.objectives) == list(OBJECTIVES)
    assert view.created is None


def test_a_trial_is_shown_with_its_configuration(tmp_path: Path) -> None:
    ledger = start(tmp_path)
    ledger.set_facts(config={"method": {"width": 1, "placement": "x", "activation": "gelu"}, "train": {"lr": 0.0}})
    trial = ask(ledger)
    (ledger.trial_folder(0)).mkdir(parents=True)
    (ledger.trial_folder(0) / "curves.json").write_text('{"train_loss": [[1, 0.5]]}')
    assert ledger.view_trial(0).curves == {}  # not its own: it has not ended
    ledger.tell(trial, TrialState.COMPLETE, metrics=METRICS)
    view = ledger.view_trial(0)
    assert view.curves == {"train_loss": [(1, 0.5)]}
    assert view.config == {
        "method": {
            "width": trial.params["method.width"],
            "placement": trial.params["method.placement"],
            "activation": "gelu",
        },
        "train": {"lr": trial.params["train.lr"]},
    }
    with pytest.raises(IndexError):
        ledger.view_trial(1)


# -- reading


def test_reading_what_is_not_there_says_what_is_and_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match="holds no study"):
        Ledger.read("toy", url=storage_url(None, tmp_path), results_dir=tmp_path)
    with pytest.raises(UserInputError, match="holds no study"):
        Ledger.read("toy", url=f"sqlite:///{tmp_path}/typo.db", results_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []
    for name in ("b", "a"):
        start(tmp_path, name=name)
    with pytest.raises(UserInputError, match="there is no study 'c'; there are: a, b"):
        Ledger.read("c", url=storage_url(None, tmp_path), results_dir=tmp_path)


def test_a_read_only_database_is_named(tmp_path: Path) -> None:
    start(tmp_path)
    url = f"sqlite:///file:{tmp_path}/optuna.db?mode=ro&uri=true"
    with pytest.raises(AdapterSweepError, match=r"study 'new' cannot be opened: attempt to write a readonly database"):
        start(tmp_path, name="new", url=url)
