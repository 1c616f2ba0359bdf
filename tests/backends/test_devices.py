"""Float32 is float32 on every device, though most of them would make it less by default.

No device but the CPU is here, so what is asked of the frameworks is looked at, not what they do.
"""

import mindspore as ms
import pytest
import torch
from mindspore.device_context import ascend, gpu

import mindspore_impl.predict
import torch_impl.predict


@pytest.mark.parametrize(
    ("device", "settings", "switches"),
    [
        ("gpu", gpu.op_precision, ["conv_allow_tf32", "matmul_allow_tf32"]),
        ("ascend", ascend.op_precision, ["conv_allow_hf32", "matmul_allow_hf32"]),
    ],
)
@pytest.mark.parametrize("chosen", [False, True])
def test_mindspore_is_set_up(monkeypatch, device, settings, switches, chosen):
    # MindSpore chooses an accelerator by itself where there is one.
    target = {"gpu": "GPU", "ascend": "Ascend"}[device] if chosen else "CPU"
    asked = []
    monkeypatch.setattr(ms, "get_context", lambda name: target)
    monkeypatch.setattr(ms, "set_device", lambda name: asked.append(name))
    for switch in switches:
        monkeypatch.setattr(
            settings, switch, lambda value, switch=switch: asked.append((switch, value))
        )
    mindspore_impl.predict.set_device(device)
    assert asked[-2:] == [(switch, False) for switch in switches]
    assert len(asked) == 2 + (not chosen)


def test_mindspore_asks_nothing_of_a_cpu(capfd):
    mindspore_impl.predict.set_device("cpu")
    assert "not supported" not in capfd.readouterr().err


def test_pytorch_is_set_up():
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    torch_impl.predict.set_device("cpu")
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
