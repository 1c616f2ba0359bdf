"""Converts a checkpoint between the frameworks, or says what one is."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from tinynet.cli.command import Parser, without_matrix_threads

if TYPE_CHECKING:
    from tinynet.checkpoints.conversion import Inspection

DESCRIPTION = """\
Converts checkpoints between canonical .safetensors, PyTorch's .pth/.pt and MindSpore's .ckpt,
every tensor bit for bit. Without DST: says what SRC is.

SRC may be a bare state dict, one inside state_dict or model, with module. before each name, timm's
checkpoints and safetensors, MindSpore's .ckpt and safetensors, the official zoo's TinyNets, or
EfficientNet-Lite0 as efficientnet_pytorch names it. Every entry is accounted for: a missing,
unexpected or wrongly shaped tensor is an error that names it. No code from SRC is ever run.

A training checkpoint of train.py is converted as a whole, so that the run can go on from DST:
raw and averaged weights, optimizer state, recipe and progress. --weights-only and --ema take one
set of weights out of it.

The spec is the one SRC carries, else the shipped one its shapes fit, else the one you name.
"""

EXAMPLES = """\
examples:
  convert.py tinynet_c.pth tinynet_c.safetensors     to the canonical file
  convert.py tinynet_c.safetensors tinynet_c.ckpt    for mindspore.load_checkpoint
  convert.py tinynet_c.safetensors ms.safetensors --names mindspore
                                                     the same, without needing MindSpore here
  convert.py last.pth.tar ema.safetensors --ema      averaged weights, of a training checkpoint
  convert.py last.safetensors last.ckpt              a training checkpoint, as a whole
  convert.py last.safetensors raw.pth --weights-only only its raw weights
  convert.py tinynet_c.ckpt start.safetensors --spec my_ten_classes.json --new-classifier 0
                                                     to fine-tune on other classes
  convert.py tinynet_c.ckpt                          what is in this file?

.safetensors needs neither framework; .pth needs PyTorch, .ckpt needs MindSpore.
"""


def main(argv: list[str] | None = None) -> None:
    """Parses the arguments, does the job and reports it."""
    without_matrix_threads()
    options = _parse(argv)
    # Imported here, so that --help answers at once.
    from tinynet.checkpoints.conversion import convert, inspect
    from tinynet.checkpoints.files import TRAINING_LAYOUT
    from tinynet.checkpoints.training_state import TrainingState, progress_document
    from tinynet.spec import load_spec

    spec = load_spec(options.spec) if options.spec else None
    if options.destination is None:
        found = inspect(options.source, spec, options.ema)
        print(json.dumps(_report(found)) if options.json else _describe(found))
        return
    written = convert(
        options.source, options.destination, spec, options.names, options.ema,
        options.new_classifier, options.weights_only,
    )  # fmt: skip
    report: dict[str, Any] = {"source": options.source, "destination": options.destination}
    if isinstance(written, TrainingState):
        report |= {
            "spec": written.progress.spec.name,
            "tensors": len(written.tensors),
            "layout": TRAINING_LAYOUT,
            "notes": (),
            "training": progress_document(written.progress),
        }
    else:
        report |= {
            "spec": written.spec.name,
            "tensors": len(written.state),
            "layout": written.layout,
            "notes": written.notes,
            "training": None,
        }
    if options.json:
        print(json.dumps(report))
        return
    print(
        f"{options.destination}: {report['spec']}, {report['tensors']} tensors "
        f"from {options.source} ({report['layout']})"
    )
    for note in report["notes"]:
        print(f"  {note}")
    if report["training"]:
        print(f"  {_run(report['training'])}")


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(DESCRIPTION, EXAMPLES)
    parser.add_argument("source", metavar="SRC", help="the file to read")
    parser.add_argument(
        "destination", metavar="DST", nargs="?", help="the file to write; its suffix is its format"
    )
    parser.add_argument("--spec", help="name (tinynet_c) or .json file of the net SRC is for")
    parser.add_argument(
        "--names",
        choices=("canonical", "mindspore"),
        help="names in a .safetensors DST (default: canonical)",
    )
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--ema", action="store_true", help="take only the averaged weights of SRC")
    only.add_argument(
        "--weights-only",
        action="store_true",
        help="take only the raw weights of a training checkpoint",
    )
    parser.add_argument(
        "--new-classifier",
        metavar="SEED",
        type=int,
        help="drop the classifier of SRC and draw one for the classes of --spec",
    )
    parser.add_argument("--json", action="store_true", help="report as one JSON object")
    options = parser.parse_args(argv)
    for_writing = options.names or options.weights_only or options.new_classifier is not None
    if options.destination is None and for_writing:
        parser.error("--names, --weights-only and --new-classifier need a DST")
    return options


def _report(found: Inspection) -> dict[str, Any]:
    return {
        "source": found.path,
        "destination": None,
        "spec": found.spec.name if found.spec else None,
        "tensors": found.tensors,
        "numbers": found.numbers,
        "dtypes": found.dtypes,
        "layout": found.layout,
        "notes": found.notes,
        "problem": found.problem,
        "sha256": found.sha256,
        "metadata": found.metadata,
        "training": found.training,
    }


def _describe(found: Inspection) -> str:
    lines = [
        f"{found.path}",
        f"  layout    {found.layout}",
        f"  spec      {found.spec.name if found.spec else f'none: {found.problem}'}",
        f"  tensors   {found.tensors}, {found.numbers:,} numbers, {', '.join(found.dtypes)}",
        f"  sha256    {found.sha256}",
    ]
    if found.training:
        lines.append(f"  training  {_run(found.training)}")
    lines += [f"  note      {note}" for note in found.notes]
    for key, text in found.metadata.items():
        lines.append(f"  metadata  {key}: {text if len(text) <= 80 else text[:77] + '...'}")
    return "\n".join(lines)


def _run(training: dict[str, Any]) -> str:
    best = training["best"]
    words = [
        f"recipe {training['recipe']}",
        f"step {training['step']}",
        f"epoch {training['epoch']:.2f}",
        f"best {best['metric']} {best['value']:.4g} at step {best['step']}" if best else "no best",
        f"EMA updates {training['ema_updates']}",
    ]
    return ", ".join(words)
