#!/usr/bin/env python3
"""The workloads of `mneme bench`, written in PyTorch, for compare-training.py to time.

Parameters start from the same numbers as Mneme's (a counter-based generator keyed by seed and parameter name), and tokens are the same, so that
with dropout 0 both programs must report the same losses.

Legend: B sequences, T positions, S source positions, D width, H heads, F inner width, V vocabulary.
"""

import argparse
import json
import math
import os
import statistics
import sys
import time

import numpy as np

WORKLOADS = {
    "story-pairs": dict(kind="pairs", layers=2, width=64, heads=4, inner=256, vocabulary=448, batch=64, source=60, target=60, dropout=0.1,
                        smoothing=0.0, pre_norm=True, learning_rate=1e-3, betas=(0.9, 0.999), decay=0.01),
    "gpt-small": dict(kind="tokens", layers=6, width=384, heads=6, inner=1536, vocabulary=8192, batch=8, source=0, target=256, dropout=0.0,
                      smoothing=0.0, pre_norm=True, learning_rate=3e-4, betas=(0.9, 0.95), decay=0.1),
    "gpt2-124m": dict(kind="tokens", layers=12, width=768, heads=12, inner=3072, vocabulary=50257, batch=2, source=0, target=512, dropout=0.0,
                      smoothing=0.0, pre_norm=True, learning_rate=3e-4, betas=(0.9, 0.95), decay=0.1),
    "encoder-decoder": dict(kind="pairs", layers=6, width=512, heads=8, inner=2048, vocabulary=32000, batch=64, source=32, target=32, dropout=0.1,
                            smoothing=0.1, pre_norm=False, learning_rate=5e-4, betas=(0.9, 0.98), decay=0.01),
}
SEED = 1

# ---- the generator -----------------------------------------------------------------------------------------------------------------------------


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


def normal(name, shape, deviation):
    raw = draws(mix_keys(SEED, name_hash(name)), 2 * math.prod(shape))
    u = ((raw[0::2] >> np.uint64(11)).astype(np.float64) + 1) * 2.0**-53
    v = (raw[1::2] >> np.uint64(11)).astype(np.float64) * 2.0**-53
    values = (np.sqrt(-2 * np.log(u)) * np.cos(2 * np.pi * v)).astype(np.float32)
    return (np.float32(deviation) * values).reshape(shape)


