"""Faults in what leaves a twin: ONNX files, answers and how they are counted."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinynet.training import evaluation

from parity.faults.planting import Group, Original, with_new_statistics

GROUP = Group("export")


@GROUP.fault(
    "export:_reorder_pads", "onnx", "classifier", ("mindspore",), answers="", spec="uneven"
)
def padding_in_mindspores_order(right: Original, model: Any) -> None:
    """ONNX files have the padding in MindSpore's order of sides, as its exporter writes it."""


@GROUP.fault("export:make_net", "metrics", "*.jpg", ("torch",), answers="export_onnx")
def first_weights_exported(right: Original, spec: Any, state: Any) -> Any:
    """An ONNX file holds weights of a new net instead of those given."""
    return right(spec)


@GROUP.fault("export:make_net", "onnx", "classifier", ("mindspore",), answers="export_onnx")
def statistics_not_exported(right: Original, spec: Any, state: Any) -> Any:
    """An ONNX file holds batch-norm statistics of a new net instead of those given."""
    return right(spec, with_new_statistics(state))


@GROUP.fault(evaluation.top_classes, "metrics", "top-5")
def four_counted_as_five(right: Original, logits: Any) -> Any:
    """Top-5 counts the first four classes."""
    found = right(logits)
    return found._replace(classes=found.classes[:, :4])


@GROUP.fault("predict:Predictor.__call__", "metrics", "rocket.jpg", ("mindspore",))
def padding_answered(right: Original, predictor: Any, images: Any) -> Any:
    """Of a batch that was filled up, the filling is answered instead of the images."""
    count, whole = len(images), max(predictor.batch_size, len(images))
    filling = np.zeros((whole - count, *images.shape[1:]), images.dtype)
    return right(predictor, np.concatenate([images, filling]))[whole - count :]


@GROUP.fault("predict:Predictor.__init__", "metrics", "*.jpg", ("mindspore",))
def answers_in_training_mode(
    right: Original, predictor: Any, spec: Any, state: Any, *args: Any, **more: Any
) -> None:
    """A net that answers normalises by its batch and not by its statistics."""
    right(predictor, spec, state, *args, **more)
    model = right.twin.model
    # With its batch norms: where they are folded there is nothing to normalise by.
    predictor.net = net = model.make_net(spec, state).set_train(True)
    predictor.write = lambda state: model.write_state(net, state)  # pyright: ignore
