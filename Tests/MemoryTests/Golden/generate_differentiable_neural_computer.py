"""Golden vectors for Mneme's Differentiable Neural Computer, computed by PyTorch in float64 from the papers' equations.

Run from this folder:  python generate_differentiable_neural_computer.py > differentiable_neural_computer.json   (PyTorch 2; the version is in the file)

Graves et al. 2016 (Methods); Csordas and Schmidhuber 2019 (masked keys, de-allocation, sharpened links); Franke et al. 2018 (normalised interface).
Written for one sequence and one head at a time, with the memory as rows, so that it shares no arrangement with the Swift code. The initial usages are far apart,
so that no sort meets equal values. The output of a case is the outputs of all steps and every piece of the last state, one after another, so that a gradient
arrives at each of them.
"""

import json
import sys

import torch

torch.manual_seed(20250313)
cases = []
NORM_EPS = 1e-6      # under the root of a norm
USAGE_EPS = 1e-6     # usage u becomes eps + (1 - eps) u before the sort
LINK_EPS = 1e-6      # added to links before they are sharpened
MASK_FLOOR = 0.1


def numbers(tensor):
    return [float(f"{v:.9g}") for v in tensor.detach().double().flatten().tolist()]


def normal(*shape, scale=1.0):
    return (torch.randn(*shape) * scale).float().double()


def softplus(x):
    return torch.log1p(torch.exp(x))


def oneplus(x):
    return 1 + softplus(x)


def norm(x):
    return torch.sqrt((x * x).sum() + NORM_EPS)


def content(rows, key, strength, mask):
    """softmax over the rows of strength times the cosine, under the mask."""
    scores = []
    for row in rows:
        a, b = (row, key) if mask is None else (row * mask, key * mask)
        scores.append(strength * (a @ b) / (norm(a) * norm(b)))
    return torch.softmax(torch.stack(scores), 0)


def allocation(usage):
    u = USAGE_EPS + (1 - USAGE_EPS) * usage
    order = sorted(range(len(u)), key=lambda i: (float(u[i]), i))
    result, product = [None] * len(u), torch.ones((), dtype=torch.float64)
    for i in order:
        result[i] = (1 - u[i]) * product
        product = product * u[i]
    return torch.stack(result)


def sharpened(d, power):
    p = (d + LINK_EPS) ** power
    return p / p.sum()


class Interface:
    """Cuts an interface vector, in the order of the Swift code's MemoryInterface."""

    def __init__(self, vector, width, heads, options):
        self.vector, self.place = vector, 0
        take = self.take
        self.read_keys = [take(width) for _ in range(heads)]
        self.write_key = take(width)
        self.write_vector = take(width)
        self.erase = torch.sigmoid(take(width))
        self.free = torch.sigmoid(take(heads))
        self.allocation_gate = torch.sigmoid(take(1))[0]
        self.write_gate = torch.sigmoid(take(1))[0]
        masks = [None] * (heads + 1)
        if options.get("masksKeys"):
            masks = [MASK_FLOOR + (1 - MASK_FLOOR) * torch.sigmoid(take(width)) for _ in range(heads + 1)]
        self.read_masks, self.write_mask = masks[:heads], masks[heads]
        strength = softplus if options.get("softplus") else oneplus
        self.read_strengths = strength(take(heads))
        self.write_strength = strength(take(1))[0]
        self.forward_powers = self.backward_powers = None
        if options.get("sharpensLinks"):
            self.forward_powers = oneplus(take(heads))
            self.backward_powers = oneplus(take(heads))
        modes = torch.stack([take(heads) for _ in range(3)])
        self.modes = torch.softmax(modes, 0)  # rows: backward, content, forward
        assert self.place == len(vector)

    def take(self, count):
        part = self.vector[self.place:self.place + count]
        assert len(part) == count
        self.place += count
        return part


def memory_step(state, vector, width, heads, options):
    matrix, usage, precedence, links, read_weights, write_weights = state
    z = Interface(vector, width, heads, options)
    retention = torch.ones_like(usage)
    for h in range(heads):
        retention = retention * (1 - z.free[h] * read_weights[h])
    written = write_weights.detach() if options.get("stopsUsageGradient") else write_weights
    usage = (usage + written - usage * written) * retention
    a = allocation(usage)
    c = content(matrix, z.write_key, z.write_strength, z.write_mask)
    w = z.write_gate * (z.allocation_gate * a + (1 - z.allocation_gate) * c)
    kept = matrix * retention[:, None] if options.get("erasesFreedRows") else matrix
    matrix = kept * (1 - torch.outer(w, z.erase)) + torch.outer(w, z.write_vector)
    n = len(usage)
    new_links = [[None] * n for _ in range(n)]
    for i in range(n):
        for j in range(n):
            new_links[i][j] = torch.zeros((), dtype=torch.float64) if i == j else (1 - w[i] - w[j]) * links[i, j] + w[i] * precedence[j]
    links = torch.stack([torch.stack(row) for row in new_links])
    precedence = (1 - w.sum()) * precedence + w
    new_reads, new_read_weights = [], []
    for h in range(heads):
        forward, backward = links @ read_weights[h], links.T @ read_weights[h]
        if options.get("sharpensLinks"):
            forward, backward = sharpened(forward, z.forward_powers[h]), sharpened(backward, z.backward_powers[h])
        c = content(matrix, z.read_keys[h], z.read_strengths[h], z.read_masks[h])
        r = z.modes[0, h] * backward + z.modes[1, h] * c + z.modes[2, h] * forward
        new_read_weights.append(r)
        new_reads.append(r @ matrix)
    return (matrix, usage, precedence, links, torch.stack(new_read_weights), w), torch.stack(new_reads)


