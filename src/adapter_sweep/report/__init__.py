"""A study as files and tables that people read; imports stay light until something is drawn."""

from adapter_sweep.report.answer import Answer, answer
from adapter_sweep.report.confirmed import confirmed_rows, confirmed_sentences
from adapter_sweep.report.evidence import Evidence, evidence
from adapter_sweep.report.front import front
from adapter_sweep.report.rows import Rows, front_rows
from adapter_sweep.report.write import ReportPaths, write_report

__all__ = [
    "Answer",
    "Evidence",
    "ReportPaths",
    "Rows",
    "answer",
    "confirmed_rows",
    "confirmed_sentences",
    "evidence",
    "front",
    "front_rows",
    "write_report",
]
