"""The twin in PyTorch (CUDA, CPU).

Deviations of the framework that this package hides: ``nn.Conv2d`` cannot pad one side more than
the other (``blocks.py``); batch norm carries ``num_batches_tracked``, which is not in a canonical
state (``model.py``).
"""
