"""Data and models through an S3 server on this machine, as a second user gets them.

The server is moto's, which speaks S3 over HTTP: `pip install -r requirements-s3.txt`.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import requests

from tests.support.project import ENV, commit, hashes, project, run, stages_run

BUCKET = "models"
KEYS = {"access_key_id": "loopback", "secret_access_key": "a-secret-of-nobody"}
# Of the developer's own AWS account nothing is used, nor is one looked for.
ALONE = {name: value for name, value in ENV.items() if not name.startswith("AWS_")} | {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_SHARED_CREDENTIALS_FILE": "none",
    "AWS_CONFIG_FILE": "none",
}
pytestmark = pytest.mark.skipif(
    not (find_spec("dvc_s3") and find_spec("moto") and find_spec("flask_cors")),
    reason="needs requirements-s3.txt",
)


@pytest.fixture
def server() -> Iterator[str]:
    """The address of an S3 server that holds an empty bucket."""
    command = (sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", "0")
    process = subprocess.Popen(command, env=ALONE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr
        said = (re.search(r"http://127\.0\.0\.1:\d+", line) for line in process.stderr)
        address = next(found[0] for found in said if found)
        requests.put(f"{address}/{BUCKET}", timeout=10).raise_for_status()
        yield address
    finally:
        process.kill()
        process.communicate()


def add_keys(folder: Path) -> None:
    """The credentials as docs/storage.md has them: outside git."""
    for name, value in KEYS.items():
        run(folder, "dvc", "remote", "modify", "--local", "storage", name, value, env=ALONE)


def test_a_fresh_clone_pulls_and_has_nothing_to_run(server: str, tmp_path: Path) -> None:
    ours, theirs = project(tmp_path / "ours"), tmp_path / "theirs"
    run(ours, "dvc", "repro", "tokenize", env=ALONE)
    run(ours, "dvc", "remote", "add", "-d", "storage", f"s3://{BUCKET}/gpt2", env=ALONE)
    run(ours, "dvc", "remote", "modify", "storage", "endpointurl", server, env=ALONE)
    add_keys(ours)
    commit(ours)
    run(ours, "dvc", "push", env=ALONE)

    run(tmp_path, "git", "clone", "-q", str(ours), str(theirs), env=ALONE)
    assert not any(key in run(theirs, "git", "grep", "-h", "", "HEAD") for key in KEYS.values())
    assert not (theirs / "data").exists()
    add_keys(theirs)
    run(theirs, "dvc", "pull", "tokenize", "download", env=ALONE)
    assert hashes(theirs / "data") == hashes(ours / "data")
    assert stages_run(run(theirs, "dvc", "repro", "tokenize", env=ALONE)) == []
