"""The model card of an export: README.md in Hugging Face's form.

https://huggingface.co/docs/hub/model-cards. It says what is recorded and calls the rest unknown.
The same model gives the same bytes: no time, no machine and no path stands in it.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from huggingface_hub import EvalResult, ModelCardData

from gpt.common.errors import UserError
from gpt.common.files import read_json, write_text
from gpt.common.text import printable
from gpt.config import GPTConfig, count_parameters
from gpt.hf.files import CARD, TOKENIZER, VOCAB
from gpt.weights.model_folder import (
    CONFIG,
    WEIGHTS_SUM,
    load_gpt_config,
    load_provenance,
    load_tokenizer,
)
from gpt.weights.source_files import load_source_files

STORIES = "stories"  # the built-in corpus
HUB = "https://huggingface.co"
# Those of the Hub's names for licences that texts and models commonly have.
LICENCES = frozenset(
    """
    apache-2.0 mit openrail bsd bsd-2-clause bsd-3-clause cc cc0-1.0 cc-by-2.0 cc-by-3.0 cc-by-4.0
    cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0
    cc-by-nc-nd-4.0 cc-by-nd-4.0 gfdl gpl-2.0 gpl-3.0 lgpl-3.0 agpl-3.0 mpl-2.0 odc-by odbl pddl
    unlicense wtfpl zlib
    """.split()  # noqa: SIM905 (a list would be a page long)
)
# Figures of metrics/eval.json and their meanings.
MEANINGS = {
    "val_loss": "loss on the validation split, nats per token",
    "val_loss_se": "its standard error over documents",
    "perplexity": "exp of that loss: as unsure as between so many equally likely tokens",
    "bits_per_byte": "the same loss in bits per byte of text, whatever the tokenizer",
    "loss_uniform": "loss of a model that takes every token for equally likely",
    "loss_unigram": "loss of the training split's token frequencies",
    "loss_bigram": "loss of its frequencies of pairs of tokens",
    "loss_floor": "entropy of the corpus: the least loss that any model can have",
}
DIGITS = 4  # of a figure
# Those in the front matter, by their names there.
INDEXED = {
    "val_loss": "loss, nats per token",
    "perplexity": "perplexity",
    "bits_per_byte": "bits per byte",
}
USUAL_LENGTH = 100  # tokens that the example writes
KNOWN_DATA = {
    "train": "tokens of the training split",
    "val": "tokens of the validation split",
    "tokenizer": "tokenizer",
    "initial_weights": "weights that training began with",
}


@dataclass(frozen=True)
class Origins:
    """What is recorded of a trained model outside its folder; nothing, if it is empty."""

    text: Mapping[str, Any] = field(default_factory=dict)  # data/raw/provenance.json
    tokens: Mapping[str, Any] = field(default_factory=dict)  # data/tokens/metadata.json
    scores: Mapping[str, Any] = field(default_factory=dict)  # metrics/eval.json


@dataclass(frozen=True)
class Facts:
    """All that a card is made of."""

    config: GPTConfig
    dtype: torch.dtype
    provenance: Mapping[str, Any]
    weights_sha256: str
    tokenizer: str  # kind, "" if there is none
    begins: bool  # whether the tokenizer puts the end of text before a prompt
    origins: Origins

    @property
    def imported(self) -> str:
        """The name of the model that was imported, without the folders above it; "" if none was."""
        return Path(self.provenance["name"]).name if "files" in self.provenance else ""

    @property
    def hub_name(self) -> str:
        """The name on the Hub of the model that was imported from there, else ""."""
        on_hub = self.provenance.get("source") == "hub" and bool(self.imported)
        return str(self.provenance["name"]) if on_hub else ""

    @property
    def title(self) -> str:
        """A name of few words."""
        source = self.origins.text.get("source")
        return self.imported or (f"gpt2-{source}" if source else "gpt2-own")


def read_origins(
    model: Path, text: Path | None, tokens: Path | None, scores: Path | None
) -> Origins:
    """The records in these files. Raises UserError if they are not those of the model's data."""
    read = [read_json(path) if path else {} for path in (text, tokens, scores)]
    origins, data = Origins(*read), load_provenance(model).get("data", {})
    trained_on, split = data.get("train"), origins.tokens.get("train", {})
    if origins.tokens and split.get("sha256") != trained_on:
        raise UserError(
            f"these are not the tokens that {model} was trained on, {tokens}, train it again"
        )
    if origins.tokens and origins.text.get("sha256") != origins.tokens.get("raw_sha256"):
        raise UserError(f"these tokens are not of the text of {text}, {tokens}, tokenize it again")
    return origins


