"""Golden vectors of the Compressive Transformer, from an independent program in NumPy (float64): what lanes remember, losses, gradients.

    python3 generate_compressive_transformer.py     writes compressive-transformer.json beside itself

Each lane is read by itself, position by position, with Python lists of rows as its memory; nothing is packed, shifted or masked. Gradients are
complex-step derivatives, exact but for rounding: the language loss and the compression's own loss are differentiated apart, and what is behind a
stopped gradient loses its imaginary part.
"""
import json
import math
import os

import numpy as np

random = np.random.default_rng(1911)
V, D, HEADS, LAYERS, INNER, MEMORY, RATE, SLOTS = 7, 6, 2, 2, 5, 4, 3, 3
# Segments of two lanes: tokens, with the targets one step later; the second lane begins a document at the third position of the second segment.
CUTS = [0, 5, 9, 16, 21]
TOKENS = random.integers(0, V, (2, CUTS[-1] + 1))
RESETS = {(1, 7)}
CASES = [
    dict(name="convolution", loss="attention", preNorm=False, gradients=True),
    dict(name="dilated-convolution", loss="auto-encoding", preNorm=True, gradients=True),
    dict(name="dilated-convolution", loss="attention", preNorm=True, gradients=True),
    dict(name="mean-pooling", loss="attention", preNorm=False, gradients=False),
    dict(name="max-pooling", loss="attention", preNorm=True, gradients=False),
    dict(name="most-used", loss="attention", preNorm=False, gradients=False),
]


def sg(x):
    return np.asarray(x).real.astype(np.float64)


def make_parameters():
    parameters = {}
    def add(name, *shape, scale=0.6, offset=0.0):
        parameters[name] = (random.standard_normal(shape) * scale + offset).astype(np.float32).astype(np.float64)
    add("embedding.weight", V, D)
    add("contentBias", D)
    add("positionBias", D)
    for n in range(LAYERS):
        p = f"layers.{n}."
        add(p + "attention.query.weight", D, D)
        add(p + "attention.keyValue.weight", 2 * D, D)
        add(p + "attention.distance.weight", D, D)
        add(p + "attention.output.weight", D, D)
        for norm in ("attentionNorm", "feedForwardNorm"):
            add(p + norm + ".weight", D, scale=0.2, offset=1.0)
            add(p + norm + ".bias", D, scale=0.2)
        add(p + "feedForward.input.weight", INNER, D)
        add(p + "feedForward.input.bias", INNER, scale=0.2)
        add(p + "feedForward.output.weight", D, INNER)
        add(p + "feedForward.output.bias", D, scale=0.2)
        add(p + "compression.convolution.weight", D, RATE * D, scale=0.4)
        add(p + "compression.convolution.bias", D, scale=0.2)
        add(p + "compression.decoder.weight", RATE * D, D, scale=0.4)
        add(p + "compression.decoder.bias", RATE * D, scale=0.2)
    add("finalNorm.weight", D, scale=0.2, offset=1.0)
    add("finalNorm.bias", D, scale=0.2)
    return parameters


def layer_norm(x, gain, bias):
    centred = x - x.mean()
    return centred / np.sqrt((centred * centred).mean() + 1e-5) * gain + bias


def distance_code(distance):
    half = (D + 1) // 2
    frequencies = [1 / 10000 ** (2 * (i % half) / D) for i in range(D)]
    return np.array([math.sin(distance * f) if i < half else math.cos(distance * f) for i, f in enumerate(frequencies)])


def softmax(scores):
    weights = np.exp(scores - np.max(scores.real))
    return weights / weights.sum()


class Lane:
    """What one lane remembers: for each layer, rows of the memory, compressed rows, and the attention that rows of the memory have received."""

    def __init__(self):
        self.memory = [[] for _ in range(LAYERS)]
        self.compressed = [[] for _ in range(LAYERS)]
        self.use = [[] for _ in range(LAYERS)]


