"""Models of any shape by ONNX Runtime."""
