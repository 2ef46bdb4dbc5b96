"""What a confirmation shows: scores with intervals, paired differences, and who is on the front, with how much doubt.

The way of the numbers: `scores` resamples the test rows, `draws` adds what other seeds would have done, `labels` and
`standing` read the front off the draws, `gather` puts one study's findings together. Imports stay light until then.

Sources: E. Wilson, JASA 22, 1927; L. Brown, T. Cai, A. DasGupta, Statistical Science 16, 2001 (shares); C. Franco,
R. Little, T. Louis, E. Slud, J. Survey Statistics and Methodology 7, 2019 (shares of clustered samples); B. Efron,
R. Tibshirani, An Introduction to the Bootstrap, 1993; N. Obuchowski, H. Rockette, Communications in Statistics 24, 1995
(several runs on the same rows); G. Smyth, Statistical Applications in Genetics and Molecular Biology 3, 2004 (variances
from few runs); A. Agresti, Y. Min, Statistics in Medicine 24, 2005 (paired shares); R. Beran, JASA 83, 1988;
J. Romano, M. Wolf, Econometrica 73, 2005 (many comparisons).
"""

from adapter_sweep.records import StudyView
from adapter_sweep.report.evidence.findings import Anchor, Difference, Estimate, Evidence, Finalist, Label

__all__ = ["Anchor", "Difference", "Estimate", "Evidence", "Finalist", "Label", "evidence"]


def evidence(study: StudyView) -> Evidence | None:
    """What the study's confirmation shows; None where there is none, or none of its runs is complete.

    Takes the runs as they are: one that failed is left out, and named in `lost`. The objective `accuracy` (or the one
    named as the task's metric) is the score on the test split, higher is better; each other objective is a cost, from
    the runs' record. The same study gives the same figures; ten finalists on three seeds and 2,000 rows take seconds.

    Raises:
        AdapterSweepError: the confirmation is not whole: no test rows, a run or an anchor with another number of
            predictions, an unknown metric, or rows that the metric is not of.
    """
    if study.confirmation is None:
        return None
    from adapter_sweep.report.evidence.gather import gather

    return gather(study, study.confirmation)
