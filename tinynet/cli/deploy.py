"""Makes the form of a checkpoint that is deployed: batch norm folded into the convolutions."""

from __future__ import annotations

import argparse
import json

from tinynet.cli.command import Parser

DESCRIPTION = """\
Folds every batch norm of a checkpoint into the convolution before it, which gets a bias instead:
the same function, in fewer steps. Computed in float64 and rounded once; nothing else changes.

SRC is any file that convert.py reads. Of a training checkpoint the averaged weights are taken
where it has them, since they are what is evaluated best; --raw takes the others.

DST is a checkpoint like any other, whose spec says "batch_norm": null. evaluate.py, classify.py,
convert.py, export.py and parity.py take it as it is, in both frameworks. It cannot be trained.
"""

EXAMPLES = """\
examples:
  deploy.py tinynet_c.safetensors tinynet_c_deploy.safetensors
  deploy.py runs/c/best.safetensors tinynet_c_deploy.ckpt
  deploy.py runs/c/last.ckpt raw_deploy.safetensors --raw
  parity.py compare tinynet_c.safetensors tinynet_c_deploy.safetensors   are they one function?
  export.py --framework torch --weights tinynet_c_deploy.safetensors tinynet_c.onnx

.safetensors needs neither framework; .pth needs PyTorch, .ckpt needs MindSpore.
"""


def main(argv: list[str] | None = None) -> None:
    """Parses the arguments, folds and reports."""
    options = _parse(argv)
    # Imported here, so that --help answers at once.
    from tinynet.deploy.fold import deploy
    from tinynet.net.complexity import count
    from tinynet.spec import load_spec

    spec = load_spec(options.spec) if options.spec else None
    written = deploy(options.source, options.destination, spec, options.raw)
    report = {
        "source": options.source,
        "destination": options.destination,
        "spec": written.spec.name,
        "tensors": len(written.state),
        "params": count(written.spec).params,
        "notes": written.notes,
    }
    if options.json:
        print(json.dumps(report))
        return
    print(
        f"{options.destination}: {written.spec.name} without batch norm, {report['tensors']} "
        f"tensors, {report['params']:,} parameters"
    )
    for note in written.notes:
        print(f"  {note}")


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(DESCRIPTION, EXAMPLES)
    parser.add_argument("source", metavar="SRC", help="the file to read")
    parser.add_argument(
        "destination", metavar="DST", help="the file to write; its suffix is its format"
    )
    parser.add_argument(
        "--raw", action="store_true", help="the weights as trained, where SRC has averaged ones too"
    )
    parser.add_argument("--spec", help="name (tinynet_c) or .json file of the net SRC is for")
    parser.add_argument("--json", action="store_true", help="report as one JSON object")
    return parser.parse_args(argv)
