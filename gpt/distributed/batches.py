"""The number of processes beside the size of the batches: they must divide."""

from gpt.common.errors import UserError
from gpt.train.params import TrainingParams


def check_shares(params: TrainingParams, processes: int) -> None:
    """Raise UserError, with what would fit, unless all processes make the same full passes."""
    block_size, size = params.model.block_size, params.train.batch_size
    rows = params.train.tokens_per_step // block_size
    if rows % (processes * size) == 0:
        return
    fitting = max(1, round(rows / (processes * size))) * processes * size * block_size
    proposals = [f"train.tokens_per_step to {fitting}"]
    if rows % processes == 0:
        own = rows // processes
        divisor = max(n for n in range(1, min(size, own) + 1) if own % n == 0)
        proposals.insert(0, f"train.batch_size to {divisor}")
    raise UserError(
        f"{processes} processes with train.batch_size {size} cannot share the {rows} sequences of "
        f"a step evenly, params.yaml, set {' or '.join(proposals)}"
    )
