"""A training run as it is shown."""

from dataclasses import dataclass
from textwrap import shorten

from gpt.common.screen import current
from gpt.common.text import duration
from gpt.train.history import History

SAMPLE_WIDTH = 66  # characters of a sample, so that it fits a terminal of 80


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


class Progress:
    """A run of `steps` as it is shown: in its stage's line, and in lines that stay."""

    def __init__(self, steps: int) -> None:
        self.steps, self._line = steps, current()

    def show(self, step: int, history: History, speed: Speed) -> None:
        """Tell of a step: in the stage's line; a validation stays, in a terminal a sample too."""
        if self._line.is_terminal:
            self._line.show(self._now(history, speed, step), step, self.steps)
        if history.validation and history.validation[-1].step == step:
            self._line.say(f"step {step}/{self.steps}  {self._now(history, speed, step)}")
        sampled = bool(history.samples) and history.samples[-1].step == step
        if sampled and self._line.is_terminal:
            text = shorten(history.samples[-1].text, SAMPLE_WIDTH, placeholder=" …")
            self._line.say(f"  it writes: {text}")

    def _now(self, history: History, speed: Speed, step: int) -> str:
        """The newest losses, the speed, and the time left, if any is."""
        losses = [f"loss {history.training[-1].loss:.3f}"] if history.training else []
        losses += [f"val {history.validation[-1].val_loss:.3f}"] if history.validation else []
        left = [f"{duration(speed.seconds_for(self.steps - step))} left"] * (step < self.steps)
        return "  ".join((*losses, f"{speed.tokens_per_second:,.0f} tok/s", *left))
