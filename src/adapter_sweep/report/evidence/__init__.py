"""What a confirmation shows: scores with intervals, paired differences, and who is on the front, with how much doubt.

The way of the numbers: `scores` resamples the test rows, `draws` adds what other seeds would have done, `labels`
reads the front off the draws, `gather` puts the findings of one study together.
"""

from adapter_sweep.report.evidence.findings import Anchor, Difference, Estimate, Evidence, Finalist, Label
from adapter_sweep.report.evidence.gather import evidence

__all__ = ["Anchor", "Difference", "Estimate", "Evidence", "Finalist", "Label", "evidence"]
