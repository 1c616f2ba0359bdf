"""Evaluates weights on a folder of labelled images."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinynet.cli.command import Parser
from tinynet.utils.processes import processors

if TYPE_CHECKING:
    from tinynet.data.sources import Source
    from tinynet.deploy.runtimes import Runtime
    from tinynet.training.evaluation import Evaluation

DESCRIPTION = """\
Evaluates weights on a folder of labelled images: top-1, top-5 and mean cross-entropy, every image
counted exactly once. The pixels are the same bits in every runtime.

DATA has a folder of images for each class, as ImageNet's validation set: named after the classes
(WordNet ids for ImageNet's), any subset of them; or any names, as many as the net has classes,
numbered in sorted order. It may be a .zip file of such. Or it is what train.py takes, and the
images to validate on are meant.

For onnx, FILE is an .onnx file of export.py; otherwise any file that convert.py reads, a training
checkpoint too: its weights as they were trained, or with --ema the averaged ones.

--against evaluates another file on the same images, in ONNX Runtime if it ends in .onnx, else in
the framework that is named (its format's own, if that is onnx): what did quantising, folding or
converting cost? It says both results, their difference and how many images have another answer.
"""

EXAMPLES = """\
examples:
  evaluate.py --framework torch --weights tinynet_c.safetensors --data imagenet/val
  evaluate.py --framework mindspore --weights tinynet_c.ckpt --data imagenet/val --device ascend
  evaluate.py --framework torch --weights runs/digits/best.safetensors --ema --data digits
  evaluate.py --framework onnx --weights tinynet_c.onnx --data val --predictions val.jsonl
  evaluate.py --framework onnx --weights c_int8.onnx --against c.onnx --data imagenet/val

--predictions writes one JSON object a line and image: file (in DATA), label (class number), top5
(class numbers, best first; equal logits by number) and their probabilities.

With --against the object of --json has one more field, against: weights, framework, spec, top1,
top5, loss and images_per_second of the other file, and changed, the number of images with another
answer.
"""


def main(argv: list[str] | None = None) -> None:
    """Parses the arguments, evaluates and reports."""
    options = _parse(argv)
    # Imported here, so that --help answers at once.
    from tqdm import tqdm

    from tinynet.data.evaluation_batches import Prepared
    from tinynet.data.open_data import open_validation
    from tinynet.deploy.runtimes import RUNTIMES, open_runtime, usual_runtime
    from tinynet.spec import load_spec
    from tinynet.training.evaluation import evaluate
    from tinynet.utils.atomic_files import check_destination, write_atomically

    if options.predictions is not None:
        check_destination(options.predictions)
    spec = load_spec(options.spec) if options.spec else None
    runtime = open_runtime(
        options.framework, options.weights, spec, options.device, ema=options.ema
    )
    source = open_validation(options.data, runtime.spec)

    def evaluated(answering: Runtime) -> Evaluation:
        dataset = Prepared(source, answering.spec)
        # disable=None: no bar where nobody looks, in a file or a pipe.
        with tqdm(total=len(dataset), unit=" images", disable=None, leave=False) as progress:
            return evaluate(
                answering.predict,
                dataset,
                options.batch_size,
                options.workers,
                on_batch=progress.update,
                image_name=source.name,
            )

    other = None
    if options.against is not None:
        usual = usual_runtime(options.against)
        name = usual if "onnx" in (usual, options.framework) else options.framework
        other = open_runtime(name, options.against, spec, options.device, ema=options.ema)
        if other.spec.num_classes != runtime.spec.num_classes:
            raise ValueError(
                f"{options.against}: has {other.spec.num_classes} classes, expected "
                f"{runtime.spec.num_classes}, those of {options.weights}"
            )
    result = evaluated(runtime)
    if options.predictions is not None:
        write_atomically(
            options.predictions, lambda file: _write(file, options.data, source, result)
        )
    report = _report(runtime, result)
    if other is not None:
        before = evaluated(other)
        answers = result.top.classes[:, 0] != before.top.classes[:, 0]
        report["against"] = {
            "weights": options.against,
            **_report(other, before),
            "changed": int(answers[result.labels >= 0].sum()),
        }
    if options.json:
        print(json.dumps(report))
        return
    print(f"{runtime.spec.name} in {RUNTIMES[runtime.name]}, images: {result.images}")
    if other is None:
        print(f"top-1  {result.top1:7.3f} %")
        print(f"top-5  {result.top5:7.3f} %")
        print(f"loss   {result.loss:7.4f}")
        print(f"{result.images_per_second:.1f} images/s")
        return
    was = report["against"]
    print(f"against {options.against} in {RUNTIMES[other.name]}")
    for name, key in (("top-1", "top1"), ("top-5", "top5")):
        print(f"{name}  {report[key]:7.3f} %, was {was[key]:7.3f} %: {report[key] - was[key]:+.3f}")
    print(
        f"loss   {result.loss:7.4f}  , was {was['loss']:7.4f}  : {result.loss - was['loss']:+.4f}"
    )
    print(f"another answer for {was['changed']} of {result.images} images")


def _report(runtime: Runtime, result: Evaluation) -> dict[str, Any]:
    return {
        "framework": runtime.name,
        "spec": runtime.spec.name,
        "images": result.images,
        "top1": result.top1,
        "top5": result.top5,
        "loss": result.loss,
        "images_per_second": result.images_per_second,
    }


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(DESCRIPTION, EXAMPLES)
    parser.add_argument("--framework", required=True, choices=("torch", "mindspore", "onnx"))
    parser.add_argument("--weights", required=True, metavar="FILE", help="the file of weights")
    parser.add_argument("--data", required=True, metavar="DATA", help="the images")
    parser.add_argument(
        "--ema", action="store_true", help="the averaged weights, where FILE has both"
    )
    parser.add_argument("--spec", help="name (tinynet_c) or .json file, if not the file's own")
    parser.add_argument(
        "--device",
        default="cpu",
        help="cpu; cuda for torch; gpu or ascend for mindspore (default: cpu)",
    )
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="(default: 32)")
    parser.add_argument(
        "--workers",
        type=int,
        default=min(8, processors()),
        metavar="N",
        help="threads that decode images (default: one a core, at most 8)",
    )
    parser.add_argument("--against", metavar="FILE", help="another file to evaluate and compare")
    parser.add_argument("--predictions", metavar="FILE", help="write the answer for each image")
    parser.add_argument("--json", action="store_true", help="report as one JSON object")
    return parser.parse_args(argv)


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
