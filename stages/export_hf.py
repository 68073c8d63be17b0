"""Export a model folder to what transformers loads: python -m stages.export_hf --help"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gpt.common.errors import run_stage
from gpt.common.files import new_folder, write_json
from gpt.common.params import load_section
from gpt.common.screen import stage
from gpt.config import GPTConfig, count_parameters
from gpt.hf.export_params import ExportParams

if TYPE_CHECKING:  # torch takes seconds to import: what needs it is imported where it is used
    from gpt.hf.card import Origins

RECORDS = {
    "text": "provenance.json of the text",
    "tokens": "metadata.json of the tokens",
    "scores": "metrics of the evaluation",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Write config, weights, card and, if the model folder has a vocabulary, the tokenizer."""
    args = parse_args(arguments)
    with stage("export_hf") as line:
        line.done = export_or_say_why_not(args)


def export_or_say_why_not(args: argparse.Namespace) -> str:
    """Do all of it and return what was exported in a sentence."""
    from gpt.hf.card import read_origins
    from gpt.hf.convert import write_unsupported
    from gpt.weights.model_folder import load_config

    params = load_section(args.params, "export_hf", ExportParams)
    config = load_config(args.model)
    size, has_tokenizer = 0, False
    if isinstance(config, GPTConfig):
        origins = read_origins(args.model, args.text, args.tokens, args.scores)
        size, has_tokenizer = export(args.model, args.out, params, origins)
        said = f"{count_parameters(config):,} parameters as {params.dtype} in {args.out}"
    else:  # the pipeline goes on
        said = write_unsupported(args.out, "exported", args.model, config.kind)
    n_params = count_parameters(config)
    write_json(args.metrics, {"n_params": n_params, "bytes": size, "has_tokenizer": has_tokenizer})
    return said


def export(model: Path, folder: Path, params: ExportParams, origins: "Origins") -> tuple[int, bool]:
    """Write the GPT in `model` to `folder`; the bytes written, and whether a tokenizer is there."""
    from gpt.hf.card import write_card
    from gpt.hf.convert import export_model, export_tokenizer
    from gpt.weights.tensor_files import DTYPE_OF

    dtype = DTYPE_OF[params.dtype]
    with new_folder(folder) as out:
        config = export_model(model, out, dtype, params.max_shard_size)
        has_tokenizer = export_tokenizer(model, out, config.block_size)
        write_card(model, out, dtype, origins)
        return sum(path.stat().st_size for path in out.iterdir()), has_tokenizer


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.export_hf", description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    for name in ("model", "out", "metrics"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name, what in RECORDS.items():
        parser.add_argument(f"--{name}", type=Path, help=f"{what}, for the card; else unknown")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_stage(main)
