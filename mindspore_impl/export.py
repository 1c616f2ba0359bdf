"""ONNX from MindSpore's own exporter."""

from __future__ import annotations

import os

import mindspore as ms
import onnx

from tinynet.manifest import State
from tinynet.spec import Spec

from mindspore_impl.model import TinyNet


def export_onnx(spec: Spec, state: State, path: str | os.PathLike[str]) -> None:
    """Writes an ONNX file with input "pixels" and output "logits" and a free batch size.

    Args:
        spec: what to build.
        state: canonical state.
        path: the file to write.
    """
    # A fresh net each time: the second export of one net fails.
    net = TinyNet(spec, state).set_train(False)
    images = ms.Tensor(shape=[None, *spec.input_size], dtype=ms.float32)
    ms.onnx.export(
        net, images, file_name=os.fspath(path), input_names=["pixels"], output_names=["logits"],
        dynamic_axes={"pixels": {0: "batch"}},
    )  # fmt: skip
    model = onnx.load(os.fspath(path))
    _reorder_pads(model)
    onnx.save(model, os.fspath(path))


def _reorder_pads(model: onnx.ModelProto) -> None:
    # MindSpore 2.10 writes its own order (top, bottom, left, right) where ONNX has (top, left,
    # bottom, right): unevenly padded convolutions would be shifted by a pixel, silently.
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Conv" and attribute.name == "pads":
                top, bottom, left, right = attribute.ints
                attribute.ints[:] = [top, left, bottom, right]
