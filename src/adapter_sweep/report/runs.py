"""Where a trial's MLflow run is shown."""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from adapter_sweep.records import StudyView

__all__ = ["runs_address"]

_LOCAL = "http://127.0.0.1:5000"  # where `adapter-sweep ui` serves by default
_HOST = re.compile(r"[A-Za-z0-9.\-]+(:\d+)?|\[[0-9A-Fa-f:]+\](:\d+)?")


def runs_address(study: StudyView) -> str:
    """The address to which a run id is appended: of the study's tracking server, else of `adapter-sweep ui`.

    MLflow shows a run under its id alone, so the experiment, which the ledger does not hold, is not needed.
    """
    tracking = study.config.get("tracking")
    uri = str(tracking.get("uri") or "") if isinstance(tracking, Mapping) else ""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return _LOCAL + "/#/runs/"
    host = parts.netloc.rpartition("@")[2]  # without what stands for a password
    if parts.scheme not in ("http", "https") or not _HOST.fullmatch(host):
        return _LOCAL + "/#/runs/"
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}/#/runs/"
