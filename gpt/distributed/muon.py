"""Muon where each process holds some rows of every matrix.

Orthogonal rows are not the rows of an orthogonal matrix: each matrix has an owner, which is sent
its rows, orthogonalises it and sends them back, by one all-to-all each way for all matrices of a
shape (as in Megatron and torchtitan; the other way, the whole matrix gathered by every process,
computes everything as often as there are processes). Shapes: N matrices of a shape.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.tensor import DTensor

from gpt.train.muon import Muon


class ShardedMuon(Muon):
    """The steps of Muon for matrices that `fully_shard` has cut."""

    def held(self, matrix: Tensor) -> Tensor:
        """The rows of a matrix that this process holds."""
        assert isinstance(matrix, DTensor)
        return matrix.to_local()

    def directions(
        self, held: Sequence[Tensor], shape: torch.Size, group: dict[str, Any]
    ) -> Tensor:
        """The same rows (N, rows, columns) of the orthogonal matrices, each of that `shape`."""
        rank, size = dist.get_rank(), dist.get_world_size()
        rows, columns = shape
        heights, owned = row_counts(rows, size), shares(len(held), size)
        mine = owned[rank]
        # Rounded before it is sent, not after: in bfloat16 half as much.
        sent = torch.stack(list(held)).to(self.dtype)  # (N, own rows, columns)
        to_owners = [count * heights[rank] * columns for count in owned]
        to_me = [mine * height * columns for height in heights]
        slices = zip(_exchanged(sent, to_owners, to_me), heights, strict=True)
        whole = torch.cat([part.view(mine, height, columns) for part, height in slices], dim=1)
        whole = self.orthogonal(whole, group)
        back = torch.cat([part.flatten() for part in torch.split(whole, heights, dim=1)])
        received = torch.cat(_exchanged(back, to_me, to_owners))
        return received.view(len(held), heights[rank], columns)


def row_counts(rows: int, size: int) -> list[int]:
    """The rows that each of `size` processes holds, as `fully_shard` cuts them."""
    most = -(-rows // size)
    return [min(most, max(0, rows - rank * most)) for rank in range(size)]


def shares(count: int, size: int) -> list[int]:
    """How many of `count` matrices each of `size` processes owns: the first ones one more."""
    return [count // size + (rank < count % size) for rank in range(size)]


def _exchanged(values: Tensor, sent: list[int], received: list[int]) -> tuple[Tensor, ...]:
    """What each process sends to this one, of the given sizes, for so many `values` to each."""
    data = values.flatten().view(torch.uint8)  # gloo sends no bfloat16
    size = values.itemsize
    out = data.new_empty(size * sum(received))
    dist.all_to_all_single(out, data, [size * n for n in received], [size * n for n in sent])
    return torch.split(out.view(values.dtype), received)
