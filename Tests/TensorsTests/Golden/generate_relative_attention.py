"""Golden vectors for Mneme's relative attention, computed by NumPy in float64.

Run from this folder:  python generate_relative_attention.py > relative_attention.json   (NumPy; the version is stored in the file)

The scores are written out term by term, for each query and key by itself; nothing is shifted. Gradients are complex-step derivatives, exact but for
rounding. The form is that of operations.json.
"""

import json
import math
import sys

import numpy as np

random = np.random.default_rng(20261129)
cases = []


def numbers(array):
    return [float(f"{v:.9g}") for v in np.asarray(array, dtype=np.float64).flatten()]


def normal(*shape):
    return random.standard_normal(shape).astype(np.float32).astype(np.float64)


def attend(query, key, value, distances, contentBias, positionBias, heads, firstKeys):
    batch, queries, width = query.shape
    keys, size = key.shape[1], width // heads
    past = keys - queries
    output = np.zeros(query.shape, dtype=np.result_type(query, key, value, distances, contentBias, positionBias))
    for b in range(batch):
        for t in range(queries):
            for h in range(heads):
                columns = slice(h * size, (h + 1) * size)
                seen = range(firstKeys[b][t], t + past + 1)
                if not seen:
                    continue
                scores = []
                for s in seen:
                    r = distances[keys - 1 - (t + past - s), columns]
                    content = query[b, t, columns] @ key[b, s, columns]
                    place = query[b, t, columns] @ r
                    scores.append((content + place + contentBias[columns] @ key[b, s, columns] + positionBias[columns] @ r) / math.sqrt(size))
                weights = np.exp(np.array(scores) - max(score.real for score in scores))
                output[b, t, columns] = (weights / weights.sum()) @ value[b, seen.start:seen.stop, columns]
    return output


def add(name, batch, queries, keys, width, heads, firstKeys=None):
    firstKeys = firstKeys or [[0] * queries for _ in range(batch)]
    leaves = {
        "query": normal(batch, queries, width), "key": normal(batch, keys, width), "value": normal(batch, keys, width),
        "distances": normal(keys, width), "contentBias": normal(width), "positionBias": normal(width),
    }
    output = attend(**leaves, heads=heads, firstKeys=firstKeys)
    seed = normal(*output.shape)
    gradients = {}
    for leaf, values in leaves.items():
        gradient = np.zeros(values.size)
        for place in range(values.size):
            moved = values.astype(np.complex128).flatten()
            moved[place] += 1e-30j
            gradient[place] = (attend(**{**leaves, leaf: moved.reshape(values.shape)}, heads=heads, firstKeys=firstKeys).imag * seed).sum() / 1e-30
        gradients[leaf] = gradient.reshape(values.shape)
    cases.append({
        "name": name,
        "attributes": {"heads": [heads], "firstKeys": [first for row in firstKeys for first in row]},
        "inputs": {k: {"shape": list(v.shape), "values": numbers(v)} for k, v in leaves.items()},
        "output": {"shape": list(output.shape), "values": numbers(output)},
        "outputGradient": {"shape": list(seed.shape), "values": numbers(seed)},
        "gradients": {k: {"shape": list(v.shape), "values": numbers(v)} for k, v in gradients.items()},
    })


add("relative-attention", 2, 3, 3, 4, 2)
add("relative-attention-past", 2, 3, 7, 6, 2, [[4, 4, 4], [0, 0, 6]])
add("relative-attention-empty", 1, 4, 5, 3, 1, [[2, 2, 1, 5]])
json.dump({"numpy": np.__version__, "cases": cases}, sys.stdout)
