"""What the number of processes does to the losses of training: a table of relative differences.

python -m tests.distributed.world_sizes --steps 50
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

from tests.distributed.runs import Run, alone, difference, launch, losses

OPTIMIZERS, PARALLEL, SIZES = ("adamw", "muon"), ("ddp", "fsdp2"), (4, 2, 1)


def table(
    folder: Path, steps: int, sizes: Sequence[int], dtype: str = "float32"
) -> Iterator[tuple[str, float]]:
    """The largest relative difference between the losses of a run and those of one process.

    Of every combination, of runs stopped at 4 and at 2 processes that one finishes, and with
    dropout, where the numbers of processes are compared with each other.
    """
    for optimizer in OPTIMIZERS:
        alone(folder, Run(optimizer, steps, options={"optimizer": optimizer, "dtype": dtype}))
    for size in sizes:
        dropout = Run(f"dropout {size}", steps, options={"dropout": 0.2, "dtype": dtype})
        launch(folder, size, [*whole(size, steps, dtype), *parts(size, steps, dtype), dropout])
    for run in parts(1, steps, dtype):
        alone(folder, run)
    runs = [run for size in sizes for run in whole(size, steps)]
    for run in (*runs, *parts(1, steps)):
        theirs = losses(folder, run.options["optimizer"])
        yield run.name, difference(losses(folder, run.name), theirs)
    masks = [losses(folder, f"dropout {size}") for size in sizes]
    yield "dropout, ddp, muon", max(difference(masks[0], other) for other in masks[1:])


def whole(size: int, steps: int, dtype: str = "float32") -> list[Run]:
    """Undisturbed runs by so many processes."""
    out = []
    for parallel, optimizer in product(PARALLEL, OPTIMIZERS):
        options = {"optimizer": optimizer, "dtype": dtype}
        out.append(Run(f"{size}, {parallel}, {optimizer}", steps, parallel, 0, options))
    return out


def parts(size: int, steps: int, dtype: str = "float32") -> list[Run]:
    """The parts that so many processes make of runs that are stopped at 4 and at 2 of them."""
    until = {4: 2 * steps // 5, 2: 4 * steps // 5}.get(size, 0)
    out = []
    for first, second, optimizer in (("fsdp2", "ddp", "muon"), ("ddp", "fsdp2", "adamw")):
        name = f"4 ({first}), 2 ({second}), 1, {optimizer}"
        parallel = first if size == 4 else second
        options = {"optimizer": optimizer, "dtype": dtype}
        out.append(Run(name, steps, parallel, until, options))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.distributed.world_sizes")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = dict(table(Path(folder), args.steps, SIZES, args.dtype))
    print(f"largest relative difference from one process over {args.steps} steps, {args.dtype}")
    for name, figure in found.items():
        print(f"{name:32} {figure:.1e}")


if __name__ == "__main__":
    main()
