"""Folds every batch norm of a checkpoint into the convolution before it, which gets a bias instead:
the same function, in fewer steps. Computed in float64 and rounded once; nothing else changes.

SRC is any file that `convert` reads. Of a training checkpoint the averaged weights are taken where
it has them, since they evaluate best; --raw takes the others.

DST is a checkpoint like any other, whose spec says "batch_norm": null. `evaluate`, `classify`,
`convert`, `export` and `parity` take it as it is, in both frameworks. It cannot be trained.

Examples:
  tinynet deploy tinynet_c.safetensors tinynet_c_deploy.safetensors
  tinynet deploy runs/c/best.safetensors tinynet_c_deploy.ckpt
  tinynet deploy runs/c/last.ckpt raw_deploy.safetensors --raw
  tinynet parity compare tinynet_c.safetensors tinynet_c_deploy.safetensors   the same function?
  tinynet export --framework torch --weights tinynet_c_deploy.safetensors tinynet_c.onnx

.safetensors needs neither framework; .pth needs PyTorch, .ckpt needs MindSpore.
"""

from __future__ import annotations

import argparse

from tinynet.cli.command import Parser, report
from tinynet.cli.options import add_shared, named_spec


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("source", metavar="SRC", help="the file to read")
    add("destination", metavar="DST", help="the file to write; its suffix is its format")
    add("--raw", action="store_true", help="weights as trained, where SRC has averaged ones too")
    add_shared(parser, "--spec", help="name (tinynet_c) or .json file of the net SRC is for")
    add_shared(parser, "--json")


def run(options: argparse.Namespace) -> int:
    from tinynet.deploy.fold import deploy
    from tinynet.net.complexity import count

    written = deploy(options.source, options.destination, named_spec(options), options.raw)
    source, destination, spec = options.source, options.destination, written.spec.name
    tensors, params = len(written.state), count(written.spec).params
    document = {"source": source, "destination": destination, "spec": spec, "tensors": tensors}
    document |= {"params": params, "notes": written.notes}
    size = f"{tensors} tensors, {params:,} parameters"
    line = f"{destination}: {spec} without batch norm, {size}"
    report(options, document, "\n  ".join([line, *written.notes]))
    return 0
