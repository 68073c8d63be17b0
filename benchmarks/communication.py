"""What processes exchange, predicted beside measured: python -m benchmarks.communication

Processes of this machine, joined by gloo, one thread each. The bandwidth and the latency of their
all-reduce, and what each computes without the others, go into the formulas by which `make plan`
plans clusters (gpt/plan/cluster.py); what comes out stands beside the steps of DDP and of FSDP2.
"""

import argparse
from collections.abc import Sequence

from tabulate import tabulate


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.communication", description=__doc__)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rows", type=int, default=1, help="sequences of a pass of one process")
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args(arguments)
    show(args)


def show(args: argparse.Namespace) -> None:
    """Measure and print."""
    from benchmarks.exchanges import CONFIG, Task, measure
    from gpt.config import count_parameters

    task = Task(CONFIG, args.rows, args.passes, args.rounds)
    group, found = measure(task, args.processes)
    print(f"{args.processes} processes, a thread each, {count_parameters(CONFIG):,} parameters,")
    print(f"{args.passes} passes of {args.rows} x {CONFIG.block_size} tokens each, float32")
    print(f"all-reduce: {group.bandwidth / 1e9:.2f} GB/s, {group.near.ring * 1e6:.0f} us a step")
    rows = [
        (what, f"{due * 1000:.2f} ms", f"{took * 1000:.2f} ms", f"{due / took:.2f}")
        for what, due, took in found
    ]
    print(tabulate(rows, ("", "predicted", "measured", "ratio"), "plain", disable_numparse=True))


if __name__ == "__main__":
    main()
