"""ONNX from MindSpore's own exporter."""

from __future__ import annotations

import os

import mindspore as ms
import onnx
from mindspore import nn, ops

from tinynet.net.manifest import State
from tinynet.spec import Pool, Spec

from mindspore_impl.blocks import SqueezeExcite
from mindspore_impl.model import make_net


def export_onnx(spec: Spec, state: State, path: str | os.PathLike[str]) -> None:
    """Writes an ONNX file with input "pixels" and output "logits" and a free batch size."""
    # A fresh net each time: the second export of one net fails.
    net = make_net(spec, state).set_train(False)
    if spec.stem.pool is not None:
        net.maxpool = _ZerosPool(spec.stem.pool)
    for _, cell in net.cells_and_names():
        if isinstance(cell, SqueezeExcite):
            cell.by_rows = False
    images = ms.Tensor(shape=[None, *spec.input_size], dtype=ms.float32)
    file, names = os.fspath(path), {"input_names": ["pixels"], "output_names": ["logits"]}
    ms.onnx.export(net, images, file_name=file, dynamic_axes={"pixels": {0: "batch"}}, **names)
    model = onnx.load(file)
    _reorder_pads(model)
    if spec.stem.pool is not None:
        _merge_pad(model, spec.stem.pool.padding)
    onnx.save(model, file)


class _ZerosPool(nn.Cell):
    # MindSpore 2.10 exports no padded max pool, but zeros around an image and then a max pool.
    def __init__(self, pool: Pool):
        super().__init__()
        side = pool.padding
        self.pad = ops.Pad(((0, 0), (0, 0), (side, side), (side, side)))
        self.pool = nn.MaxPool2d(pool.kernel_size, pool.stride, pad_mode="valid")

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.pool(self.pad(x))


def _merge_pad(model: onnx.ModelProto, side: int) -> None:
    # What the zeros stand for: padding of the pool itself, which is never the maximum.
    nodes = model.graph.node
    pad = next(node for node in nodes if node.op_type == "Pad")
    pool = next(node for node in nodes if node.op_type == "MaxPool")
    sides = next(node for node in nodes if node.output[0] == pad.input[1])
    settings = [attribute for attribute in pool.attribute if attribute.name != "auto_pad"]
    del pool.attribute[:]
    pool.attribute.extend([*settings, onnx.helper.make_attribute("pads", [side] * 4)])
    pool.input[0] = pad.input[0]
    nodes.remove(pad)
    nodes.remove(sides)


def _reorder_pads(model: onnx.ModelProto) -> None:
    # MindSpore 2.10 writes its own order (top, bottom, left, right) where ONNX has (top, left,
    # bottom, right): unevenly padded convolutions would be shifted by a pixel, silently.
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Conv" and attribute.name == "pads":
                top, bottom, left, right = attribute.ints
                attribute.ints[:] = [top, left, bottom, right]
