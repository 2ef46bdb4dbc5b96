import pytest

from adapter_sweep.cli.choosing import read_budget
from adapter_sweep.cli.quantities import read_accuracy, read_count, read_ratio
from adapter_sweep.errors import UserInputError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("100k", 100_000),
        ("100K", 100_000),
        ("1.5M", 1_500_000),
        ("1.1M", 1_100_000),  # in binary 1.1 * 1e6 is not whole
        ("1e5", 100_000),
        ("2.5e+3", 2_500),
        ("100_000", 100_000),
        ("7", 7),
        ("3B", 3_000_000_000),
        ("0.5k", 500),
        (" 12 ", 12),
    ],
)
def test_counts(text: str, value: float) -> None:
    assert read_count("--max-params", text) == value


@pytest.mark.parametrize(
    "text", ["", "0", "-5", "1.5", "k", "1.2345k", "100kb", "1,000", "nan", "inf", "1e999", "٣", "1e"]
)
def test_no_counts(text: str) -> None:
    with pytest.raises(UserInputError, match="not a number of parameters; allowed: "):
        read_count("--max-params", text)


def test_ratios_and_accuracies() -> None:
    assert read_ratio("--max-latency-ratio", "1.05") == 1.05
    assert read_accuracy("--min-accuracy", "0.8") == 0.8
    assert read_accuracy("--min-accuracy", "0") == 0
    for text in ("0", "1k", "x", "-1"):
        with pytest.raises(UserInputError, match=f"--max-latency-ratio={text}: not a ratio"):
            read_ratio("--max-latency-ratio", text)
    assert read_accuracy("--min-accuracy", "-0.25") == -0.25  # of a correlation
    for text in ("80", "80%", "1.01", "-1.1", "--0.1"):
        with pytest.raises(UserInputError, match=f"--min-accuracy={text}: not an accuracy; allowed: a number from 0"):
            read_accuracy("--min-accuracy", text)


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(UserInputError) as caught:
        read_budget("many", "fast", "good")
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "--max-params=many",
        "--max-latency-ratio=fast",
        "--min-accuracy=good",
    ]
    assert read_budget(None, None, None).limits == ()
