"""The reduced model: three blocks, a part of the vocabulary and a short context.

What is costly is asked of it alone, and the mutants are tried on it.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from gpt.common.files import write_json
from gpt.hf.config import config_to_hf
from gpt.hf.files import CONFIG
from gpt.hf.names import hf_shapes
from gpt.parity.expected import Expected
from gpt.parity.inputs import Inputs, InputSizes
from gpt.parity.oracles import TransformersOracle
from gpt.parity.subject import Subject
from gpt.weights.model_folder import tensor_shapes
from gpt.weights.tensor_files import WEIGHTS, Shape, write_tensors

VOCABULARY, POSITIONS = 2048, 40  # the first tokens and positions


def reduced_model(
    subject: Subject, oracle: TransformersOracle, inputs: Inputs, folder: Path
) -> tuple[Subject, Expected]:
    """Subject and oracle with three blocks, a small vocabulary, a short context, short inputs.

    The first, the middle and the last block, the first tokens and the first positions, with the
    weights that they have: each mutant is as far off as in the whole, at a tenth of the cost.
    Writes transformers' side of it into `folder`.
    """
    full = subject.config.n_layer
    kept = sorted({0, full // 2, full - 1})
    changes: dict[str, Any] = {
        "n_layer": len(kept),
        "vocab_size": min(subject.config.vocab_size, VOCABULARY),
        "block_size": min(subject.config.block_size, POSITIONS),
    }
    ours, theirs = replace(subject.config, **changes), replace(oracle.config, **changes)
    write_json(folder / CONFIG, config_to_hf(theirs, None))
    tensors = cut(hf_shapes(theirs), kept, oracle.stored)
    write_tensors(folder / WEIGHTS, hf_shapes(theirs), tensors, {"format": "pt"})
    state = dict(cut(tensor_shapes(ours), kept, subject.state.__getitem__))
    fp64_state = {name: tensor.double() for name, tensor in state.items()}
    rows = inputs.texts[0].size(0)
    sizes = InputSizes((1, 12), batch_size=rows, prompts=2, new_tokens=4, wide=(5, 3))
    short = sizes.draw(ours, inputs.seed)
    expected = Expected(TransformersOracle(folder), short, keep_passes=True)
    return Subject(ours, state, fp64_state=fp64_state), expected


def cut(
    shapes: Mapping[str, Shape], kept: list[int], read: Callable[[str], Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """The leading part of every tensor, block i of `shapes` being block kept[i] of `read`."""

    def number(match: re.Match[str]) -> str:
        return f"h.{kept[int(match[1])]}."

    for name, shape in shapes.items():
        whole = read(re.sub(r"\bh\.(\d+)\.", number, name))
        yield name, whole[tuple(map(slice, shape))].contiguous()
