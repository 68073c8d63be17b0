"""Tensor files and the model folder."""