def xavier(name, shape):
    raw = draws(mix_keys(SEED, name_hash(name)), math.prod(shape))
    uniform = (raw >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
    bound = np.float32(math.sqrt(6 / (shape[0] + shape[1])))
    return (bound * (2 * uniform - 1)).reshape(shape)


def lane_tokens(lane, count, vocabulary):
    return (draws(mix_keys(SEED, lane), count) % np.uint64(vocabulary)).astype(np.int64)


# ---- the models --------------------------------------------------------------------------------------------------------------------------------


def build(c):
    """The model of configuration `c`: a function (source, inputs, targets) -> mean loss, and its parameters by Mneme's names."""
    import torch
    import torch.nn.functional as F

    width, heads, inner, layers, vocabulary = c["width"], c["heads"], c["inner"], c["layers"], c["vocabulary"]
    parameters = {}

    def add(name, array):
        parameters[name] = torch.from_numpy(np.ascontiguousarray(array)).requires_grad_()

    is_gpt = c["kind"] == "tokens"
    residual = 0.02 / math.sqrt(2 * layers)

    def linear(path, inputs, outputs, deviation):
        shape = (outputs, inputs)
        add(path + ".weight", normal(path + ".weight", shape, deviation) if is_gpt else xavier(path + ".weight", shape))
        add(path + ".bias", np.zeros(outputs, np.float32))

    def norm(path):
        add(path + ".weight", np.ones(width, np.float32))
        add(path + ".bias", np.zeros(width, np.float32))

    def feed_forward(path):
        linear(path + ".input", width, inner, 0.02)
        linear(path + ".output", inner, width, residual)

    def self_attention(path):
        linear(path + ".qkv", width, 3 * width, 0.02)
        linear(path + ".output", width, width, residual)

    if is_gpt:
        add("tokenEmbedding.weight", normal("tokenEmbedding.weight", (vocabulary, width), 0.02))
        add("positionEmbedding.weight", normal("positionEmbedding.weight", (c["target"], width), 0.02))
        for i in range(layers):
            norm(f"blocks.{i}.attentionNorm")
            self_attention(f"blocks.{i}.attention")
            norm(f"blocks.{i}.feedForwardNorm")
            feed_forward(f"blocks.{i}.feedForward")
        norm("finalNorm")
    else:
        add("embedding.weight", normal("embedding.weight", (vocabulary, width), 1 / math.sqrt(width)))
        for side in ("encoder", "decoder"):
            for i in range(layers):
                path = f"{side}.layers.{i}"
                self_attention(path + ".selfAttention")
                norm(path + ".selfAttentionNorm")
                if side == "decoder":
                    linear(path + ".crossAttention.query", width, width, 0)
                    linear(path + ".crossAttention.keyValue", width, 2 * width, 0)
                    linear(path + ".crossAttention.output", width, width, 0)
                    norm(path + ".crossAttentionNorm")
                feed_forward(path + ".feedForward")
                norm(path + ".feedForwardNorm")
            if c["pre_norm"]:
                norm(side + ".finalNorm")

    def apply_linear(path, x):
        return F.linear(x, parameters[path + ".weight"], parameters[path + ".bias"])

    def apply_norm(path, x):
        return F.layer_norm(x, (width,), parameters[path + ".weight"], parameters[path + ".bias"])

    def drop(x):
        return F.dropout(x, c["dropout"]) if c["dropout"] > 0 else x

    def split(x, parts):
        batch, length, _ = x.shape
        return x.view(batch, length, parts, heads, width // heads).permute(2, 0, 3, 1, 4)

    def attend(q, k, v, causal):
        y = F.scaled_dot_product_attention(q, k, v, is_causal=causal, dropout_p=c["dropout"])
        return y.transpose(1, 2).flatten(2)

    def apply_self_attention(path, x, causal):
        q, k, v = split(apply_linear(path + ".qkv", x), 3)
        return apply_linear(path + ".output", attend(q, k, v, causal))

    def apply_cross_attention(path, x, memory):
        (q,) = split(apply_linear(path + ".query", x), 1)
        k, v = split(apply_linear(path + ".keyValue", memory), 2)
        return apply_linear(path + ".output", attend(q, k, v, False))

    def apply_feed_forward(path, x):
        h = apply_linear(path + ".input", x)
        h = F.gelu(h, approximate="tanh") if is_gpt else drop(F.relu(h))
        return apply_linear(path + ".output", h)

    def sublayer(path, x, body):
        if c["pre_norm"]:
            return x + drop(body(apply_norm(path, x)))
        return apply_norm(path, x + drop(body(x)))

    def gpt_hidden(inputs):
        x = drop(F.embedding(inputs, parameters["tokenEmbedding.weight"]) + parameters["positionEmbedding.weight"][: inputs.shape[1]])
        for i in range(layers):
            path = f"blocks.{i}"
            x = sublayer(path + ".attentionNorm", x, lambda h: apply_self_attention(path + ".attention", h, True))
            x = sublayer(path + ".feedForwardNorm", x, lambda h: apply_feed_forward(path + ".feedForward", h))
        return apply_norm("finalNorm", x)

    if not is_gpt:
        position = np.arange(max(c["source"], c["target"]))[:, None]
        angle = position / np.power(10_000.0, np.arange(0, width, 2) / width)
        table = np.empty((len(position), width), np.float32)
        table[:, 0::2], table[:, 1::2] = np.sin(angle), np.cos(angle)
        positions = torch.from_numpy(table)

    def embed(tokens):
        return drop(F.embedding(tokens, parameters["embedding.weight"]) * math.sqrt(width) + positions[: tokens.shape[1]])

    def stack(side, x, memory):
        for i in range(layers):
            path = f"{side}.layers.{i}"
            x = sublayer(path + ".selfAttentionNorm", x, lambda h: apply_self_attention(path + ".selfAttention", h, side == "decoder"))
            if side == "decoder":
                x = sublayer(path + ".crossAttentionNorm", x, lambda h: apply_cross_attention(path + ".crossAttention", h, memory))
            x = sublayer(path + ".feedForwardNorm", x, lambda h: apply_feed_forward(path + ".feedForward", h))
        return apply_norm(side + ".finalNorm", x) if c["pre_norm"] else x

    def loss(source, inputs, targets):
        hidden = gpt_hidden(inputs) if is_gpt else stack("decoder", embed(inputs), stack("encoder", embed(source), None))
        output = parameters["tokenEmbedding.weight" if is_gpt else "embedding.weight"]
        return F.cross_entropy(F.linear(hidden, output).view(-1, vocabulary), targets.reshape(-1), label_smoothing=c["smoothing"])

    return loss, parameters


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("workload", choices=WORKLOADS)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--seconds", type=float, default=10)
    p.add_argument("--dropout", type=float)
    p.add_argument("--matmul-precision", default="highest", choices=["highest", "high", "medium"],
                   help="torch.set_float32_matmul_precision; highest is the default of PyTorch")
    a = p.parse_args()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(a.threads)
    np.seterr(over="ignore")
    import torch

    torch.set_num_threads(a.threads)
    torch.set_float32_matmul_precision(a.matmul_precision)
    torch.manual_seed(SEED)
    c = dict(WORKLOADS[a.workload])
    if a.dropout is not None:
        c["dropout"] = a.dropout
    loss, parameters = build(c)
    count = c["source"] + c["target"] + 1
    tokens = torch.from_numpy(np.stack([lane_tokens(lane, count, c["vocabulary"]) for lane in range(c["batch"])]))
    source, target = tokens[:, : c["source"]], tokens[:, c["source"]:]
    inputs, targets = target[:, :-1].contiguous(), target[:, 1:].contiguous()
    matrices = [q for q in parameters.values() if q.dim() > 1]
    others = [q for q in parameters.values() if q.dim() <= 1]
    optimizer = torch.optim.AdamW([dict(params=matrices, weight_decay=c["decay"]), dict(params=others, weight_decay=0.0)], lr=c["learning_rate"],
                                  betas=c["betas"], eps=1e-8, fused=True)

    losses, seconds = [], []
    while len(seconds) < 5 or sum(seconds) < a.seconds:
        start = time.perf_counter()
        value = loss(source, inputs, targets)
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(value.item())
        if len(losses) > 2:
            seconds.append(time.perf_counter() - start)
    with open("/proc/self/status") as f:
        peak = next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM:"))
    median = statistics.median(seconds)
    json.dump(dict(workload=a.workload, threads=a.threads, steps=len(seconds), seconds_median=median, seconds_minimum=min(seconds),
                   seconds_maximum=max(seconds), tokens_per_second=c["batch"] * c["target"] / median, peak_resident_bytes=peak, losses=losses,
                   torch=torch.__version__, matmul_precision=a.matmul_precision), sys.stdout)
    print()


if __name__ == "__main__":
    main()
