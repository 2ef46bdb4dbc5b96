"""The MLflow view of the ledger; the only importer of mlflow, and not before something is published."""

from adapter_sweep.tracking.failure import PATIENT, TrackingError
from adapter_sweep.tracking.reconciling import ReconcileSummary
from adapter_sweep.tracking.removal import remove_runs
from adapter_sweep.tracking.tracker import Tracker
from adapter_sweep.tracking.ui import serve_ui

__all__ = ["PATIENT", "ReconcileSummary", "Tracker", "TrackingError", "remove_runs", "serve_ui"]
