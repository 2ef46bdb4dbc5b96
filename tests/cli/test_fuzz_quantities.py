import math

from hypothesis import strategies as st

from adapter_sweep.cli.choosing import read_budget
from adapter_sweep.errors import UserInputError
from fuzzing import fuzz

_NUMBERS = st.one_of(st.integers().map(str), st.floats().map(str), st.floats(0, 1).map(str))
_LIKE_NUMBERS = st.from_regex(r"[+-]?[0-9_.,]{0,8}([eE][0-9+-]{0,5})?[kKmMgG%x ]?", fullmatch=True)
_TEXTS = st.one_of(st.none(), st.text(max_size=12), _LIKE_NUMBERS, _NUMBERS)


@fuzz(params=_TEXTS, ratio=_TEXTS, accuracy=_TEXTS)
def test_the_bounds_of_best_are_numbers_or_refused(params: str | None, ratio: str | None, accuracy: str | None) -> None:
    given = {"--max-params": params, "--max-latency-ratio": ratio, "--min-accuracy": accuracy}
    try:
        budget = read_budget(*given.values())
    except UserInputError as error:
        for problem in error.problems:
            option = problem.partition("=")[0]
            assert problem.startswith(f"{option}={given[option]}: ")
        return
    assert budget.max_params is None or (budget.max_params >= 1 and float(budget.max_params).is_integer())
    assert budget.max_latency_ratio is None or 0 < budget.max_latency_ratio < math.inf
    assert budget.min_accuracy is None or -1 <= budget.min_accuracy <= 1
    read = (budget.max_params, budget.max_latency_ratio, budget.min_accuracy)
    assert [value is None for value in read] == [text is None for text in given.values()]
