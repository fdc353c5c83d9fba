"""What a model computes and moves, on no device: polynomials, ops, blocks, architectures."""
