"""Export a model folder to what transformers loads: python -m stages.export_hf --help"""

import argparse
from pathlib import Path

from gpt.common.errors import run_stage
from gpt.common.files import new_folder, write_json, write_text
from gpt.config import GPTConfig, count_parameters
from gpt.hf.convert import export_model
from gpt.hf.tokenizer import write_hf_tokenizer
from gpt.weights.model_folder import load_config, load_tokenizer


def main() -> None:
    """Write config, weights and, if the model folder has a vocabulary, the tokenizer."""
    args = parse_args()
    kind = load_config(args.model).kind
    if kind != GPTConfig.kind:
        write_nothing(args, kind)
        return
    tokenizer = load_tokenizer(args.model)
    with new_folder(args.out) as out:
        config = export_model(args.model, out)
        if tokenizer is not None:
            write_hf_tokenizer(tokenizer, out, config.block_size)
        size = sum(path.stat().st_size for path in out.iterdir())
    has_tokenizer = tokenizer is not None
    write_json(
        args.metrics,
        {"n_params": count_parameters(config), "bytes": size, "has_tokenizer": has_tokenizer},
    )
    print(f"exported {count_parameters(config):,} parameters to {args.out}")


def write_nothing(args: argparse.Namespace, kind: str) -> None:
    """An export that says why it is none: the pipeline goes on for models that are no GPT-2."""
    why = f"nothing is exported: {args.model} is a {kind}, which transformers does not have"
    with new_folder(args.out) as out:
        write_text(out / "README.txt", why + "\n")
    n_params = count_parameters(load_config(args.model))
    write_json(args.metrics, {"n_params": n_params, "bytes": 0, "has_tokenizer": False})
    print(why)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.export_hf", description=__doc__)
    for name in ("model", "out", "metrics"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    run_stage(main)
