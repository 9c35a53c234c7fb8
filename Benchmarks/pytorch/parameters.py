"""Parameters and tokens that start from the same numbers as Mneme's: a counter-based generator keyed by seed and parameter name."""

import math

import numpy as np
import torch

SEED = 1


def mix(z):
    z = (z + np.uint64(0x9E3779B97F4A7C15))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def mix_keys(*keys):
    state = np.uint64(0x6D6E656D65)
    for key in keys:
        state = mix(state ^ mix(np.uint64(key)))
    return state


def name_hash(name):
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = ((value ^ byte) * 0x100000001B3) % (1 << 64)
    return value


def draws(key, count):
    return mix(key + np.arange(count, dtype=np.uint64) * np.uint64(0xD1342543DE82EF95))


def lane_tokens(lane, count, vocabulary):
    return (draws(mix_keys(SEED, lane), count) % np.uint64(vocabulary)).astype(np.int64)


class Parameters(dict):
    """Tensors by Mneme's names. `exact` computes Mneme's starting values; otherwise PyTorch draws from the same distributions, which is faster."""

    def __init__(self, exact, dtype, trains):
        super().__init__()
        self.exact, self.dtype, self.trains = exact, dtype, trains

    def _add(self, name, values):
        self[name] = values.to(self.dtype).requires_grad_(self.trains)

    def constant(self, name, shape, value):
        self._add(name, torch.full(shape, float(value)))

    def normal(self, name, shape, deviation):
        if not self.exact:
            return self._add(name, torch.randn(shape) * deviation)
        raw = draws(mix_keys(SEED, name_hash(name)), 2 * math.prod(shape))
        u = ((raw[0::2] >> np.uint64(11)).astype(np.float64) + 1) * 2.0**-53
        v = (raw[1::2] >> np.uint64(11)).astype(np.float64) * 2.0**-53
        values = (np.sqrt(-2 * np.log(u)) * np.cos(2 * np.pi * v)).astype(np.float32)
        self._add(name, torch.from_numpy((np.float32(deviation) * values).reshape(shape)))

    def padded_normal(self, name, shape, deviation):
        """Row 0 is zeros and draws nothing. (Its gradient is zero too, in both programs, as long as no word is 0.)"""
        self.normal(name, (shape[0] - 1, shape[1]), deviation)
        self._add(name, torch.cat([torch.zeros(1, shape[1]), self[name].detach().float()]))

    def uniform(self, name, shape, bound):
        if not self.exact:
            return self._add(name, torch.rand(shape).mul_(2 * bound).sub_(bound))
        raw = draws(mix_keys(SEED, name_hash(name)), math.prod(shape))
        uniform = (raw >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
        self._add(name, torch.from_numpy((np.float32(bound) * (2 * uniform - 1)).reshape(shape)))

    def xavier(self, name, shape):
        self.uniform(name, shape, math.sqrt(6 / (shape[0] + shape[1])))
