"""Evaluates weights on a folder of labelled images: top-1, top-5 and mean cross-entropy, every
image counted exactly once. The pixels are the same bits in every runtime.

DATA has a folder of images for each class, as ImageNet's validation set: named after the classes
(WordNet ids for ImageNet's), any subset of them; or any names, as many as the net has classes,
numbered in sorted order. It may be a .zip file of such folders, or what `train` takes, of which the
images to validate on are meant.

For onnx, FILE is an .onnx file of `export`; otherwise any file that `convert` reads, a training
checkpoint too: its weights as they were trained, or with --ema the averaged ones.

--against evaluates another file on the same images, in ONNX Runtime if it ends in .onnx, else in
the framework that is named (its format's own, if that is onnx): what did quantising, folding or
converting cost? It says both results, their difference and how many images have another answer.

Examples:
  tinynet evaluate --framework torch --weights tinynet_c.safetensors --data imagenet/val
  tinynet evaluate --framework mindspore --weights tinynet_c.ckpt --data imagenet/val --device gpu
  tinynet evaluate --framework torch --weights runs/digits/best.safetensors --ema --data digits
  tinynet evaluate --framework onnx --weights tinynet_c.onnx --data val --predictions val.jsonl
  tinynet evaluate --framework onnx --weights c_int8.onnx --against c.onnx --data imagenet/val

--predictions writes one JSON object a line and image: file (in DATA), label (class number), top5
(class numbers, best first; equal logits by number) and their probabilities.

With --against the object of --json has one more field, against: weights, framework, spec, top1,
top5, loss and images_per_second of the other file, and changed, the number of images with another
answer.
"""

from __future__ import annotations

import argparse
import json
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinynet.cli.command import Parser, report
from tinynet.cli.options import add_shared, named_spec
from tinynet.utils.processes import processors

if TYPE_CHECKING:
    from tinynet.data.sources import Source
    from tinynet.deploy.runtimes import Runtime
    from tinynet.training.evaluation import Evaluation


def add_arguments(parser: Parser) -> None:
    add_shared(parser, "--framework", required=True, choices=("torch", "mindspore", "onnx"))
    add_shared(parser, "--weights", "--ema", "--spec", "--device", "--json")
    add = parser.add_argument
    add("--data", required=True, metavar="DATA", help="the images")
    add("--batch-size", type=int, default=32, metavar="N", help="(default: 32)")
    usual, threads = min(8, processors()), "that decode images (default: one a core, at most 8)"
    add("--workers", type=int, default=usual, metavar="N", help=f"threads {threads}")
    add("--against", metavar="FILE", help="another file to evaluate and compare")
    add("--predictions", metavar="FILE", help="write the answer for each image")


def run(options: argparse.Namespace) -> int:
    from tinynet.data.open_data import open_validation
    from tinynet.deploy.runtimes import RUNTIMES, open_runtime, usual_runtime
    from tinynet.utils.atomic_files import check_destination, write_atomically

    if options.predictions is not None:
        check_destination(options.predictions)
    spec, device, ema = named_spec(options), options.device, options.ema
    runtime = open_runtime(options.framework, options.weights, spec, device, ema=ema)
    source = open_validation(options.data, runtime.spec)
    other = None
    if options.against is not None:
        usual = usual_runtime(options.against)
        name = usual if "onnx" in (usual, options.framework) else options.framework
        other = open_runtime(name, options.against, spec, device, ema=ema)
        if other.spec.num_classes != runtime.spec.num_classes:
            expected = f"expected {runtime.spec.num_classes}, those of {options.weights}"
            raise ValueError(f"{options.against}: has {other.spec.num_classes} classes, {expected}")
    result = _evaluate(runtime, source, options)
    if options.predictions is not None:
        write = partial(_write, root=options.data, source=source, result=result)
        write_atomically(options.predictions, write)
    document = _document(runtime, result)
    if other is None:
        report(options, document, _describe(runtime, result))
        return 0
    before = _evaluate(other, source, options)
    answers = result.top.classes[:, 0] != before.top.classes[:, 0]
    changed = int(answers[result.labels >= 0].sum())
    against = {"weights": options.against, **_document(other, before), "changed": changed}
    text = f"{_title(runtime, result)}\nagainst {options.against} in {RUNTIMES[other.name]}\n"
    text += f"{_differences(result, before)}\n"
    text += f"another answer for {changed} of {result.images} images"
    report(options, {**document, "against": against}, text)
    return 0


def _evaluate(runtime: Runtime, source: Source, options: argparse.Namespace) -> Evaluation:
    from tqdm import tqdm

    from tinynet.data.evaluation_batches import Prepared
    from tinynet.training.evaluation import evaluate

    dataset = Prepared(source, runtime.spec)
    # disable=None: no bar in a file or a pipe.
    with tqdm(total=len(dataset), unit=" images", disable=None, leave=False) as progress:
        size, workers, shown = options.batch_size, options.workers, progress.update
        return evaluate(runtime.predict, dataset, size, workers, shown, source.name)


def _document(runtime: Runtime, result: Evaluation) -> dict[str, Any]:
    measured = ("images", "top1", "top5", "loss", "images_per_second")
    names = {"framework": runtime.name, "spec": runtime.spec.name}
    return {**names, **{name: getattr(result, name) for name in measured}}


def _title(runtime: Runtime, result: Evaluation) -> str:
    from tinynet.deploy.runtimes import RUNTIMES

    return f"{runtime.spec.name} in {RUNTIMES[runtime.name]}, images: {result.images}"


def _describe(runtime: Runtime, result: Evaluation) -> str:
    return (
        f"{_title(runtime, result)}\n"
        f"top-1  {result.top1:7.3f} %\n"
        f"top-5  {result.top5:7.3f} %\n"
        f"loss   {result.loss:7.4f}\n"
        f"{result.images_per_second:.1f} images/s"
    )


def _differences(now: Evaluation, was: Evaluation) -> str:
    return (
        f"top-1  {now.top1:7.3f} %, was {was.top1:7.3f} %: {now.top1 - was.top1:+.3f}\n"
        f"top-5  {now.top5:7.3f} %, was {was.top5:7.3f} %: {now.top5 - was.top5:+.3f}\n"
        f"loss   {now.loss:7.4f}  , was {was.loss:7.4f}  : {now.loss - was.loss:+.4f}"
    )


def _write(file: Path, root: str, source: Source, result: Evaluation) -> None:
    with file.open("w", encoding="utf-8") as lines:
        for index, (classes, probabilities) in enumerate(zip(*result.top, strict=True)):
            name = source.name(index)
            line = {
                "file": os.path.relpath(name, root) if Path(name).is_relative_to(root) else name,
                "label": source.label(index),
                "top5": classes.tolist(),
                "probabilities": probabilities.tolist(),
            }
            print(json.dumps(line), file=lines)
