"""Exports weights as an ONNX file."""

from __future__ import annotations

import argparse
import json

from tinynet.cli.command import Parser

DESCRIPTION = """\
Exports weights as an ONNX file with a free batch size, input "pixels" (N, C, H, W), output
"logits", and the spec and the class names in its metadata (tinynet_spec, class_names).

torch uses PyTorch's exporter (torch.onnx.export). mindspore uses MindSpore's own
(mindspore.onnx.export); it writes opset 11, which is converted to the opset of the other, and
orders uneven paddings wrongly, which is put right.

Before OUT takes its place it must pass ONNX's checker, and in ONNX Runtime its logits must be
those of the twin it came from to 1 % of their standard deviation (rounding makes 0.001 %).
"""

EXAMPLES = """\
examples:
  export.py --framework torch --weights tinynet_c.safetensors tinynet_c.onnx
  export.py --framework mindspore --weights tinynet_c.ckpt tinynet_c.onnx
  export.py --framework torch --weights runs/c/best.safetensors --ema tinynet_c.onnx
"""


def main(argv: list[str] | None = None) -> None:
    """Parses the arguments, exports and reports."""
    options = _parse(argv)
    # Imported here, so that --help answers at once.
    from tinynet.checkpoints.files import load_checkpoint
    from tinynet.deploy.runtimes import load_onnx_file
    from tinynet.spec import load_spec
    from tinynet.utils.atomic_files import check_destination

    check_destination(options.destination)
    spec = load_spec(options.spec) if options.spec else None
    checkpoint = load_checkpoint(options.weights, spec, options.ema)
    onnx_file = load_onnx_file()
    difference = onnx_file.export_checked(
        options.framework, checkpoint.spec, checkpoint.state, options.destination
    )
    report = {
        "framework": options.framework,
        "source": options.weights,
        "destination": options.destination,
        "spec": checkpoint.spec.name,
        "opset": onnx_file.OPSET,
        "difference": difference,
    }
    if options.json:
        print(json.dumps(report))
        return
    print(f"{options.destination}: {checkpoint.spec.name}, opset {onnx_file.OPSET}")
    print(f"largest difference from the twin: {difference:.1e} of the logits' standard deviation")


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(DESCRIPTION, EXAMPLES)
    parser.add_argument("destination", metavar="OUT.onnx", help="the file to write")
    parser.add_argument("--framework", required=True, choices=("torch", "mindspore"))
    parser.add_argument("--weights", required=True, metavar="FILE", help="what convert.py reads")
    parser.add_argument(
        "--ema", action="store_true", help="the averaged weights, where FILE has both"
    )
    parser.add_argument("--spec", help="name (tinynet_c) or .json file, if not the file's own")
    parser.add_argument("--json", action="store_true", help="report as one JSON object")
    options = parser.parse_args(argv)
    parser.expect_suffix("OUT.onnx", options.destination, ".onnx")
    return options
