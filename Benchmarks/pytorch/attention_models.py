"""GPT-2's layout and the encoder-decoder Transformer, as functions over named parameters.

Legend: B sequences, T positions, S source positions, D width, H heads, K head size.
"""

import math

import torch
import torch.nn.functional as F


def sinusoids(count, width):
    angle = torch.arange(count, dtype=torch.float64)[:, None] / 10_000.0 ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
    return torch.stack([angle.sin(), angle.cos()], -1).view(count, width).float()


class Layers:
    """What both models are made of."""

    def __init__(self, c, parameters):
        self.c, self.p = c, parameters
        self.heads, self.head_size = c["heads"], c["width"] // c["heads"]

    def declare_linear(self, path, inputs, outputs):
        self.p.xavier(path + ".weight", (outputs, inputs))
        self.p.constant(path + ".bias", (outputs,), 0)

    def declare_norm(self, path):
        self.p.constant(path + ".weight", (self.c["width"],), 1)
        self.p.constant(path + ".bias", (self.c["width"],), 0)

    def linear(self, path, x):
        return F.linear(x, self.p[path + ".weight"], self.p[path + ".bias"])

    def norm(self, path, x):
        return F.layer_norm(x, (x.shape[-1],), self.p[path + ".weight"], self.p[path + ".bias"])

    def drop(self, x):
        return F.dropout(x, self.c["dropout"]) if self.c["dropout"] > 0 else x

    def split(self, x, parts):
        """[B, T, parts D] to parts times [B, H, T, K]."""
        return x.unflatten(-1, (parts, self.heads, self.head_size)).permute(2, 0, 3, 1, 4)

    def attend(self, q, k, v, causal=False, mask=None):
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, dropout_p=self.c["dropout"])
        return y.transpose(1, 2).flatten(2)

    def self_attention(self, path, x, causal):
        q, k, v = self.split(self.linear(path + ".qkv", x), 3)
        return self.linear(path + ".output", self.attend(q, k, v, causal))

    def sublayer(self, norm, x, body):
        if self.c["pre_norm"]:
            return x + self.drop(body(self.norm(norm, x)))
        return self.norm(norm, x + self.drop(body(x)))

    def cross_entropy(self, hidden, weight, targets):
        logits = F.linear(hidden, weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), label_smoothing=self.c["smoothing"])


class DecoderOnly(Layers):
    def __init__(self, c, parameters):
        super().__init__(c, parameters)
        width, inner, residual = c["width"], c["inner"], 0.02 / math.sqrt(2 * c["layers"])
        parameters.normal("tokenEmbedding.weight", (c["vocabulary"], width), 0.02)
        parameters.normal("positionEmbedding.weight", (c["target"], width), 0.02)
        for i in range(c["layers"]):
            for path, inputs, outputs, deviation in (("attention.qkv", width, 3 * width, 0.02), ("attention.output", width, width, residual),
                                                     ("feedForward.input", width, inner, 0.02), ("feedForward.output", inner, width, residual)):
                parameters.normal(f"blocks.{i}.{path}.weight", (outputs, inputs), deviation)
                parameters.constant(f"blocks.{i}.{path}.bias", (outputs,), 0)
            self.declare_norm(f"blocks.{i}.attentionNorm")
            self.declare_norm(f"blocks.{i}.feedForwardNorm")
        self.declare_norm("finalNorm")

    def feed_forward(self, path, x):
        return self.linear(path + ".output", F.gelu(self.linear(path + ".input", x), approximate="tanh"))

    def loss(self, source, inputs, targets):
        x = self.drop(F.embedding(inputs, self.p["tokenEmbedding.weight"]) + self.p["positionEmbedding.weight"][: inputs.shape[1]])
        for i in range(self.c["layers"]):
            path = f"blocks.{i}"
            x = self.sublayer(path + ".attentionNorm", x, lambda h: self.self_attention(path + ".attention", h, True))
            x = self.sublayer(path + ".feedForwardNorm", x, lambda h: self.feed_forward(path + ".feedForward", h))
        return self.cross_entropy(self.norm("finalNorm", x), self.p["tokenEmbedding.weight"], targets)


class EncoderDecoder(Layers):
    def __init__(self, c, parameters):
        super().__init__(c, parameters)
        width, inner = c["width"], c["inner"]
        parameters.normal("embedding.weight", (c["vocabulary"], width), 1 / math.sqrt(width))
        for side in ("encoder", "decoder"):
            for i in range(c["layers"]):
                path = f"{side}.layers.{i}"
                self.declare_linear(path + ".selfAttention.qkv", width, 3 * width)
                self.declare_linear(path + ".selfAttention.output", width, width)
                self.declare_norm(path + ".selfAttentionNorm")
                if side == "decoder":
                    self.declare_linear(path + ".crossAttention.query", width, width)
                    self.declare_linear(path + ".crossAttention.keyValue", width, 2 * width)
                    self.declare_linear(path + ".crossAttention.output", width, width)
                    self.declare_norm(path + ".crossAttentionNorm")
                self.declare_linear(path + ".feedForward.input", width, inner)
                self.declare_linear(path + ".feedForward.output", inner, width)
                self.declare_norm(path + ".feedForwardNorm")
            if c["pre_norm"]:
                self.declare_norm(side + ".finalNorm")
        self.positions = sinusoids(max(c["source"], c["target"]), width).to(parameters.dtype)

    def embed(self, tokens, positions):
        return self.drop(F.embedding(tokens, self.p["embedding.weight"]) * math.sqrt(self.c["width"]) + positions)

    def feed_forward(self, path, x):
        return self.linear(path + ".output", self.drop(F.relu(self.linear(path + ".input", x))))

    def cross_attention(self, path, x, memory):
        (q,) = self.split(self.linear(path + ".query", x), 1)
        k, v = self.split(self.linear(path + ".keyValue", memory), 2)
        return self.linear(path + ".output", self.attend(q, k, v))

    def stack(self, side, x, memory=None):
        for i in range(self.c["layers"]):
            path = f"{side}.layers.{i}"
            x = self.sublayer(path + ".selfAttentionNorm", x, lambda h: self.self_attention(path + ".selfAttention", h, side == "decoder"))
            if side == "decoder":
                x = self.sublayer(path + ".crossAttentionNorm", x, lambda h: self.cross_attention(path + ".crossAttention", h, memory))
            x = self.sublayer(path + ".feedForwardNorm", x, lambda h: self.feed_forward(path + ".feedForward", h))
        return self.norm(side + ".finalNorm", x) if self.c["pre_norm"] else x

    def encode(self, source):
        return self.stack("encoder", self.embed(source, self.positions[: source.shape[1]]))

    def loss(self, source, inputs, targets):
        hidden = self.stack("decoder", self.embed(inputs, self.positions[: inputs.shape[1]]), self.encode(source))
        return self.cross_entropy(hidden, self.p["embedding.weight"], targets)
