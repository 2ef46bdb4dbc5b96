"""Properties tried on a few made-up inputs in the usual tests, and on 10,000 under `-m slow`."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis.strategies import SearchStrategy

__all__ = ["fuzz"]

_FEW, _MANY = 200, 10_000


def fuzz(
    few: int = _FEW, examples: Sequence[Mapping[str, Any]] = (), **drawn: SearchStrategy[Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a test of a property: called with the test's `folder` where it has that argument, and with what is drawn.

    Args:
        few: how many inputs the usual tests try.
        examples: inputs that are tried each time.
        drawn: what each other argument is drawn from.
    """

    def decorate(check: Callable[..., None]) -> Callable[..., None]:
        wants_folder = "folder" in check.__code__.co_varnames[: check.__code__.co_argcount]

        def test(cases: int, tmp_path: Path) -> None:
            own = {"folder": tmp_path} if wants_folder else {}

            def once(**values: Any) -> None:
                check(**own, **values)

            tried = given(**drawn)(once)
            for values in examples:
                tried = example(**values)(tried)
            settings(max_examples=cases, deadline=None, suppress_health_check=list(HealthCheck))(tried)()

        test.__name__ = check.__name__
        test.__module__ = check.__module__
        both = [few, pytest.param(_MANY, marks=pytest.mark.slow)]
        return pytest.mark.parametrize("cases", both)(test)

    return decorate
