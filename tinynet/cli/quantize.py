"""Quantises an ONNX file of `export` to INT8 after training, with ONNX Runtime's own tools: int8
weights with a scale for each channel, uint8 activations with ranges that are seen on images. Stem
and first block stay float32, which measured faster and nearer. Spec, class names and the free batch
size stay in the file, so that `evaluate` and `classify` take it as they took MODEL.

DATA is what `evaluate` takes; of what `train` takes, the images to train on: labels are not looked
at, but ranges should not be chosen on the images that are then evaluated on. The pixels are
prepared as in evaluation. Some hundred images are enough.

It pays on processors with instructions for it (VNNI, AMX; `lscpu` lists avx512_vnni or avx_vnni).
`tinynet evaluate --against` says how much accuracy it costs on your own labelled images.

Examples:
  tinynet deploy runs/c/best.safetensors c.safetensors
  tinynet export --framework torch --weights c.safetensors c.onnx
  tinynet quantize c.onnx c_int8.onnx --data imagenet/train --images 512
  tinynet evaluate --framework onnx --weights c_int8.onnx --against c.onnx --data imagenet/val
"""

from __future__ import annotations

import argparse

from tinynet.cli.command import Parser, expect_suffix, positive, report
from tinynet.cli.options import add_shared

_BATCH = 32


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("source", metavar="MODEL.onnx", help="the file to quantise")
    add("destination", metavar="OUT.onnx", help="the file to write")
    add("--data", required=True, metavar="DATA", help="the images to calibrate on")
    add("--images", type=positive, default=256, metavar="N", help="use at most N (default: 256)")
    add_shared(parser, "--json")


def run(options: argparse.Namespace) -> int:
    expect_suffix("OUT.onnx", options.destination, ".onnx")
    from pathlib import Path

    import numpy as np

    from tinynet.data.evaluation_batches import Prepared
    from tinynet.data.open_data import open_calibration
    from tinynet.deploy.runtimes import check_onnx
    from tinynet.utils.atomic_files import check_destination

    check_destination(options.destination)
    check_onnx()
    from tinynet.deploy.int8 import quantize
    from tinynet.deploy.onnx_file import OnnxPredictor

    spec = OnnxPredictor(options.source).spec
    dataset = Prepared(open_calibration(options.data, spec), spec)
    # Spread over the data, which come class by class.
    count = min(options.images, len(dataset))
    images = np.stack([dataset[index * len(dataset) // count][0] for index in range(count)])
    batches = [images[start : start + _BATCH] for start in range(0, count, _BATCH)]
    found = quantize(options.source, options.destination, batches)
    size = Path(options.destination).stat().st_size
    document = {"source": options.source, "destination": options.destination}
    document |= {"spec": found.spec.name, "images": found.images, "bytes": size}
    document |= {"same_answers": found.same_answers, "difference": found.difference}
    text = (
        f"{options.destination}: {found.spec.name} in INT8, {size / 1e6:.1f} MB, "
        f"calibrated on {found.images} images\n"
        f"on them, logits moved by {found.difference:.3f} of their standard deviation, and "
        f"{found.same_answers} of {found.images} answers are the same"
    )
    report(options, document, text)
    return 0
