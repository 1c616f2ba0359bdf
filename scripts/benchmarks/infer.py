"""The workload ``infer``: pixels to logits, in every runtime that a net can be given to."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinynet.spec import Spec, load_spec

from benchmarks.harness import Contestant, Job, Race
from benchmarks.limits import limits
from benchmarks.peers import (
    allow_tf32,
    autocast,
    device_job,
    peer,
    timm_net,
    twin,
    use_threads,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tinynet.net.manifest import State

_CALIBRATION_IMAGES = 8
_TITLES = {"torch": "the PyTorch twin", "mindspore": "the MindSpore twin"}


def races(options: argparse.Namespace) -> list[Race]:
    """One race for each spec, batch size and precision.

    Files and predictors compute float32 on a CPU. Other precisions, and CUDA, are PyTorch's alone.
    """
    if options.device == "cpu" and "tf32" in options.precisions:
        raise ValueError("--precisions has tf32, which is of --device cuda only")
    return [
        _race(options, name, batch, precision)
        for name in options.specs or ["tinynet_a", "tinynet_e"]
        for batch in options.batch_sizes or [1, 32]
        for precision in options.precisions
    ]


def _race(options: argparse.Namespace, name: str, batch: int, precision: str) -> Race:
    net = {"name": name, "batch": batch, "threads": options.threads}
    net |= {"device": options.device, "precision": precision}
    is_of_files = options.device == "cpu" and precision == "float32"
    sides = (_files if is_of_files else _nets)(options, net)
    title = f"infer, {name}, batch {batch}, {precision} on {options.device}"
    return Race(title, "images", batch, [*sides, *limits(net, passes=1)])


def _files(options: argparse.Namespace, net: dict[str, Any]) -> list[Contestant]:
    # What ships: files and predictors, from NumPy's pixels to NumPy's logits.
    shared = {key: net[key] for key in ("name", "batch", "threads")}
    sides = [
        Contestant("ONNX Runtime", deployed_file, shared),
        Contestant("ONNX Runtime, INT8", deployed_file, {**shared, "int8": True}),
    ]
    if net["batch"] > 1:
        sides += [Contestant("ONNX Runtime, the batch as a whole", session, shared)]
    for framework in options.frameworks:
        title, own = _TITLES[framework], {**shared, "framework": framework}
        sides += Contestant(title, predictor, own).with_before(options.before)
        if load_spec(net["name"]).batch_norm is not None:
            sides += [Contestant(f"{title}, not folded", predictor, {**own, "plain": True})]
    last = {**net, "channels_last": True}
    if options.compile:
        quick = {**last, "folded": True, "compiled": True}
        sides += [Contestant("the PyTorch twin --compile", twin_net, quick)]
    return [
        *sides,
        Contestant("OpenVINO, the same file", openvino, shared),
        Contestant("timm channels-last", timm_forward, last),
        Contestant("timm", timm_forward, net),
        Contestant("timm, memory as found", timm_forward, {**net, "keep_memory": False}),
    ]


def _nets(options: argparse.Namespace, net: dict[str, Any]) -> list[Contestant]:
    # PyTorch's nets alone, with the batch on their device.
    folded, last = {**net, "folded": True}, {**net, "channels_last": True}
    own = Contestant("twin", twin_net, {**folded, "channels_last": True})
    sides = [*own.with_before(options.before), Contestant("twin, contiguous", twin_net, folded)]
    if load_spec(net["name"]).batch_norm is not None:
        sides += [Contestant("twin, not folded", twin_net, last)]
    if options.compile:
        quick = {**last, "compiled": True}
        sides += [
            Contestant("twin --compile", twin_net, {**quick, "folded": True}),
            Contestant("timm channels-last, compiled", timm_forward, quick),
        ]
    return [
        *sides,
        Contestant("timm channels-last", timm_forward, last),
        Contestant("timm", timm_forward, net),
    ]


def deployed_file(name: str, batch: int, threads: int, int8: bool = False) -> Job:
    """What evaluate.py does with the file of deploy.py, export.py and, for INT8, quantize.py."""
    peer("onnxruntime")
    from tinynet.deploy.onnx_file import OnnxPredictor

    with tempfile.TemporaryDirectory() as folder:
        predict = OnnxPredictor(_deploy_file(name, Path(folder), int8), threads=threads)
    pixels = _pixels(load_spec(name), batch)
    return Job(lambda: predict(pixels))


def session(name: str, batch: int, threads: int) -> Job:
    """The same file in ONNX Runtime as its documentation has it."""
    onnxruntime = peer("onnxruntime")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory() as folder:
        path = str(_deploy_file(name, Path(folder)))
        session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    given = {session.get_inputs()[0].name: _pixels(load_spec(name), batch)}
    return Job(lambda: session.run(None, given))


def openvino(name: str, batch: int, threads: int) -> Job:
    """The float32 file in OpenVINO, which by itself would choose bfloat16 where it can."""
    core = peer("openvino").Core()
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    with tempfile.TemporaryDirectory() as folder:
        model = core.compile_model(str(_deploy_file(name, Path(folder))), "CPU", settings)
        request = model.create_infer_request()
    pixels = _pixels(load_spec(name), batch)
    return Job(lambda: request.infer([pixels]))


def predictor(framework: str, name: str, batch: int, threads: int, plain: bool = False) -> Job:
    """What evaluate.py and classify.py answer with, in the mode that is fastest.

    Args:
        framework: "torch" or "mindspore".
        name: of the spec.
        batch: images.
        threads: of PyTorch.
        plain: with batch norms in the net, as it is trained.
    """
    used = twin(framework)
    spec, state = load_spec(name), _state(load_spec(name))
    predict = used.predict.Predictor(spec, state)
    net = used.model.make_net(spec, state) if plain else predict.net
    if framework == "torch":
        import torch

        use_threads(threads)
        predict.net = net.eval().to(memory_format=torch.channels_last)
    else:
        predict.net = net.set_train(False)
    pixels = _pixels(spec, batch)
    return Job(lambda: predict(pixels))


def twin_net(name: str, batch: int, folded: bool = False, **how: Any) -> Job:
    """The PyTorch twin's net, on a batch that lies on its device; ``how`` is for ``_forward``."""
    from tinynet.net.folding import fold_batch_norm

    spec, state = load_spec(name), _state(load_spec(name))
    if folded and spec.batch_norm is not None:
        spec, state = fold_batch_norm(spec, state)
    return _forward(twin("torch").model.make_net(spec, state), _pixels(spec, batch), **how)


