"""The keys and values of a text's past, so that each new token costs one position.

Shapes: B batch, T time, H heads, D head size.
"""

import torch
from torch import Tensor

FIRST_ROOM = 64  # positions; doubled each time that they are full


class LayerCache:
    """One attention layer's keys and values of the positions so far, with room for more."""

    def __init__(self, room: int) -> None:
        self.room, self.length = room, 0
        self.all_keys = self.all_values = torch.empty(0)  # (B, H, room, D) after the first update

    @property
    def keys(self) -> Tensor:
        """The keys (B, H, T, D) of the positions so far, after the first update."""
        return self.all_keys[:, :, : self.length]

    @property
    def values(self) -> Tensor:
        """The values (B, H, T, D) of the positions so far, after the first update."""
        return self.all_values[:, :, : self.length]

    def update(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append new positions (B, H, T, D); the keys and values of all positions."""
        begin, end = self.length, self.length + keys.size(2)
        self.make_room(keys, end)
        self.all_keys[:, :, begin:end] = keys
        self.all_values[:, :, begin:end] = values
        self.length = end
        return self.keys, self.values

    def make_room(self, like: Tensor, end: int) -> None:
        """Have room for `end` positions of tensors like (B, H, _, D), doubled if these are full."""
        if self.length and end <= self.room:
            return
        while self.room < end:
            self.room *= 2
        B, H, _, D = like.shape
        keys, values = (like.new_empty((B, H, self.room, D)) for _ in range(2))
        if self.length:
            keys[:, :, : self.length] = self.keys
            values[:, :, : self.length] = self.values
        self.all_keys, self.all_values = keys, values


class KVCache:
    """The past of a batch of texts in every layer; a new one starts a text.

    It takes room for `room` positions at once, and for more where that is not enough.
    """

    def __init__(self, n_layer: int, room: int = FIRST_ROOM) -> None:
        self.layers = [LayerCache(room) for _ in range(n_layer)]

    @property
    def length(self) -> int:
        """The number of positions that it holds."""
        return self.layers[0].length if self.layers else 0

    def room_for(self, count: int, like: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """All keys and values (B, H, room, D), with room for `count` more like (B, H, _, D)."""
        for layer in self.layers:
            layer.make_room(like, layer.length + count)
        keys = [layer.all_keys for layer in self.layers]
        return keys, [layer.all_values for layer in self.layers]

    def advance(self, count: int) -> None:
        """Take `count` more positions, which have been written, for its own."""
        for layer in self.layers:
            layer.length += count
