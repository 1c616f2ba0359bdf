"""Whether two files hold the same model: checkpoints by their tensors, ONNX files by their answers.

What is found is a report like the suite's, with a check for the spec, one for the tensors and,
where one of the files is ONNX, one for the logits.
"""

from __future__ import annotations

import dataclasses
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tinynet.backend import FRAMEWORKS, REFERENCE, BackendError, load_backend
from tinynet.checkpoints.files import RawCheckpoint, different_fields, read_raw, resolve
from tinynet.net.manifest import State, StateError
from tinynet.spec import Spec
from tinynet.utils.environment import environment

from parity.distances import Array, compare_bits, compare_values, compare_within, relative_error
from parity.report.formatting import SHOWN_FAILURES, bound, distance
from parity.results import CheckResult, Comparison, Report
from parity.tolerances.bounds import BOUNDS, Bound
from parity.tolerances.calibration import calibrated_bound
from parity.tolerances.quantities import whole_quantity

# Whatever answers with logits is imported where it does: to compare tensors takes none of it.
if TYPE_CHECKING:
    from tinynet.training.evaluation import Predict

# So many of the suite's images.
_IMAGES, _SEED = 2, 0


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """Whether two files hold the same model, in a sentence, and what that is based on."""

    same: bool
    outcome: str
    notes: tuple[str, ...]
    report: Report


class _File(NamedTuple):
    # A checkpoint has a state, and all its tensors if it is one of a run; an ONNX file answers.
    path: str
    spec: Spec
    state: State | None = None
    run: State | None = None
    predict: Predict | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_folded(self) -> bool:
        return self.spec.batch_norm is None


def compare_files(
    first: str | os.PathLike[str],
    second: str | os.PathLike[str],
    calibrations: Path,
    spec: Spec | None = None,
    ema: bool = False,
    weights_only: bool = False,
    command: str = "",
) -> Answer:
    """Compares two files.

    Two checkpoints are the same if all their tensors are, number by number; two of training runs
    are compared with all that they hold. A checkpoint and an ONNX file, or two ONNX files, or a
    checkpoint and one whose batch norms are folded, are the same if on the suite's pixels their
    logits are, within the calibrated bound.

    Args:
        first: an ONNX file or a checkpoint, any that
            :func:`tinynet.checkpoints.files.load_checkpoint` reads.
        second: another one.
        calibrations: the folder of the calibrations that bounds are taken from.
        spec: the net; by default what a file says, or else what the other one says.
        ema: take the averaged weights of a training checkpoint.
        weights_only: of two training checkpoints, compare the weights only.
        command: the command line that compares again, for the report.

    Raises:
        ValueError: a file that cannot be read, or a framework that is needed and not installed.
        OSError: a file that cannot be opened.
    """
    start = time.perf_counter()
    one, other = _open((os.fspath(first), os.fspath(second)), spec, ema)
    checks = tuple(_checks(one, other, not (ema or weights_only), calibrations))
    name, weights, seconds = one.spec.name, f"{one.path} and {other.path}", time.perf_counter()
    report = Report(name, weights, command, checks, environment(), seconds - start)
    return Answer(report.passed, _outcome(report, one, other), one.notes + other.notes, report)


def format_answer(answer: Answer) -> str:
    """Writes the result, what the files say of themselves, and what differs most."""
    lines = [answer.outcome, *answer.notes]
    for check in answer.report.checks:
        failures, shown = check.failures, check.failures[:SHOWN_FAILURES]
        if failures:
            count = f"{len(failures)} of {len(check.comparisons)} differ"
            lines.append(f"{check.name}: {count} ({check.unit})")
            width = max(len(item.where) for item in shown)
            rows = (f"{item.where:<{width}}  {distance(item):<10}  {item.note}" for item in shown)
            lines += [f"  {row}".rstrip() for row in rows]
            if len(failures) > len(shown):
                lines.append(f"  and {len(failures) - len(shown)} more; --json gives them all")
    return "\n".join(lines)


def _open(paths: tuple[str, str], spec: Spec | None, ema: bool) -> tuple[_File, _File]:
    raws = [None if path.endswith(".onnx") else read_raw(path, ema, spec) for path in paths]
    says = [raw is None or "spec" in raw.metadata for raw in raws]
    known, files = spec, dict[int, _File]()
    # A checkpoint without a spec goes last: the other file may have one.
    for index in sorted((0, 1), key=lambda index: not says[index]):
        if raw := raws[index]:
            files[index] = _open_checkpoint(raw, spec, spec if says[index] else known)
        else:
            files[index] = _open_onnx(paths[index], spec, known)
        known = files[index].spec
    return files[0], files[1]


