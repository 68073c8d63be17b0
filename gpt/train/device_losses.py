"""Losses of the last steps, left on the device until they are needed: reading one waits for it."""

import math

import torch
from torch import Tensor


class Diverged(Exception):
    """A loss or a gradient norm that is not finite, and the step that it belongs to."""

    def __init__(self, step: int, loss: float, norm: float) -> None:
        super().__init__(f"loss {loss} and gradient norm {norm} at step {step}")


class DeviceLosses:
    """Losses and gradient norms of the steps since the last reading."""

    def __init__(self) -> None:
        self._unread: list[tuple[Tensor, Tensor]] = []
        self.last_norm = 0.0  # of the newest step that was read

    def add(self, loss: Tensor, norm: Tensor) -> None:
        """Keep those of one more step, scalars."""
        self._unread.append((loss, norm))

    def read(self, step: int) -> list[float]:
        """The unread losses, the last one being that of `step`. Raises Diverged."""
        if not self._unread:
            return []
        losses, norms = (torch.stack(values).tolist() for values in zip(*self._unread, strict=True))
        for number, (loss, norm) in enumerate(
            zip(losses, norms, strict=True), start=step - len(losses) + 1
        ):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise Diverged(number, loss, norm)
        self._unread, self.last_norm = [], norms[-1]
        return list(losses)
