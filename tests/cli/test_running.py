"""Running a study's trials: what fails beside them is not theirs."""

import logging

import pytest

from adapter_sweep.cli.running import _score_anchors
from adapter_sweep.errors import AdapterSweepError


def test_anchors_that_cannot_be_scored_are_told_and_end_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def failing() -> None:
        raise AdapterSweepError("there is no room for the backbone's hidden states")

    with caplog.at_level(logging.WARNING):
        _score_anchors(failing)
    (record,) = caplog.records
    assert record.message == "the backbone without adapters could not be scored, and the study goes on"
    assert "no room for the backbone" in caplog.text

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _score_anchors(interrupted)
