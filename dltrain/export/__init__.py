"""Export trained models: capture, compare with the original, describe, quantize."""
