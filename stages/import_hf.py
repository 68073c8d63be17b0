"""Import a Hugging Face GPT-2 into our model folder: python -m stages.import_hf --help"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from gpt.common.errors import run_stage
from gpt.common.files import new_folder, write_json
from gpt.common.params import load_section
from gpt.common.screen import Line, stage
from gpt.common.text import plural
from gpt.config import count_parameters
from gpt.hf.params import ImportParams


def main(arguments: Sequence[str] | None = None) -> None:
    """Fetch the source's files as they are, and write our form of them beside."""
    args = parse_args(arguments)
    with stage("import_hf") as line:
        params = load_section(args.params, "import_hf", ImportParams)
        line.show(f"{params.model}, {params.source}")
        line.done = fetch_and_import(args, params, line)


def fetch_and_import(args: argparse.Namespace, params: ImportParams, line: Line) -> str:
    """Do all of it and return what was imported in a sentence."""
    from gpt.hf.convert import import_model  # torch takes seconds to import
    from gpt.hf.fetch import errors_name_source, fetch
    from gpt.hf.tokenizer_reader import from_hf

    with new_folder(args.out) as out:
        source = out / "source"
        source.mkdir()
        provenance = fetch(params, source)
        with errors_name_source(source, provenance):
            config, widened = import_model(source, out, provenance, from_hf(source))
    if widened:
        line.say(f"{plural(len(widened), 'tensor')} stored in half precision, float32 now")
    metrics = {
        "n_params": count_parameters(config),
        "tensors_widened": len(widened),
        "pretrained": provenance["pretrained"],
    }
    write_json(args.metrics, metrics)
    random = "" if provenance["pretrained"] else ", drawn at random"
    return f"{provenance['name']}: {metrics['n_params']:,} parameters{random}"


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.import_hf", description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--metrics", type=Path, required=True)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_stage(main)
