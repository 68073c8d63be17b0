"""Text from a trained model, on the terminal."""

import subprocess
import sys
from pathlib import Path

import pytest

from gpt.common.errors import UserError
from gpt.config import BigramConfig
from gpt.language_model import Bigram
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.weights.model_folder import save_model
from tests.support.imports import ROOT
from tests.support.project import run
from tests.support.random_models import reciter
from tools import sample

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # the compiler's
TEXT = "abcdefghijkl"
TOKENIZER = Tokenizer.from_characters(f"{TEXT} <|endoftext|>")
# Each takes half a second to import, or seconds.
HEAVY = ("transformers", "torch._dynamo", "torch._inductor", "sympy", "requests", "dvc")


def said(folder: Path, capsys: pytest.CaptureFixture[str], prompt: str, *options: str) -> str:
    """The output of the command with a model that says TEXT, each letter at its position."""
    save_model(folder / "model", reciter(TOKENIZER, TEXT), {}, TOKENIZER)
    model = ("--model", str(folder / "model"), "--device", "cpu", "--temperature", "0")
    sample.main([*model, "--prompt", prompt, *options])
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("", TEXT),  # a text from its beginning
        ("abc", TEXT),  # behind the end of the text before it, as a text begins in training
        ("ffff", f"ffff{TEXT[4:]}"),
        ("<|end", f"<|end{TEXT[5:]}"),
    ],
)
def test_a_prompt_begins_a_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], prompt: str, text: str
) -> None:
    assert said(tmp_path, capsys, prompt) == f"{text}\n"


def test_a_text_begins_without_what_it_does_not_need(tmp_path: Path) -> None:
    save_model(tmp_path / "model", reciter(TOKENIZER, TEXT), {}, TOKENIZER)
    code = "import sys; from tools.sample import main; main(); print(*sys.modules, file=sys.stderr)"
    words = ("--model", str(tmp_path / "model"), "--device", "cpu", "--temperature", "0")
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == f"{TEXT}\n"
    assert set(done.stderr.split()).isdisjoint(HEAVY)


def test_an_end_of_text_that_is_typed_is_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt = "<|endoftext|>"  # as many characters, and longer than the context
    assert said(tmp_path, capsys, prompt, "--tokens", "3").startswith(prompt)


def test_a_prompt_longer_than_the_context(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = said(tmp_path, capsys, 40 * "a", "--tokens", "5", "--samples", "2")
    first, second = out.split("---")
    assert first.startswith(40 * "a")
    assert first.strip() == second.strip()


def test_the_end_of_text_is_not_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = said(tmp_path, capsys, "", "--samples", "2")
    assert out == f"{TEXT}\n\n---\n{TEXT}\n"


def test_a_text_that_is_cut_is_said_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_model(tmp_path / "model", reciter(TOKENIZER, TEXT), {}, TOKENIZER)
    model = ("--model", str(tmp_path / "model"), "--device", "cpu", "--temperature", "0")
    sample.main([*model, "--tokens", "5"])
    said = capsys.readouterr()
    assert said.out == f"{TEXT[:5]}\n"
    assert said.err == "note: the text goes on after 5 tokens, add ARGS='--tokens 900'\n"
    sample.main(model)
    assert capsys.readouterr().err == ""


def test_a_prompt_keeps_the_spaces_that_make_takes_from_it(tmp_path: Path) -> None:
    save_model(tmp_path / "model", reciter(TOKENIZER, TEXT), {}, TOKENIZER)
    options = f"ARGS=--model {tmp_path / 'model'} --device cpu --temperature 0"
    make = ("make", "-s", "-o", f"{sys.prefix}/.ready", f"VENV={sys.prefix}", "sample", options)
    assert run(ROOT, *make, "PROMPT=   abc  ").startswith("   abc  ")
    assert run(ROOT, *make, "PROMPT=abc").startswith("abcd")


def test_a_compiled_model_says_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(tmp_path, capsys, "abc", "--fast", "int8") == f"{TEXT}\n"


def test_a_text_comes_without_a_compiler(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpt.cpu_kernels.load", lambda: "no compiler, install g++")
    save_model(tmp_path / "model", reciter(TOKENIZER, TEXT), {}, TOKENIZER)
    model = ("--model", str(tmp_path / "model"), "--device", "cpu", "--temperature", "0")
    sample.main([*model, "--fast"])
    said = capsys.readouterr()
    assert said.out == f"{TEXT}\n"
    assert said.err.count("install g++") == 1


def test_what_is_no_model_that_writes_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^no model, .*/trained, make one: make repro$"):
        sample.main(["--model", str(tmp_path / "trained")])
    save_model(tmp_path / "trained", reciter(TOKENIZER, TEXT), {})
    with pytest.raises(UserError, match=r"^no model, .*/traned, did you mean trained\?"):
        sample.main(["--model", str(tmp_path / "traned")])
    with pytest.raises(UserError, match=r"^a model without a vocabulary, .* set import_hf.source"):
        sample.main(["--model", str(tmp_path / "trained")])


def test_a_bigram_has_no_step_to_compile(tmp_path: Path) -> None:
    bigram = Bigram(BigramConfig(TOKENIZER.vocab_size, 8))
    save_model(tmp_path / "model", bigram, {}, TOKENIZER)
    with pytest.raises(UserError, match="only a GPT"):
        sample.main(["--model", str(tmp_path / "model"), "--fast"])


def test_a_terminal_shows_whole_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "10")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert said(tmp_path, capsys, "a b") == f"a\nb{TEXT[3:]}\n"


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [
        ("--tokens", "-5", "1 or more"),
        ("--samples", "0", "1 or more"),
        ("--samples", "two", "1 or more"),
        ("--temperature", "-1", "0 or more"),
        ("--temperature", "nan", "0 or more"),
        ("--top-k", "-1", "0 or more"),
        ("--top-p", "3", "a number above 0, at most 1"),
        ("--seed", str(2**63), "0 or more"),
    ],
)
def test_a_number_that_does_not_fit_is_one_line(option: str, value: str, wanted: str) -> None:
    with pytest.raises(UserError) as error:
        sample.main(["--model", "models/nowhere", option, value])
    assert str(error.value) == f"{option} is {value}, give {wanted}"


def test_a_terminal_says_how_to_get_another_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(tmp_path / "model", reciter(TOKENIZER, TEXT), {}, TOKENIZER)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    model = ("--model", str(tmp_path / "model"), "--device", "cpu", "--seed", "4")
    sample.main([*model, "--temperature", "0"])  # always the same
    assert capsys.readouterr().err == ""
    sample.main([*model, "--temperature", "0.001"])
    assert capsys.readouterr().err == "note: another text: add ARGS='--seed 5'\n"


def test_what_would_steer_a_terminal_is_written_out() -> None:
    assert sample.visible("a\x1b[31m\x07\r\n\tb\x9bé") == "a\\x1b[31m\\x07\\r\n\tb\\x9bé"
