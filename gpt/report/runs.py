"""Runs: the files that the pipeline left at a branch, a commit, an experiment, in the workspace."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from dvc.repo import Repo

from gpt.common.errors import UserError
from gpt.common.files import parse_json
from gpt.common.mappings import changed, flat
from gpt.common.params import parse_yaml
from gpt.eval.documents import FILE, Documents, parse_documents
from gpt.report.code import Source, is_code, source_at
from gpt.report.project import experiments, files_at

PARAMS, LOCK, METRICS = "params.yaml", "dvc.lock", "metrics"
DOCUMENTS = f"plots/eval/{FILE}"
PROVENANCE = "metrics/train_provenance.json"
BESIDE = ("_speed.json", "_provenance.json", "_circumstances.json")  # no metrics
STAGES = ("download", "tokenize", "train", "eval")  # those that lead to the loss
SECTIONS = (*STAGES, "model")
# Of the provenance: what can change a result beside the recipe.
ENVIRONMENT = ("machine", "workers", "versions", "resumed")
RESULTS = ("metrics/", "plots/eval")  # outputs that are compared
ORIGIN = ("data/", "models/")  # what training reads and may start from


class Run:
    """A run at one revision; each of its files is read when it is asked for."""

    def __init__(self, repo: Repo, name: str, commit: str | None = None) -> None:
        """The run at `commit`, else at the revision `name`. Raises UserError if there is none."""
        self.name = name
        self._files = files_at(repo, commit or name)

    def read(self, path: str) -> str | None:
        """A file's text, or None if the revision lacks it. Raises UserError."""
        try:
            with self._files.system.open(self._files.path(path), "rb") as file:
                return str(file.read(), encoding="utf-8")
        except FileNotFoundError:
            return None
        except UnicodeDecodeError as error:
            raise UserError(f"not UTF-8 at byte {error.start}, {self.where(path)}") from None

    def where(self, path: str) -> str:
        """A file's name for an error."""
        return f"{path} at {self.name}"

    @cached_property
    def params(self) -> dict[str, Any]:
        """params.yaml as section.key. Raises UserError."""
        text = self.read(PARAMS)
        if text is None:
            raise UserError(f"no parameters, {self.where(PARAMS)}, choose another revision")
        return flat(parse_yaml(text, self.where(PARAMS)))

    @cached_property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """The metrics of each stage, but for those of speed. Raises UserError."""
        system, folder = self._files.system, self._files.path(METRICS)
        paths = system.ls(folder, detail=False) if system.isdir(folder) else []
        names = sorted(PurePosixPath(path).name for path in paths)
        files = [name for name in names if name.endswith(".json") and not name.endswith(BESIDE)]
        if not files:
            raise UserError(f"no metrics, {self.where(METRICS)}, run make repro and commit")
        return {name.removesuffix(".json"): self._json(f"{METRICS}/{name}") for name in files}

    @cached_property
    def documents(self) -> Documents | None:
        """The loss of each validation document, if eval wrote it. Raises UserError."""
        text = self.read(DOCUMENTS)
        if text is None:
            return None
        where = self.where(DOCUMENTS)
        documents = parse_documents(text, where)
        total = self.metrics.get("eval", {}).get("val_loss", documents.loss)
        if abs(documents.loss - total) > 1e-4 * total:
            raise UserError(
                f"adds up to {documents.loss:.4f}, not to val_loss {total:.4f}, {where}, "
                "run make repro there"
            )
        return documents

    @cached_property
    def environment(self) -> dict[str, Any] | None:
        """Machine and versions of the training, if they are known. Raises UserError."""
        if self.read(PROVENANCE) is None:
            return None
        values = self._json(PROVENANCE).items()
        return {key: value for key, value in values if key.split(".")[0] in ENVIRONMENT}

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """All that the loss depends on but seeds and machine.

        Params, and as dvc.lock has them the code, the data and the model that training began from.
        """
        sections = {k: v for k, v in self.params.items() if k.split(".")[0] in SECTIONS}
        return {k: v for k, v in sections.items() if not is_seed(k)} | self.code | self.origin

    @property
    def origin(self) -> dict[str, str]:
        """The MD5 of the data and of the model that training began from, by dvc.lock."""
        deps = self._locked.get("train", {}).get("deps", [])
        return {dep["path"]: dep["md5"] for dep in deps if dep["path"].startswith(ORIGIN)}

    @property
    def seeds(self) -> dict[str, Any]:
        """The seeds that the loss depends on; eval's own draws samples and documents alone."""
        sections = set(SECTIONS) - {"eval"}
        return {k: v for k, v in self.params.items() if k.split(".")[0] in sections and is_seed(k)}

    @cached_property
    def code(self) -> dict[str, str]:
        """The MD5 of each file and folder of code that the metrics were made with, by dvc.lock."""
        return dict(self._locked_code)

    @cached_property
    def sources(self) -> dict[str, Source | None]:
        """The same files and folders as they are at this revision."""
        return {path: source_at(self._files, path) for path in self.code}

    @property
    def folders(self) -> dict[str, dict[str, str]]:
        """The MD5 of each file of each folder of code, by the folder's hash."""
        return {it.md5: it.files for it in self.sources.values() if it and it.files}

    def stale(self) -> str | None:
        """A parameter, a file or a folder that is not what the metrics were made with, if any."""
        for stage in self._locked.values():
            used = flat(stage.get("params", {}).get(PARAMS, {}))
            for key, value in used.items():
                if self.params.get(key) != value:
                    return key
        for path, md5 in self._locked_code:
            source = self.sources[path]
            if source is None or source.md5 != md5:
                return path
        return None

    def altered(self) -> str | None:
        """A file or folder of results that is not the one that dvc.lock records, if any."""
        for stage in self._locked.values():
            for out in stage.get("outs", []):
                if not out["path"].startswith(RESULTS):
                    continue
                found = source_at(self._files, out["path"])
                if found is None or found.md5 != out["md5"]:
                    return str(out["path"])
        return None

    @cached_property
    def _locked_code(self) -> list[tuple[str, str]]:
        """Path and MD5 of all code in dvc.lock; stages run apart may name a path with two MD5s."""
        deps = [dep for stage in self._locked.values() for dep in stage.get("deps", [])]
        return [(dep["path"], dep["md5"]) for dep in deps if is_code(dep["path"])]

    @cached_property
    def _locked(self) -> dict[str, dict[str, Any]]:
        """The entries in dvc.lock of the stages that lead to the loss."""
        text = self.read(LOCK)
        stages = parse_yaml(text, self.where(LOCK)).get("stages", {}) if text else {}
        return {name: stages[name] for name in STAGES if name in stages}

    def _json(self, path: str) -> dict[str, Any]:
        text = self.read(path) or ""
        try:
            value = parse_json(text)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise UserError(f"not valid JSON, {self.where(path)}, run make repro there")
        return flat(value)


