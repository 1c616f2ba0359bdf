"""ONNX from PyTorch's own exporter."""

from __future__ import annotations

import logging
import os
import warnings

import torch

from tinynet.net.manifest import State
from tinynet.spec import Spec

from torch_impl.model import make_net


def export_onnx(spec: Spec, state: State, path: str | os.PathLike[str]) -> None:
    """Writes an ONNX file with input "pixels" and output "logits" and a free batch size."""
    net = make_net(spec, state).eval()
    # Two images, because torch.export treats a size of one as fixed.
    images = torch.zeros(2, *spec.input_size)
    # The exporter uses deprecated parts of PyTorch, and logs that it found no torchvision.
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                net,
                (images,),
                os.fspath(path),
                input_names=["pixels"],
                output_names=["logits"],
                dynamic_shapes={"x": {0: torch.export.Dim("batch")}},
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    finally:
        logger.setLevel(level)
