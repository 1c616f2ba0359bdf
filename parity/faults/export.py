"""Faults in what leaves a twin: ONNX files, answers and how they are counted."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# (what stands in for a function takes whatever that takes)

from __future__ import annotations

from typing import Any

import numpy as np

from tinynet.backend import Backend
from tinynet.training import evaluation

from parity.faults.planting import Group, Injection, replaced

GROUP = Group("export")


@GROUP.fault("onnx", "classifier", "export", "", ("mindspore",), spec="uneven")
def padding_in_mindspores_order(twin: Backend) -> Injection:
    """ONNX files have the padding in MindSpore's order of sides, as its exporter writes it."""
    return replaced(twin.export, "_reorder_pads", lambda right, model: None)


@GROUP.fault("metrics", "*.jpg", "export", "export_onnx", ("torch",))
def first_weights_exported(twin: Backend) -> Injection:
    """An ONNX file holds weights of a new net instead of those given."""
    return replaced(twin.export, "make_net", lambda right, spec, state: right(spec), here=True)


@GROUP.fault("onnx", "classifier", "export", "export_onnx", ("mindspore",))
def statistics_not_exported(twin: Backend) -> Injection:
    """An ONNX file holds batch-norm statistics of a new net instead of those given."""

    def faulty(right: Any, spec: Any, state: Any) -> Any:
        fresh = {
            key: np.full_like(array, float(key.endswith("var")))
            for key, array in state.items()
            if ".running_" in key
        }
        return right(spec, {**state, **fresh})

    return replaced(twin.export, "make_net", faulty, here=True)


@GROUP.fault("metrics", "top-5", "tinynet/training/evaluation", "top_classes")
def four_counted_as_five() -> Injection:
    """Top-5 counts the first four classes."""

    def faulty(right: Any, logits: Any) -> Any:
        found = right(logits)
        return found._replace(classes=found.classes[:, :4])

    return replaced(evaluation, "top_classes", faulty)


@GROUP.fault("metrics", "rocket.jpg", "predict", "Predictor", ("mindspore",))
def padding_answered(twin: Backend) -> Injection:
    """Of a batch that was filled up, the filling is answered instead of the images."""

    def faulty(right: Any, predictor: Any, images: Any) -> Any:
        count, whole = len(images), max(predictor.batch_size, len(images))
        filling = np.zeros((whole - count, *images.shape[1:]), images.dtype)
        return right(predictor, np.concatenate([images, filling]))[whole - count :]

    return replaced(twin.predict.Predictor, "__call__", faulty)


@GROUP.fault("metrics", "*.jpg", "predict", "Predictor", ("mindspore",))
def answers_in_training_mode(twin: Backend) -> Injection:
    """A net that answers normalises by its batch and not by its statistics."""

    def faulty(right: Any, predictor: Any, spec: Any, state: Any, *args: Any, **more: Any) -> None:
        right(predictor, spec, state, *args, **more)
        # With its batch norms: where they are folded there is nothing to normalise by.
        predictor.net = net = twin.model.make_net(spec, state).set_train(True)
        predictor.write = lambda state: twin.model.write_state(net, state)

    return replaced(twin.predict.Predictor, "__init__", faulty)
