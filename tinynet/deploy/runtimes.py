"""Makes a net ready to answer in any runtime: either twin or ONNX Runtime."""

from __future__ import annotations

import dataclasses
import os
from importlib.util import find_spec
from pathlib import Path

from tinynet.backend import FRAMEWORKS, load_backend
from tinynet.checkpoints.files import FORMATS, load_checkpoint
from tinynet.spec import Spec
from tinynet.training.evaluation import Predict

# The runtime's name -> what people call it.
RUNTIMES = {**FRAMEWORKS, "onnx": "ONNX Runtime"}

# The pip extra [onnx]. PyTorch's exporter imports the last.
_ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")


class RuntimeMissingError(ValueError):
    """A runtime that cannot be had here. The message is one line."""


@dataclasses.dataclass(frozen=True, slots=True)
class Runtime:
    """A net ready to answer. ``predict`` takes pixels (N, C, H, W) and gives logits (N, K)."""

    name: str
    spec: Spec
    predict: Predict


def open_runtime(
    name: str,
    weights: str | os.PathLike[str],
    spec: Spec | None = None,
    device: str = "cpu",
    compiled: bool = True,
    ema: bool = False,
) -> Runtime:
    """Makes a net ready to answer.

    Args:
        name: one of :data:`RUNTIMES`.
        weights: an ONNX file for ``onnx``, for a twin any file that
            :func:`tinynet.checkpoints.files.load_checkpoint` reads.
        spec: overrides the one that the file carries.
        device: what the runtime calls it; ONNX Runtime has ``cpu`` only.
        compiled: take a twin's fastest mode, which may compile for seconds at the first batch.
        ema: take the averaged weights of a file that has both; an ONNX file has one set only.

    Raises:
        RuntimeMissingError: no such runtime or device, or it is not installed.
        ValueError: what the file's reader and the twin raise.
        OSError: the file cannot be opened.
    """
    if name not in RUNTIMES:
        raise RuntimeMissingError(f"{name}: no such runtime, expected one of {', '.join(RUNTIMES)}")
    if name == "onnx":
        if device != "cpu":
            raise RuntimeMissingError(f'device is "{device}", expected "cpu" for ONNX Runtime')
        if ema:
            raise RuntimeMissingError(f"{weights}: an ONNX file has one set of weights (no EMA)")
        check_onnx()
        from tinynet.deploy.onnx_file import OnnxPredictor

        predictor = OnnxPredictor(weights, spec)
        return Runtime(name, predictor.spec, predictor)
    checkpoint = load_checkpoint(weights, spec, ema)
    predict = load_backend(name, tune=True).predict
    mode = predict.MODES[-1 if compiled else 0]
    predictor = predict.Predictor(checkpoint.spec, checkpoint.state, device, mode)
    return Runtime(name, checkpoint.spec, predictor)


def usual_runtime(weights: str | os.PathLike[str]) -> str:
    """Returns the runtime for a file of weights by its suffix; ``torch`` where any would do."""
    suffix = Path(weights).suffix
    return "onnx" if suffix == ".onnx" else FORMATS.get(suffix) or "torch"


def check_onnx() -> None:
    """Checks that what :mod:`onnx_file` and :mod:`int8` import is installed.

    Raises:
        RuntimeMissingError: it is not.
    """
    missing = [package for package in _ONNX_PACKAGES if find_spec(package) is None]
    if missing:
        raise RuntimeMissingError(
            f"ONNX files need {', '.join(missing)}, not installed here: "
            "pip install 'tinynet-twins[onnx]'"
        )
