"""What a spec amounts to: counts, names and shapes, initial weights, folding, twists."""
