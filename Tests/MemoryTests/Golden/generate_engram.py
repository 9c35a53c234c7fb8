"""Golden vectors of n-gram addresses and of the layer that reads what they own: python3 generate_engram.py > engram.json

Needs numpy 2. Written from the equations (arXiv 2601.07372, section 2), independently of the Swift program.
"""

import json
import random as integers

import numpy as np

from complex_step import golden_case, sigmoid

MASK = (1 << 64) - 1


def split_mix(seed):
    state = seed & MASK
    while True:
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        yield z ^ (z >> 31)


def make_hash(order, heads, rows, classes, seed, layer, taken):
    """Multipliers and moduli of a layer."""
    stream, largest = split_mix(seed + 10007 * layer), (1 << 62) // (classes + 1)
    multipliers = [2 * (next(stream) % largest) + 1 for _ in range(order)]
    moduli, candidate = [], rows
    while len(moduli) < (order - 1) * heads:
        if candidate > 1 and candidate not in taken and all(candidate % d for d in range(2, int(candidate**0.5) + 1)):
            moduli.append(candidate)
            taken.add(candidate)
        candidate += 1
    return multipliers, moduli


def rows_of(symbols, resets, before, padding, multipliers, moduli, heads):
    window, result = list(before), []
    for symbol, reset in zip(symbols, resets):
        if reset:
            window = [padding] * len(window)
        window.append(symbol)
        row, start = [], 0
        for n in range(2, len(multipliers) + 1):
            mixed = 0
            for i in range(n):
                mixed ^= (window[-1 - i] * multipliers[i]) & MASK
            for k in range(heads):
                modulus = moduli[(n - 2) * heads + k]
                row.append(start + mixed % modulus)
                start += modulus
        result.append(row)
    return result


def digest(numbers):
    """FNV-1a over 64-bit numbers."""
    value = 0xCBF29CE484222325
    for number in numbers:
        value = ((value ^ number) * 0x100000001B3) & MASK
    return value


def address_case(order, heads, rows, vocabulary, seed, layers, sequences):
    draw, taken = integers.Random(seed), set()
    case = {"order": order, "heads": heads, "rows": rows, "vocabulary": vocabulary, "seed": seed, "layers": []}
    texts = []
    for _ in range(sequences):
        length = draw.randint(1, 9)
        texts.append({
            "symbols": [draw.randrange(vocabulary) for _ in range(length)], "resets": [draw.random() < 0.15 for _ in range(length)],
            "before": [draw.randrange(vocabulary + 1) for _ in range(order - 1)],
        })
    case["texts"] = texts
    for layer in layers:
        multipliers, moduli = make_hash(order, heads, rows, vocabulary, seed, layer, taken)
        digests = [digest(sum(rows_of(t["symbols"], t["resets"], t["before"], vocabulary, multipliers, moduli, heads), [])) for t in texts]
        case["layers"].append({"layer": layer, "multipliers": [str(m) for m in multipliers], "moduli": moduli, "digests": [str(d) for d in digests]})
    return case


def layer(c, v):
    rows, table = np.array(c["addresses"]), v["engram.table"]
    found = table[rows].reshape(*rows.shape[:2], -1)
    norm = lambda x, gain: x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * gain
    query, key = norm(v["x"], v["engram.hiddenNorm.weight"]), norm(found @ v["engram.key.weight"].T, v["engram.keyNorm.weight"])
    s = (query * key).sum(-1, keepdims=True) / np.sqrt(v["x"].shape[-1])
    if c["gate"] == "root":
        s = np.where(s.real < 0, -1, 1) * np.sqrt(np.where(s.real < 0, -s, s))
    return [sigmoid(s) * (found @ v["engram.value.weight"].T)]


def layer_case(name, seed, batch, steps, width, row_width, order, heads, rows, gate):
    draw = np.random.default_rng(seed)
    multipliers, moduli = make_hash(order, heads, rows, 9, 0, 1, set())
    symbols = draw.integers(0, 9, (batch, steps))
    # One n-gram twice: its rows' gradients add up.
    symbols[0, -2:] = symbols[0, :2]
    addresses = [rows_of([int(s) for s in line], [False] * steps, [9] * (order - 1), 9, multipliers, moduli, heads) for line in symbols]
    inputs = (order - 1) * heads * row_width
    shapes = {
        "x": (batch, steps, width), "engram.table": (sum(moduli), row_width), "engram.hiddenNorm.weight": (width,), "engram.keyNorm.weight": (width,),
        "engram.key.weight": (width, inputs), "engram.value.weight": (width, inputs),
    }
    values = {key: draw.standard_normal(shape).astype(np.float32).astype(np.float64) for key, shape in shapes.items()}
    c = {
        "order": order, "heads": heads, "rows": rows, "rowWidth": row_width, "gate": gate, "symbols": symbols.tolist(), "addresses": addresses,
    }
    return golden_case(name, c, lambda v: layer(c, v), values, draw)


print(json.dumps({
    "addresses": [
        address_case(3, 4, 1000, 37, 0, [1, 4], 1000), address_case(2, 1, 2, 5, 77, [0], 30), address_case(5, 3, 300_000, 40_000, 123456789, [2], 60),
    ],
    "cases": [
        layer_case("the root of the product", 1, 2, 7, 5, 2, 3, 2, 7, "root"), layer_case("the product itself", 2, 1, 6, 4, 3, 2, 3, 5, "plain"),
    ],
}, separators=(",", ":")))
