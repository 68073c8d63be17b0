"""The keys and values of a text's past, so that each new token costs one position.

Shapes: B batch, T time, H heads, D head size.
"""

import torch
from torch import Tensor


class LayerCache:
    """One attention layer's keys and values (B, H, T, D) of the positions so far."""

    def __init__(self) -> None:
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def update(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append new positions (B, H, T, D); the keys and values of all positions."""
        if self.keys is not None and self.values is not None:
            keys = torch.cat((self.keys, keys), dim=2)
            values = torch.cat((self.values, values), dim=2)
        self.keys, self.values = keys, values
        return keys, values


class KVCache:
    """The past of a batch of texts in every layer; a new one starts a text."""

    def __init__(self, n_layer: int) -> None:
        self.layers = [LayerCache() for _ in range(n_layer)]

    @property
    def length(self) -> int:
        """The number of positions that it holds."""
        keys = self.layers[0].keys if self.layers else None
        return 0 if keys is None else keys.size(2)
