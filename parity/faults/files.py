"""Faults in what is kept and leaves a twin: names, files, resumed runs, ONNX, answers."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tinynet.checkpoints import training_state
from tinynet.net import manifest
from tinynet.training import evaluation, loop

from parity.faults.planting import BOTH, MINDSPORE, TORCH, Group, Original, with_new_statistics

# Faults in names, in states of nets, and in files of weights.

CONVERSION = Group("conversion")


@CONVERSION(manifest.mindspore_keys, "layers-isolated", "bn1", answers="MINDSPORE_LEAVES")
def swapped_batch_norm_leaves(right: Original, spec: Any) -> dict[str, str]:
    """Batch norm's scale and shift have each other's name in MindSpore."""
    leaves = {"gamma": "beta", "beta": "gamma"}
    names = {key: name.rpartition(".") for key, name in right(spec).items()}
    return {k: f"{module}.{leaves.get(leaf, leaf)}" for k, (module, _, leaf) in names.items()}


@CONVERSION("model:write_state", "parameters", "classifier.weight", BOTH)
def transposed_classifier(right: Original, net: Any, state: Any) -> None:
    """The classifier's weights are written in the order of their transpose."""
    weight = state["classifier.weight"]
    right(net, {**state, "classifier.weight": weight.T.reshape(weight.shape)})


@CONVERSION(
    "model:write_state", "parameters", "blocks.0.0.se.conv_reduce.bias", BOTH, official=True
)
def loading_is_not_strict(right: Original, net: Any, state: Any) -> None:
    """Tensors that go by another name are passed over in silence: biases of squeeze-excites."""
    missed = {key: np.zeros_like(a) for key, a in state.items() if ".se." in key and a.ndim == 1}
    right(net, {**state, **missed})


@CONVERSION("native_files:save_native", "checkpoints", "whole file", MINDSPORE)
def half_precision_in_the_file(right: Original, path: Any, state: Any, *args: Any) -> None:
    """A file of weights holds them in half precision."""
    # The file's checksum is of what is written, so that it does not notice.
    rounded = {k: v.astype(np.float16).astype(np.float32) for k, v in state.items()}
    right(path, rounded, *args)


@CONVERSION("native_files:load_native", "checkpoints", "whole file", TORCH)
def statistics_not_loaded(right: Original, path: Any) -> Any:
    """Reading a file of weights leaves batch-norm statistics as a new net has them."""
    found = right(path)
    tensors = with_new_statistics(found.content["state_dict"])
    return dataclasses.replace(found, content={"state_dict": tensors})


@CONVERSION(manifest.canonical_key, "checkpoints", "whole file")
def leaves_swapped_on_the_way_back(right: Original, name: str) -> str:
    """Batch norm's scale and shift get each other's name when a file of MindSpore's is read."""
    module, _, leaf = name.rpartition(".")
    swapped = {"gamma": "bias", "beta": "weight"}
    return f"{module}.{swapped[leaf]}" if leaf in swapped else right(name)


# Faults in checkpoints of training, and in going on from them.

RESUME = Group("resume")


@RESUME("step:TrainStep.__init__", "resume", "conv_stem.weight", BOTH, official=True)
def weights_only(right: Original, step: Any, state: Any, *args: Any, **settings: Any) -> None:
    """A resumed run has its weights only; what the optimizer kept and the average are lost."""
    if state.progress.step > 0:
        slots = {
            slot: {key: np.full_like(a, float(slot == "mean_square")) for key, a in arrays.items()}
            for slot, arrays in state.slots.items()
        }
        state = dataclasses.replace(state, slots=slots, ema=dict(state.weights))
    right(step, state, *args, **settings)


@RESUME("step:TrainStep.__init__", "resume", "bn1.running_mean", MINDSPORE)
def statistics_lost(right: Original, step: Any, state: Any, *args: Any, **settings: Any) -> None:
    """A resumed run starts its batch-norm statistics again."""
    if state.progress.step > 0:
        state = dataclasses.replace(state, weights=with_new_statistics(state.weights))
    right(step, state, *args, **settings)


@RESUME("tinynet.training.loop:load_batches", "resume", "conv_stem.weight", answers=loop.train)
def samples_from_the_beginning(right: Original, *args: Any, **settings: Any) -> Any:
    """A resumed run begins with the first samples again."""
    steps = settings["last_step"] - settings["first_step"]
    return right(*args, **settings | {"first_step": 0, "last_step": steps})


@RESUME(training_state.unpack_training, "resume", "conv_stem.weight")
def progress_lost(right: Original, *args: Any) -> Any:
    """A checkpoint does not tell how far the run was: schedule and samples begin again."""
    state = right(*args)
    start = dataclasses.replace(state.progress, step=0, ema_updates=0)
    return dataclasses.replace(state, progress=start)


@RESUME("native_files:save_training", "resume", "loss of step *", BOTH)
def momentum_not_moved(right: Original, path: Any, state: Any) -> None:
    """A run that moves to the other framework loses the optimizer's momentum."""
    zeros = {key: np.zeros_like(array) for key, array in state.slots["momentum"].items()}
    right(path, dataclasses.replace(state, slots={**state.slots, "momentum": zeros}))


# Faults in what leaves a twin: ONNX files, answers and how they are counted.

EXPORT = Group("export")


@EXPORT("export:_reorder_pads", "onnx", "classifier", MINDSPORE, answers="", spec="uneven")
def padding_in_mindspores_order(right: Original, model: Any) -> None:
    """ONNX files have the padding in MindSpore's order of sides, as its exporter writes it."""


@EXPORT("export:make_net", "metrics", "*.jpg", TORCH, answers="export_onnx")
def first_weights_exported(right: Original, spec: Any, state: Any) -> Any:
    """An ONNX file holds weights of a new net instead of those given."""
    return right(spec)


@EXPORT("export:make_net", "onnx", "classifier", MINDSPORE, answers="export_onnx")
def statistics_not_exported(right: Original, spec: Any, state: Any) -> Any:
    """An ONNX file holds batch-norm statistics of a new net instead of those given."""
    return right(spec, with_new_statistics(state))


@EXPORT(evaluation.top_classes, "metrics", "top-5")
def four_counted_as_five(right: Original, logits: Any) -> Any:
    """Top-5 counts the first four classes."""
    found = right(logits)
    return found._replace(classes=found.classes[:, :4])


@EXPORT("predict:Predictor.__call__", "metrics", "rocket.jpg", MINDSPORE)
def padding_answered(right: Original, predictor: Any, images: Any) -> Any:
    """Of a batch that was filled up, the filling is answered instead of the images."""
    count, whole = len(images), max(predictor.batch_size, len(images))
    filling = np.zeros((whole - count, *images.shape[1:]), images.dtype)
    return right(predictor, np.concatenate([images, filling]))[whole - count :]


@EXPORT("predict:Predictor.__init__", "metrics", "*.jpg", MINDSPORE)
def answers_in_training_mode(
    right: Original, predictor: Any, spec: Any, state: Any, *args: Any, **more: Any
) -> None:
    """A net that answers normalises by its batch and not by its statistics."""
    right(predictor, spec, state, *args, **more)
    model = right.twin.model
    # With its batch norms: where they are folded there is nothing to normalise by.
    predictor.net = net = model.make_net(spec, state).set_train(True)
    predictor.write = lambda state: model.write_state(net, state)  # pyright: ignore
