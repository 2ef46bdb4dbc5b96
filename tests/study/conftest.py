"""What a test of the study leaves behind."""

from collections.abc import Iterator

import pytest

from adapter_sweep.study.slots import Hold


@pytest.fixture(autouse=True)
def nothing_stays_in_hand(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give back the trials that a test keeps in hand: their hearts would beat, and hold databases open, to the end."""
    begin, end, in_hand = Hold.__init__, Hold.close, list[Hold]()

    def begun(hold: Hold, *arguments: object) -> None:
        begin(hold, *arguments)  # type: ignore[arg-type]
        in_hand.append(hold)

    def ended(hold: Hold) -> None:
        in_hand.remove(hold)
        end(hold)

    monkeypatch.setattr(Hold, "__init__", begun)
    monkeypatch.setattr(Hold, "close", ended)
    yield
    for hold in list(in_hand):
        hold.close()
