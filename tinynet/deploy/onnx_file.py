"""ONNX files: written from either twin, finished and checked, run in ONNX Runtime."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
# (onnx's types are incomplete, onnxruntime has none)

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tinynet.backend import load_backend
from tinynet.data.labels import class_names
from tinynet.net.manifest import State
from tinynet.spec import Spec, format_spec, parse_spec
from tinynet.utils.atomic_files import write_atomically
from tinynet.utils.processes import processors
from tinynet.utils.random_numbers import normal

# What PyTorch 2.13's exporter writes by itself; MindSpore's, which writes 11, is converted to it.
OPSET = 20

# How far an exported file's logits may be from its twin's, in standard deviations of the logits.
# Rounding measures 2e-6 to 5e-6 over all shipped specs and both exporters; convolutions padded a
# pixel off, the mildest fault seen in an exporter, measure 1.7.
LARGEST_DIFFERENCE = 1e-2

# Pixels of the images that are answered at a time, in bytes: a TinyNet's activations then mostly
# stay in a cache of 1 to 2 MiB. Measured in docs/deploy.md.
_PART_BYTES = 2 << 20


class OnnxError(ValueError):
    """An ONNX file that cannot be used here. The message is one line."""


def export(framework: str, spec: Spec, state: State, path: str | os.PathLike[str]) -> None:
    """Writes an ONNX file through a framework's own exporter.

    The file has a free batch size, opset :data:`OPSET`, and spec and class names in its metadata
    ("tinynet_spec", JSON; "class_names", a JSON list).

    Raises:
        BackendError: the framework is not there.
        OnnxError: the exporter wrote a file that does not pass ONNX's checker.
        DocumentError: the file cannot be placed there.
    """
    # Imported here, since running a file does not need it.
    import onnx
    from onnx import version_converter

    twin = load_backend(framework, tune=True)

    def write(temporary: Path) -> None:
        twin.export.export_onnx(spec, state, temporary)
        model = onnx.load(os.fspath(temporary))
        if model.opset_import[0].version != OPSET:
            model = version_converter.convert_version(model, OPSET)
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
        model.graph.name = spec.name
        properties = {
            "tinynet_spec": format_spec(spec),
            "class_names": json.dumps(class_names(spec), ensure_ascii=False),
        }
        onnx.helper.set_model_props(model, properties)
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise OnnxError(
                f"{path}: {framework}'s exporter wrote an invalid file: {error}"
            ) from None
        onnx.save(model, os.fspath(temporary))

    write_atomically(path, write)


def export_checked(framework: str, spec: Spec, state: State, path: str | os.PathLike[str]) -> float:
    """Exports as :func:`export` does, but keeps the file only if it answers as the twin does.

    Returns:
        The largest difference between the file's logits in ONNX Runtime and the twin's own, on
        fixed noise, in standard deviations of the logits; at most :data:`LARGEST_DIFFERENCE`.

    Raises:
        BackendError: the framework is not there.
        OnnxError: the exporter wrote a file that is invalid or answers differently.
        DocumentError: the file cannot be placed there.
    """
    # Three images, a batch size that no exporter is shown.
    images = normal((3, *spec.input_size), "export").astype(np.float32)
    differences: list[float] = []

    def write(temporary: Path) -> None:
        export(framework, spec, state, temporary)
        predict = load_backend(framework).predict
        # The first mode, which compiles nothing.
        logits = predict.Predictor(spec, state, mode=predict.MODES[0])(images)
        scale = logits.std() or 1.0  # a classifier of zeros gives equal logits
        difference = float(np.abs(OnnxPredictor(temporary)(images) - logits).max() / scale)
        if not difference <= LARGEST_DIFFERENCE:  # so that NaN is refused too
            raise OnnxError(
                f"{path}: not written, since {framework}'s exporter made a file whose logits "
                f"differ by {difference:.1e} of their standard deviation from the twin's"
            )
        differences.append(difference)

    write_atomically(path, write)
    return differences[0]


def initializers(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Returns the constants of an ONNX file, weights above all, by their names in the file.

    Raises:
        OnnxError: not an ONNX file.
    """
    import onnx

    try:
        model = onnx.load(os.fspath(path))
    except Exception as error:  # a damaged protocol buffer can raise anything
        raise OnnxError(f"{path}: not an ONNX file: {error}") from None
    return {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}


class OnnxPredictor:
    """An ONNX file ready to answer, in ONNX Runtime on the CPU.

    A batch is answered in parts that fit a cache, in parallel, each by one thread: threads that
    share one small layer mostly wait for each other.

    Args:
        path: an ONNX file with one input (N, C, H, W) and one output (N, num_classes).
        spec: overrides the spec in the file's metadata.
        threads: how many parts in parallel; by default as many as there are processors for this
            process.

    Raises:
        OnnxError: not an ONNX file, or one without a spec and none was given.
    """

    def __init__(
        self, path: str | os.PathLike[str], spec: Spec | None = None, threads: int | None = None
    ):
        import onnxruntime

        if not Path(path).is_file():
            raise OnnxError(f"{path}: no such file")
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(
                os.fspath(path), settings, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's exceptions share no public base
            reason = str(error).strip().partition("\n")[0]
            raise OnnxError(f"{path}: ONNX Runtime cannot load it: {reason}") from None
        metadata = self._session.get_modelmeta().custom_metadata_map
        if spec is None and "tinynet_spec" not in metadata:
            raise OnnxError(f"{path}: has no spec in its metadata, name one with --spec")
        self.spec = spec or parse_spec(metadata["tinynet_spec"], source=f"{path} (metadata)")
        self._threads = threads or processors()
        self._pool = ThreadPoolExecutor(self._threads)
        self._input = self._session.get_inputs()[0].name
        expected, found = [*self.spec.input_size], [*self._session.get_inputs()[0].shape[1:]]
        if found != expected:
            raise OnnxError(f"{path}: takes {found} (C, H, W), expected {expected}, its spec's")
        classes = self._session.get_outputs()[0].shape[-1]
        if classes != self.spec.num_classes:
            raise OnnxError(
                f"{path}: gives {classes} logits, expected {self.spec.num_classes}, one for each "
                f"class of {self.spec.name}"
            )

    def __call__(self, images: NDArray[Any]) -> NDArray[Any]:
        """Computes logits (N, num_classes) of normalised pixels (N, C, H, W), both float32."""
        parts = max(1, round(images.nbytes / _PART_BYTES))
        # As many for each thread, if there are enough images.
        parts = min(len(images), -(-parts // self._threads) * self._threads)
        if parts <= 1:
            return self._answer(images)
        return np.concatenate(list(self._pool.map(self._answer, np.array_split(images, parts))))

    def _answer(self, images: NDArray[Any]) -> NDArray[Any]:
        outputs = self._session.run(None, {self._input: images})
        return cast(NDArray[Any], outputs[0])
