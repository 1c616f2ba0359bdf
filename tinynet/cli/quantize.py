"""Quantises an ONNX file to INT8."""

from __future__ import annotations

import argparse
import json

from tinynet.cli.command import Parser, positive

DESCRIPTION = """\
Quantises an ONNX file of export.py to INT8 after training, by ONNX Runtime's own tools: int8
weights with a scale for each channel, uint8 activations with ranges that are seen on images. Stem
and first block stay float32, which measured faster and nearer. Spec, class names and the free batch
size stay in the file, so that evaluate.py and classify.py take it as they took MODEL.

DATA is what evaluate.py takes, and of what train.py takes the images to train on: labels are not
looked at, but ranges should not be chosen on the images that are then evaluated on. The pixels are
prepared as in evaluation. Some hundred images do.

It pays on processors with instructions for it (VNNI, AMX; `lscpu` lists avx512_vnni or avx_vnni).
How much accuracy it costs is for evaluate.py --against to say, on your own labelled images.
"""

EXAMPLES = """\
examples:
  deploy.py runs/c/best.safetensors c.safetensors
  export.py --framework torch --weights c.safetensors c.onnx
  quantize.py c.onnx c_int8.onnx --data imagenet/train --images 512
  evaluate.py --framework onnx --weights c_int8.onnx --against c.onnx --data imagenet/val
"""

_BATCH = 32


def main(argv: list[str] | None = None) -> None:
    """Parses the arguments, quantises and reports."""
    options = _parse(argv)
    # Imported here, so that --help answers at once.
    from pathlib import Path

    import numpy as np

    from tinynet.data.evaluation_batches import Prepared
    from tinynet.data.open_data import open_calibration
    from tinynet.deploy.runtimes import load_onnx_file, load_quantization
    from tinynet.utils.atomic_files import check_destination

    check_destination(options.destination)
    spec = load_onnx_file().OnnxPredictor(options.source).spec
    dataset = Prepared(open_calibration(options.data, spec), spec)
    # Spread over the data, which come class by class.
    count = min(options.images, len(dataset))
    places = np.arange(count) * len(dataset) // count
    images = np.stack([dataset[int(place)][0] for place in places])
    batches = [images[start : start + _BATCH] for start in range(0, count, _BATCH)]
    found = load_quantization().quantize(options.source, options.destination, batches)
    report = {
        "source": options.source,
        "destination": options.destination,
        "spec": found.spec.name,
        "images": found.images,
        "same_answers": found.same_answers,
        "difference": found.difference,
        "bytes": Path(options.destination).stat().st_size,
    }
    if options.json:
        print(json.dumps(report))
        return
    print(
        f"{options.destination}: {found.spec.name} in INT8, {report['bytes'] / 1e6:.1f} MB, "
        f"calibrated on {found.images} images"
    )
    print(
        f"on them, logits moved by {found.difference:.3f} of their standard deviation, and "
        f"{found.same_answers} of {found.images} answers are the same"
    )


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(DESCRIPTION, EXAMPLES)
    parser.add_argument("source", metavar="MODEL.onnx", help="the file to quantise")
    parser.add_argument("destination", metavar="OUT.onnx", help="the file to write")
    parser.add_argument("--data", required=True, metavar="DATA", help="the images to calibrate on")
    parser.add_argument(
        "--images", type=positive, default=256, metavar="N", help="at most so many (default: 256)"
    )
    parser.add_argument("--json", action="store_true", help="report as one JSON object")
    options = parser.parse_args(argv)
    parser.expect_suffix("OUT.onnx", options.destination, ".onnx")
    return options
