"""Findings of the benchmarks: rows for people, flat figures for scripts, and what is absent."""

import shutil
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

import torch

from benchmarks.rounds import OURS, Measured
from benchmarks.setting import Setting
from gpt.runtime import circumstances, machine, versions

LIBRARIES = ("transformers", "tokenizers", "ctranslate2", "gigatoken")  # told, where installed


@dataclass(frozen=True)
class Limit:
    """The work that measures a limit, how its rate is told, and what one token needs of it."""

    name: str
    unit: str
    scale: float  # what one such unit is
    need: float


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    what: str
    who: str
    value: float
    unit: str
    ratios: Sequence[float] = ()  # ours over this one's, in each round
    share: float | None = None  # of the limit

    @property
    def ratio(self) -> float | None:
        """The median ratio, where there is one."""
        return statistics.median(self.ratios) if self.ratios else None


@dataclass
class Findings:
    """What a section found. A figure that was not measured is not there."""

    rows: list[Row] = field(default_factory=list)
    figures: dict[str, float | bool] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)  # what was not measured, and why

    def add(self, other: "Findings") -> None:
        """Take over another section's."""
        self.rows += other.rows
        self.figures |= other.figures
        self.absent += other.absent


def rows_of(
    what: str, unit: str, scale: float, measured: Measured, limit: Limit | None
) -> list[Row]:
    """A row for each work, in `unit`s of `scale`; for the limit's own rate the last one."""
    rows = []
    for name in measured.rates:
        if limit is not None and name == limit.name:
            rows.append(Row(what, name, measured.rate(name) / limit.scale, limit.unit))
            continue
        ratios = [] if name == OURS else measured.ratios(OURS, name)
        share = None if limit is None else measured.share(name, limit.name, limit.need)
        rows.append(Row(what, name, measured.rate(name) / scale, unit, ratios, share))
    return rows


def key(who: str) -> str:
    """A peer's name as it stands in the names of figures."""
    return who.lower()


def facts(setting: Setting) -> dict[str, str | int | bool | None]:
    """When, where and on what the figures were measured."""
    around, device = circumstances(), machine(torch.device(setting.device))
    return {
        "date": around["started"],
        "revision": around["revision"],
        "uncommitted_changes": around["uncommitted_changes"],
        "device": device["device"],
        "machine": device["kind"],
        "threads": device["threads"],
        **versions(),
        **peer_versions(setting),
        "model": setting.shape,
        "rounds": setting.rounds,
    }


def peer_versions(setting: Setting) -> dict[str, str]:
    """The versions of the peers that are here, and of the encoder that ours is: of nanoGPT its
    commit."""
    found = {}
    if setting.nanogpt and shutil.which("git"):
        command = ["git", "-C", str(setting.nanogpt), "rev-parse", "HEAD"]
        commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        found = {"nanogpt": commit.strip()} if commit else {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