def _open_onnx(path: str, spec: Spec | None, known: Spec | None) -> _File:
    from tinynet.deploy.onnx_file import OnnxError, OnnxPredictor
    from tinynet.deploy.runtimes import check_onnx

    check_onnx()
    try:
        predictor = OnnxPredictor(path, spec)
    except OnnxError:
        if known is None:
            raise
        predictor = OnnxPredictor(path, known)
    return _File(path, predictor.spec, predict=predictor)


def _open_checkpoint(raw: RawCheckpoint, spec: Spec | None, likely: Spec | None) -> _File:
    try:
        checkpoint = resolve(raw, likely)
    except StateError:
        # Another net than the other file's, perhaps one that its shapes tell.
        checkpoint = resolve(raw, spec)
    run = raw.training and raw.training.tensors
    notes = tuple(f"{raw.path}: {note}" for note in checkpoint.notes)
    return _File(raw.path, checkpoint.spec, checkpoint.state, run, notes=notes)


def _checks(one: _File, other: _File, whole: bool, calibrations: Path) -> Iterator[CheckResult]:
    # A batch norm that is folded changes the tensors, not the function.
    fields = [name for name in different_fields(one.spec, other.spec) if name != "batch_norm"]
    others = ("input_size", "num_classes", "preprocessing")
    fields += [name for name in others if getattr(one.spec, name) != getattr(other.spec, name)]
    unequal = [Comparison("", name, math.inf, 0.0, kind="bits") for name in fields]
    found = unequal or [Comparison("", "every field", 0.0, 0.0, kind="bits")]
    reason, unit = "a net is what its spec says", "relative difference"
    yield _check("spec", "The same net", reason, lambda: found, unit)
    if fields:
        return
    checkpoints = one.state is not None and other.state is not None
    if checkpoints and one.is_folded == other.is_folded:
        runs = whole and one.run is not None and other.run is not None
        pair = (one.run, other.run) if runs else (one.state, other.state)
        reason = "a copy has no rounding: identical numbers"
        yield _check("tensors", "The same tensors", reason, lambda: _tensors(*pair))
        return
    reason, compare = BOUNDS["onnx"].reason, lambda: _logits(one, other, calibrations)
    logits = _check("logits", "The same logits", reason, compare)
    yield logits
    # Of checkpoints of which one is folded nearly all tensors differ.
    if not logits.passed and not checkpoints:
        reason = "constants of the same names, of files by the same exporter: identical numbers"
        constants = _check("tensors", "The same constants", reason, lambda: _constants(one, other))
        # After the logits, which decide: another version of an exporter may round otherwise.
        if constants.comparisons:
            yield constants


def _check(
    name: str,
    title: str,
    reason: str,
    compare: Callable[[], list[Comparison]],
    unit: str = "relative rms error",
) -> CheckResult:
    start = time.perf_counter()
    comparisons = tuple(compare())
    return CheckResult(name, title, unit, reason, comparisons, time.perf_counter() - start)


def _tensors(ones: State | None, others: State | None) -> list[Comparison]:
    # What differs most comes first.
    ones, others = ones or {}, others or {}
    found = [_tensor(key, ones.get(key), others.get(key)) for key in {**ones, **others}]
    return sorted(found, key=lambda item: -item.error)


def _tensor(key: str, one: Array | None, other: Array | None) -> Comparison:
    if one is None or other is None:
        note = f"only in the {'second' if one is None else 'first'} file"
        kind = "unexpected" if one is None else "missing"
        return Comparison("", key, math.inf, 0.0, kind=kind, note=note)
    found = compare_bits("", key, other, one)
    if found.passed or not math.isfinite(found.error):
        return found
    largest = float(np.abs(other.astype(np.float64) - one).max())
    note = f"{found.error:.3g} of its numbers, by at most {largest:.3g}"
    return dataclasses.replace(found, error=relative_error(other, one), note=note)


