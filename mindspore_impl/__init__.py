"""The twin in MindSpore (Ascend, GPU, CPU).

Deviations of the framework that this package hides: the default padding is "same" and batch
norm's momentum is the weight of the *old* statistics (``blocks.py``); batch norm's parameters
have other names (``model.py``); labels must be int32 (``probe``); a new batch size compiles
again (``predict.py``); CPU kernels of float32 exp are approximations (``probe``).
"""
