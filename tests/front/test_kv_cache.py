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
    assert [layer.keys.size(2) for layer in cache.layers] == [4, 5]


def test_it_keeps_the_past_as_it_takes_more_room() -> None:
    layer = KVCache(1, room=2).layers[0]
    keys = torch.randn(2, 3, 9, 5)
    rooms = []
    for begin, end in ((0, 2), (2, 3), (3, 9)):
        layer.update(keys[:, :, begin:end], -keys[:, :, begin:end])
        assert torch.equal(layer.keys, keys[:, :, :end])
        assert torch.equal(layer.values, -keys[:, :, :end])
        rooms.append(layer.room)
    assert rooms == [2, 4, 16]


def test_a_token_moves_nothing_of_the_past() -> None:
    layer = KVCache(1).layers[0]
    token = torch.zeros(1, 1, 1, 2)
    first, _ = layer.update(token, token)
    for _ in range(20):
        keys, _ = layer.update(token, token)
        assert keys.data_ptr() == first.data_ptr()


def test_without_layers_it_stays_empty() -> None:
    assert KVCache(0).length == 0
