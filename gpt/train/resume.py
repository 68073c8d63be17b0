"""Checkpoints of all runs, a folder for each identity, and the one that a run goes on from."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from gpt.common.errors import UserError
from gpt.common.files import remove
from gpt.common.mappings import changed, flat
from gpt.common.screen import say
from gpt.train.checkpoint import (
    DAMAGE,
    Checkpoint,
    Resumption,
    State,
    load_checkpoint,
    read_state,
    write_checkpoint,
)
from gpt.train.identity import Identity, digest, recording, same_question
from gpt.train.params import TrainParams

KEPT = 2  # of a run: the newest one, and one to fall back to
BYTES_A_PARAMETER = 12  # at most: the weight and AdamW's two moments, in float32
STEP = re.compile(r"step-(\d{8,})")
Found = tuple[Path, State]


class Checkpoints:
    """The checkpoints under `root`; a run writes into the folder of its identity alone."""

    def __init__(self, root: Path, identity: Identity, params: TrainParams) -> None:
        self.root, self.identity, self.params = root, identity, params
        self.recording = recording(params)
        self.resumed: list[Resumption] = []
        self.workers: dict[str, Any] = {}  # how the work is shared, which decides rounding alone

    @property
    def folder(self) -> Path:
        """The folder of this run."""
        return self.root / digest(self.identity)

    def path(self, step: int) -> Path:
        """The checkpoint of a step."""
        return self.folder / f"step-{step:08d}"

    def save(
        self,
        step: int,
        history: Mapping[str, Any],
        model: Mapping[str, Tensor],
        optimizer: Mapping[str, Tensor],
    ) -> Path:
        """Write a checkpoint, and drop those of this run that it makes superfluous."""
        workers, path = self.workers, self.path(step)
        state = State(step, self.identity, self.recording, self.resumed, history, workers)
        write_checkpoint(path, Checkpoint(state, model, optimizer))
        older = [old for old in _steps(self.folder) if _number(old) < step]
        for old in older[KEPT - 1 :]:
            remove(old)
        return path

    def find(self) -> Checkpoint | None:
        """The checkpoint to go on from, as far as `train.resume` allows, this run being then its
        continuation. Damaged ones are passed over."""
        for left in self.folder.glob(".step-????????.partial"):  # by a process that was killed
            remove(left)
        if self.params.resume == "never":
            return None
        for path, state in self._candidates():
            try:
                found = load_checkpoint(path)
            except DAMAGE as error:
                say(_damaged(path, error))
                continue
            self._go_on_from(path, state)
            return found
        if self.params.resume == "same":
            self._offer()
        return None

    def provenance(self) -> dict[str, Any]:
        """The resumptions under something else, if any; otherwise nothing is to be said."""
        return {"resumed": [asdict(one) for one in self.resumed]} if self.resumed else {}

    def check_space(self, n_params: int) -> None:
        """Raise UserError if this run's checkpoints beside those of others are over the bound."""
        others = [folder for folder in _folders(self.root) if folder != self.folder]
        taken = sum(map(bytes_in, others)) / 1e9
        own = (KEPT + 1) * BYTES_A_PARAMETER * n_params / 1e9
        if others and taken + own > self.params.checkpoints_gb:
            raise UserError(
                f"checkpoints of other runs take {taken:.2f} GB, this run's up to {own:.2f} GB, "
                f"train.checkpoints_gb is {self.params.checkpoints_gb:g}, {self.root}, raise it or "
                "remove folders there (make checkpoints tells which run each is of)"
            )

    def _candidates(self) -> list[Found]:
        """The checkpoints that may be gone on from, the best first.

        Of this very run: one with the records that are wanted, else, as long as it has not come to
        its end, one with others. A finished run is asked for again for the sake of its records.
        """
        if self.params.resume == "compatible":
            found = self._of_the_same_question()
            return sorted(found, key=lambda item: self._rank(item[1]), reverse=True)
        states = list(_states(_steps(self.folder), say))
        alike = [item for item in states if item[1].recording == self.recording]
        others = [item for item in states if item[1].recording != self.recording]
        finished = any(state.step == self.params.steps for _, state in others)
        return alike if finished else alike + others

    def _rank(self, state: State) -> tuple[int, bool, bool]:
        """The furthest is best, among equals the one nearest to this run."""
        return state.step, state.identity == self.identity, state.recording == self.recording

    def _of_the_same_question(self) -> list[Found]:
        """Every whole checkpoint of a run with the same params and data, newest first by run."""
        paths = (path for folder in _folders(self.root) for path in _steps(folder))
        found = _states(paths, lambda _: None)
        return [item for item in found if same_question(item[1].identity, self.identity)]

    def _go_on_from(self, path: Path, state: State) -> None:
        self.resumed = list(state.resumed)
        if differing := self._changes(state):
            self.resumed.append(Resumption(state.step, differing))
            say(f"going on from {path}, of other {_listed(differing)}; provenance has it")
        if _plain(state.identity) == self.identity:
            self.identity = state.identity
        else:
            came_from = {"run": digest(state.identity), "step": state.step}
            self.identity = {**self.identity, "continues": came_from}

    def _changes(self, state: State) -> dict[str, tuple[Any, Any]]:
        """What is another than when a state was saved: by key, then and now."""
        then = flat({**_plain(state.identity), **state.recording, **state.workers})
        now = flat({**_plain(self.identity), **self.recording, **self.workers})
        return {key: (then.get(key), now.get(key)) for key in changed(then, now)}

    def _offer(self) -> None:
        """Tell of the furthest run with the same params and data."""
        found = self._of_the_same_question()
        if not found:
            return
        path, state = max(found, key=lambda item: self._rank(item[1]))
        say(
            f"starting afresh; {path} is of the same params and data, but other "
            f"{_listed(self._changes(state))}: train.resume: compatible goes on from it"
        )


def newest_states(root: Path) -> Iterator[tuple[Path, State | None]]:
    """The folder of every run under `root`, with the state of its newest whole checkpoint."""
    for folder in _folders(root):
        found = next(_states(_steps(folder), lambda _: None), None)
        yield folder, found and found[1]


def bytes_in(folder: Path) -> int:
    """The size of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _plain(identity: Identity) -> dict[str, Any]:
    """An identity without what the run is a continuation of."""
    return {part: value for part, value in identity.items() if part != "continues"}


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.glob("*") if path.is_dir())


def _steps(folder: Path) -> list[Path]:
    """The checkpoints in the folder of a run, the furthest first; nothing else that lies there."""
    return sorted(filter(_number, folder.glob("step-*")), key=_number, reverse=True)


def _number(path: Path) -> int:
    """The step of a checkpoint, 0 if the path is of none."""
    match = STEP.fullmatch(path.name)
    return int(match[1]) if match else 0


def _states(paths: Iterable[Path], said: Callable[[str], None]) -> Iterator[Found]:
    for path in paths:
        try:
            yield path, read_state(path)
        except DAMAGE as error:
            said(_damaged(path, error))


def _listed(differing: Mapping[str, Any]) -> str:
    keys = list(differing) or ["resumptions"]
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return ", ".join(keys[:3]) + more


def _damaged(path: Path, error: Exception) -> str:
    return f"checkpoint {path} is damaged ({' '.join(str(error).split())}), passed over"
