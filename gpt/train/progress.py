"""A run as it is shown: a bar where there is a terminal, plain lines where there is none."""

from dataclasses import dataclass
from types import TracebackType

from tqdm import tqdm

from gpt.train.history import History


@dataclass
class Speed:
    """Training steps of this process and the seconds they took, validation and samples apart."""

    tokens_per_step: int
    steps: int = 0
    seconds: float = 0.0

    def add(self, steps: int, seconds: float) -> None:
        """Count more of both."""
        self.steps += steps
        self.seconds += seconds

    @property
    def tokens_per_second(self) -> float:
        """Training tokens a second."""
        return self.steps * self.tokens_per_step / max(self.seconds, 1e-9)

    def seconds_for(self, steps: int) -> float:
        """The time that many more steps will take."""
        return steps * self.seconds / max(1, self.steps)


def say(line: str) -> None:
    """Print a line, above the bar if there is one."""
    tqdm.write(line)


class Progress:
    """The bar of a run of `steps`, of which `done` are made."""

    def __init__(self, steps: int, done: int) -> None:
        self.steps = steps
        self._bar = tqdm(total=steps, initial=done, unit="step", disable=None, smoothing=0.1)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()

    def show(self, step: int, lr: float, history: History, speed: Speed) -> None:
        """Tell of a step: in the bar at each row of the curves, in a line at each validation."""
        rows, validations, rate = history.training, history.validation, speed.tokens_per_second
        self._bar.update()
        if rows and rows[-1].step == step:
            row = rows[-1]
            self._bar.set_postfix_str(f"loss {row.loss:.3f} lr {row.lr:.1e} {rate:,.0f} tok/s")
        if validations and validations[-1].step == step:
            loss = f"loss {rows[-1].loss:.4f}  " if rows else ""
            left = speed.seconds_for(self.steps - step)
            say(
                f"step {step}/{self.steps}  {loss}val {validations[-1].val_loss:.4f}  "
                f"lr {lr:.2e}  {rate:,.0f} tok/s  {left:.0f} s left"
            )
