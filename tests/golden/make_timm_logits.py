"""Makes timm_logits.json: what timm answers, in float64, with a state made by a formula.

Needs timm (1.0.31) and torch, which the tests do not: they use :func:`golden_state` and
:func:`golden_images` of this file and compare with the numbers it stored.

    python tests/golden/make_timm_logits.py
"""

import json
from pathlib import Path

import numpy as np

from tinynet.net.initialise import initial_state
from tinynet.net.manifest import manifest
from tinynet.spec import load_spec
from tinynet.utils.random_numbers import normal, uniform

FILE = Path(__file__).with_name("timm_logits.json")
MODELS = {
    "efficientnet_b0": "efficientnet_b0",
    "efficientnet_lite0": "tf_efficientnet_lite0",
    **{f"tinynet_{letter}": f"tinynet_{letter}" for letter in "abcde"},
}
STORED = 12


def golden_state(spec):
    """The initial state with batch norms that do something, each channel another thing."""
    state = initial_state(spec, seed=1)
    gain = 1.0
    for key, entry in manifest(spec).items():
        if entry.role == "bn_weight":
            values = 0.75 + 0.5 * uniform(entry.shape, "golden", key)
        elif entry.role == "bn_bias":
            values = 0.2 * normal(entry.shape, "golden", key)
        elif entry.role == "bn_mean":
            values = 0.1 * normal(entry.shape, "golden", key)
        elif entry.role == "bn_var":
            # Near the variance there will be, or activations would grow from block to block.
            values = gain * (0.3 + 0.4 * uniform(entry.shape, "golden", key))
        elif entry.role in ("conv_bias", "linear_bias"):
            values = 0.1 * normal(entry.shape, "golden", key)
        elif entry.role == "linear_weight":
            continue
        else:
            gain = float(np.mean(np.sum(np.square(state[key], dtype=np.float64), axis=(1, 2, 3))))
            continue
        state[key] = values.astype(np.float32)
    return state


def golden_images(spec):
    """One image of (1, C, H, W) normalised pixels, float32."""
    return normal((1, *spec.input_size), "golden pixels").astype(np.float32)


def main():
    import torch

    try:
        import torchvision  # noqa: F401 (timm imports it)
    except RuntimeError:  # of another build than torch, it misses its own operators
        for name in ("nms", "qnms"):
            torch.library.define(
                f"torchvision::{name}",
                "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
            )
    import timm

    golden = {"versions": {"timm": timm.__version__, "torch": torch.__version__}, "logits": {}}
    for name, model in MODELS.items():
        spec = load_spec(name)
        net = timm.create_model(model, pretrained=False)
        tensors = {key: torch.tensor(array) for key, array in golden_state(spec).items()}
        counters = {k: v for k, v in net.state_dict().items() if k.endswith("num_batches_tracked")}
        net.load_state_dict(tensors | counters, strict=True)
        with torch.no_grad():
            logits = net.double().eval()(torch.tensor(golden_images(spec)).double())[0].numpy()
            single = net.float()(torch.tensor(golden_images(spec)))[0].double().numpy()
        rms = float(np.sqrt(np.mean(logits**2)))
        noise = np.sqrt(np.mean((single - logits) ** 2)) / rms
        print(f"{name:20} rms {rms:.3g}  float32's own error {noise:.1e} of it")
        golden["logits"][name] = {"rms": rms, "first": logits[:STORED].tolist()}
    FILE.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