def run(inputs, controller, width, heads, options):
    x = inputs["x"]
    names = ["matrix", "usage", "precedence", "links", "readWeights", "writeWeights"]
    outputs, last = [], []
    for b in range(x.shape[0]):
        state = tuple(inputs["state." + name][b] for name in names)
        reads = inputs["state.reads"][b]
        hidden, cell = (inputs["state.hidden"][b], inputs["state.cell"][b]) if controller == "lstm" else (None, None)
        rows = []
        for t in range(x.shape[1]):
            sums = inputs["core.controller.0.inputWeight"] @ x[b, t] + inputs["core.controller.0.bias"]
            below = reads.reshape(-1) if hidden is None else torch.cat([reads.reshape(-1), hidden])
            sums = sums + inputs["core.controller.0.recurrentWeight"] @ below
            if controller == "lstm":
                i, f, g, o = sums.chunk(4)
                cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
                hidden = torch.sigmoid(o) * torch.tanh(cell)
                out = hidden
            else:
                out = torch.tanh(sums)
            vector = inputs["core.interface.weight"] @ out + inputs["core.interface.bias"]
            if options.get("normalizesInterface"):
                centred = vector - vector.mean()
                vector = centred / torch.sqrt((centred * centred).mean() + 1e-5)
                vector = vector * inputs["core.interfaceNorm.weight"] + inputs["core.interfaceNorm.bias"]
            clip = options.get("clip", 20)
            state, reads = memory_step(state, vector.clamp(-clip, clip), width, heads, options)
            rows.append(torch.cat([out, reads.reshape(-1)]))
        outputs.append(torch.stack(rows))
        last.append(list(state) + [reads] + ([hidden, cell] if controller == "lstm" else []))
    parts = [torch.stack(outputs)] + [torch.stack([row[k] for row in last]) for k in range(len(last[0]))]
    return torch.cat([part.reshape(-1) for part in parts])


def add(name, batch=2, steps=4, inputs=3, units=4, rows=5, width=3, heads=2, controller="lstm", weight_scale=0.6, **options):
    gates = 4 * units if controller == "lstm" else units
    count = heads * width + 3 * width + heads + 2 + heads + 1 + 3 * heads
    count += (heads + 1) * width if options.get("masksKeys") else 0
    count += 2 * heads if options.get("sharpensLinks") else 0
    usage = torch.stack([(torch.randperm(rows) + 0.5) / (rows + 0.5) for _ in range(batch)]).float().double()
    links = torch.rand(batch, rows, rows).float().double() * 0.8 / rows * (1 - torch.eye(rows).double())
    values = {
        "x": normal(batch, steps, inputs),
        "core.controller.0.inputWeight": normal(gates, inputs, scale=0.5),
        "core.controller.0.recurrentWeight": normal(gates, heads * width + (units if controller == "lstm" else 0), scale=0.5),
        "core.controller.0.bias": normal(gates, scale=0.5),
        "core.interface.weight": normal(count, units, scale=weight_scale),
        "core.interface.bias": normal(count, scale=weight_scale),
        "state.matrix": normal(batch, rows, width),
        "state.usage": usage,
        "state.precedence": (torch.softmax(torch.randn(batch, rows), 1) * 0.8).float().double(),
        "state.links": links.float().double(),
        "state.readWeights": (torch.softmax(torch.randn(batch, heads, rows), 2) * 0.9).float().double(),
        "state.writeWeights": (torch.softmax(torch.randn(batch, rows), 1) * 0.7).float().double(),
        "state.reads": normal(batch, heads, width),
    }
    if controller == "lstm":
        values["state.hidden"] = normal(batch, units, scale=0.5)
        values["state.cell"] = normal(batch, units, scale=0.5)
    if options.get("normalizesInterface"):
        values["core.interfaceNorm.weight"] = 1 + normal(count, scale=0.2)
        values["core.interfaceNorm.bias"] = normal(count, scale=0.2)
        values["core.interfaceNorm.weight"] = values["core.interfaceNorm.weight"].float().double()
    leaves = {key: value.clone().requires_grad_(True) for key, value in values.items()}
    output = run(leaves, controller, width, heads, options)
    seed = torch.randn(output.shape).float().double()
    output.backward(seed)
    zeros = lambda v: torch.zeros_like(v) if v.grad is None else v.grad
    cases.append({
        "name": name,
        "options": [k for k, v in options.items() if v is True],
        "clip": float(options.get("clip", 20)),
        "controller": controller,
        "sizes": {"units": units, "rows": rows, "width": width, "heads": heads, "inputs": inputs},
        "inputs": {k: {"shape": list(v.shape), "values": numbers(v)} for k, v in leaves.items()},
        "output": {"shape": list(output.shape), "values": numbers(output)},
        "outputGradient": {"shape": list(output.shape), "values": numbers(seed)},
        "gradients": {k: {"shape": list(v.shape), "values": numbers(zeros(v))} for k, v in leaves.items()},
    })


add("plain")
add("more rows than a register", rows=18, width=5, heads=5, steps=3, batch=1)
add("one head, feed-forward controller", heads=1, controller="feed-forward", rows=7)
add("softplus strengths", softplus=True)
add("usage without gradient", stopsUsageGradient=True)
add("masked keys", masksKeys=True, rows=6)
add("freed rows erased", erasesFreedRows=True)
add("sharpened links", sharpensLinks=True)
add("normalised interface", normalizesInterface=True)
add("clipped interface", clip=0.5)
add("all later changes", masksKeys=True, erasesFreedRows=True, sharpensLinks=True, normalizesInterface=True, rows=9, heads=3, steps=5, batch=1)

json.dump({"torch": torch.__version__, "cases": cases}, sys.stdout, separators=(",", ":"))
