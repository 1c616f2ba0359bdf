"""Records a recording, where only one framework is installed."""

from __future__ import annotations

import argparse
import json

from tinynet.cli.command import Parser

DESCRIPTION = """\
Records what one framework computes with a net: layers, logits, loss, gradients, batch-norm
statistics, optimizer steps and a short stretch of training, with all that numbers may depend on.
Only that framework needs to be installed. `parity.py compare` compares two recordings.

Where PyTorch records, the same in float64 and the rounding noise of float32 go into the recording:
the reference's part. With --from, everything that the net is given comes from another recording,
bit for bit.
"""

EXAMPLES = """\
examples:
  parity.py record --framework torch --device cuda --spec tinynet_e --out recordings/cuda
  parity.py record --framework mindspore --from recordings/cuda --out recordings/mindspore
  parity.py record --framework mindspore --weights c.ckpt --out recordings/c

fields of --json: out, framework, version, device, precision, mode, spec, weights, tensors,
has_reference.

exit status: 0 when the recording is written, 2 for a wrong argument or file.
"""


def main(argv: list[str]) -> int:
    """Parses the arguments, records and writes the recording."""
    options = _parse(argv)
    # Imported here, so that --help answers at once.
    from tqdm import tqdm

    from tinynet.checkpoints.files import load_checkpoint
    from tinynet.spec import load_spec

    from parity.context import candidates_of, stretch_recipe
    from parity.recordings.format import check_free, read_recording, write_recording
    from parity.recordings.record import PARTS, record, record_again

    check_free(options.out)
    modes = (options.mode,) if options.mode else ()
    candidate = candidates_of(options.framework, modes, options.device, options.precision)[0]
    with tqdm(total=len(PARTS), unit=" parts", disable=None) as bar:

        def show(part: str) -> None:
            bar.set_description(part)
            bar.update()

        if options.recording:
            recording = record_again(candidate, read_recording(options.recording), show)
        else:
            spec = load_spec(options.spec) if options.spec else None
            state, weights = None, ""
            if options.weights:
                checkpoint = load_checkpoint(options.weights, spec)
                spec, state, weights = checkpoint.spec, checkpoint.state, checkpoint.source
            elif spec is None:
                raise ValueError("none of --spec, --weights and --from is given, expected one")
            recipe = stretch_recipe(options.recipe) if options.recipe else None
            recording = record(candidate, spec, state, weights, options.seed or 0, recipe, show)
    write_recording(recording, options.out)
    tensors, has_reference = len(recording.recorded), bool(recording.truth)
    if options.json:
        what = {"spec": recording.spec.name, "weights": recording.weights}
        found = {"out": options.out, **recording.setting._asdict(), **what}
        print(json.dumps({**found, "tensors": tensors, "has_reference": has_reference}))
    else:
        beside = ", with the reference's part" if has_reference else ""
        print(f"{options.out}: {tensors} tensors of {recording.spec.name} by {candidate}{beside}")
    return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(DESCRIPTION, EXAMPLES)
    parser.prog = "parity.py record"
    parser.add_argument("--framework", choices=("mindspore", "torch"), required=True)
    parser.add_argument("--out", metavar="DIR", required=True, help="a new or an empty folder")
    parser.add_argument("--spec", help="name of a shipped spec, or path of a JSON file")
    parser.add_argument("--weights", metavar="FILE", help="a checkpoint; any that convert.py reads")
    parser.add_argument(
        "--from", dest="recording", metavar="DIR", help="record from what this recording was given"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, gpu, ascend (default cpu)")
    parser.add_argument(
        "--precision", default="float32",
        help="float32, tf32, bfloat16, float16, as far as the framework has it (default float32)",
    )  # fmt: skip
    parser.add_argument(
        "--mode", help="of the framework; MindSpore's are pynative (default), graph"
    )
    parser.add_argument("--seed", type=int, help="of pixels, labels, weights (default 0)")
    parser.add_argument(
        "--recipe", metavar="RECIPE",
        help="what the stretch of training is shortened from (default imagenet_drop_path)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    options = parser.parse_args(argv)
    if options.recording:
        for name in ("spec", "weights", "seed", "recipe"):
            if getattr(options, name) is not None:
                parser.error(f"--from brings its own {name}, so --{name} is too much")
    return options
