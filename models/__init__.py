"""Tensors: networks, losses, metrics, training loops and Segment Anything."""
