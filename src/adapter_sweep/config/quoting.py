"""Values as Hydra's override grammar reads them back."""

import re

from hydra.core.override_parser.types import Quote, QuotedString

from adapter_sweep.records import ParamValue

__all__ = ["literal", "quoted"]


def literal(value: ParamValue) -> str:
    """A value as Hydra's override grammar reads it back, numbers in full precision."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return quoted(value) if isinstance(value, str) else repr(value)


def quoted(text: str) -> str:
    """A text as Hydra's grammar reads it back; quoted unless it is plainly a word."""
    word = re.fullmatch(r"[A-Za-z_./][A-Za-z0-9_./-]*", text) and text.lower() not in (
        "true",
        "false",
        "null",
        "nan",
        "inf",
    )
    return text if word else QuotedString(text, Quote.single).with_quotes()
