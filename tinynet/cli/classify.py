"""Says what images show: the five most probable classes of each, with their names.

An IMAGE that is a folder means the images right in it. For onnx, FILE is an .onnx file that
`export` wrote; otherwise any file that `convert` reads.

Examples:
  tinynet classify photo.jpg --weights tinynet_c.safetensors
  tinynet classify holiday/ --weights tinynet_c.onnx
  tinynet classify a.jpg b.png --weights tinynet_c.safetensors --framework mindspore --json
"""

from __future__ import annotations

import argparse
from typing import Any

from tinynet.cli.command import Parser, report
from tinynet.cli.options import add_shared, named_spec


def add_arguments(parser: Parser) -> None:
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="an image file, or a folder")
    add_shared(parser, "--weights", "--ema", "--spec", "--device", "--json")
    usual = "(default: by the suffix of FILE, torch where any would do)"
    add_shared(parser, "--framework", choices=("torch", "mindspore", "onnx"), help=usual)


def run(options: argparse.Namespace) -> int:
    from tinynet.data.image_folder import list_images
    from tinynet.data.labels import class_names
    from tinynet.data.preprocessing import load_input
    from tinynet.deploy.runtimes import open_runtime, usual_runtime
    from tinynet.training.evaluation import check_finite, top_classes

    files = [file for image in options.images for file in list_images(image)]
    weights, spec, device, ema = options.weights, named_spec(options), options.device, options.ema
    framework = options.framework or usual_runtime(weights)
    runtime = open_runtime(framework, weights, spec, device, compiled=False, ema=ema)
    names = class_names(runtime.spec)
    answers: list[dict[str, Any]] = []
    lines: list[str] = []
    for file in files:
        # One at a time: a handful of images, and the answers never depend on one another.
        logits = runtime.predict(load_input(file, runtime.spec)[None])
        check_finite(logits, [file])
        top = top_classes(logits)
        five: list[int] = top.classes[0].tolist()
        shares: list[float] = top.probabilities[0].tolist()
        said = [names[index] for index in five]
        answers.append({"file": file, "top5": five, "probabilities": shares, "names": said})
        lines.append(file)
        lines += [
            f"  {100 * share:5.1f} %  {name}" for share, name in zip(shares, said, strict=True)
        ]
    document = {"framework": runtime.name, "spec": runtime.spec.name, "images": answers}
    report(options, document, "\n".join(lines))
    return 0