def write_card(model: Path, folder: Path, dtype: torch.dtype, origins: Origins) -> None:
    """Write the card of the export of a model folder of ours into `folder`. Raises UserError."""
    facts = read_facts(model, dtype, origins)
    write_text(folder / CARD, f"---\n{front_matter(facts).to_yaml()}\n---\n\n{body(facts)}")


def read_facts(model: Path, dtype: torch.dtype, origins: Origins) -> Facts:
    """The facts of a model folder of ours and its export. Raises UserError."""
    tokenizer, source = load_tokenizer(model), load_source_files(model)
    return Facts(
        config=load_gpt_config(model),
        dtype=dtype,
        provenance=load_provenance(model),
        weights_sha256=read_json(model / CONFIG)[WEIGHTS_SUM],
        tokenizer="" if tokenizer is None else tokenizer.kind,
        begins=tokenizer is not None and not source.keys() & {TOKENIZER, VOCAB},
        origins=origins,
    )


def front_matter(facts: Facts) -> ModelCardData:
    """The part of a card that the Hub reads."""
    text, scores = facts.origins.text, facts.origins.scores
    licence = str(text.get("licence") or "unknown")
    known = licence.lower() in {*LICENCES, "unknown"}
    return ModelCardData(
        language="en" if text.get("source") == STORIES else None,
        license=licence.lower() if known else "other",
        license_name=None if known else printable(licence),
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["gpt2", "causal-lm"],
        base_model=facts.hub_name or None,
        model_name=facts.title,
        eval_results=[_result(facts, name) for name in INDEXED if name in scores] or None,
    )


def _result(facts: Facts, name: str) -> EvalResult:
    source = facts.origins.text.get("source", "own text")
    return EvalResult(
        task_type="text-generation",
        dataset_type=source,
        dataset_name=f"{source}, validation split",
        dataset_split="validation",
        metric_type=name,
        metric_name=INDEXED[name],
        metric_value=round(facts.origins.scores[name], DIGITS),
    )


def body(facts: Facts) -> str:
    """The part of a card that a person reads."""
    parts = {
        f"# {facts.title}": summary(facts),
        "## Use": usage(facts),
        "## Training text": training_text(facts),
        "## Model": table(("", ""), model_rows(facts).items()),
        "## Metrics": metrics(facts),
        "## Verification": VERIFICATION.format(rounded=_rounded(facts.dtype)),
        "## Provenance": provenance(facts),
    }
    return "\n\n".join(f"{heading}\n\n{text}" for heading, text in parts.items()) + "\n"


VERIFICATION = """\
After this folder was written, the pipeline's stage `verify_export` compares it with the model that
it was made from{rounded}: every tensor bit for bit, logits, gradients and generated text between
transformers and the pipeline's own code, and the files field by field. Small damages are then done
to model and files, and each must be noticed. The result comes after the card and is therefore not
in it: `metrics/verify_export.json` (`passed`) and `plots/verify_export/` in the project.
`dvc repro verify_export` makes it again."""


def summary(facts: Facts) -> str:
    """What the model is, in a few sentences."""
    size = f"A GPT-2 of {count_parameters(facts.config):,} parameters"
    if facts.imported:
        return f"{size}, imported and exported again. {_imported_from(facts)}"
    begun = "initial_weights" in facts.provenance.get("data", {})
    start = "trained further from another model's weights" if begun else "trained from scratch"
    text = " on the project's built-in stories" * (facts.origins.text.get("source") == STORIES)
    return (
        f"{size}, {start}{text}. It continues text. It was not trained to follow instructions or "
        "to say what is true, and nothing filters what it writes."
    )


def _imported_from(facts: Facts) -> str:
    source, name = facts.provenance.get("source"), facts.imported
    if source == "seeded":
        return f"Its weights are random, in the shape of {name}: nobody has trained it."
    if source == "hub":
        revision = facts.provenance["revision"]
        return f"The original is [{facts.hub_name}]({HUB}/{facts.hub_name}), commit `{revision}`."
    return f"The original is a local folder named {_code(name)}; where it is from is unknown here."


def usage(facts: Facts) -> str:
    """The example, and how to prompt the model."""
    room = facts.config.block_size
    context = f"The context is {room:,} tokens, prompt and continuation together."
    said = {
        "": "No tokenizer comes with the model: it reads and writes ids.",
        "end": "In training, `<|endoftext|>` stands before every document, so it must stand "
        "before a prompt too. This tokenizer puts it there itself (`add_special_tokens=True`, "
        "its default): do not write it again. Without it (`add_special_tokens=False`) the model "
        "meets what it has not been trained on. An empty prompt begins a new document.",
        "theirs": "The tokenizer is the one that the model was imported with, unchanged.",
    }["" if not facts.tokenizer else "end" if facts.begins else "theirs"]
    return f"```python\n{snippet(facts)}```\n\n{said} {context}"


