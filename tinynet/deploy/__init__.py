"""What is shipped: folded nets, ONNX files, INT8, and the runtimes that answer with them."""
