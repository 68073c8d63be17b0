"""The gradients that processes share, in a group of one process."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed as dist
from torch.distributed import HashStore  # type: ignore[attr-defined]  # public, by its page
from torch.distributed.tensor import DTensor
from torch.fx import GraphModule
from torch.nn.parallel import DistributedDataParallel

from gpt.common.screen import say
from gpt.config import GPTConfig
from gpt.distributed.gradients import LossModule, SharedGradients, shard
from gpt.distributed.workers import Workers
from gpt.runtime import set_determinism
from gpt.train.step import GradientStep
from tests.support.random_models import random_model
from tests.support.training import train_params

# Of the compiler's own modules.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
CONFIG = GPTConfig(11, 8, 2, 2, 8)


@pytest.fixture
def workers() -> Iterator[Workers]:
    """A group of this process alone."""
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    group = dist.new_group(backend="gloo")
    yield Workers(0, 1, torch.device("cpu"), group)
    dist.destroy_process_group()


@dataclass(frozen=True)
class Compiled:
    """How a graph was compiled."""

    within_ddp: bool
    deterministic: bool


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Compiled]]:
    """The graphs that are compiled, which takes no C++ compiler."""
    graphs: list[Compiled] = []

    def backend(graph: GraphModule, _: Any) -> Callable[..., Any]:
        within_ddp = DistributedDataParallel._active_ddp_module is not None
        graphs.append(Compiled(within_ddp, torch._inductor.config.deterministic))
        return graph.forward

    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    yield graphs
    set_determinism(False)
    torch.compiler.reset()


@pytest.mark.usefixtures("workers")
def test_parameters_are_cut_where_they_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch._C, "_get_accelerator", lambda *_: torch.device("cuda"))
    module = LossModule(random_model(CONFIG))
    shard(module, compiled=False)
    for parameter in module.parameters():
        assert isinstance(parameter, DTensor)
        assert parameter.device_mesh.device_type == "cpu"


@pytest.mark.parametrize("together", [False, True])
def test_what_is_compiled_at_first_serves_every_step(
    workers: Workers, compiled: list[Compiled], together: bool
) -> None:
    torch.set_deterministic_debug_mode("error")
    params = train_params(compile=True, batch_size=2)
    model = random_model(CONFIG)
    step = (
        SharedGradients(LossModule(model), params, say, workers)
        if together
        else GradientStep(model, params, say)
    )
    assert compiled == [Compiled(within_ddp=together, deterministic=True)]
    ids = np.random.default_rng(1).integers(CONFIG.vocab_size, size=(2, 4, CONFIG.block_size))
    step(*ids)
    assert len(compiled) == 1


@pytest.mark.usefixtures("workers")
def test_the_compiler_is_told_of_determinism(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch._inductor.config, "deterministic", False)
    torch.set_deterministic_debug_mode("error")
    try:
        shard(LossModule(random_model(CONFIG)), compiled=True)
        assert torch._inductor.config.deterministic
    finally:
        set_determinism(False)
    assert not torch._inductor.config.deterministic