def read(P, case, lane, tokens, targets, resets):
    """One segment of a lane: (sum of -log p, the compression's loss)."""
    pre, T = case["preNorm"], len(tokens)
    norm = lambda x, name: layer_norm(x, P[name + ".weight"], P[name + ".bias"])
    x = [P["embedding.weight"][t] * math.sqrt(D) for t in tokens]
    first = 0
    begins = []
    for t in range(T):
        if t in resets:
            first = t
        begins.append(first)
    forgets = any(r in resets for r in range(T))
    layers_in, received = [], []
    size = D // HEADS
    for n in range(LAYERS):
        p = f"layers.{n}."
        layers_in.append(x)
        attention_norm = (lambda row: norm(row, p + "attentionNorm")) if pre else (lambda row: row)
        old = lane.compressed[n] + lane.memory[n]
        rows = [attention_norm(row) for row in [sg(r) for r in old] + x]
        M = len(old)
        W = P[p + "attention.keyValue.weight"]
        keys, values = [W[:D] @ row for row in rows], [W[D:] @ row for row in rows]
        gain = np.zeros(M + T)
        next_x = []
        for t in range(T):
            q = P[p + "attention.query.weight"] @ rows[M + t]
            begin = M + begins[t] if any(r in resets for r in range(t + 1)) else 0
            mixed = np.zeros(D, dtype=q.dtype)
            for h in range(HEADS):
                c = slice(h * size, (h + 1) * size)
                scores = []
                for s in range(begin, M + t + 1):
                    r = (P[p + "attention.distance.weight"] @ distance_code(M + t - s))[c]
                    scores.append(((q[c] + P["contentBias"][c]) @ keys[s][c] + (q[c] + P["positionBias"][c]) @ r) / math.sqrt(size))
                weights = softmax(np.array(scores))
                mixed = mixed + 0j
                mixed[c] = sum(w * values[s][c] for w, s in zip(weights, range(begin, M + t + 1)))
                gain[begin : M + t + 1] += weights.real / HEADS
            y = x[t] + P[p + "attention.output.weight"] @ mixed
            if not pre:
                y = norm(y, p + "attentionNorm")
            z = norm(y, p + "feedForwardNorm") if pre else y
            inner = P[p + "feedForward.input.weight"] @ z + P[p + "feedForward.input.bias"]
            inner = inner * (inner.real > 0)
            y = y + P[p + "feedForward.output.weight"] @ inner + P[p + "feedForward.output.bias"]
            next_x.append(y if pre else norm(y, p + "feedForwardNorm"))
        received.append((gain, M))
        x = next_x
    loss = 0
    for t in range(T):
        hidden = norm(x[t], "finalNorm") if pre else x[t]
        logits = P["embedding.weight"] @ hidden
        top = np.max(logits.real)
        loss = loss + top + np.log(np.exp(logits - top).sum()) - logits[targets[t]]

    own = 0
    for n in range(LAYERS):
        p = f"layers.{n}."
        start = begins[-1] if forgets else 0
        gain, M = received[n]
        compressed = [] if forgets else lane.compressed[n]
        kept = 0 if forgets else len(lane.memory[n])
        rows = [sg(r) for r in (lane.memory[n] if not forgets else []) + layers_in[n][start:]]
        use = [lane.use[n][i] + gain[M - kept + i] for i in range(kept)] + list(gain[M + start :])
        groups = max(0, len(rows) - MEMORY) // RATE
        made = []
        if case["name"] == "most-used":
            average = [u / (len(rows) - i) for i, u in enumerate(use)]
            order = sorted(range(groups * RATE), key=lambda i: (-average[i], i))
            made = [rows[i] for i in sorted(order[:groups])]
        for g in range(groups):
            old = rows[g * RATE : (g + 1) * RATE]
            if case["name"] == "mean-pooling":
                made.append(sum(old) / RATE)
            elif case["name"] == "max-pooling":
                made.append(np.max(old, axis=0))
            elif case["name"] != "most-used":
                step = 2 if case["name"].startswith("dilated") else 1
                seen = np.concatenate([rows[g * RATE + step * i] for i in range(RATE)])
                made.append(P[p + "compression.convolution.weight"] @ seen + P[p + "compression.convolution.bias"])
        if groups and "convolution" in case["name"]:
            old = rows[: groups * RATE]
            if case["loss"] == "auto-encoding":
                for g in range(groups):
                    again = P[p + "compression.decoder.weight"] @ made[g] + P[p + "compression.decoder.bias"]
                    difference = again - np.concatenate(old[g * RATE : (g + 1) * RATE])
                    own = own + (difference * difference).sum() / D
            else:
                W, Q = sg(P[p + "attention.keyValue.weight"]), sg(P[p + "attention.query.weight"])
                gains, biases = sg(P[p + "attentionNorm.weight"]), sg(P[p + "attentionNorm.bias"])
                see = (lambda row: layer_norm(row, gains, biases)) if pre else (lambda row: row)
                for h_row in layers_in[n]:
                    q = Q @ see(sg(h_row))
                    def attend(memory, c):
                        scores = np.array([(q[c] @ (W[:D] @ see(r))[c]) / math.sqrt(size) for r in memory])
                        return sum(w * (W[D:] @ see(r))[c] for w, r in zip(softmax(scores), memory))
                    for h in range(HEADS):
                        c = slice(h * size, (h + 1) * size)
                        difference = attend(old, c) - attend(made, c)
                        own = own + (difference * difference).sum() / D
        lane.compressed[n] = (compressed + [sg(m) for m in made])[-SLOTS:]
        lane.memory[n] = rows[groups * RATE :]
        lane.use[n] = use[groups * RATE :]
    return loss, own


