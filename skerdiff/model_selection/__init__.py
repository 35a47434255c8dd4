"""Cross-validation across sessions."""

from ._calibration_split import CalibrationSplit
from ._leave_one_session_out import LeaveOneSessionOut
from ._predict import cross_val_predict
from ._target_kfold import TargetKFold
from ._transductive_split import TransductiveSplit

__all__ = [
    "CalibrationSplit",
    "LeaveOneSessionOut",
    "TargetKFold",
    "TransductiveSplit",
    "cross_val_predict",
]
