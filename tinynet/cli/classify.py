"""Says what images show: the five most probable classes of each."""

from __future__ import annotations

import argparse
import json
from typing import Any

from tinynet.cli.command import Parser

DESCRIPTION = """\
Says what images show: the five most probable classes of each, with their names.

An IMAGE that is a folder means the images right in it. For onnx, FILE is an .onnx file of
export.py; otherwise any file that convert.py reads.
"""

EXAMPLES = """\
examples:
  classify.py photo.jpg --weights tinynet_c.safetensors
  classify.py holiday/ --weights tinynet_c.onnx
  classify.py a.jpg b.png --weights tinynet_c.safetensors --framework mindspore --json
"""


def main(argv: list[str] | None = None) -> None:
    """Parses the arguments, classifies and prints."""
    options = _parse(argv)
    # Imported here, so that --help answers at once.
    from tinynet.data.image_folder import list_images
    from tinynet.data.labels import class_names
    from tinynet.data.preprocessing import load_input
    from tinynet.deploy.runtimes import open_runtime, usual_runtime
    from tinynet.spec import load_spec
    from tinynet.training.evaluation import check_finite, top_classes

    files = [file for image in options.images for file in list_images(image)]
    spec = load_spec(options.spec) if options.spec else None
    name = options.framework or usual_runtime(options.weights)
    runtime = open_runtime(
        name, options.weights, spec, options.device, compiled=False, ema=options.ema
    )
    names = class_names(runtime.spec)
    answers: list[dict[str, Any]] = []
    for file in files:
        # One at a time: a handful of images, and the answers never depend on one another.
        logits = runtime.predict(load_input(file, runtime.spec)[None])
        check_finite(logits, [file])
        top = top_classes(logits)
        answers.append(
            {
                "file": file,
                "top5": top.classes[0].tolist(),
                "probabilities": top.probabilities[0].tolist(),
                "names": [names[index] for index in top.classes[0]],
            }
        )
    if options.json:
        report = {"framework": runtime.name, "spec": runtime.spec.name, "images": answers}
        print(json.dumps(report, ensure_ascii=False))
        return
    for answer in answers:
        print(answer["file"])
        for probability, name in zip(answer["probabilities"], answer["names"], strict=True):
            print(f"  {100 * probability:5.1f} %  {name}")


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(DESCRIPTION, EXAMPLES)
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="an image file, or a folder")
    parser.add_argument("--weights", required=True, metavar="FILE", help="the file of weights")
    parser.add_argument(
        "--framework",
        choices=("torch", "mindspore", "onnx"),
        help="(default: by the suffix of FILE, torch where any would do)",
    )
    parser.add_argument(
        "--ema", action="store_true", help="the averaged weights, where FILE has both"
    )
    parser.add_argument("--spec", help="name (tinynet_c) or .json file, if not the file's own")
    parser.add_argument(
        "--device",
        default="cpu",
        help="cpu; cuda for torch; gpu or ascend for mindspore (default: cpu)",
    )
    parser.add_argument("--json", action="store_true", help="report as one JSON object")
    return parser.parse_args(argv)
