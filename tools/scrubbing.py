"""One reading of every byte that DVC keeps, with the repairs; `tools.scrub` is its command."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dvc.config import RemoteConfigError
from dvc.exceptions import ReproductionError
from dvc.output import Output
from dvc.repo import Repo
from dvc.repo.reproduce import plan_repro
from dvc.stage import Stage
from dvc.utils import dict_sha256
from dvc.utils.serialize import ParseError, load_yaml
from dvc_data.hashfile import load
from dvc_data.hashfile.db import HashFileDB
from dvc_data.hashfile.hash import file_md5
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.obj import HashFile
from dvc_data.hashfile.tree import Tree
from tqdm import tqdm

from gpt.common.errors import UserError
from gpt.common.files import remove
from gpt.common.text import plural

OBJECT = re.compile(r"[0-9a-f]{32}(\.dir)?")
UNNAMED = ["size", "nfiles"]  # what DVC leaves out of the name of its record of a run


def is_whole(odb: HashFileDB, oid: str) -> bool:
    """Whether an object has the MD5 in its name; it is read twice before it counts as damaged."""
    path, wanted = odb.oid_to_path(oid), oid.removesuffix(".dir")
    return any(file_md5(path, odb.fs, name=odb.hash_name) == wanted for _ in range(2))


def is_kept_whole(cache: HashFileDB, oid: str) -> bool:
    """The same of an object on this machine. Raises UserError if it cannot be read."""
    try:
        return is_whole(cache, oid)
    except OSError as error:
        path, reason = cache.oid_to_path(oid), error.strerror or error
        raise UserError(f"cannot be read ({reason}), {path}, remove it, make scrub again") from None


def is_whole_record(path: Path) -> bool:
    """Whether DVC's record of a run is the one that it is named by."""
    try:
        return str(dict_sha256(load_yaml(str(path)), exclude=UNNAMED)) == path.name
    except (ParseError, TypeError, AttributeError):  # no YAML, or another
        return False


def is_recorded(out: Output) -> bool:
    """Whether an output is in the workspace with the bytes that dvc.lock records."""
    return bool(out.exists and not out.changed_checksum())


class Remote:
    """DVC's default remote; each of its objects is read once."""

    def __init__(self, odb: HashFileDB) -> None:
        self.odb = odb
        self.failure = ""  # if it does not answer: then it is asked no more
        self._known: dict[str, bool | None] = {}

    def state(self, oid: str) -> bool | None:
        """Whether an object is whole; None where there is none, or no answer."""
        if oid not in self._known and not self.failure:
            try:
                self._known[oid] = is_whole(self.odb, oid)
            except Exception as error:  # each kind of remote has its own
                # Over HTTP a dead network is a missing file too, and odb.exists() says no to all.
                if isinstance(error.__cause__ or error, FileNotFoundError):
                    self._known[oid] = None
                else:
                    self._fail(error.__cause__ or error)
        return self._known.get(oid)

    def give(self, oids: Iterable[str], cache: HashFileDB) -> bool:
        """Copy the whole ones of these objects into a cache. Whether there were any."""
        found = [oid for oid in oids if self.state(oid)]
        for oid in found:
            cache.add(self.odb.oid_to_path(oid), self.odb.fs, oid)
        return bool(found)

    def take(self, oids: Iterable[str], cache: HashFileDB) -> None:
        """Put a cache's objects in the place of what is there."""
        try:
            for oid in oids:
                self.odb.add(cache.oid_to_path(oid), cache.fs, oid, check_exists=False)
        except Exception as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self.failure = " ".join(str(error).split()) or type(error).__name__

    def __str__(self) -> str:
        return f"remote {self.odb.path}"


def open_remote(repo: Repo) -> Remote | None:
    """The default remote, if there is one that names objects by their MD5."""
    try:
        return Remote(repo.cloud.get_remote_odb(command="scrub"))
    except RemoteConfigError:
        return None


