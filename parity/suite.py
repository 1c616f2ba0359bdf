"""The parity ladder: which rungs there are, and how it is climbed.

Rungs stand on one another: parameters and pixels must be the same before layers can be, layers
before logits, and so on. The judge is the PyTorch twin in float64, the noise that of the PyTorch
twin in float32; the subjects are every other way to run the same net.
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
from parity.context import Bench, Subject, subjects_of
from parity.results import Evidence, Report, Rung, Series
from parity.tolerances.bounds import BOUNDS
from parity.tolerances.calibration import DIRECTORY
from parity.tracing.divergence import trace


@dataclasses.dataclass(frozen=True, slots=True)
class _Level:
    title: str
    unit: str
    reason: str
    climb: Callable[[Bench], Iterable[Evidence | Series]]
    trains: Literal["", "steps", "images"] = ""  # what of training it needs


_SHARE = "share of numbers that differ"
_RELATIVE = "relative rms error"
_REASON_OF_LAYERS = (
    f"without exp: {BOUNDS['layer'].reason}; with exp: {BOUNDS['gate layer'].reason}"
)
_REASON_OF_GRADIENTS = f"{BOUNDS['gradient'].reason}; ReLU6: {BOUNDS['gradient, kinked'].reason}"
_IDENTICAL = "a copy has no rounding: identical bits"

LEVELS: dict[str, _Level] = {
    "spec": _Level(
        "The spec is what it says it is", "relative difference",
        "counts and derivation are integer arithmetic", family.spec,
    ),
    "parameters": _Level(
        "Weights and statistics arrive in each twin", _SHARE, _IDENTICAL, family.parameters
    ),
    "pixels": _Level(
        "Every runtime sees the same pixels", _SHARE, _IDENTICAL, family.pixels
    ),
    "layers-isolated": _Level(
        "Each layer alone, fed the judge's own input", _RELATIVE,
        _REASON_OF_LAYERS, layers.layers_isolated,
    ),
    "layers-chained": _Level(
        "Each layer within the whole net", _RELATIVE,
        BOUNDS["chained"].reason, layers.layers_chained,
    ),
    "logits": _Level("Logits of the whole net", _RELATIVE, BOUNDS["logits"].reason, layers.logits),
    "loss": _Level(
        "Training loss", "relative error", BOUNDS["loss"].reason, gradients.loss, trains="steps"
    ),
    "gradients-isolated": _Level(
        "Gradients of each block alone", _RELATIVE,
        BOUNDS["gradient, isolated"].reason, gradients.gradients_isolated, trains="steps",
    ),
    "gradients-chained": _Level(
        "Gradient of every parameter", _RELATIVE, _REASON_OF_GRADIENTS,
        gradients.gradients_chained, trains="steps",
    ),
    "statistics": _Level(
        "Batch-norm statistics after a step", _RELATIVE,
        BOUNDS["statistics"].reason, gradients.statistics, trains="steps",
    ),
    "schedule": _Level(
        "Learning rates, decays and what is drawn", "relative error",
        "one rounding to float32; what is drawn at random is the same for ever", family.schedule,
    ),
    "optimizer": _Level(
        "Weights and slots after steps on given gradients", _RELATIVE,
        BOUNDS["optimizer"].reason, training.optimizer, trains="steps",
    ),
    "ema": _Level(
        "The average of weights and statistics", _RELATIVE, BOUNDS["average"].reason,
        training.ema, trains="steps",
    ),
    "trajectory": _Level(
        "A stretch of training by each twin's own loop", "relative error",
        BOUNDS["trajectory"].reason, training.trajectory, trains="images",
    ),
    "metrics": _Level(
        "Classes, top-1, top-5 and loss on photographs", "1 if another class, points, or relative",
        f"rounding flips no prediction of a photograph; the loss: {BOUNDS['metric loss'].reason}",
        metrics.metrics,
    ),
    "onnx": _Level("ONNX files from both twins", _RELATIVE, BOUNDS["onnx"].reason, files.onnx),
    "checkpoints": _Level(
        "Conversion in all six directions", _SHARE, _IDENTICAL, files.checkpoints
    ),
    "resume": _Level(
        "Runs that stopped and went on", "share of numbers that differ, or relative error",
        f"in one framework identical bits; moved: {BOUNDS['trajectory'].reason}",
        training.resume, trains="images",
    ),
}  # fmt: skip


def climb(
    spec: Spec,
    state: State | None = None,
    weights: str = "",
    command: str = "",
    levels: Sequence[str] = tuple(LEVELS),
    seed: int = 0,
    subjects: Sequence[Subject] = (),
    calibrations: Path | None = DIRECTORY,
    fail_fast: bool = False,
    progress: Callable[[Rung], None] = lambda rung: None,
) -> Report:
    """Climbs the ladder.

    Args:
        spec: the net.
        state: canonical state, by default one made from ``seed``.
        weights: what to call the state in the report.
        command: the command line that climbs again, for the report.
        levels: which rungs, of :data:`LEVELS`; they are climbed in the ladder's order.
        seed: of pixels, labels and state.
        subjects: what is to be proven, from :func:`parity.context.subjects_of`; by default
            MindSpore on the CPU in both modes.
        calibrations: the folder of the calibrations that bounds are taken from, None for bounds
            that nobody calibrated.
        fail_fast: stop behind the first rung that fails.
        progress: is given each rung when it is done.

    Raises:
        BackendError: a framework is not installed.
        ValueError: no such level, or no level at all.
    """
    unknown = sorted(set(levels) - set(LEVELS))
    if unknown or not levels:
        known = ", ".join(LEVELS)
        raise ValueError(f"levels are {', '.join(unknown) or 'none'}, expected some of {known}")
    start = time.perf_counter()
    climbed: list[Rung] = []
    errors: dict[str, Exception] = {}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(spec, state, seed, subjects or subjects_of(), Path(folder), calibrations)
        for name in LEVELS:
            if name not in levels:
                continue
            climbed.append(_climb_rung(name, bench, errors))
            progress(climbed[-1])
            if fail_fast and not climbed[-1].passed:
                break
        divergence = trace(bench, climbed, errors)
        surroundings = environment() | bench.origin_of_bounds()
    weights = weights or f"made from seed {seed}"
    seconds = time.perf_counter() - start
    return Report(spec.name, weights, command, tuple(climbed), surroundings, seconds, divergence)


def _climb_rung(name: str, bench: Bench, errors: dict[str, Exception]) -> Rung:
    level = LEVELS[name]
    start = time.perf_counter()
    evidence: list[Evidence] = []
    series: list[Series] = []
    skipped = _obstacle(level, bench)
    if not skipped:
        try:
            for item in level.climb(bench):
                if isinstance(item, Series):
                    series.append(item)
                else:
                    evidence.append(item)
        except Exception as error:  # a broken twin can raise anything, and the report must say so
            errors[name] = error
            evidence.append(_from_error(error, bench.spec))
    seconds = time.perf_counter() - start
    return Rung(
        name,
        level.title,
        level.unit,
        level.reason,
        tuple(evidence),
        seconds,
        tuple(series),
        skipped,
    )


def _obstacle(level: _Level, bench: Bench) -> str:
    # Why a rung cannot be climbed with this spec at all.
    if level.trains and bench.spec.batch_norm is None:
        return "batch norm is folded into the convolutions, for inference only"
    if level.trains == "images" and not bench.can_train:
        return f"no image has {bench.spec.input_size[0]} channels to train on"
    return ""


def _from_error(error: Exception, spec: Spec) -> Evidence:
    message = " ".join(str(error).split()) or type(error).__name__
    # The first key that the message names is the best guess of the place.
    places = [(message.find(key), key) for key in manifest(spec) if key in message]
    where = min(places)[1] if places else "?"
    note = f"{type(error).__name__}: {message}"
    return Evidence("", where, math.inf, 0.0, kind="error", note=note[:500])
