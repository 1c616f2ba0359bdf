r"""Records what one framework computes with a net: layers, logits, loss, gradients, batch-norm
statistics, optimizer steps and a short stretch of training, with all that numbers may depend on.
Only that framework needs to be installed. `tinynet parity compare` compares two recordings.

Where PyTorch records, the same in float64 and the rounding noise of float32 go into the recording:
the reference. With --from, all that the net is given comes from another recording, bit for bit.

Examples:
  tinynet parity record --framework torch --device cuda --spec tinynet_e --out recordings/cuda
  tinynet parity record --framework mindspore --device ascend --from recordings/cuda \
                        --out recordings/ascend
  tinynet parity record --framework mindspore --weights c.ckpt --out recordings/c

fields of --json: out, framework, version, device, precision, mode, spec, weights, tensors,
has_reference.

exit status: 0 when the recording is written, 2 for a wrong argument or file.
"""

from __future__ import annotations

import argparse

from tinynet.cli.command import Parser, UsageError, report

from parity.cli import options as shared


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    shared.add_shared(parser, "--framework", required=True, default=None, help="what is recorded")
    shared.add_shared(parser, "--spec", "--weights", "--device", "--precision", "--json")
    add("--out", metavar="DIR", required=True, help="a new or an empty folder")
    add("--from", dest="recording", metavar="DIR", help="record from what that recording was given")
    add("--mode", help="of the framework; MindSpore's are pynative (default), graph")
    add("--seed", type=int, metavar="N", help="of pixels, labels, weights (default: 0)")
    add("--recipe", help="what the stretch of training is cut from (default: imagenet_drop_path)")


def run(options: argparse.Namespace) -> int:
    for name in ("spec", "weights", "seed", "recipe"):
        if options.recording and getattr(options, name) is not None:
            raise UsageError(f"--from brings its own {name}, so --{name} is too much")
    from tqdm import tqdm

    from parity.candidates import candidates_of
    from parity.context_training import stretch_recipe
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
            missing = "none of --spec, --weights and --from is given, expected one"
            spec, checkpoint = shared.named_net(options, missing)
            state, weights = (checkpoint.state, checkpoint.source) if checkpoint else (None, "")
            recipe = stretch_recipe(options.recipe) if options.recipe else None
            recording = record(candidate, spec, state, weights, options.seed or 0, recipe, show)
    write_recording(recording, options.out)
    name, tensors, truth = recording.spec.name, len(recording.recorded), bool(recording.truth)
    document = {"out": options.out, **recording.setting._asdict(), "spec": name}
    document |= {"weights": recording.weights, "tensors": tensors, "has_reference": truth}
    beside = ", with the reference's part" * truth
    report(options, document, f"{options.out}: {tensors} tensors of {name} by {candidate}{beside}")
    return 0
