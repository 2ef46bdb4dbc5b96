"""Several studies in one report: their fronts over one another, and what their tasks ask of one configuration."""

from adapter_sweep.report.several.comparison import Comparison, compare
from adapter_sweep.report.several.write import ComparisonPaths, write_comparison

__all__ = ["Comparison", "ComparisonPaths", "compare", "write_comparison"]
