"""The cache grows by what it is given and gives back all that it holds."""

import torch

from gpt.kv_cache import KVCache


def test_it_grows_in_order() -> None:
    cache = KVCache(2)
    assert cache.length == 0
    first, second = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 1, 5)
    for layer in cache.layers:
        keys, values = layer.update(first, -first)
        assert torch.equal(keys, first)
        assert torch.equal(values, -first)
    assert cache.length == 4
    keys, values = cache.layers[1].update(second, -second)
    assert torch.equal(keys, torch.cat((first, second), dim=2))
    assert torch.equal(values, -keys)
    assert [layer.keys.size(2) for layer in cache.layers if layer.keys is not None] == [4, 5]


def test_without_layers_it_stays_empty() -> None:
    assert KVCache(0).length == 0
