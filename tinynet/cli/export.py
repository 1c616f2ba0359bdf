"""Exports weights as an ONNX file with a free batch size, input "pixels" (N, C, H, W), output
"logits", and the spec and the class names in its metadata (tinynet_spec, class_names).

torch uses PyTorch's exporter (torch.onnx.export). mindspore uses MindSpore's own
(mindspore.onnx.export); it writes opset 11, which is converted to the opset of the other, and
orders uneven paddings wrongly, which is put right.

Before OUT takes its place it must pass ONNX's checker, and in ONNX Runtime its logits must be
those of the twin it came from to 1 % of their standard deviation (rounding makes 0.001 %).

Examples:
  tinynet export --framework torch --weights tinynet_c.safetensors tinynet_c.onnx
  tinynet export --framework mindspore --weights tinynet_c.ckpt tinynet_c.onnx
  tinynet export --framework torch --weights runs/c/best.safetensors --ema tinynet_c.onnx
"""

from __future__ import annotations

import argparse

from tinynet.cli.command import Parser, expect_suffix, report
from tinynet.cli.options import add_shared, named_spec


def add_arguments(parser: Parser) -> None:
    parser.add_argument("destination", metavar="OUT.onnx", help="the file to write")
    add_shared(parser, "--framework", required=True)
    add_shared(parser, "--weights", "--ema", "--spec", "--json")


def run(options: argparse.Namespace) -> int:
    expect_suffix("OUT.onnx", options.destination, ".onnx")
    from tinynet.checkpoints.files import load_checkpoint
    from tinynet.deploy.onnx_file import OPSET, export_checked
    from tinynet.deploy.runtimes import check_onnx
    from tinynet.utils.atomic_files import check_destination

    framework, source, destination = options.framework, options.weights, options.destination
    check_destination(destination)
    checkpoint = load_checkpoint(source, named_spec(options), options.ema)
    spec, state = checkpoint.spec, checkpoint.state
    check_onnx()
    difference = export_checked(framework, spec, state, destination)
    document = {"framework": framework, "source": source, "destination": destination}
    document |= {"spec": spec.name, "opset": OPSET, "difference": difference}
    text = (
        f"{destination}: {spec.name}, opset {OPSET}\n"
        f"largest difference from the twin: {difference:.1e} of the logits' standard deviation"
    )
    report(options, document, text)
    return 0
