"""Prove the parity of a Hugging Face GPT-2 beside the pipeline: python -m tools.verify_hf gpt2

The model, from the Hub or a local folder, is imported into models/NAME, where `train.init_from` can
start from it; the proof is written beside it. Nothing else of the project changes.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ruamel.yaml import YAML

from gpt.common.errors import UserError, run_stage
from gpt.common.params import read_yaml
from gpt.common.screen import say
from tools.check_params import OURS


def main(arguments: Sequence[str] | None = None) -> None:
    """Import and verify. Exits as the stage does that fails. Raises UserError."""
    args = parse_args(arguments)
    name = folder_name(args.model)
    check_pinned(args.model, args.revision)
    folder, proof = Path("models", name), Path("models", f"{name}-proof")
    with tempfile.TemporaryDirectory() as temporary:
        params = Path(temporary, "params.yaml")
        YAML().dump(asking_for(args.model, args.revision), params)
        common = ["--params", str(params), "--metrics"]
        run("import_hf", *common, f"{temporary}/import_hf.json", "--out", str(folder))
        places = ["--model", str(folder), "--reference", str(folder / "source")]
        tables = ["--plots", str(proof / "plots")]
        run("verify_logits", *common, str(proof / "verify_logits.json"), *places, *tables)
    say(f"{folder} is proven, see {proof}; train.init_from: {name} starts from it")


def run(stage: str, *arguments: str) -> None:
    """Run a stage, which tells its error itself."""
    done = subprocess.run([sys.executable, "-m", f"stages.{stage}", *arguments], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def folder_name(model: str) -> str:
    """The name of the model's folder in models/. Raises UserError where the pipeline has it."""
    local = Path(model).is_dir()
    if not local and (model.startswith((".", "/", "~")) or model.count("/") > 1):
        raise UserError(f"no such folder, {model}, name one, or a model on the Hub as OWNER/NAME")
    name = Path(model).name if local else model.replace("/", "--")
    if name in OURS:
        raise UserError(f"{name} is a folder of the pipeline, models, rename the model's folder")
    return name


def check_pinned(model: str, revision: str | None) -> None:
    """Raises UserError for a model on the Hub of which no commit is known."""
    from gpt.hf.hub import hub_identity  # here, since it takes seconds

    if Path(model).is_dir():
        return
    try:
        hub_identity(model, revision)
    except UserError:
        raise UserError(
            f"no folder here and no commit on the Hub is known of {model}, HF, "
            "name another folder or add REVISION=COMMIT"
        ) from None


def asking_for(model: str, revision: str | None) -> dict[str, object]:
    """The project's params, but for the model that is imported. Raises UserError."""
    params = read_yaml(Path("params.yaml"))
    local = Path(model).is_dir()
    wanted = {"source": "local", "path": model} if local else {"source": "hub", "model": model}
    params["import_hf"] |= wanted | {"revision": revision}
    return params


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.verify_hf", description=__doc__)
    parser.add_argument("model", help="gpt2, OWNER/NAME on the Hub, or a folder")
    parser.add_argument("--revision", help="of a model on the Hub")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_stage(main)
