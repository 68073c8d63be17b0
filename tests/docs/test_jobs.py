"""The job files of docs/jobs/: what can be told of them without a cluster."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from gpt.common.params import read_yaml
from tests.support.imports import ROOT
from tests.support.pages import content
from tools.node import NEEDED

JOBS = ROOT / "docs" / "jobs"
SCRIPTS = re.compile(r"python -m (\w+)\.(\w+)")
TARGET = re.compile(r"\bmake (\w+)")


def documents(name: str) -> list[Any]:
    return list(YAML(typ="safe", pure=True).load_all((JOBS / name).read_text()))


def pod() -> dict[str, Any]:
    spec: dict[str, Any] = documents("kubernetes.yaml")[1]["spec"]["template"]["spec"]
    return spec


def scripts() -> dict[str, str]:
    """The shell scripts of the files."""
    task = documents("skypilot.yaml")[0]
    return {
        "slurm": (JOBS / "slurm.sbatch").read_text(),
        "kubernetes": pod()["containers"][0]["args"][0],
        "skypilot setup": task["setup"],
        "skypilot run": task["run"],
    }


@pytest.mark.parametrize("name", scripts())
def test_a_script_is_one_that_bash_reads(name: str) -> None:
    done = subprocess.run(("bash", "-n"), input=scripts()[name], text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("path", sorted(JOBS.iterdir()), ids=lambda path: path.name)
def test_what_a_file_calls_exists(path: Path) -> None:
    text = content(f"docs/jobs/{path.name}")
    modules = SCRIPTS.findall(text)
    assert [it for it in modules if not (ROOT / it[0] / f"{it[1]}.py").exists()] == []
    targets = set(re.findall(r"^([a-z]+):", content("Makefile"), re.MULTILINE))
    assert set(TARGET.findall(text)) <= targets
    presets = re.findall(r"NAME=([\w-]+)", text)
    assert [it for it in presets if not (ROOT / "presets" / f"{it}.yaml").exists()] == []
    stages = set(re.findall(r"dvc (?:repro|pull) ((?:[a-z_]+ ?)+)", text))
    named = {stage for it in stages for stage in it.split()}
    assert named <= set(read_yaml(ROOT / "dvc.yaml")["stages"])


def test_the_nodes_are_told_where_to_meet() -> None:
    given = {it["name"]: it["value"] for it in pod()["containers"][0]["env"]}
    assert set(NEEDED) <= set(given)
    assert set(NEEDED) <= set(re.findall(r"^export (\w+)=", scripts()["slurm"], re.MULTILINE))


def test_the_pods_of_a_job_find_the_first_one() -> None:
    service, job = documents("kubernetes.yaml")
    spec = job["spec"]
    given = {it["name"]: it["value"] for it in pod()["containers"][0]["env"]}
    assert str(spec["completions"]) == str(spec["parallelism"]) == given["PET_NNODES"]
    host, _, _ = given["PET_RDZV_ENDPOINT"].partition(":")
    assert host == f"{job['metadata']['name']}-0.{service['metadata']['name']}"
    assert pod()["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"].items() <= spec["template"]["metadata"]["labels"].items()
    mounted = {it["name"] for it in pod()["containers"][0]["volumeMounts"]}
    assert mounted == {it["name"] for it in pod()["volumes"]}
