"""The twin in MindSpore (Ascend, GPU, CPU).

Deviations of the framework that this package hides: the default padding is "same" and batch
norm's momentum is the weight of the *old* statistics (``blocks.py``); batch norm's parameters
have other names (``model.py``); labels must be int32 (``probe``); a new batch size compiles
anew (``predict.py``); CPU kernels of float32 exp are approximations (``probe``).
"""

import os

# On hosts with AVX-512 oneDNN falls into a reference kernel for 3x3 and depthwise convolutions,
# 4 to 5 times slower over a whole training step. Must be set before the first convolution.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
# MindSpore warns about its own deprecated internals; errors still show.
os.environ.setdefault("GLOG_v", "3")
