"""Converts checkpoints between canonical .safetensors, PyTorch's .pth/.pt and MindSpore's .ckpt,
every tensor bit for bit. Without DST: says what SRC is.

SRC may be a bare state dict, one inside state_dict or model, with module. before each name, timm's
checkpoints and safetensors, MindSpore's .ckpt and safetensors, the official zoo's TinyNets, or
EfficientNet-Lite0 as efficientnet_pytorch names it. Every entry is accounted for: a missing,
unexpected or wrongly shaped tensor is an error that names it. No code from SRC is ever run.

A training checkpoint of `train` is converted as a whole, so that the run can go on from DST: raw
and averaged weights, optimizer state, recipe and progress. --weights-only and --ema take one set of
weights out of it.

The spec is the one SRC carries, else the shipped one its shapes fit, else the one you name.

Examples:
  tinynet convert tinynet_c.pth tinynet_c.safetensors     to the canonical file
  tinynet convert tinynet_c.safetensors tinynet_c.ckpt    for mindspore.load_checkpoint
  tinynet convert tinynet_c.safetensors ms.safetensors --names mindspore
                                                          the same, without needing MindSpore here
  tinynet convert last.pth.tar ema.safetensors --ema      averaged weights, of a training checkpoint
  tinynet convert last.safetensors last.ckpt              a training checkpoint, as a whole
  tinynet convert last.safetensors raw.pth --weights-only only its raw weights
  tinynet convert tinynet_c.ckpt start.safetensors --spec my_ten_classes.json --new-classifier 0
                                                          to fine-tune on other classes
  tinynet convert tinynet_c.ckpt                          what is in this file?

.safetensors needs neither framework; .pth needs PyTorch, .ckpt needs MindSpore.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from tinynet.cli.command import Parser, UsageError, report, without_matrix_threads
from tinynet.cli.options import add_shared, named_spec

if TYPE_CHECKING:
    from tinynet.checkpoints.conversion import Inspection


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("source", metavar="SRC", help="the file to read")
    add("destination", metavar="DST", nargs="?", help="the file to write; its suffix is its format")
    add_shared(parser, "--spec", help="name (tinynet_c) or .json file of the net SRC is for")
    add("--names", choices=("canonical", "mindspore"), help="in a .safetensors DST (canonical)")
    only = parser.add_mutually_exclusive_group()
    add_shared(only, "--ema", help="take only the averaged weights of SRC")
    raw = "take only the raw weights of a training checkpoint"
    only.add_argument("--weights-only", action="store_true", help=raw)
    new = "drop the classifier of SRC and draw one for the classes of --spec"
    add("--new-classifier", metavar="SEED", type=int, help=new)
    add_shared(parser, "--json")


def run(options: argparse.Namespace) -> int:
    for_writing = options.names or options.weights_only or options.new_classifier is not None
    if options.destination is None and for_writing:
        raise UsageError("--names, --weights-only and --new-classifier need a DST")
    without_matrix_threads()
    from tinynet.checkpoints.conversion import convert, inspect
    from tinynet.checkpoints.files import TRAINING_LAYOUT
    from tinynet.checkpoints.training_state import TrainingState, progress_document

    spec = named_spec(options)
    if options.destination is None:
        found = inspect(options.source, spec, options.ema)
        report(options, _document(found), _describe(found))
        return 0
    source, destination = options.source, options.destination
    classifier, raw = options.new_classifier, options.weights_only
    written = convert(source, destination, spec, options.names, options.ema, classifier, raw)
    if isinstance(written, TrainingState):
        name, tensors, layout = written.progress.spec.name, len(written.tensors), TRAINING_LAYOUT
        notes, training = (), progress_document(written.progress)
    else:
        name, tensors, layout = written.spec.name, len(written.state), written.layout
        notes, training = written.notes, None
    document = {"source": source, "destination": destination, "spec": name, "tensors": tensors}
    document |= {"layout": layout, "notes": notes, "training": training}
    lines = [f"{destination}: {name}, {tensors} tensors from {source} ({layout})", *notes]
    lines += [_progress(training)] if training else []
    report(options, document, "\n  ".join(lines))
    return 0


def _document(found: Inspection) -> dict[str, Any]:
    counts = ("tensors", "numbers", "dtypes", "layout", "notes", "problem", "sha256")
    name = found.spec.name if found.spec else None
    return {
        **{"source": found.path, "destination": None, "spec": name},
        **{field: getattr(found, field) for field in (*counts, "metadata", "training")},
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
        lines.append(f"  training  {_progress(found.training)}")
    lines += [f"  note      {note}" for note in found.notes]
    for key, text in found.metadata.items():
        lines.append(f"  metadata  {key}: {text if len(text) <= 80 else text[:77] + '...'}")
    return "\n".join(lines)


def _progress(training: dict[str, Any]) -> str:
    best = training["best"]
    record = (
        f"best {best['metric']} {best['value']:.4g} at step {best['step']}" if best else "no best"
    )
    return (
        f"recipe {training['recipe']}, step {training['step']}, epoch {training['epoch']:.2f}, "
        f"{record}, EMA updates {training['ema_updates']}"
    )