class Scrub:
    """One reading of all that DVC keeps, with the repairs."""

    def __init__(self, repo: Repo) -> None:
        self.repo = repo
        self.cache: HashFileDB = repo.cache.local
        self.remote = open_remote(repo)
        self.trusted: set[str] = set()  # outputs that DVC takes for those that it recorded
        self.dropped: set[str] = set()  # damaged objects of the cache
        self.dropped_records: list[Path] = []  # damaged records of runs
        self.left: list[str] = []  # what could not be mended, and what to do

    def run(self) -> list[str]:
        """Read, drop, mend and say so. Returns what could not be mended."""
        outs = [out for out in self.repo.index.outs if out.hash_info]
        self.trusted = {out.fs_path for out in outs if is_recorded(out)}
        self.repo.state.hashes.clear()  # of files by size and mtime: from here on DVC reads
        self.drop_damaged()
        names = [stage.addressing for stage in plan_repro(self.repo.index.graph)]
        for name in names:
            self.mend(self.stage(name))
        self.refill(self.dropped)  # what other runs need
        outs = [out for name in names for out in self.stage(name).outs]
        gone = {oid for oid in self.dropped if not self.cache.exists(oid)}
        if others := gone - self.objects(outs):
            self.left.append(f"objects of other runs are lost ({len(others)}), run these again")
        if self.remote is not None:
            self.mend_remote(self.remote, [out for out in outs if out.use_cache and out.hash_info])
        return self.left

    def stage(self, name: str) -> Stage:
        """A stage as it is recorded now."""
        return next(stage for stage in self.repo.index.stages if stage.addressing == name)

    def drop_damaged(self) -> None:
        """Remove each object, and each record of a run, that is not what its name says."""
        everything = self.cache.all()  # type: ignore[no-untyped-call]
        oids = [oid for oid in everything if OBJECT.fullmatch(oid)]
        for oid in tqdm(oids, desc="cache", disable=None, leave=False):
            if not is_kept_whole(self.cache, oid):
                self.cache.delete(oid)
                self.dropped.add(oid)
        records = list(Path(self.repo.stage_cache.cache_dir).glob("*/*/*"))
        self.dropped_records = [path for path in records if not is_whole_record(path)]
        for path in self.dropped_records:
            remove(path)
        n_damaged = len(self.dropped) + len(self.dropped_records)
        read = plural(len(oids) + len(records), "object")
        print(f"cache: {read} read, {n_damaged} damaged and dropped")

    def mend(self, stage: Stage) -> None:
        """Bring a stage's outputs back, in the cache and in the workspace."""
        outs = [out for out in stage.outs if out.hash_info]
        for out in filter(self.is_incomplete, outs):
            if is_recorded(out):
                out.commit()
                print(f"{out}: put back into the cache from the workspace")
            elif self.refill(self.objects([out])) and not out.changed_cache():
                print(f"{out}: fetched from the remote")
        if broken := [out for out in outs if self.is_broken(out)]:
            self.replace(stage, broken)
        elif all(map(is_recorded, outs)) and self.may_be_forgotten(outs):
            self.repo.stage_cache.save(stage)  # with its metrics and plots

    def replace(self, stage: Stage, broken: Sequence[Output]) -> None:
        """Check broken outputs out, or run the stage again where the cache cannot give them."""
        # Where inputs changed, outputs may be those of a newer run, unless DVC saw no change.
        newer = stage.changed_stage() or stage.changed_deps()
        for out in broken:
            known = out.fs_path in self.trusted or not newer
            if known and out.use_cache and not out.changed_cache():
                out.remove()
                out.checkout(force=True)
                print(f"{out}: checked out again")
        again = {str(out): out.hash_info for out in broken if not is_recorded(out)}
        if again and newer:
            names = ", ".join(again)
            self.left.append(f"{names}: {stage.name} has other inputs than recorded, make repro")
        elif again:
            self.rerun(stage.addressing, again)

    def rerun(self, name: str, recorded: Mapping[str, HashInfo]) -> None:
        """Make outputs again; they should come out as recorded."""
        names = ", ".join(recorded)
        try:
            stages = self.repo.reproduce(targets=[name], single_item=True)
        except ReproductionError:
            self.left.append(f"{names}: {name} failed, mend what it says and make repro")
            return
        print(f"{names}: made again by {name}")
        made = {str(out): out.hash_info for stage in stages for out in stage.outs}
        if recorded.items() - made.items():
            self.left.append(f"{names}: {name} gives other bytes than recorded, make repro")

    def is_incomplete(self, out: Output) -> bool:
        """Whether objects of an output were dropped from the cache, and it lacks some still."""
        return bool(out.use_cache and self.dropped & self.objects([out]) and out.changed_cache())

    def may_be_forgotten(self, outs: Sequence[Output]) -> bool:
        """Whether the run cache may have lost the run that made these outputs."""
        return bool(outs and (self.dropped_records or self.dropped & self.objects(outs)))

    def is_broken(self, out: Output) -> bool:
        """Whether an output is there with other bytes than recorded, or nowhere any more."""
        return self.is_incomplete(out) or bool(out.exists and out.changed_checksum())

    def objects(self, outs: Iterable[Output]) -> set[str]:
        """The objects of outputs, as far as the cache or the remote knows them."""
        known = [out for out in outs if out.hash_info]
        trees = [obj for out in known if isinstance(obj := self.object(out), Tree)]
        files = {str(entry.value) for tree in trees for _, _, entry in tree if entry}
        return files | {str(out.hash_info.value) for out in known}

    def object(self, out: Output) -> HashFile | None:
        """The object of a folder or a file, if it is in the cache or whole in the remote."""
        found: HashFile | None = out.get_obj()
        if found is None and self.remote is not None and self.remote.state(out.hash_info.value):
            return load(self.remote.odb, out.hash_info)
        return found

    def refill(self, oids: Iterable[str]) -> bool:
        """Fetch what the cache lacks and the remote has whole. Whether there was anything."""
        lacking = [oid for oid in sorted(oids) if not self.cache.exists(oid)]
        return self.remote is not None and self.remote.give(lacking, self.cache)

    def mend_remote(self, remote: Remote, outs: Iterable[Output]) -> None:
        """Replace what the remote has damaged, or lacks of an output that it has."""
        oids = self.objects([out for out in outs if remote.state(out.hash_info.value) is not None])
        damaged = sorted(oid for oid in oids if not remote.state(oid))
        whole = list(filter(self.cache.exists, damaged))
        remote.take(whole, self.cache)
        if remote.failure:
            self.left.append(f"{remote} failed ({remote.failure}), make scrub again")
            return
        read, found = plural(len(oids), "object"), f"{len(damaged)} damaged"
        print(f"{remote}: {read} read, {found}, {len(whole)} replaced")
        if len(whole) < len(damaged):
            self.left.append(f"{remote} has the only copy of what is damaged there, make repro")
