import io

from rich.console import Console

from adapter_sweep.cli.display import Display
from adapter_sweep.engine.training import Progress
from adapter_sweep.records import TrialState, TrialView


def complete(number: int) -> TrialView:
    metrics = {"accuracy": 0.75, "trainable_params": 1234.0, "latency_ratio": 1.05}
    return TrialView(number, TrialState.COMPLETE, {"method.width": number}, metrics)


def drive(display: Display, trials: int) -> None:
    """Trials that run all at once, and end in turn."""
    with display.progress(0, trials):
        for number in range(trials):
            display.begin(number, {"method.width": number})
        for number in range(trials):
            display.stage(number, "training")
            display.step(number, Progress(1, 2, 1, 4, 0.5))
        for number in range(trials):
            display.epoch(number, 1, 2, 0.5, 0.75)
            display.step(number, Progress(2, 2, 4, 4, 0.4))
            display.end(complete(number))


def test_plain_lines_name_their_trial() -> None:
    console = Console(file=io.StringIO(), width=200)
    drive(Display(console), 2)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[:3] == [
        "trial 0: width 0",
        "trial 1: width 1",
        "trial 0: epoch 1/2  loss 0.500  accuracy 0.750",
    ]
    assert lines[3].startswith("trial   0  width 0  accuracy 0.750  params 1,234  latency x1.05  (0 s)  [1/2")
    assert lines[-1].endswith("[2/2]")


def test_a_terminal_shows_as_many_running_trials_as_fit() -> None:
    console = Console(file=io.StringIO(), width=200, height=6, force_terminal=True, highlight=False)
    display = Display(console)
    with display.progress(0, 9):
        for number in range(9):
            display.begin(number, {})
        live = display._live
        assert live is not None
        visible = [task.description for task in live.tasks if task.visible]
        assert visible == ["trials", "trial 0", "trial 1", "trial 2"]
        for number in range(3):
            display.end(complete(number))
        visible = [task.description for task in live.tasks if task.visible]
        assert visible == ["trials", "trial 3", "trial 4", "trial 5"]
        assert live.tasks[0].completed == 3
    assert console.file.getvalue().count("params 1,234") == 3  # type: ignore[attr-defined]


def test_what_is_told_of_an_unknown_trial_is_no_error() -> None:
    display = Display(Console(file=io.StringIO()))
    display.stage(7, "training")
    display.step(7, Progress(1, 1, 1, 1, 0.5))
    display.epoch(7, 1, 1, 0.5, 0.5)
    display.end(complete(7))


def test_a_score_is_called_by_its_metric() -> None:
    console = Console(file=io.StringIO(), width=200)
    display = Display(console, what="run", metric="entity_f1")
    with display.progress(0, 1):
        display.begin(0, {})
        display.epoch(0, 1, 2, 0.5, 0.75)
        tested = {"test_accuracy": 0.5, "trainable_params": 1.0, "latency_ratio": 1.0}
        display.end(TrialView(0, TrialState.COMPLETE, {}, tested))
    lines = console.file.getvalue()  # type: ignore[attr-defined]
    assert "run 0: epoch 1/2  loss 0.500  entity F1 0.750\n" in lines
    assert "test entity F1 0.500  params 1" in lines
