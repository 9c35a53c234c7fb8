"""Golden vectors for Mneme's tensor operations, computed by PyTorch in float64.

Run from this folder:  python generate_operations.py > operations.json   (PyTorch 2; the version is stored in the file)

Each case holds float32 inputs, the operation's attributes, the output and, for a fixed output gradient, the gradient of each input. Where PyTorch
has no such operation it is written here in its plainest form (loops, index arithmetic), so that it shares nothing with the Swift code.
"""

import json
import math
import sys

import torch
import torch.nn.functional as F

torch.manual_seed(20240607)
cases = []


def numbers(tensor):
    return [float(f"{v:.9g}") for v in tensor.detach().double().flatten().tolist()]


def normal(*shape, scale=1.0):
    return (torch.randn(*shape) * scale).float().double()


def uniform(*shape, low=0.0, high=1.0):
    return (torch.rand(*shape) * (high - low) + low).float().double()


def add(name, function, attributes=None, scalar=False, **inputs):
    leaves = {key: value.clone().requires_grad_(True) for key, value in inputs.items()}
    output = function(**leaves)
    seed = torch.ones_like(output) if scalar else torch.randn(output.shape).float().double()
    output.backward(seed)
    cases.append({
        "name": name,
        "attributes": {k: v if isinstance(v, list) else [v] for k, v in (attributes or {}).items()},
        "inputs": {k: {"shape": list(v.shape), "values": numbers(v)} for k, v in leaves.items()},
        "output": {"shape": list(output.shape), "values": numbers(output)},
        "outputGradient": {"shape": list(output.shape), "values": numbers(seed)},
        "gradients": {k: {"shape": list(v.shape), "values": numbers(v.grad)} for k, v in leaves.items()},
    })


def attention(query, key, value, heads, causal=False, lengths=None):
    """Written out per head and query; a query without keys gives zeros."""
    batch, queries, width = query.shape
    keys, size = key.shape[1], width // heads
    rows = []
    for b in range(batch):
        for t in range(queries):
            parts = []
            for h in range(heads):
                columns = slice(h * size, (h + 1) * size)
                limit = keys if lengths is None else lengths[b]
                if causal:
                    limit = min(limit, t + 1 + keys - queries)
                if limit == 0:
                    parts.append(torch.zeros(size, dtype=torch.float64))
                    continue
                scores = key[b, :limit, columns] @ query[b, t, columns] / math.sqrt(size)
                parts.append(torch.softmax(scores, 0) @ value[b, :limit, columns])
            rows.append(torch.cat(parts))
    return torch.stack(rows).reshape(batch, queries, width)


def geluTanh(x):
    return F.gelu(x, approximate="tanh")