def _logits(one: _File, other: _File, calibrations: Path) -> list[Comparison]:
    from parity.candidates import BASELINE, Candidate
    from parity.context import Context

    def limit(quantity: str, candidate: Candidate) -> Bound:
        return calibrated_bound(quantity, candidate.setting, one.spec, calibrations)

    if one.predict is not None and other.predict is not None:
        bounds = [limit("onnx", BASELINE)] * 2
        return [_compare_predictors(one.predict, other.predict, one.spec, bounds)]
    # A checkpoint is right rather than an ONNX file, and one with its batch norms rather than one
    # in which they are folded, as ONNX Runtime folds them.
    right, tested = sorted((one, other), key=lambda file: (file.state is None, file.is_folded))
    spec, state = right.spec, right.state or {}
    framework = _installed()[0]
    found = tested.predict or _predictor(framework, tested.spec, tested.state or {})
    if framework != REFERENCE:
        candidate = Candidate(framework, load_backend(framework).predict.MODES[0])
        bounds = [limit(whole_quantity("logits", spec), candidate), limit("onnx", candidate)]
        return [_compare_predictors(_predictor(framework, spec, state), found, spec, bounds)]
    with tempfile.TemporaryDirectory() as folder:
        context = Context(spec, state, _SEED, [BASELINE], Path(folder), calibrations)
        name = "ONNX Runtime" if tested.predict else f"{framework}, folded"
        logits, truth = found(context.pixels), context.reference_logits
        limits = context.baseline_logits, context.bound("onnx")
        return [compare_values(name, spec.names.classifier, logits, truth, *limits)]


def _predictor(framework: str, spec: Spec, state: State) -> Predict:
    # In the first mode, which compiles nothing.
    predict = load_backend(framework, tune=True).predict
    return predict.Predictor(spec, state, mode=predict.MODES[0])


def _compare_predictors(
    first: Predict, second: Predict, spec: Spec, bounds: list[Bound]
) -> Comparison:
    from parity import inputs
    from parity.context import NOISE_SAMPLES

    # Without the reference the noise is what a rounding of the pixels does to one of the two, and
    # each may be off by its own bound.
    pixels = inputs.pixels(spec, _IMAGES, _SEED)
    logits = first(pixels)
    samples = [first(inputs.jitter(pixels, n, _SEED)) for n in range(1, NOISE_SAMPLES)]
    measured = max(relative_error(sample, logits) for sample in samples)
    name = spec.names.classifier
    noises = [bound.noise(measured, name) for bound in bounds]
    limit = sum(bound.factor * noise for bound, noise in zip(bounds, noises, strict=True))
    label, found = "second against first", second(pixels)
    return compare_within(label, name, found, logits, max(noises), limit, "onnx")


def _constants(one: _File, other: _File) -> list[Comparison]:
    from tinynet.deploy.onnx_file import export, initializers

    # Two ONNX files by their constants; for a checkpoint, of the files that the twins export from
    # it, the one whose names are the other file's.
    theirs = [initializers(file.path) for file in (one, other) if file.state is None]
    if len(theirs) == 1:
        checkpoint, exported = one if one.state is not None else other, list[State]()
        with tempfile.TemporaryDirectory() as folder:
            for framework in _installed():
                path = Path(folder) / f"{framework}.onnx"
                export(framework, checkpoint.spec, checkpoint.state or {}, path)
                exported.append(initializers(path))
        theirs.insert(0, max(exported, key=lambda own: len(own.keys() & theirs[0].keys())))
    # Another exporter may give one of its own constants the name of a weight.
    return _tensors(*theirs) if theirs[0].keys() == theirs[1].keys() else []


def _installed() -> list[str]:
    # The twins whose frameworks are here, the reference's first.
    found: list[str] = []
    for name in sorted(FRAMEWORKS, key=lambda name: name != REFERENCE):
        try:
            load_backend(name)
        except BackendError:
            continue
        found.append(name)
    if not found:
        names = " or ".join(FRAMEWORKS.values())
        raise BackendError(f"to answer, a checkpoint needs {names}, and neither is installed")
    return found


def _outcome(report: Report, one: _File, other: _File) -> str:
    checks = {check.name: check for check in report.checks}
    if not checks["spec"].passed:
        fields = ", ".join(item.where for item in checks["spec"].failures)
        return f"not the same model: {one.spec.name} and {other.spec.name} differ in {fields}"
    failures = checks["tensors"].failures if "tensors" in checks else []
    worst = f"{failures[0].where} ({distance(failures[0])})" if failures else ""
    if "logits" in checks:
        item = checks["logits"].comparisons[0]
        said = f"the same model: logits differ by {distance(item)}, the bound is {bound(item)}"
        most = f"; most different is {worst}" if worst else ""
        return said if item.passed else f"not {said}{most}"
    count = len(checks["tensors"].comparisons)
    if not failures:
        return f"the same model: all {count} tensors are identical"
    weights = any(item.where in (one.state or {}) for item in failures)
    what = "model" if weights else "run, but the same model"
    return f"not the same {what}: {len(failures)} of {count} tensors differ, most {worst}"