def snippet(facts: Facts) -> str:
    """Python that loads the model and lets it write."""
    length = max(1, min(USUAL_LENGTH, facts.config.block_size // 2))
    if not facts.tokenizer:
        return f"""\
import torch
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained(".")  # this folder, or OWNER/NAME on the Hub
prompt = torch.tensor([[0]])  # ids
written = model.generate(prompt, max_new_tokens={length}, do_sample=True)
print(written.tolist())
"""
    prompt = '""' if facts.begins else '"One day"'
    return f"""\
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # this folder, or OWNER/NAME on the Hub
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)

prompt = tokenizer({prompt}, return_tensors="pt")
end = tokenizer.eos_token_id
written = model.generate(**prompt, max_new_tokens={length}, do_sample=True, pad_token_id=end)
print(tokenizer.decode(written[0], skip_special_tokens=True))
"""


def training_text(facts: Facts) -> str:
    """What the model was trained on, as far as it is recorded."""
    text, tokens = facts.origins.text, facts.origins.tokens
    if not text:
        where = f", see {HUB}/{facts.hub_name}" if facts.hub_name else ""
        return f"Source and licence are unknown here{where}."
    licence = text.get("licence")
    said = "unknown, see the source" if licence is None else _code(licence)
    rows = {"source": _source(text), "licence of the text": said}
    counts = (key for key in ("documents", "shards", "bytes") if key in text)
    rows |= {key: f"{text[key]:,}" for key in counts}
    for side in ("train", "val") if tokens else ():
        rows[f"tokens, {side}"] = f"{tokens[side]['tokens']:,}"
    rows["SHA-256"] = _code(text["sha256"])
    note = "The front matter repeats the licence of the text; none of the weights is recorded."
    return table(("", ""), rows.items()) + f"\n\n{note}"


def _source(text: Mapping[str, Any]) -> str:
    if text["source"] == STORIES:
        return "the project's built-in corpus: short English stories that a grammar writes"
    places = map(_public_address, text.get("patterns") or [text.get("url")])
    return ", ".join(_code(place) for place in places if place) or "local files"


def _public_address(url: str | None) -> str | None:
    """An address without a password or a key in it, None of what is on this machine."""
    parts = urlsplit(url or "")
    if parts.scheme in ("", "file") or not parts.hostname:
        return None
    return f"{parts.scheme}://{parts.hostname}{parts.path}"


def model_rows(facts: Facts) -> dict[str, str]:
    """The table of the architecture."""
    config = facts.config
    return {
        "parameters": f"{count_parameters(config):,}",
        "layers": f"{config.n_layer}",
        "heads": f"{config.n_head}",
        "width": f"{config.n_embd}",
        "context": f"{config.block_size:,} tokens",
        "vocabulary": f"{config.vocab_size:,} ids",
        "activation": config.activation,
        "weights stored as": _name(facts.dtype),
    }


def metrics(facts: Facts) -> str:
    """The evaluation, each figure with its meaning."""
    scores = facts.origins.scores
    if not scores:
        return "None are recorded with the export."
    rows = [(f"`{name}`", f"{scores[name]:.{DIGITS}f}", MEANINGS[name]) for name in _finite(scores)]
    note = "Measured before the export, in float32, on the validation split, which is no part of"
    return f"{note} training.\n\n{table(('metric', 'value', 'meaning'), rows)}"


def _finite(scores: Mapping[str, Any]) -> list[str]:
    return [name for name in MEANINGS if name in scores and math.isfinite(scores[name])]


def provenance(facts: Facts) -> str:
    """Hashes, versions and params."""
    found = facts.provenance
    rows = {"SHA-256 of the model's own weights": _code(facts.weights_sha256)}
    if facts.imported:
        files = {f"SHA-256 of the imported {n}": _code(d) for n, d in found["files"].items()}
        return table(("", ""), (rows | files).items())
    data = found.get("data", {})
    rows |= {f"SHA-256 of the {KNOWN_DATA[name]}": _code(data[name]) for name in data}
    rows |= {name: _code(version) for name, version in found.get("versions", {}).items()}
    params = json.dumps(found.get("params", {}), indent=2).replace("`", r"\u0060")
    fold = "<details><summary>Params of the model and its training</summary>"
    return f"{table(('', ''), rows.items())}\n\n{fold}\n\n```json\n{params}\n```\n\n</details>"


def table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [columns, ("---",) * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(text: object) -> str:
    """Any text as code within a cell."""
    return f"`{printable(str(text)).replace('`', chr(39)).replace('|', '/')}`"


def _rounded(dtype: torch.dtype) -> str:
    return "" if dtype == torch.float32 else f", rounded to {_name(dtype)}"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
