"""A study as files and tables that people read; imports stay light until something is drawn."""

from adapter_sweep.report.answer import Answer, answer
from adapter_sweep.report.choosing import Budget, Choice, choose
from adapter_sweep.report.confirmed import confirmed_rows, confirmed_sentences
from adapter_sweep.report.evidence import Evidence, evidence
from adapter_sweep.report.front import front
from adapter_sweep.report.recommendation import choice_lines, nothing_fits
from adapter_sweep.report.recommendation_json import choice_json
from adapter_sweep.report.rows import Rows, front_rows
from adapter_sweep.report.write import ReportPaths, write_report

__all__ = [
    "Answer",
    "Budget",
    "Choice",
    "Evidence",
    "ReportPaths",
    "Rows",
    "answer",
    "choice_json",
    "choice_lines",
    "choose",
    "confirmed_rows",
    "confirmed_sentences",
    "evidence",
    "front",
    "front_rows",
    "nothing_fits",
    "write_report",
]
