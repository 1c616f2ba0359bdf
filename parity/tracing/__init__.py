"""From a failed run to the file, the definition and the layer that answer for it."""
