"""Text from a trained model: python -m tools.sample --model models/trained --prompt "Once" """

import argparse
import codecs
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import psutil

from gpt.common.errors import UserError, run_stage
from gpt.common.screen import note
from gpt.common.text import Wrapper, choice, plural, terminal_width
from gpt.config import Device, Storage
from tools.options import bounded, whole

if TYPE_CHECKING:
    from gpt.decode import Decoder
    from gpt.language_model import LanguageModel

STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # what a terminal would obey


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the prompt and what follows it, token by token as it comes. Raises UserError."""
    args = parse_args(arguments)
    args.prompt = as_typed(args.prompt)
    speak(args)


def as_typed(prompt: str) -> str:
    """The prompt with the spaces that it begins with, which make takes from `PROMPT=…`."""
    words: list[str] = []
    with suppress(psutil.Error):
        words = [word for process in psutil.Process().parents() for word in process.cmdline()]
    typed = [word.removeprefix("PROMPT=") for word in words if word.startswith("PROMPT=")]
    return next((text for text in typed if text.lstrip() == prompt), prompt)


def speak(args: argparse.Namespace) -> None:
    """Do all of it."""
    import torch  # here, since it takes seconds

    from gpt.generate import Sampler, generate
    from gpt.runtime import choose_device
    from gpt.tokenizer.tokenizer import VOCABULARY, Tokenizer
    from gpt.weights.model_folder import load_language_model

    device = choose_device(args.device, "--device")
    check_model(args.model)
    tokenizer = Tokenizer.load(args.model / VOCABULARY)
    model = load_language_model(args.model).to(device)
    sampler = Sampler(args.temperature, args.top_k, args.top_p, tokenizer.vocab_size)
    if args.fast:
        model = compiled(model, args)
    generator = torch.Generator(device=device).manual_seed(args.seed)
    prompt = tokenizer.encode_prompt(args.prompt)
    more = ""
    for number in range(args.samples):
        if number:
            print("\n---")
        lines = Wrapper(terminal_width(sys.stdout) or sys.maxsize)
        print(lines.add(args.prompt), end="", flush=True)
        ids = torch.tensor([prompt], device=device)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a token may end mid-character
        for token in generate(model, ids, args.tokens, sampler, generator):
            if int(token) == tokenizer.end_of_text:
                break
            text = decoder.decode(tokenizer.token_bytes(int(token)))
            print(lines.add(visible(text)), end="", flush=True)
        else:
            more = f"the text goes on after {plural(args.tokens, 'token')}, add ARGS='--tokens 900'"
        print(lines.add(decoder.decode(b"", final=True) + "\n"), end="", flush=True)
    if more:
        note(more)
    if sys.stdout.isatty() and args.temperature:
        note(f"another text: add ARGS='--seed {args.seed + 1}'")


def check_model(folder: Path) -> None:
    """Raises UserError where no model is, or one that has no vocabulary."""
    if not (folder / "config.json").is_file():
        there = sorted(each.parent.name for each in folder.parent.glob("*/config.json"))
        advice = choice(folder.name, there) if there else "make one: make repro"
        raise UserError(f"no model, {folder}, {advice}")
    if not (folder / "vocabulary.json").is_file():
        raise UserError(
            f"a model without a vocabulary, as seeded weights are, {folder}, "
            "set import_hf.source to hub or local, with the files of its tokenizer"
        )


def compiled(model: "LanguageModel", args: argparse.Namespace) -> "Decoder":
    """The model with its step prepared. Raises UserError if it has none."""
    from gpt.decode import Decoder
    from gpt.model import GPT

    if not isinstance(model, GPT):
        raise UserError(f"only a GPT decodes faster, {args.model} holds another, leave out --fast")
    fast = Decoder(model, args.fast)
    note("compiling, which takes longer the first time")
    seconds = fast.prepare()
    if fast.step:
        note(f"compiled in {seconds:.1f} s")
    else:
        note(f"not compiled, so the text comes no faster: {fast.trouble}")
    return fast


def visible(text: str) -> str:
    """The text, what would steer a terminal written out."""
    return STEERING.sub(lambda found: ascii(found[0])[1:-1], text)


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.sample", description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--prompt", default="")
    parser.add_argument("--tokens", type=whole("--tokens", 1), default=300)
    parser.add_argument("--samples", type=whole("--samples", 1), default=1)
    heat = bounded("--temperature", float, lambda value: 0 <= value <= 1e38, "0 or more")
    parser.add_argument("--temperature", type=heat, default=0.8, help="0: the likeliest token")
    parser.add_argument("--top-k", type=whole("--top-k", 0), default=0, help="0: off")
    share = bounded("--top-p", float, lambda value: 0 < value <= 1, "a number above 0, at most 1")
    parser.add_argument("--top-p", type=share, default=0.95, help="1: off")
    parser.add_argument("--seed", type=whole("--seed", 0), default=1)
    parser.add_argument(
        "--fast",
        choices=get_args(Storage),
        nargs="?",
        const="float32",
        help="compile the model, with its weights stored so, for a long text",
    )
    parser.add_argument("--device", default="auto", choices=get_args(Device))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_stage(main)