def circular(weights, kernel):
    places, taps = weights.shape[-1], kernel.shape[-1]
    columns = []
    for i in range(places):
        columns.append(sum(kernel[..., s] * weights[..., (i - (s - taps // 2)) % places] for s in range(taps)))
    return torch.stack(columns, -1)


def cosine(keys, memory, epsilon):
    dots = keys @ memory.transpose(-1, -2)
    norms = keys.norm(dim=-1, keepdim=True) * memory.norm(dim=-1).unsqueeze(-2)
    return dots / (norms + epsilon)


def relative_shift(x):
    """The pad, reshape and drop form of Transformer-XL; what wraps around is then zeroed."""
    queries, keys = x.shape[-2:]
    padded = torch.cat([torch.zeros(*x.shape[:-1], 1, dtype=x.dtype), x], -1)
    shifted = padded.reshape(*x.shape[:-2], keys + 1, queries)[..., 1:, :].reshape(x.shape)
    return shifted * torch.ones(queries, keys, dtype=x.dtype).tril(keys - queries)


def exclusive_product(x):
    return torch.cat([torch.ones_like(x[..., :1]), x.cumprod(-1)[..., :-1]], -1)


def masked_softmax(x, mask):
    """A row with nothing left gives zeros."""
    probability = torch.softmax(torch.where(mask, x, torch.tensor(-1e300, dtype=torch.float64)), -1)
    return torch.where(mask, probability, torch.zeros((), dtype=torch.float64))


def allocation(usage):
    ordered, order = torch.sort(usage, dim=-1, stable=True)
    part = (1 - ordered) * exclusive_product(ordered)
    return torch.zeros_like(usage).scatter(-1, order, part)


def addressing(key, beta, gate, shift, gamma, memory, previous):
    """Section 3.3 of the Neural Turing Machine, all four steps."""
    content = torch.softmax(F.softplus(beta) * cosine(key, memory, 1e-6), -1)
    gated = torch.sigmoid(gate) * content + (1 - torch.sigmoid(gate)) * previous
    shifted = circular(gated, torch.softmax(shift, -1))
    sharp = shifted ** (1 + F.softplus(gamma))
    return sharp / sharp.sum(-1, keepdim=True)


add("attention", lambda query, key, value: attention(query, key, value, 2), {"heads": 2},
    query=normal(2, 3, 8), key=normal(2, 5, 8), value=normal(2, 5, 8))
add("attention-causal-cache-lengths", lambda query, key, value: attention(query, key, value, 2, True, [7, 3]),
    {"heads": 2, "causal": 1, "lengths": [7, 3]}, query=normal(2, 4, 8), key=normal(2, 7, 8), value=normal(2, 7, 8))
add("attention-empty", lambda query, key, value: attention(query, key, value, 1, False, [0, 4]),
    {"heads": 1, "lengths": [0, 4]}, query=normal(2, 3, 4), key=normal(2, 4, 4), value=normal(2, 4, 4))
add("attention-blocks", lambda query, key, value: attention(query, key, value, 1, True),
    {"heads": 1, "causal": 1}, query=normal(1, 130, 2), key=normal(1, 137, 2), value=normal(1, 137, 2))

targets = [3, -1, 0, 10, -1, 7]
add("cross-entropy", lambda logits: F.cross_entropy(logits, torch.tensor(targets), ignore_index=-1, label_smoothing=0.1, reduction="sum"),
    {"targets": targets, "smoothing": 0.1}, scalar=True, logits=normal(6, 11, scale=4))
add("linear-cross-entropy",
    lambda hidden, weight: F.cross_entropy(hidden @ weight.T, torch.tensor(targets), ignore_index=-1, label_smoothing=0.1, reduction="sum"),
    {"targets": targets, "smoothing": 0.1}, scalar=True, hidden=normal(6, 8), weight=normal(11, 8))
add("layer-norm", lambda x, gain, bias: F.layer_norm(x, (19,), gain, bias, 1e-5),
    x=normal(4, 19, scale=3) + 2, gain=normal(19), bias=normal(19))
add("rms-norm", lambda x, gain: x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-6) * gain, x=normal(4, 19, scale=3), gain=normal(19))
add("linear-gelu", lambda x, weight, bias: geluTanh(x @ weight.T + bias), x=normal(5, 7), weight=normal(18, 7), bias=normal(18))

zeros = normal(5, 6)
for row, places in enumerate([[], [0], [2], [1, 4], [0, 2, 5]]):
    zeros[row, places] = 0
add("cumulative-product", lambda x: x.cumprod(-1), x=zeros)
add("cumulative-product-exclusive", exclusive_product, x=zeros)
mask = torch.tensor([[1, 1, 0, 1, 0, 1, 1], [0, 0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0, 0]])
add("softmax-masked", lambda x: masked_softmax(x, mask.bool()), {"mask": mask.flatten().tolist()}, x=normal(3, 7, scale=3))
add("circular-convolution", circular, weights=uniform(2, 2, 9), kernel=uniform(2, 2, 5))
add("cosine-similarity", lambda keys, memory: cosine(keys, memory, 1e-2), {"epsilon": 1e-2}, keys=normal(2, 3, 5), memory=normal(2, 6, 5))
add("sort-gather", lambda x: torch.sort(x, dim=-1, stable=True).values * torch.arange(1, 10, dtype=torch.float64), x=normal(3, 9))
add("allocation", allocation, usage=uniform(3, 8))
add("relative-shift", relative_shift, x=normal(2, 4, 6))
add("addressing", addressing, key=normal(2, 1, 5), beta=normal(2, 1, 1), gate=normal(2, 1, 1), shift=normal(2, 1, 3), gamma=normal(2, 1, 1),
    memory=normal(2, 8, 5), previous=torch.softmax(normal(2, 1, 8), -1).float().double())
add("log-sum-exp", lambda x: torch.logsumexp(x, -1), x=normal(3, 9, scale=20))
add("log-softmax", lambda x: torch.log_softmax(x, -1), x=normal(3, 9, scale=20))
add("binary-cross-entropy", lambda logits, targets: F.binary_cross_entropy_with_logits(logits, targets, reduction="none"),
    logits=normal(24, scale=12), targets=uniform(24))
add("gelu", lambda x: F.gelu(x), x=normal(64, scale=2.5))
add("softplus", lambda x: F.softplus(x), x=normal(64, scale=12))
add("permute", lambda x: x.permute(2, 0, 3, 1) * 1.0, x=normal(3, 5, 2, 4))

json.dump({"torch": torch.__version__, "cases": cases}, sys.stdout, separators=(",", ":"))
sys.stdout.write("\n")
