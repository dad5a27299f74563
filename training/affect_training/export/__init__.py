"""From a run to files that others load: safetensors with a sidecar, ONNX, int8 ONNX."""
