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
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tinynet.backend import FRAMEWORKS, REFERENCE, BackendError, load_backend
from tinynet.checkpoints.files import RawCheckpoint, different_fields, read_raw, resolve
from tinynet.net.manifest import State, StateError
from tinynet.spec import Spec
from tinynet.utils.environment import environment

from parity.distances import Array, compare_bits, compare_values, compare_within, relative_error
from parity.report import formatting
from parity.results import CheckResult, Comparison, Report
from parity.tolerances.bounds import BOUNDS, Bound
from parity.tolerances.calibration import Setting, find_calibration, scaled
from parity.tolerances.quantities import whole_quantity

# Whatever answers with logits is imported where it does: to compare tensors takes none of it.
if TYPE_CHECKING:
    from tinynet.training.evaluation import Predict

# So many of the suite's images.
_IMAGES, _SEED = 2, 0


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """Whether two files hold the same model, in a sentence, and what that stands on."""

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
    are compared with all that they hold. A checkpoint and an ONNX file, or two ONNX files, are the
    same if on the suite's pixels their logits are, within the calibrated bound; and so are a
    checkpoint and one whose batch norms are folded.

    Args:
        first: a checkpoint, any that :func:`tinynet.checkpoints.files.load_checkpoint` reads, or
            ``.onnx``.
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
    checks = [_specs(one, other)]
    if not _different_fields(one, other):
        whole = not (ema or weights_only)
        checks += _checkpoints(one, other, whole) or _answers(one, other, calibrations)
    report = Report(
        spec=one.spec.name,
        weights=f"{one.path} and {other.path}",
        command=command,
        checks=tuple(checks),
        environment=environment(),
        seconds=time.perf_counter() - start,
    )
    return Answer(report.passed, _outcome(report, one, other), one.notes + other.notes, report)


def format_answer(answer: Answer) -> str:
    """The result, what the files say of themselves, and what differs most."""
    lines = [answer.outcome, *answer.notes]
    for check in answer.report.checks:
        failures = check.failures
        if failures:
            lines.append(
                f"{check.name}: {len(failures)} of {len(check.comparisons)} differ ({check.unit})"
            )
            shown = failures[: formatting.SHOWN_FAILURES]
            width = max(len(item.where) for item in shown)
            lines += [
                f"  {item.where:<{width}}  {formatting.distance(item):<10}  {item.note}".rstrip()
                for item in shown
            ]
            if len(failures) > len(shown):
                lines.append(f"  and {len(failures) - len(shown)} more; --json gives them all")
    return "\n".join(lines)


def _open(paths: tuple[str, str], spec: Spec | None, ema: bool) -> list[_File]:
    raws = [None if path.endswith(".onnx") else read_raw(path, ema, spec) for path in paths]
    files: list[_File | None] = [None, None]
    known = spec
    # A checkpoint that does not say what it is goes last: the other file may.
    for index in sorted((0, 1), key=lambda index: not _says(raws[index])):
        raw, path = raws[index], paths[index]
        file = _open_checkpoint(raw, spec, known) if raw else _open_onnx(path, spec, known)
        files[index], known = file, file.spec
    return [file for file in files if file is not None]


def _says(raw: RawCheckpoint | None) -> bool:
    return raw is None or "spec" in raw.metadata


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


def _open_checkpoint(raw: RawCheckpoint, spec: Spec | None, known: Spec | None) -> _File:
    try:
        checkpoint = resolve(raw, spec if _says(raw) else known)
    except StateError:
        # Another net than the other file's, perhaps one that its shapes tell.
        checkpoint = resolve(raw, spec)
    run = raw.training.tensors if raw.training else None
    notes = tuple(f"{raw.path}: {note}" for note in checkpoint.notes)
    return _File(raw.path, checkpoint.spec, checkpoint.state, run, notes=notes)


def _specs(one: _File, other: _File) -> CheckResult:
    start = time.perf_counter()
    fields = _different_fields(one, other)
    others = ("input_size", "num_classes", "preprocessing")
    fields += [name for name in others if getattr(one.spec, name) != getattr(other.spec, name)]
    comparisons = [Comparison("", name, math.inf, 0.0, kind="bits") for name in fields]
    comparisons = comparisons or [Comparison("", "every field", 0.0, 0.0, kind="bits")]
    return _check("spec", "The same net", "relative difference", "a net is what its spec says",
                 comparisons, start)  # fmt: skip


def _different_fields(one: _File, other: _File) -> list[str]:
    # A batch norm that is folded changes the tensors, not the function.
    fields = different_fields(one.spec, other.spec)
    return [name for name in fields if name != "batch_norm"]


def _is_folded(file: _File) -> bool:
    return file.spec.batch_norm is None


def _checkpoints(one: _File, other: _File, whole: bool) -> list[CheckResult]:
    start = time.perf_counter()
    if one.state is None or other.state is None or _is_folded(one) != _is_folded(other):
        return []
    if whole and one.run is not None and other.run is not None:
        comparison = _tensors(one.run, other.run)
    else:
        comparison = _tensors(one.state, other.state)
    reason = "a copy has no rounding: identical numbers"
    return [_check("tensors", "The same tensors", "relative rms error", reason, comparison, start)]


