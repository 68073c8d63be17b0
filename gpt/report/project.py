"""The project under git and DVC: all that is asked of either goes through DVC's own library."""

import atexit
import logging
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from colorama.initialise import reset_all  # type: ignore[import-untyped]
from dvc.exceptions import DvcException
from dvc.fs import FileSystem, GitFileSystem
from dvc.ignore import DvcIgnoreFilter
from dvc.repo import Repo
from dvc.repo.experiments.utils import exp_refs
from dvc.scm import map_scm_exception
from pygit2 import GitError

from gpt.common.errors import UserError

WORKSPACE = "workspace"  # DVC's name for the files as they are now
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Changes:
    """The workspace beside its last commit, in DVC's words; None is what DVC cannot tell."""

    revision: str | None = None  # the commit, with `-dirty` if files differ from it
    status: dict[str, list[Any]] | None = None  # of each stage that is not as recorded
    params: dict[str, Any] | None = None  # by file and key
    metrics: dict[str, Any] | None = None


@dataclass(frozen=True)
class Files:
    """The project's files at a revision, with what DVC ignores of them."""

    system: FileSystem
    root: str
    ignored: DvcIgnoreFilter

    def path(self, name: str) -> str:
        """A file's path in the file system; `name` is relative to the project."""
        return str(self.system.join(self.root, name))


def open_project(folder: Path) -> Repo:
    """The DVC project that holds a folder, to be closed. Raises UserError."""
    try:
        repo = Repo(str(folder))
        with map_scm_exception():
            repo.scm.resolve_rev("HEAD")
    except (DvcException, NotImplementedError) as error:
        raise UserError(
            f"no project under git and DVC ({error}), {folder.resolve()}, "
            "git clone it, or git init and commit"
        ) from None
    except GitError as error:  # as in a folder of another user, mounted perhaps
        raise UserError(
            f"git refuses to read it ({error}), {folder.resolve()}, if you trust its owner: "
            f"git config --global --add safe.directory '{folder.resolve()}'"
        ) from None
    return repo


def silence() -> None:
    """Let DVC log nothing and draw no bars: whoever calls it says what there is to say."""
    for library in ("dvc", "dvc_data"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    atexit.unregister(reset_all)  # of its log's colours: would add an empty line


def files_at(repo: Repo, revision: str) -> Files:
    """The files at a branch, a tag, a commit, an experiment or WORKSPACE. Raises UserError."""
    if revision == WORKSPACE:
        return Files(repo.fs, repo.root_dir, repo.dvcignore)
    inside = Path(repo.root_dir).resolve().relative_to(Path(repo.scm.root_dir).resolve())
    system = GitFileSystem(scm=repo.scm, rev=revision)
    root = str(PurePosixPath("/", inside.as_posix()))
    try:
        system.exists(root)
    except DvcException:
        raise UserError(
            f"no revision {revision}, {repo.root_dir}, see git branch and dvc exp list"
        ) from None
    return Files(system, root, DvcIgnoreFilter(system, root))


def experiments(repo: Repo) -> list[tuple[str, str]]:
    """Name and commit of each DVC experiment, in the order of their names."""
    return sorted((ref.name, repo.scm.get_ref(str(ref))) for ref in exp_refs(repo.scm))


def changes_since_commit(folder: Path) -> Changes:
    """The changes of the project whose root is `folder`; all None where there is no project."""
    if not (folder / ".dvc").is_dir():
        return Changes()
    try:
        repo = Repo(str(folder))
    except DvcException:
        return Changes()
    with closing(repo):
        return Changes(
            _ask(lambda: _revision(repo)),
            _ask(lambda: _status(repo)),
            _ask(lambda: repo.params.diff().get("diff", {})),
            _ask(lambda: repo.metrics.diff().get("diff", {})),
        )


def _revision(repo: Repo) -> str:
    """The commit in short, with `-dirty` if tracked files differ from it."""
    staged, unstaged, _ = repo.scm.status(untracked_files="no")
    return f"{repo.scm.get_rev()[:7]}{'-dirty' if staged or unstaged else ''}"


def _status(repo: Repo) -> dict[str, list[Any]]:
    """The findings on each stage that is not as recorded; elsewhere DVC puts a path before it."""
    return {name.rpartition(":")[2]: findings for name, findings in repo.status().items()}


def _ask(question: Callable[[], Answer]) -> Answer | None:
    """The answer, or None where git or DVC refuses to give one."""
    try:
        with map_scm_exception():
            return question()
    except (DvcException, NotImplementedError):
        return None
