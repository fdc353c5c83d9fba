"""What YAML files say: devices, models, quantization modes, each figure with its source."""