def segment(P, case, lanes, index):
    begin, end = CUTS[index], CUTS[index + 1]
    sums = [0, 0]
    for number, lane in enumerate(lanes):
        resets = {step - begin for l, step in RESETS if l == number and begin <= step < end}
        results = read(P, case, lane, TOKENS[number, begin:end], TOKENS[number, begin + 1 : end + 1], resets)
        sums = [a + b for a, b in zip(sums, results)]
    return sums


def copy(lanes):
    result = [Lane() for _ in lanes]
    for a, b in zip(lanes, result):
        for name in ("memory", "compressed", "use"):
            setattr(b, name, [list(rows) for rows in getattr(a, name)])
    return result


def numbers(array):
    return [float(f"{v:.8g}") for v in np.asarray(array, dtype=np.float64).flatten()]


parameters = make_parameters()
cases = []
for case in CASES:
    lanes, losses, own = [Lane(), Lane()], [], []
    used = {k: v for k, v in parameters.items()
            if (case["preNorm"] or not k.startswith("finalNorm"))
            and ("convolution" in case["name"] or ".compression." not in k)
            and (case["loss"] == "auto-encoding" or ".decoder." not in k)}
    for index in range(len(CUTS) - 1):
        before = copy(lanes)
        sums = segment(used, case, lanes, index)
        losses.append(float(np.real(sums[0])))
        own.append(float(np.real(sums[1])))
    entry = dict(name=case["name"], loss=case["loss"], preNorm=case["preNorm"], losses=losses, ownLosses=own,
                 memory=[[numbers(lane.memory[n]) for n in range(LAYERS)] for lane in lanes],
                 compressed=[[numbers(lane.compressed[n]) for n in range(LAYERS)] for lane in lanes],
                 use=[[numbers(lane.use[n]) for n in range(LAYERS)] for lane in lanes], lossGradients={}, ownGradients={})
    if case["gradients"]:
        for name, values in used.items():
            gradients = np.zeros((2, values.size))
            for place in range(values.size):
                moved = values.astype(np.complex128).flatten()
                moved[place] += 1e-30j
                sums = segment({**used, name: moved.reshape(values.shape)}, case, copy(before), len(CUTS) - 2)
                gradients[:, place] = [np.imag(s) / 1e-30 for s in sums]
            for key, row in zip(("lossGradients", "ownGradients"), gradients):
                if np.any(row != 0):
                    entry[key][name] = numbers(row)
    cases.append(entry)

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "compressive-transformer.json"), "w") as file:
    json.dump(dict(
        numpy=np.__version__, vocabulary=V, width=D, heads=HEADS, layers=LAYERS, feedForward=INNER, memory=MEMORY, rate=RATE, slots=SLOTS, cuts=CUTS,
        tokens=[[int(t) for t in row] for row in TOKENS], resets=[list(r) for r in sorted(RESETS)],
        parameters={k: numbers(v) for k, v in parameters.items()}, cases=cases), file)
