"""The checks of the suite, one a file, and the order in which they build on one another.

Parameters and pixels must be the same before layers can be, layers before logits, and so on. To add
a check, write its class in a module of this package and name it here and in the --help of the
command, which a test compares with this list.
"""

from collections.abc import Collection

from parity.checks.base import Check, MeasuredCheck
from parity.checks.checkpoints import CheckpointsCheck
from parity.checks.ema import EmaCheck
from parity.checks.gradients_chained import GradientsChainedCheck
from parity.checks.gradients_isolated import GradientsIsolatedCheck
from parity.checks.layers_chained import LayersChainedCheck
from parity.checks.layers_isolated import LayersIsolatedCheck
from parity.checks.logits import LogitsCheck
from parity.checks.loss import LossCheck
from parity.checks.metrics import MetricsCheck
from parity.checks.onnx import OnnxCheck
from parity.checks.optimizer import OptimizerCheck
from parity.checks.parameters import ParametersCheck
from parity.checks.pixels import PixelsCheck
from parity.checks.resume import ResumeCheck
from parity.checks.schedule import ScheduleCheck
from parity.checks.spec import SpecCheck
from parity.checks.statistics import StatisticsCheck
from parity.checks.trajectory import TrajectoryCheck

_IN_ORDER = (
    SpecCheck,
    ParametersCheck,
    PixelsCheck,
    LayersIsolatedCheck,
    LayersChainedCheck,
    LogitsCheck,
    LossCheck,
    GradientsIsolatedCheck,
    GradientsChainedCheck,
    StatisticsCheck,
    ScheduleCheck,
    OptimizerCheck,
    EmaCheck,
    TrajectoryCheck,
    MetricsCheck,
    OnnxCheck,
    CheckpointsCheck,
    ResumeCheck,
)
CHECKS: dict[str, Check] = {check.name: check() for check in _IN_ORDER}
# Those whose bounds are multiples of rounding noise.
CALIBRATED = {name: check for name, check in CHECKS.items() if check.quantities}
# Those that recordings have.
RECORDED = {
    name: check
    for name, check in CHECKS.items()
    if isinstance(check, MeasuredCheck) and check.recorded_with
}


def refuse_unknown(chosen: Collection[str], known: Collection[str]) -> None:
    """Refuses names of checks that are not known, and an empty choice.

    Raises:
        ValueError: naming the unknown ones and those there are.
    """
    unknown = sorted(set(chosen) - set(known))
    if unknown or not chosen:
        found = ", ".join(unknown) or "none"
        raise ValueError(f"checks are {found}, expected some of {', '.join(known)}")
