"""Texts that a model writes, and figures of how varied they are.

Words are split at white space, so that the figures of different vocabularies can be compared.
"""

from collections.abc import Sequence
from dataclasses import replace

from gpt.common.samples import Sample, samples_page
from gpt.eval.params import EvalParams
from gpt.generate import Continuation, Sampler
from gpt.language_model import LanguageModel
from gpt.stories.grammar import is_story
from gpt.tokenizer.tokenizer import Tokenizer

EXPLANATION = """\
Each text has a fixed seed of its own. Temperatures cut nothing off; top-k and top-p stand alone,
at temperature 1. *Repetition* is the share of four-word sequences that stand earlier in the text
already; *distinct-1* and *distinct-2* are the shares of words and of word pairs that differ."""


def repetition(texts: Sequence[str], n: int = 4) -> float:
    """The share of word n-grams that stand earlier in the same text; 0 where there are none."""
    grams = [ngrams(text, n) for text in texts]
    total = sum(map(len, grams))
    return 1 - sum(len(set(found)) for found in grams) / total if total else 0.0


def distinct(texts: Sequence[str], n: int) -> float:
    """Different word n-grams of all texts together, per n-gram (distinct-n of Li et al. 2016)."""
    grams = [gram for text in texts for gram in ngrams(text, n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    """Every run of n words, in order."""
    words = text.split()
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def sample_metrics(
    model: LanguageModel, tokenizer: Tokenizer, params: EvalParams, grammar: bool
) -> dict[str, float]:
    """Figures over `sample_count` texts that begin from nothing, drawn at temperature 1.

    `grammar`: also the share of them that are whole stories of the built-in corpus.
    """
    texts: list[str] = []
    begun = tokenizer.encode_prompt("")
    for start in range(0, params.sample_count, params.batch_size):
        count = min(params.batch_size, params.sample_count - start)
        drawn = continuation(Sampler(), tokenizer, params, start).several(model, begun, count)
        texts += map(tokenizer.decode, drawn)
    metrics = {"sample_repetition": repetition(texts), "sample_distinct_2": distinct(texts, 2)}
    if grammar:
        metrics["sample_valid"] = sum(map(is_story, texts)) / len(texts)
    return metrics


def prompts_page(model: LanguageModel, tokenizer: Tokenizer, params: EvalParams) -> str:
    """Markdown page with a text for each prompt and way of sampling."""
    samples = []
    for prompt in params.prompts:
        told = f"after {prompt!r}" if prompt else "from nothing"
        ids = tokenizer.encode_prompt(prompt)
        for number, (name, sampler) in enumerate(variants(params).items()):
            text = tokenizer.decode(continuation(sampler, tokenizer, params, number).of(model, ids))
            samples.append(Sample(f"{told}, {name}", f"{prompt}{text}", figures(text)))
    return samples_page("Samples", EXPLANATION, samples)


def continuation(
    sampler: Sampler, tokenizer: Tokenizer, params: EvalParams, number: int
) -> Continuation:
    """The continuation of text number `number`, which has a seed of its own."""
    known = replace(sampler, n_ids=tokenizer.vocab_size)
    return Continuation(known, params.sample_tokens, params.seed + number, tokenizer.end_of_text)


def variants(params: EvalParams) -> dict[str, Sampler]:
    """The ways of sampling, by name, but for those that the params turn off."""
    out = {}
    for temperature in params.temperatures:
        name = f"temperature {temperature}" if temperature else "the likeliest token each time"
        out[name] = Sampler(temperature)
    if params.top_k:
        out[f"top-k {params.top_k}"] = Sampler(top_k=params.top_k)
    if params.top_p < 1:
        out[f"top-p {params.top_p}"] = Sampler(top_p=params.top_p)
    return out


def figures(text: str) -> str:
    """Repetition and distinct-n of a text, in one line."""
    values = repetition([text]), distinct([text], 1), distinct([text], 2)
    return "repetition {:.3f}, distinct-1 {:.3f}, distinct-2 {:.3f}".format(*values)