def timm_forward(name: str, batch: int, keep_memory: bool = True, **how: Any) -> Job:
    """The net of timm, untrained, as a peer of :func:`twin_net`."""
    if keep_memory:
        twin("torch")  # which tunes its process
    return _forward(timm_net(name), _pixels(load_spec(name), batch), **how)


def _forward(
    net: Any,
    images: NDArray[np.float32],
    threads: int,
    device: str,
    precision: str,
    channels_last: bool = False,
    compiled: bool = False,
) -> Job:
    # The same for the twin and for its peer.
    import torch

    use_threads(threads)
    torch.backends.cudnn.benchmark = True  # as timm's scripts have it
    allow_tf32(precision)
    memory = torch.channels_last if channels_last else torch.contiguous_format
    net = net.eval().to(device, memory_format=memory)
    pixels = torch.from_numpy(images).to(device, memory_format=memory)
    mode = "reduce-overhead" if device == "cuda" else "default"
    forward = torch.compile(net, mode=mode) if compiled else net

    def once() -> None:
        with torch.inference_mode(), autocast(device, precision):
            forward(pixels)

    return device_job(once, device)


def _deploy_file(name: str, folder: Path, int8: bool = False) -> Path:
    from tinynet.deploy.int8 import quantize
    from tinynet.deploy.onnx_file import export
    from tinynet.net.folding import deployed

    spec, state = load_spec(name), _state(load_spec(name))
    path = folder / "deploy.onnx"
    export("torch", *deployed(spec, state), path)
    if not int8:
        return path
    quantize(path, folder / "int8.onnx", [_pixels(spec, _CALIBRATION_IMAGES)])
    return folder / "int8.onnx"


def _state(spec: Spec) -> State:
    from parity.inputs import sample_state

    return sample_state(spec, 0, twin("torch"))


def _pixels(spec: Spec, batch: int) -> NDArray[np.float32]:
    import numpy as np

    from parity.inputs import pixels

    # Drawing many of them takes longer than a race.
    few = pixels(spec, min(batch, _CALIBRATION_IMAGES), 0)
    return np.resize(few, (batch, *spec.input_size))
