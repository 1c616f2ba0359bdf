"""From a failed climb to the file, the definition and the layer that answer for it."""