def side(repo: Repo, names: str) -> list[Run]:
    """Runs of one recipe, each with another seed; spaces between names. Raises UserError."""
    runs = [Run(repo, name) for name in names.split()]
    if not runs:
        raise UserError("no revision, A or B, give a branch, a commit, an experiment or workspace")
    for i, run in enumerate(runs):
        for other in runs[:i]:
            both = f"{other.name} and {run.name}"
            if differing := changed(other.recipe, run.recipe):
                raise UserError(
                    f"{both} differ in {differing[0]}, compare them as A and B, "
                    "the revisions of one side differ in seeds alone"
                )
            if same_losses(other, run):
                raise UserError(f"{both} are one and the same run, name each seed once")
            if other.seeds == run.seeds:
                raise UserError(
                    f"{both} have the same seed, on whatever machines, name each seed once"
                )
    return runs


def other_seeds(repo: Repo, run: Run, beside: Sequence[Run]) -> list[Run]:
    """The runs that differ from `run` in nothing but the seed: of `beside`, and experiments.

    One seed on another machine is no other seed, and what dvc.lock does not vouch for is left out.
    """
    found: list[Run] = []
    for other in (*beside, *experiment_runs(repo)):
        if (
            other.recipe == run.recipe
            and other.environment == run.environment
            and all(other.seeds != one.seeds for one in (run, *found))
            and not (other.stale() or other.altered())
            and other.documents
            and run.documents
            and set(other.documents.keys) == set(run.documents.keys)
        ):
            found.append(other)
    return found


def experiment_runs(repo: Repo) -> list[Run]:
    """The runs of all DVC experiments, in the order of their names."""
    return [Run(repo, name, commit) for name, commit in experiments(repo)]


def same_losses(a: Run, b: Run) -> bool:
    """Whether two runs have, document by document as far as is known, the very same losses."""
    if a.documents is None or b.documents is None:
        return a.metrics == b.metrics
    return a.documents.keys == b.documents.keys and np.array_equal(
        a.documents.nats, b.documents.nats
    )


def is_seed(key: str) -> bool:
    """Whether a parameter chooses nothing but chance."""
    return key.split(".")[-1] == "seed"
