"""The workload ``train``: one optimizer step of a twin against the step people would write."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from tinynet.spec import load_spec

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
    from tinynet.data.loader import TrainingBatch
    from tinynet.recipe import Recipe

# Small, since all contestants train on and on.
_RATE = 1e-6
# Forward, gradients of the inputs, gradients of the weights.
_PASSES = 3


def races(options: argparse.Namespace) -> list[Race]:
    """One race for each spec, batch size, framework and precision."""
    return [
        _RACES[framework](options, name, batch, precision)
        for name in options.specs or ["tinynet_e"]
        for batch in options.batch_sizes or [32]
        for framework in options.frameworks
        for precision in options.precisions
    ]


def _torch_race(options: argparse.Namespace, name: str, batch: int, precision: str) -> Race:
    load_spec(name)
    net = {"name": name, "batch": batch, "threads": options.threads}
    net |= {"device": options.device, "precision": precision}
    own, last = {"framework": "torch", **net}, {**net, "channels_last": True}
    sides = Contestant("twin", twin_step, own).with_before(options.before)
    if options.compile:
        quick = Contestant("twin --compile", twin_step, {**own, "compiled": True})
        sides += quick.with_before(options.before)
        title = "timm channels-last, compiled"
        sides.append(Contestant(title, timm_step, {**last, "compiled": True}))
    sides += [Contestant("timm channels-last", timm_step, last), Contestant("timm", timm_step, net)]
    if options.device == "cpu":
        found = {**net, "keep_memory": False}
        sides.append(Contestant("timm, memory as found", timm_step, found))
    sides += limits(net, _PASSES)
    return Race(_title("PyTorch", name, batch, precision, options.device), "images", batch, sides)


def _mindspore_race(options: argparse.Namespace, name: str, batch: int, precision: str) -> Race:
    load_spec(name)
    shared = {"name": name, "batch": batch}
    net = {**shared, "threads": options.threads, "device": "cpu", "precision": precision}
    # By itself MindSpore takes all cores, and oneDNN what the processor has.
    found = {"OMP_NUM_THREADS": None, "ONEDNN_MAX_CPU_ISA": "DEFAULT"}
    own = Contestant("twin", twin_step, {"framework": "mindspore", **net})
    sides = [
        *own.with_before(options.before),
        Contestant("@jit function", jit_step, shared),
        Contestant("@jit function, machine as found", jit_step, shared, found),
        Contestant("the PyTorch twin", twin_step, {"framework": "torch", **net}),
        Contestant("timm in PyTorch", timm_step, net),
    ]
    return Race(_title("MindSpore", name, batch, precision, "cpu"), "images", batch, sides)


_RACES = {"torch": _torch_race, "mindspore": _mindspore_race}


def _title(framework: str, name: str, batch: int, precision: str, device: str) -> str:
    return f"train, {framework}, {name}, batch {batch}, {precision} on {device}"


def twin_step(
    framework: str,
    name: str,
    batch: int,
    threads: int,
    device: str,
    precision: str,
    compiled: bool | None = None,
) -> Job:
    """A twin's whole step: copies to the device, forward, backward, RMSProp, average."""
    from tinynet.checkpoints.training_state import initial_training_state

    if framework == "torch":
        use_threads(threads)
    used = twin(framework)
    recipe = _recipe(batch)
    start = initial_training_state(load_spec(name), recipe, 0, batch, "")
    step = used.step.TrainStep(
        start,
        used.distributed.join(device),
        precision=precision,
        compiled=used.step.COMPILED if compiled is None else compiled,
    )
    batches = [_batch(name, batch)]
    if framework == "mindspore":
        return Job(lambda: step(batches, _RATE, 0.9999).tolist())
    return device_job(lambda: step(batches, _RATE, 0.9999), device)


def timm_step(
    name: str,
    batch: int,
    threads: int,
    device: str,
    precision: str,
    channels_last: bool = False,
    compiled: bool = False,
    keep_memory: bool = True,
) -> Job:
    """What timm's training script does with a batch, by default without an average.

    Source: timm 1.0, ``train.py``: RMSpropTF, autocast, cuDNN's benchmark.
    """
    if keep_memory:
        twin("torch")  # which tunes its process
    import torch

    use_threads(threads)
    memory = torch.channels_last if channels_last else torch.contiguous_format
    net: Any = timm_net(name).train().to(device, memory_format=memory)
    optimizer = peer("timm.optim").RMSpropTF(
        net.parameters(), lr=_RATE, momentum=0.9, weight_decay=1e-5
    )
    torch.backends.cudnn.benchmark = True
    allow_tf32(precision)
    given = _batch(name, batch)
    images, labels = torch.from_numpy(given.images), torch.from_numpy(given.labels).long()
    if device == "cuda":
        images, labels = images.pin_memory(), labels.pin_memory()
    forward = torch.compile(net) if compiled else net

    def once() -> None:
        # uint8 to the device and scaled there, as timm's prefetcher does.
        pixels = images.to(device, non_blocking=True).permute(0, 3, 1, 2).float().div(255)
        pixels = pixels.contiguous(memory_format=memory)
        optimizer.zero_grad()
        with autocast(device, precision):
            loss = torch.nn.functional.cross_entropy(
                forward(pixels), labels.to(device, non_blocking=True), label_smoothing=0.1
            )
        loss.backward()
        optimizer.step()

    return device_job(once, device)


def jit_step(name: str, batch: int) -> Job:
    """A step as MindSpore's tutorials write it: a function under @jit, with nn.RMSProp."""
    model = twin("mindspore").model
    import mindspore as ms  # after the twin, which sets its environment
    from mindspore import nn

    net = model.TinyNet(load_spec(name)).set_train()
    optimizer = nn.RMSProp(net.trainable_params(), _RATE, momentum=0.9, weight_decay=1e-5)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)

    def forward(images: ms.Tensor, labels: ms.Tensor) -> ms.Tensor:
        return criterion(net(images), labels)

    # Positions may be None by MindSpore's documentation, not by its types.
    compute: Any = ms.value_and_grad(forward, None, optimizer.parameters)  # pyright: ignore

    @ms.jit
    def function(images: ms.Tensor, labels: ms.Tensor) -> ms.Tensor:
        loss, gradients = compute(images, labels)
        optimizer(gradients)
        return loss

    given = _batch(name, batch)
    pixels = (given.images.transpose(0, 3, 1, 2) / 255).astype("float32")
    images, labels = ms.Tensor(pixels), ms.Tensor(given.labels)
    return Job(lambda: function(images, labels).asnumpy())


def _batch(name: str, size: int) -> TrainingBatch:
    import numpy as np

    from tinynet.data.loader import TrainingBatch
    from tinynet.data.masks import draw_masks
    from tinynet.data.sampling import samples_at
    from tinynet.utils.random_numbers import uniform

    spec = load_spec(name)
    channels, height, width = spec.input_size
    masks = draw_masks(spec, _recipe(size), 0, samples_at(range(size), size, 0))
    return TrainingBatch(
        images=(256 * uniform((size, height, width, channels), "benchmark")).astype(np.uint8),
        labels=np.arange(size, dtype=np.int32) % spec.num_classes,
        dropout=masks.dropout,
        drop_path=masks.drop_path,
        skipped=(),
    )


def _recipe(batch: int) -> Recipe:
    from tinynet.recipe import load_recipe

    return load_recipe("imagenet", [f"batch_size={batch}"])
