"""INT8: quantises ONNX files after training, with ONNX Runtime's own tools."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
# (onnx's types are incomplete, onnxruntime has none)

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import onnx
import onnxruntime
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

from tinynet.data.preprocessing import Pixels
from tinynet.deploy.onnx_file import OnnxError, OnnxPredictor
from tinynet.net.complexity import layers
from tinynet.spec import Spec
from tinynet.utils.atomic_files import check_not_source, write_atomically

# The key in the file's metadata of how it was quantised, as JSON.
QUANTIZATION = "quantization"


class Quantized(NamedTuple):
    """How a file was quantised, and how far its answers moved.

    Attributes:
        spec: the net.
        images: how many it was calibrated on.
        same_answers: for how many of them both files say the same class.
        difference: root mean square by which the logits moved, in their standard deviations.
    """

    spec: Spec
    images: int
    same_answers: int
    difference: float


def quantize(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    batches: Iterable[Pixels],
) -> Quantized:
    """Writes an ONNX file whose layers compute in INT8, with scales calibrated on images.

    Weights are int8 with a scale for each channel, activations uint8 with the range that the images
    show. Stem and first block stay float32: with few channels and many pixels INT8 is slower there,
    and errors made there go through all the rest. Metadata and the free batch size stay as they
    are.

    Args:
        source: an ONNX file that :class:`tinynet.deploy.onnx_file.OnnxPredictor` takes.
        destination: the file to write.
        batches: normalised pixels (N, C, H, W) of real images, one batch or more.

    Raises:
        OnnxError: a source that cannot be used or is quantised already, no images, or logits that
            are not finite.
        DocumentError: the file cannot be placed there.
    """
    predict = OnnxPredictor(source)
    model = onnx.load(os.fspath(source))
    if any("Quantize" in node.op_type for node in model.graph.node):
        raise OnnxError(f"{source}: is quantised already")
    check_not_source(destination, source, OnnxError)
    shown = [batch for batch in batches if len(batch)]
    if not shown:
        raise OnnxError("there are no images to calibrate on")
    properties = {item.key: item.value for item in model.metadata_props}
    properties[QUANTIZATION] = json.dumps(
        {
            "source": Path(source).name,
            "source_sha256": hashlib.sha256(Path(source).read_bytes()).hexdigest(),
            "images": sum(map(len, shown)),
            "onnxruntime": onnxruntime.__version__,
        }
    )
    found: list[Quantized] = []

    def write(temporary: Path) -> None:
        with tempfile.TemporaryDirectory() as folder, _quiet():
            pooled, prepared = (f"{folder}/{name}.onnx" for name in ("pooled", "prepared"))
            _pool_globally(model)
            onnx.save(model, pooled)
            quant_pre_process(pooled, prepared, skip_symbolic_shape=True)
            quantization.quantize_static(
                prepared,
                os.fspath(temporary),
                _Reader(model.graph.input[0].name, shown),
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                nodes_to_exclude=_first_nodes(onnx.load(prepared), predict.spec),
            )
        quantized = onnx.load(os.fspath(temporary))
        onnx.helper.set_model_props(quantized, properties)
        onnx.save(quantized, os.fspath(temporary))
        found.append(_measured(predict, OnnxPredictor(temporary), shown, os.fspath(destination)))

    write_atomically(destination, write)
    return found[0]


class _Reader(quantization.CalibrationDataReader):
    def __init__(self, name: str, batches: list[Pixels]):
        self._input = name
        self._batches = iter(batches)

    def get_next(self) -> dict[str, Any]:
        # The end is None, which the overridden type does not allow.
        batch = next(self._batches, None)
        return cast("dict[str, Any]", None if batch is None else {self._input: batch})


def _pool_globally(model: onnx.ModelProto) -> None:
    # ONNX Runtime has no INT8 mean over axes, but a global average pool, which keeps them.
    nodes = model.graph.node
    for place in reversed(range(len(nodes))):
        node = nodes[place]
        if node.op_type != "ReduceMean":
            continue
        keeps = all(attribute.i for attribute in node.attribute if attribute.name == "keepdims")
        mean = node.output[0]
        del node.attribute[:], node.input[1:]
        node.op_type = "GlobalAveragePool"
        if not keeps:
            node.output[0] = f"{mean}_pooled"
            nodes.insert(place + 1, onnx.helper.make_node("Flatten", [node.output[0]], [mean]))
    used = {name for node in nodes for name in node.input}
    for constant in [item for item in model.graph.initializer if item.name not in used]:
        model.graph.initializer.remove(constant)  # the axes, over which ONNX Runtime stumbles


def _first_nodes(model: onnx.ModelProto, spec: Spec) -> list[str]:
    # Names of the nodes of stem and first block: all before the first convolution of the second.
    keys = [layer.key for layer in layers(spec) if layer.op == "conv2d"]
    first = f"{spec.blocks()[0].key}."
    count = 1 + sum(key.startswith(first) for key in keys)
    names: list[str] = []
    for node in model.graph.node:
        if node.op_type == "Conv":
            count -= 1
        if count < 0:
            break
        names.append(node.name)
    return names


def _measured(
    before: OnnxPredictor, after: OnnxPredictor, batches: list[Pixels], path: str
) -> Quantized:
    old = np.concatenate([before(batch) for batch in batches])
    new = np.concatenate([after(batch) for batch in batches])
    if not np.isfinite(new).all():
        raise OnnxError(f"{path}: not written, since its logits hold a NaN or an infinity")
    moved = float(np.sqrt(((new - old) ** 2).mean()))
    same = int((new.argmax(1) == old.argmax(1)).sum())
    return Quantized(before.spec, len(old), same, moved / (float(old.std()) or 1.0))


@contextmanager
def _quiet() -> Generator[None]:
    # ONNX Runtime advises, in the log, what is done here already.
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.root.setLevel(level)
