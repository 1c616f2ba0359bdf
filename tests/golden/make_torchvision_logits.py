"""Makes torchvision_logits.json: what torchvision's ResNets answer, in float64.

State and image are those of make_timm_logits.py. Needs torchvision (0.29.1) and torch, which the
tests do not.

    python tests/golden/make_torchvision_logits.py
"""

import json
from pathlib import Path

import numpy as np
import torch
from make_timm_logits import STORED, golden_images, golden_state

from tinynet.spec import load_spec

FILE = Path(__file__).with_name("torchvision_logits.json")
MODELS = ("resnet18", "resnet34", "resnet50")

try:
    import torchvision
except RuntimeError:  # of another build than torch, it misses its own operators
    for operator in ("nms", "qnms"):
        torch.library.define(
            f"torchvision::{operator}",
            "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        )
    import torchvision

versions = {"torchvision": torchvision.__version__, "torch": torch.__version__}
golden = {"versions": {k: str(v).partition("+")[0] for k, v in versions.items()}, "logits": {}}
for name in MODELS:
    spec = load_spec(name)
    net = getattr(torchvision.models, name)()
    tensors = {key: torch.tensor(array) for key, array in golden_state(spec).items()}
    counters = {k: v for k, v in net.state_dict().items() if k.endswith("num_batches_tracked")}
    net.load_state_dict(tensors | counters, strict=True)
    images = torch.tensor(golden_images(spec))
    with torch.no_grad():
        logits = net.double().eval()(images.double())[0].numpy()
        single = net.float()(images)[0].double().numpy()
    rms = float(np.sqrt(np.mean(logits**2)))
    noise = float(np.sqrt(np.mean((single - logits) ** 2))) / rms
    print(f"{name:10} rms {rms:.3g}  float32's own error {noise:.1e} of it")
    golden["logits"][name] = {"rms": rms, "noise": noise, "first": logits[:STORED].tolist()}
FILE.write_text(json.dumps(golden, indent=1) + "\n")
