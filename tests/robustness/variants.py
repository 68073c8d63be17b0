"""Random GPT-2 variants, saved by transformers itself: `python -m tests.robustness.variants`.

Each is imported, verified against transformers, and exported to what transformers loads as it
loaded the source; or it is refused in one line. Anything else is a failure: a traceback, several
lines, or a correct import that does not pass its verification.
"""

import argparse
import contextlib
import io
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer
from transformers.utils import logging

from gpt.common.errors import UserError
from gpt.parity.results import failures
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.weights.model_folder import load_tokenizer
from stages import export_hf, import_hf
from tests.robustness.variant_files import Variant, draw, save
from tests.support.hf_models import TALE, assert_same
from tests.support.parity import verification_of
from tests.support.stages import preset_params, write_params

SEED = 20
IMPORTED = "imported"
TEXTS = (TALE, " leading", "trailing ", "a\r\n\tb  c", "0123", "<|endoftext|>[PAD]", "")


def run_variant(folder: Path, variant: Variant) -> str:
    """`imported`, or the one line of the refusal. Raises AssertionError where neither is right."""
    local, model = folder / "local", folder / "model"
    save(local, variant)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            import_local(folder, local, model)
    except UserError as error:
        line = str(error)
        assert "\n" not in line, line
        assert str(local) in line, line
        assert not list(folder.glob("*model*")), line
        return line
    finally:
        assert not said.getvalue(), said.getvalue()
    check_tokenizer(load_tokenizer(model), local)
    check_round_trip(folder, local, model)
    return IMPORTED


def import_local(folder: Path, local: Path, model: Path) -> None:
    """import_hf on a local folder."""
    write_params(folder, preset_params(import_hf={"source": "local", "path": str(local)}))
    paths = {"params": folder / "params.yaml", "out": model, "metrics": folder / "import.json"}
    with contextlib.redirect_stdout(io.StringIO()):
        import_hf.main([f"--{name}={path}" for name, path in paths.items()])


def check_verified(folder: Path) -> None:
    """The imported variant in `folder` passes every check, and no mutant of it survives."""
    found = verification_of(folder / "model", folder / "model" / "source")
    assert found.passed, failures(found)


def check_tokenizer(ours: Tokenizer | None, local: Path) -> None:
    """The ids of texts, and the texts of ids, are those of transformers' tokenizer."""
    if ours is None:
        return
    theirs: Any = AutoTokenizer.from_pretrained(local)
    assert len(theirs) == ours.vocab_size
    for text in TEXTS:
        if ours.kind == "char":
            text = "".join(char for char in text if char.encode() in ours.tokens)
        ids = theirs(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        assert ours.encode(text) == ids, text
        assert theirs.decode(ids) == text
    special = range(ours.end_of_text, ours.vocab_size)
    assert ours.decode(special) == theirs.decode(list(special))


def check_round_trip(folder: Path, local: Path, model: Path) -> None:
    """What transformers loads from the export is what it loads from the source."""
    paths = {"model": model, "out": folder / "exported", "metrics": folder / "export.json"}
    with contextlib.redirect_stdout(io.StringIO()):
        export_hf.main([f"--{name}={path}" for name, path in paths.items()])
    assert_same(local, folder / "exported")
    if load_tokenizer(model) is not None:
        before, after = (
            AutoTokenizer.from_pretrained(path) for path in (local, folder / "exported")
        )
        assert [before(text)["input_ids"] for text in TEXTS] == [
            after(text)["input_ids"] for text in TEXTS
        ]


def main(arguments: Sequence[str] | None = None) -> None:
    """The long form: a line for each variant. Exits with 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.robustness.variants")
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--first", type=int, default=0, help="the number of the first variant")
    args = parser.parse_args(arguments)
    warnings.simplefilter("error")
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    print(f"seed {args.seed}", flush=True)
    counts: Counter[str] = Counter()
    for number in range(args.first, args.first + args.cases):
        counts[_report(draw(args.seed, number))] += 1
    print(", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())))
    sys.exit(counts["FAILED"] > 0)


def _report(variant: Variant) -> str:
    """Run a variant and print its line: verified, refused or FAILED, which is returned."""
    started, folder = time.monotonic(), Path(tempfile.mkdtemp())
    try:
        line = run_variant(folder, variant)
        if line == IMPORTED:
            check_verified(folder)
            line = "verified"
    except Exception as error:
        traceback.print_exception(error, limit=-3)
        print(variant, file=sys.stderr)
        line = f"FAILED: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    finally:
        shutil.rmtree(folder)
    outcome = line.split(":")[0] if line.startswith(("verified", "FAILED")) else "refused"
    seconds = time.monotonic() - started
    shown = line.replace(str(folder / "local"), "local")
    kind = f"{variant.numbers}, {variant.saving}, {variant.tokenizer}, {variant.odd}"
    print(f"{variant.number}\t{seconds:.1f} s\t{kind}\t{shown}", flush=True)
    return outcome


if __name__ == "__main__":
    main()
