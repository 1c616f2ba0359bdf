"""The precisions of a step."""

import pytest
import torch

from tinynet.backend import load_backend

from steps import (
    PIXELS,
    both,
    take,
    train_step,
)


def test_a_predictor_does_not_take_tf32_from_a_run():
    # No CPU has it, so only the switches are looked at, while the net computes.
    step = train_step("torch")
    step.precision = "tf32"
    seen = []
    step.net.register_forward_hook(
        lambda *_: seen.append(
            (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32)
        )
    )
    step.predictor(ema=False)(PIXELS)
    assert seen == []  # the predictor has a net of its own
    take(step, [0])
    assert seen == [(True, True)]


@both
def test_an_unknown_precision(framework):
    with pytest.raises(
        ValueError, match="precision is 'fp16', expected one of float32, "
    ) as caught:
        train_step(framework, precision="fp16")
    assert "\n" not in str(caught.value)


def test_mindspores_compiler_cache_is_refused(monkeypatch):
    # It gave back the graph of another recipe: MindSpore 2.10.0 does not see numbers change.
    monkeypatch.setenv("MS_COMPILER_CACHE_ENABLE", "1")
    with pytest.raises(ValueError, match=r"^MS_COMPILER_CACHE_ENABLE is 1, expected it unset: "):
        train_step("mindspore", compiled=True)
    train_step("mindspore", compiled=False)


def test_mindspore_has_no_bfloat16_on_a_cpu():
    with pytest.raises(
        ValueError, match=r"^precision is 'bfloat16', expected one of float32, float16$"
    ):
        train_step("mindspore", precision="bfloat16")
    check = load_backend("mindspore").step.check_precision
    check("bfloat16", "ascend")
    with pytest.raises(ValueError, match=r"expected one of float32, bfloat16, float16$"):
        check("float64", "ascend")
