"""Run models of any shape in ONNX Runtime."""