def _tensors(ones: Mapping[str, Array], others: Mapping[str, Array]) -> list[Comparison]:
    # What differs most comes first.
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


def _answers(one: _File, other: _File, calibrations: Path) -> list[CheckResult]:
    start = time.perf_counter()
    comparison = _logits(one, other, calibrations)
    check = _check("logits", "The same logits", "relative rms error", BOUNDS["onnx"].reason,
                 [comparison], start)  # fmt: skip
    if comparison.passed:
        return [check]
    start = time.perf_counter()
    if one.state is not None and other.state is not None:
        return [check]  # one folded, one not: of their tensors nearly all differ
    with tempfile.TemporaryDirectory() as folder:
        constants = _constants(one, other, Path(folder))
    reason = "constants of the same names, of files by the same exporter: identical numbers"
    tensors = _check(
        "tensors", "The same constants", "relative rms error", reason, constants, start
    )
    # Behind the logits, which decide: another version of an exporter may round otherwise.
    return [check, tensors] if constants else [check]


def _logits(one: _File, other: _File, calibrations: Path) -> Comparison:
    from parity.context import BASELINE, Candidate, Context

    if one.predict is not None and other.predict is not None:
        bounds = [_bound("onnx", BASELINE.setting, one.spec, calibrations)] * 2
        return _compare_predictors(one.predict, other.predict, one.spec, bounds)
    # A checkpoint is right rather than an ONNX file, and one with its batch norms rather than one
    # in which they are folded, as ONNX Runtime folds them.
    right, tested = sorted((one, other), key=lambda file: (file.state is None, _is_folded(file)))
    spec, state = right.spec, right.state or {}
    framework = _installed()[0]
    found = tested.predict or _predictor(framework, tested.spec, tested.state or {})
    if framework != REFERENCE:
        candidate = Candidate(framework, load_backend(framework, tune=True).predict.MODES[0])
        bounds = [
            _bound(whole_quantity("logits", spec), candidate.setting, spec, calibrations),
            _bound("onnx", candidate.setting, spec, calibrations),
        ]
        return _compare_predictors(_predictor(framework, spec, state), found, spec, bounds)
    with tempfile.TemporaryDirectory() as folder:
        context = Context(spec, state, _SEED, [BASELINE], Path(folder), calibrations)
        return compare_values(
            "ONNX Runtime" if tested.predict else f"{framework}, folded",
            spec.names.classifier, found(context.pixels), context.reference_logits,
            context.baseline_logits, context.bound("onnx"),
        )  # fmt: skip


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
    return compare_within(
        "second against first", name, second(pixels), logits, max(noises), limit, "onnx"
    )


def _constants(one: _File, other: _File, folder: Path) -> list[Comparison]:
    from tinynet.deploy.onnx_file import export, initializers

    # Two ONNX files by their constants; for a checkpoint, of the files that the twins export from
    # it, the one whose names are the other file's.
    files = [file.path for file in (one, other) if file.state is None]
    theirs = [initializers(path) for path in files]
    if len(theirs) == 1:
        checkpoint = one if one.state is not None else other
        exported: list[dict[str, Array]] = []
        for framework in _installed():
            path = folder / f"{framework}.onnx"
            export(framework, checkpoint.spec, checkpoint.state or {}, path)
            exported.append(initializers(path))
        theirs.insert(0, max(exported, key=lambda own: len(own.keys() & theirs[0].keys())))
    # Another exporter may give one of its own constants the name of a weight.
    return _tensors(*theirs) if theirs[0].keys() == theirs[1].keys() else []


def _bound(quantity: str, setting: Setting, spec: Spec, calibrations: Path) -> Bound:
    found = find_calibration(setting, calibrations)
    return found.bound(quantity, spec) if found else scaled(quantity, setting.precision)


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


def _check(
    name: str, title: str, unit: str, reason: str, comparisons: list[Comparison], start: float
) -> CheckResult:
    return CheckResult(name, title, unit, reason, tuple(comparisons), time.perf_counter() - start)


def _outcome(report: Report, one: _File, other: _File) -> str:
    checks = {check.name: check for check in report.checks}
    if not checks["spec"].passed:
        fields = ", ".join(item.where for item in checks["spec"].failures)
        return f"not the same model: {one.spec.name} and {other.spec.name} differ in {fields}"
    tensors, logits = checks.get("tensors"), checks.get("logits")
    worst = _most_different(tensors)
    if logits is not None:
        item = logits.comparisons[0]
        said = (
            f"logits differ by {formatting.distance(item)}, the bound is {formatting.bound(item)}"
        )
        if logits.passed:
            return f"the same model: {said}"
        return f"not the same model: {said}" + (f"; most different is {worst}" if worst else "")
    assert tensors is not None
    count = len(tensors.comparisons)
    if tensors.passed:
        return f"the same model: all {count} tensors are identical"
    weights = [item for item in tensors.failures if item.where in (one.state or {})]
    what = "model" if weights else "run, but the same model"
    return f"not the same {what}: {len(tensors.failures)} of {count} tensors differ, most {worst}"


def _most_different(tensors: CheckResult | None) -> str:
    failures = tensors.failures if tensors else []
    return f"{failures[0].where} ({formatting.distance(failures[0])})" if failures else ""
