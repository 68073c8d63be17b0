"""The plan of a run on many GPUs as lines of text."""

from collections.abc import Iterator, Sequence

from tabulate import tabulate

from gpt.common.text import duration, size
from gpt.plan.cluster import Cluster
from gpt.plan.collectives import NETWORK_SHARE, NVLINK_SHARE
from gpt.plan.machines import UTILISATION

HEADERS = ("", "GPUs", "batch", "memory", "step", "waits", "MFU", "training", "cost", "disk")


def cluster_lines(clusters: Sequence[Cluster], price: float | None) -> Iterator[str]:
    """The table of the clusters, its columns explained, and what was assumed."""
    first = clusters[0]
    yield f"  on nodes of {first.node.gpus} {first.machine.name}"
    rows = [cells(each, price) for each in clusters]
    table = tabulate(
        rows, HEADERS, "plain", disable_numparse=True, colalign=["right"] * len(HEADERS)
    )
    yield from (f"  {line}".rstrip() for line in table.splitlines())
    yield from (f"    {line}" for line in explanations(first))


def cells(cluster: Cluster, price: float | None) -> list[str]:
    """A row of the table."""
    step, train = cluster.step, cluster.train
    seconds = train.steps * step.seconds
    cost = "" if price is None else f"{seconds / 3600 * cluster.gpus * price:,.0f}"
    full = cluster.memory() > cluster.machine.memory
    saved = cluster.alone.weights + cluster.alone.optimizer
    disk = saved / (train.checkpoint_every * step.seconds)
    return [
        cluster.parallel,
        str(cluster.gpus),
        f"{cluster.passes} x {cluster.rows}",
        size(cluster.memory()) + (" !" if full else ""),
        f"{step.seconds * 1000:,.1f} ms",
        f"{step.waiting / step.seconds:.0%}",
        f"{cluster.utilisation:.0%}",
        duration(seconds),
        cost,
        f"{size(disk)}/s",
    ]


def explanations(cluster: Cluster) -> Iterator[str]:
    """The columns, and the assumptions of the figures."""
    node = cluster.node
    nvlink = f"{NVLINK_SHARE:.0%} of {node.nvlink / 1e9:.0f} GB/s"
    network = f"{NETWORK_SHARE:.0%} of {node.network / 1e9:.0f} GB/s"
    yield "batch: passes of a step x sequences, of each GPU; memory: of its tensors, !: too much"
    yield "waits: for other GPUs; MFU: of the peak; disk: writes checkpoints as fast as they come"
    yield f"assumed: passes, however small, at {UTILISATION:.0%} of the peak; float32 is sent;"
    yield f"NVLink at {nvlink}, a node's network at {network}; docs/scaling.md"
