"""The parity suite: which checks there are, and how it is run.

Checks stand on one another: parameters and pixels must be the same before layers can be, layers
before logits, and so on. The reference is the PyTorch twin in float64, the noise that of the
PyTorch twin in float32; the candidates are every other way to run the same net.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

from tinynet.net.manifest import State, manifest
from tinynet.spec import Spec
from tinynet.utils.environment import environment

from parity.checks import family, files, gradients, layers, metrics, training
from parity.context import Candidate, Context, candidates_of
from parity.results import CheckResult, Comparison, Report, Series
from parity.tolerances.bounds import BOUNDS
from parity.tolerances.calibration import DIRECTORY
from parity.tracing.divergence import trace


@dataclasses.dataclass(frozen=True, slots=True)
class _Definition:
    title: str
    unit: str
    reason: str
    run_checks: Callable[[Context], Iterable[Comparison | Series]]
    trains: Literal["", "steps", "images"] = ""  # what of training it needs


_SHARE = "share of numbers that differ"
_RELATIVE = "relative rms error"
_REASON_OF_LAYERS = (
    f"without exp: {BOUNDS['layer'].reason}; with exp: {BOUNDS['gate layer'].reason}"
)
_REASON_OF_GRADIENTS = f"{BOUNDS['gradient'].reason}; ReLU6: {BOUNDS['gradient, kinked'].reason}"
_IDENTICAL = "a copy has no rounding: identical bits"

CHECKS: dict[str, _Definition] = {
    "spec": _Definition(
        "The spec is what it says it is", "relative difference",
        "counts and derivation are integer arithmetic", family.spec,
    ),
    "parameters": _Definition(
        "Weights and statistics arrive in each twin", _SHARE, _IDENTICAL, family.parameters
    ),
    "pixels": _Definition(
        "Every runtime sees the same pixels", _SHARE, _IDENTICAL, family.pixels
    ),
    "layers-isolated": _Definition(
        "Each layer alone, fed the judge's own input", _RELATIVE,
        _REASON_OF_LAYERS, layers.layers_isolated,
    ),
    "layers-chained": _Definition(
        "Each layer within the whole net", _RELATIVE,
        BOUNDS["chained"].reason, layers.layers_chained,
    ),
    "logits": _Definition("Logits of the whole net", _RELATIVE, BOUNDS["logits"].reason,
    layers.logits), "loss": _Definition(
        "Training loss", "relative error", BOUNDS["loss"].reason, gradients.loss, trains="steps"
    ),
    "gradients-isolated": _Definition(
        "Gradients of each block alone", _RELATIVE,
        BOUNDS["gradient, isolated"].reason, gradients.gradients_isolated, trains="steps",
    ),
    "gradients-chained": _Definition(
        "Gradient of every parameter", _RELATIVE, _REASON_OF_GRADIENTS,
        gradients.gradients_chained, trains="steps",
    ),
    "statistics": _Definition(
        "Batch-norm statistics after a step", _RELATIVE,
        BOUNDS["statistics"].reason, gradients.statistics, trains="steps",
    ),
    "schedule": _Definition(
        "Learning rates, decays and what is drawn", "relative error",
        "one rounding to float32; what is drawn at random is the same for ever", family.schedule,
    ),
    "optimizer": _Definition(
        "Weights and slots after steps on given gradients", _RELATIVE,
        BOUNDS["optimizer"].reason, training.optimizer, trains="steps",
    ),
    "ema": _Definition(
        "The average of weights and statistics", _RELATIVE, BOUNDS["average"].reason,
        training.ema, trains="steps",
    ),
    "trajectory": _Definition(
        "A stretch of training by each twin's own loop", "relative error",
        BOUNDS["trajectory"].reason, training.trajectory, trains="images",
    ),
    "metrics": _Definition(
        "Classes, top-1, top-5 and loss on photographs", "1 if another class, points, or relative",
        f"rounding flips no prediction of a photograph; the loss: {BOUNDS['metric loss'].reason}",
        metrics.metrics,
    ),
    "onnx": _Definition("ONNX files from both twins", _RELATIVE, BOUNDS["onnx"].reason, files.onnx),
    "checkpoints": _Definition(
        "Conversion in all six directions", _SHARE, _IDENTICAL, files.checkpoints
    ),
    "resume": _Definition(
        "Runs that stopped and went on", "share of numbers that differ, or relative error",
        f"in one framework identical bits; moved: {BOUNDS['trajectory'].reason}",
        training.resume, trains="images",
    ),
}  # fmt: skip


def run_checks(
    spec: Spec,
    state: State | None = None,
    weights: str = "",
    command: str = "",
    checks: Sequence[str] = tuple(CHECKS),
    seed: int = 0,
    candidates: Sequence[Candidate] = (),
    calibrations: Path | None = DIRECTORY,
    fail_fast: bool = False,
    progress: Callable[[CheckResult], None] = lambda check: None,
) -> Report:
    """Runs the suite.

    Args:
        spec: the net.
        state: canonical state, by default one made from ``seed``.
        weights: what to call the state in the report.
        command: the command line that runs again, for the report.
        checks: which checks, of :data:`CHECKS`; they are run in the suite's order.
        seed: of pixels, labels and state.
        candidates: what is to be proven, from :func:`parity.context.candidates_of`; by default
            MindSpore on the CPU in both modes.
        calibrations: the folder of the calibrations that bounds are taken from, None for bounds
            that were not calibrated.
        fail_fast: stop after the first check that fails.
        progress: is given each check when it is done.

    Raises:
        BackendError: a framework is not installed.
        ValueError: no such check, or no check at all.
    """
    unknown = sorted(set(checks) - set(CHECKS))
    if unknown or not checks:
        known = ", ".join(CHECKS)
        raise ValueError(f"checks are {', '.join(unknown) or 'none'}, expected some of {known}")
    start = time.perf_counter()
    ran: list[CheckResult] = []
    errors: dict[str, Exception] = {}
    with tempfile.TemporaryDirectory() as folder:
        context = Context(
            spec, state, seed, candidates or candidates_of(), Path(folder), calibrations
        )
        for name in CHECKS:
            if name not in checks:
                continue
            ran.append(_run_check(name, context, errors))
            progress(ran[-1])
            if fail_fast and not ran[-1].passed:
                break
        divergence = trace(context, ran, errors)
        surroundings = environment() | context.origin_of_bounds()
    weights = weights or f"made from seed {seed}"
    seconds = time.perf_counter() - start
    return Report(spec.name, weights, command, tuple(ran), surroundings, seconds, divergence)


def _run_check(name: str, context: Context, errors: dict[str, Exception]) -> CheckResult:
    definition = CHECKS[name]
    start = time.perf_counter()
    comparisons: list[Comparison] = []
    series: list[Series] = []
    skipped = _obstacle(definition, context)
    if not skipped:
        try:
            for item in definition.run_checks(context):
                if isinstance(item, Series):
                    series.append(item)
                else:
                    comparisons.append(item)
        except Exception as error:  # a broken twin can raise anything, and the report must say so
            errors[name] = error
            comparisons.append(_from_error(error, context.spec))
    seconds = time.perf_counter() - start
    return CheckResult(
        name,
        definition.title,
        definition.unit,
        definition.reason,
        tuple(comparisons),
        seconds,
        tuple(series),
        skipped,
    )


def _obstacle(definition: _Definition, context: Context) -> str:
    # Why a check cannot be run with this spec at all.
    if definition.trains and context.spec.batch_norm is None:
        return "batch norm is folded into the convolutions, for inference only"
    if definition.trains == "images" and not context.can_train:
        return f"no image has {context.spec.input_size[0]} channels to train on"
    return ""


def _from_error(error: Exception, spec: Spec) -> Comparison:
    message = " ".join(str(error).split()) or type(error).__name__
    # The first key that the message names is the best guess of the place.
    places = [(message.find(key), key) for key in manifest(spec) if key in message]
    where = min(places)[1] if places else "?"
    note = f"{type(error).__name__}: {message}"
    return Comparison("", where, math.inf, 0.0, kind="error", note=note[:500])
