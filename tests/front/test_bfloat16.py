"""bfloat16 training is as precise, and keeps as little, where its products are float32's."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gpt import bfloat16
from gpt.attention import blocked_attention, fused_attention
from gpt.bfloat16 import fast_on_cpu
from gpt.config import GPTConfig, Precision
from gpt.head_loss import head_loss
from gpt.language_model import LanguageModel
from gpt.loss import next_token_loss
from gpt.runtime import precision
from tests.support.random_models import random_model

CPU = torch.device("cpu")
ROUNDING = 2**-8  # of bfloat16, relative
AMD, INTEL = "vendor_id : AuthenticAMD\n", "vendor_id : GenuineIntel\n"


@pytest.fixture(params=[False, True], ids=["float32 products", "native products"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """A processor of each kind."""
    for module in ("attention", "bfloat16", "runtime"):
        monkeypatch.setattr(f"gpt.{module}.native", lambda _: request.param)
    return bool(request.param)


@pytest.mark.parametrize(
    ("amx", "avx512", "info", "expected"),
    [
        (True, True, INTEL, True),
        (False, True, INTEL, False),
        (False, True, AMD, True),
        (False, False, AMD, False),
    ],
)
def test_processors_are_told_apart(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    amx: bool,
    avx512: bool,
    info: str,
    expected: bool,
) -> None:
    (tmp_path / "cpuinfo").write_text(info)
    monkeypatch.setattr(bfloat16, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    assert fast_on_cpu.__wrapped__() is expected
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert fast_on_cpu.__wrapped__()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_linear_layer_and_its_gradients(either_way: bool, bias: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    layer = nn.Linear(48, 20, bias=bias)
    x = torch.randn(3, 5, 48).to(dtype).requires_grad_()
    gradient = torch.randn(3, 5, 20).to(torch.bfloat16)
    with precision(CPU, "bfloat16"):
        y = layer(x)
    torch.autograd.backward(y, gradient)
    assert y.dtype == torch.bfloat16
    assert x.grad is not None
    assert x.grad.dtype == dtype
    exact = nn.Linear(48, 20, bias=bias).double()
    exact.load_state_dict({n: p.to(torch.bfloat16) for n, p in layer.state_dict().items()})
    rounded = x.detach().to(torch.bfloat16).double().requires_grad_()
    wanted = exact(rounded)
    torch.autograd.backward(wanted, gradient.double())
    assert rounded.grad is not None
    near(y, wanted)
    near(x.grad, rounded.grad)
    for ours, theirs in zip(layer.parameters(), exact.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert ours.grad.dtype == torch.float32
        near(ours.grad, theirs.grad)


def test_a_linear_layer_is_cast_as_autocast_does(either_way: bool) -> None:
    layer, x = nn.Linear(8, 4), torch.randn(8, requires_grad=True)
    with precision(CPU, "bfloat16"):
        assert layer(x).dtype == torch.bfloat16  # of one dimension
        assert layer.double()(x.double()).dtype == torch.float64
        with torch.autocast("cpu", enabled=False):
            assert layer.float()(x).dtype == torch.float32
        loss = layer(x).square().sum()
    (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
    second = torch.autograd.grad(gradient.sum(), x)[0]
    weight = layer.weight.detach()
    wanted = 2 * (weight.T @ weight).sum(dim=0)
    assert (second - wanted).norm() < 3 * ROUNDING * wanted.norm()


def near(ours: Tensor, exact: Tensor) -> None:
    """Equal up to one rounding of the result."""
    assert (ours.double() - exact).abs().max() <= ROUNDING * exact.abs().max()


def test_attention_and_its_gradients(either_way: bool) -> None:
    torch.manual_seed(1)
    half = [torch.randn(2, 2, 200, 16).to(torch.bfloat16).requires_grad_() for _ in range(3)]
    whole = [x.detach().double().requires_grad_() for x in half]
    gradient = torch.randn(2, 2, 200, 16).to(torch.bfloat16)
    y, exact = (blocked_attention(q, k, v, 0.25) for q, k, v in (half, whole))
    torch.autograd.backward((y, exact), (gradient, gradient.double()))
    assert y.dtype == torch.bfloat16
    pairs = ((y, exact), *((a.grad, b.grad) for a, b in zip(half, whole, strict=True)))
    for ours, theirs in pairs:
        assert ours is not None
        assert theirs is not None
        assert ours.dtype == torch.bfloat16
        assert (ours.double() - theirs).norm() < 2 * ROUNDING * theirs.norm()


@pytest.mark.parametrize(("queries", "dropout"), [(200, 0.0), (1, 0.0), (3, 0.0), (200, 0.1)])
def test_attention_of_a_pass_without_gradients(
    either_way: bool, queries: int, dropout: float
) -> None:
    torch.manual_seed(1)
    q, k, v = (torch.randn(2, 2, 200, 16).to(torch.bfloat16) for _ in range(3))
    q = q[:, :, -queries:]
    with torch.random.fork_rng(), precision(CPU, "bfloat16"):
        y = fused_attention(q, k, v, 0.25, dropout)
    assert y.dtype == torch.bfloat16
    exact = fused_attention(q.double(), k.double(), v.double(), 0.25, 0.0)
    off = (y.double() - exact).norm() / exact.norm()
    assert 0.1 < off < 1 if dropout else off < ROUNDING


def test_the_loss_of_a_head(either_way: bool) -> None:
    torch.manual_seed(1)
    x, weight = torch.randn(7, 16, requires_grad=True), torch.randn(33, 16, requires_grad=True)
    targets = torch.randint(33, (7,))
    loss = head_loss(x, weight, targets, "bfloat16")
    torch.autograd.backward(loss)
    ours = (x.grad, weight.grad)
    rounded = [t.detach().to(torch.bfloat16).double().requires_grad_() for t in (x, weight)]
    exact = head_loss(rounded[0], rounded[1], targets, "float32")
    torch.autograd.backward(exact)
    assert loss.item() == pytest.approx(exact.item(), rel=ROUNDING)
    for mine, theirs in zip(ours, (t.grad for t in rounded), strict=True):
        assert mine is not None
        assert theirs is not None
        assert (mine.double() - theirs).norm() < 2 * ROUNDING * theirs.norm()


def test_products_in_float32_are_no_further_from_the_truth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor do they keep more for the backward pass."""
    model = random_model(GPTConfig(61, 64, 2, 2, 32), std=0.1)
    ids = torch.randint(61, (4, 65), generator=torch.Generator().manual_seed(1))
    exact = gradient(model, ids, "float32")
    distance, kept = {}, {}
    for way in (True, False):
        for module in ("attention", "bfloat16", "runtime"):
            monkeypatch.setattr(f"gpt.{module}.native", lambda _, way=way: way)
        saved: dict[int, int] = {}

        def keep(tensor: Tensor, saved: dict[int, int] = saved) -> Tensor:
            storage = tensor.untyped_storage()
            saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            distance[way] = float((gradient(model, ids, "bfloat16") - exact).norm())
        kept[way] = sum(saved.values())
    assert 0 < distance[False] < 1.05 * distance[True]
    assert kept[False] <= kept[True]


class Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The dtypes in which matrices are multiplied as long as it lasts."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func.overloadpacket.__name__ in ("mm", "addmm", "bmm", "baddbmm"):
            self.dtypes |= {arg.dtype for arg in args if isinstance(arg, Tensor)}
        return func(*args, **(kwargs or {}))


def test_every_product_of_a_step_is_of_one_kind(either_way: bool) -> None:
    model = random_model(GPTConfig(61, 64, 2, 2, 32))
    with Products() as products:
        gradient(model, torch.randint(61, (4, 65)), "bfloat16")
    assert products.dtypes == {torch.bfloat16 if either_way else torch.float32}


def gradient(model: LanguageModel, ids: Tensor, dtype: Precision) -> Tensor:
    """All gradients in one vector."""
    model.zero_grad()
    torch.autograd.backward(next_token_loss(model, ids[:, :-1], ids[:, 1:], dtype))
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
