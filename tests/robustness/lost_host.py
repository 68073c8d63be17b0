"""Cut one of two hosts off while both train, and see that the other one finishes the run.

The hosts are network namespaces joined by a pair of virtual interfaces, which takes root and `ip`
(Debian's iproute2). python -m tests.robustness.lost_host
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpt.common.files import read_json
from tests.support.project import ENV, project, run, stage_arguments, write_param

HOSTS = {"gpt-a": "10.77.0.1", "gpt-b": "10.77.0.2"}
LINK = "gpt0"  # the interface of each
RENDEZVOUS = f"--rdzv-backend c10d --rdzv-id cut --rdzv-endpoint {HOSTS['gpt-a']}:29400"
LAUNCHER = f"torchrun --nnodes 1:2 --nproc-per-node 1 --max-restarts 5 {RENDEZVOUS}"
STEPS, CUT_AFTER = 600, 100
TOLERANCE = 1e-5
TELLING = ("error:", "resuming", "going on", "train ")  # of what a run says


def missing() -> str:
    """Why it cannot be tried here; nothing if it can."""
    if sys.platform != "linux" or shutil.which("ip") is None:
        return "it takes Linux and ip, of Debian's package iproute2"
    return "" if os.geteuid() == 0 else "network namespaces take root"


@contextmanager
def hosts() -> Iterator[None]:
    """Two network namespaces, each with an interface to the other."""
    a, b = HOSTS
    try:
        for name in HOSTS:
            ip("netns", "add", name)
        ip("link", "add", LINK, "netns", a, "type", "veth", "peer", "name", LINK, "netns", b)
        for name, address in HOSTS.items():
            ip("-n", name, "address", "add", f"{address}/24", "dev", LINK)
            ip("-n", name, "link", "set", LINK, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield
    finally:
        for name in HOSTS:
            ip("netns", "delete", name)


def ip(*words: str) -> None:
    """Run the command `ip`."""
    subprocess.run(("ip", *words), check=True)


def prepared(folder: Path) -> Path:
    """A project that is ready to train."""
    project(folder)
    settings = {"dtype": "float32", "steps": STEPS, "checkpoint_every": 20, "hang_seconds": 8.0}
    write_param(folder, "train", eval_every=100, sample_every=0, network_every=0, **settings)
    run(folder, "dvc", "repro", "tokenize")
    return folder


def train(folder: Path, host: str) -> subprocess.Popen[bytes]:
    """Begin the stage on a host; what it says goes into a file of its name."""
    env = ENV | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "GLOO_SOCKET_IFNAME": LINK}
    serves = f"is_host={int(host == 'gpt-a')}"  # torchrun does not find its address in a namespace
    local = ("--local-addr", HOSTS[host], "--rdzv-conf", serves)
    command = (*LAUNCHER.split(), *local, "-m", "stages.train", *stage_arguments("train"))
    with (folder / f"{host}.log").open("wb") as file:
        inside = ("ip", "netns", "exec", host, *command)
        return subprocess.Popen(inside, cwd=folder, env=env, stdout=file, stderr=file)


def wait_for_step(folder: Path, step: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a checkpoint of that step or a later one is there, or the process has ended."""
    while process.poll() is None and not any(
        int(path.name.removeprefix("step-")) >= step
        for path in folder.glob("checkpoints/train/*/step-*")
    ):
        time.sleep(0.2)


def main() -> None:
    if reason := missing():
        sys.exit(f"error: no host can be cut off here, {reason}")
    with tempfile.TemporaryDirectory() as name:
        folder = prepared(Path(name) / "project")
        run(folder, sys.executable, "-m", "stages.train", *stage_arguments("train"))
        alone = float(read_json(folder / "metrics/train.json")["final_val_loss"])
        shutil.rmtree(folder / "checkpoints/train")
        with hosts():
            left, lost = (train(folder, host) for host in HOSTS)
            wait_for_step(folder, CUT_AFTER, left)
            ip("-n", "gpt-b", "link", "set", LINK, "down")
            print(f"gpt-b cut off after step {CUT_AFTER}")
            code = left.wait()
            lost.kill()  # torchrun, which asks the other host for minutes before it ends
            lost.wait()
        said = (folder / "gpt-a.log").read_text()
        found = float(read_json(folder / "metrics/train.json")["final_val_loss"])
        print("\n".join(line for line in said.splitlines() if line.startswith(TELLING)))
        print(f"gpt-a ended with {code}, loss {found:.6f} for {alone:.6f} undisturbed")
        sys.exit(code or abs(found - alone) / alone > TOLERANCE)


if __name__ == "__main__":
    main()
