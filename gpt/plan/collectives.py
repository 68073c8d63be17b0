"""Seconds that the collectives of training take, by the bandwidth and latency of what joins GPUs.

The model is the one by which NCCL chooses among its own algorithms, without its corrections
(NVIDIA/nccl, src/graph/tuning.cc): the latency of each step, and the bytes of the slowest link.
"""

import math
from dataclasses import dataclass

from gpt.plan.machines import Node

NVLINK_SHARE = 0.8  # of the data sheet: the protocol takes a fifth (NVIDIA/nccl-tests, issue 212)
NETWORK_SHARE = 0.92  # 46 GB/s of a port of 400 Gb/s (NVIDIA/nccl-tests, issue 290)


@dataclass(frozen=True)
class Latency:
    """Seconds of a step from one process to the next, where they form a ring or a tree."""

    ring: float
    tree: float


# hwLat in tuning.cc, of the protocol for large messages.
NVLINK = Latency(ring=3.4e-6, tree=28e-6)
NETWORK = Latency(ring=9.6e-6, tree=50e-6)


@dataclass(frozen=True)
class Group:
    """Processes that exchange tensors, equally many in each node."""

    size: int
    nodes: int
    bandwidth: float  # bytes a second that go around the ring
    near: Latency  # within a node
    far: Latency  # between nodes

    def all_gather(self, n_bytes: float) -> float:
        """Seconds until all processes, which hold a slice each, have all `n_bytes`."""
        steps, far = self.size - 1, self.nodes - 1
        latency = (steps - far) * self.near.ring + far * self.far.ring
        return latency + n_bytes * steps / self.size / self.bandwidth

    def reduce_scatter(self, n_bytes: float) -> float:
        """Seconds until each process has the sum of its slice: the same ring, the other way."""
        return self.all_gather(n_bytes)

    def all_reduce(self, n_bytes: float) -> float:
        """Seconds until all processes have the sum: both of the above, or up and down a tree."""
        ring = self.reduce_scatter(n_bytes) + self.all_gather(n_bytes)
        inside = (self.size // self.nodes - 1) * self.near.tree
        depth = inside + math.log2(self.nodes) * self.far.tree
        return min(ring, 2 * depth + 2 * n_bytes / (0.9 * self.bandwidth))


def group_of(node: Node, gpus: int) -> Group:
    """That many GPUs in nodes of one kind. Each port of a node carries a ring of its own, so that
    a ring between nodes is as fast as all ports together, or as NVLink where this is slower."""
    nodes = math.ceil(gpus / node.gpus)
    bandwidth = NVLINK_SHARE * node.nvlink
    if nodes > 1:
        bandwidth = min(bandwidth, NETWORK_SHARE * node.network)
    return Group(gpus, nodes, bandwidth, NVLINK, NETWORK)
