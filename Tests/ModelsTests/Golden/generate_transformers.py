"""Golden vectors of both Transformers, computed by PyTorch's own layers in float64.

    python3 generate_transformers.py [DIRECTORY]

writes NAME.json and NAME.golden for each case. NAME.golden holds the tensors one after another, little-endian float32 or int32;
NAME.json lists them with type, shape and byte offset. Names: "parameter/PATH" and "gradient/PATH" by Mneme's parameter paths,
"input/..." for the batch, "logits", "loss" (summed, label smoothing included) and "negativeLogLikelihood" (summed, without it).

The networks are nn.TransformerEncoderLayer and nn.TransformerDecoderLayer, so nothing here shares code with Mneme. The weights are
random, rounded to float32 before anything is computed from them; biases and norm gains are random too, so that every gradient counts.
"""

import functools
import json
import math
import pathlib
import sys

import torch
import torch.nn.functional as F
from torch import nn

IGNORED = -1


class Fixture:
    """Collects tensors and writes them."""

    def __init__(self):
        self.index, self.data = [], bytearray()

    def add(self, name, tensor):
        is_integer = tensor.dtype in (torch.int32, torch.int64)
        tensor = tensor.detach().to(torch.int32 if is_integer else torch.float32).contiguous()
        self.index.append(
            {"name": name, "type": "int32" if is_integer else "float32", "shape": list(tensor.shape), "offset": len(self.data)}
        )
        self.data += tensor.numpy().astype("<i4" if is_integer else "<f4").tobytes()

    def write(self, directory, name, configuration):
        (directory / f"{name}.golden").write_bytes(self.data)
        lines = ",\n".join("  " + json.dumps(entry) for entry in self.index)
        text = '{"configuration": ' + json.dumps(configuration) + ',\n "tensors": [\n' + lines + "\n]}\n"
        (directory / f"{name}.json").write_text(text)


def randomize(module, generator):
    """Values of a useful size for every parameter, exact in float32."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() >= 2:
                value = noise / math.sqrt(parameter.shape[-1])
            elif "norm" in name and name.endswith("weight"):
                value = 1 + 0.2 * noise
            else:
                value = 0.2 * noise
            parameter.copy_(value.double())


def self_attention_paths(torch_path, path):
    return [
        (f"{torch_path}.in_proj_weight", f"{path}.qkv.weight"),
        (f"{torch_path}.in_proj_bias", f"{path}.qkv.bias"),
        (f"{torch_path}.out_proj.weight", f"{path}.output.weight"),
        (f"{torch_path}.out_proj.bias", f"{path}.output.bias"),
    ]


def layer_paths(torch_path, path, names):
    return [(f"{torch_path}.{a}.{kind}", f"{path}.{b}.{kind}") for a, b in names for kind in ("weight", "bias")]


def add_parameters(fixture, module, pairs, width):
    """Values and gradients under Mneme's names. A packed projection of attention over another sequence is split."""
    parameters = dict(module.named_parameters())
    for torch_name, path in pairs:
        parameter = parameters.pop(torch_name)
        for prefix, tensor in (("parameter", parameter), ("gradient", parameter.grad)):
            if ".crossAttention.qkv." in path:
                fixture.add(f"{prefix}/{path.replace('qkv', 'query')}", tensor[:width])
                fixture.add(f"{prefix}/{path.replace('qkv', 'keyValue')}", tensor[width:])
            else:
                fixture.add(f"{prefix}/{path}", tensor)
    assert not parameters, f"not stored: {list(parameters)}"


class DecoderOnly(nn.Module):
    """GPT-2's layout: an encoder stack of PyTorch with a causal mask is a decoder without cross-attention."""

    def __init__(self, vocabulary, context, layers, width, heads, inner):
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, inner, dropout=0.0, activation=functools.partial(F.gelu, approximate="tanh"), batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.final_norm = nn.LayerNorm(width)

    def forward(self, tokens):
        length = tokens.shape[1]
        x = self.token(tokens) + self.position(torch.arange(length))
        mask = torch.triu(torch.ones(length, length, dtype=torch.bool), diagonal=1)
        for block in self.blocks:
            x = block(x, src_mask=mask)
        return F.linear(self.final_norm(x), self.token.weight)


def decoder_only(directory):
    vocabulary, context, layers, width, heads, inner = 97, 23, 3, 48, 4, 160
    batch, length = 3, 19
    generator = torch.Generator().manual_seed(20240)
    model = DecoderOnly(vocabulary, context, layers, width, heads, inner).double()
    randomize(model, generator)
    inputs = torch.randint(0, vocabulary, (batch, length), generator=generator)
    targets = torch.randint(0, vocabulary, (batch, length), generator=generator)
    targets[0, 3] = targets[2, 14:] = IGNORED
    logits = model(inputs)
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")
    loss.backward()

    pairs = [("token.weight", "tokenEmbedding.weight"), ("position.weight", "positionEmbedding.weight")]
    for i in range(layers):
        pairs += self_attention_paths(f"blocks.{i}.self_attn", f"blocks.{i}.attention")
        pairs += layer_paths(
            f"blocks.{i}",
            f"blocks.{i}",
            [("norm1", "attentionNorm"), ("norm2", "feedForwardNorm"), ("linear1", "feedForward.input"), ("linear2", "feedForward.output")],
        )
    pairs += [(f"final_norm.{kind}", f"finalNorm.{kind}") for kind in ("weight", "bias")]
    fixture = Fixture()
    add_parameters(fixture, model, pairs, width)
    fixture.add("input/tokens", inputs)
    fixture.add("input/targets", targets)
    fixture.add("logits", logits)
    fixture.add("loss", loss)
    fixture.add("negativeLogLikelihood", loss)
    fixture.write(
        directory,
        "decoder-only",
        {"vocabulary": vocabulary, "context": context, "layers": layers, "width": width, "heads": heads, "feedForward": inner, "labelSmoothing": 0.0},
    )


class EncoderDecoder(nn.Module):
    """The WMT base recipe: one table for source, target and output; sinusoidal positions; sqrt(width) on embeddings."""

    def __init__(self, vocabulary, layers, width, heads, inner, pre_norm):
        super().__init__()
        self.table = nn.Embedding(vocabulary, width)
        options = {"dropout": 0.0, "activation": "relu", "batch_first": True, "norm_first": pre_norm}
        self.encoder = nn.ModuleList(nn.TransformerEncoderLayer(width, heads, inner, **options) for _ in range(layers))
        self.decoder = nn.ModuleList(nn.TransformerDecoderLayer(width, heads, inner, **options) for _ in range(layers))
        if pre_norm:
            self.encoder_norm, self.decoder_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.pre_norm = pre_norm

    def embed(self, tokens):
        x = self.table(tokens)
        length, width = x.shape[1:]
        angle = torch.arange(length, dtype=torch.float64)[:, None] * torch.exp(
            -math.log(10000.0) * torch.arange(0, width, 2, dtype=torch.float64) / width
        )
        return x * math.sqrt(width) + torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)

    def forward(self, sources, source_lengths, targets):
        padding = torch.arange(sources.shape[1])[None, :] >= source_lengths[:, None]
        causal = torch.triu(torch.ones(targets.shape[1], targets.shape[1], dtype=torch.bool), diagonal=1)
        memory = self.embed(sources)
        for layer in self.encoder:
            memory = layer(memory, src_key_padding_mask=padding)
        memory = self.encoder_norm(memory) if self.pre_norm else memory
        x = self.embed(targets)
        for layer in self.decoder:
            x = layer(x, memory, tgt_mask=causal, memory_key_padding_mask=padding)
        x = self.decoder_norm(x) if self.pre_norm else x
        return F.linear(x, self.table.weight)


def encoder_decoder(directory, name, pre_norm, seed):
    vocabulary, layers, width, heads, inner, smoothing = 61, 2, 32, 4, 80, 0.1
    source_lengths, target_lengths = torch.tensor([13, 6, 9]), torch.tensor([8, 11, 3])
    generator = torch.Generator().manual_seed(seed)
    model = EncoderDecoder(vocabulary, layers, width, heads, inner, pre_norm).double()
    randomize(model, generator)
    sources = torch.randint(4, vocabulary, (3, 13), generator=generator)
    sources[torch.arange(13)[None, :] >= source_lengths[:, None]] = 0
    tokens = torch.randint(4, vocabulary, (3, 12), generator=generator)
    inputs, outputs = tokens[:, :-1].clone(), tokens[:, 1:].clone()
    padding = torch.arange(11)[None, :] >= target_lengths[:, None]
    inputs[padding], outputs[padding] = 0, IGNORED
    logits = model(sources, source_lengths, inputs)
    flat = logits.flatten(0, 1), outputs.flatten()
    loss = F.cross_entropy(*flat, ignore_index=IGNORED, reduction="sum", label_smoothing=smoothing)
    loss.backward()

    pairs = [("table.weight", "embedding.weight")]
    feed_forward = [("linear1", "feedForward.input"), ("linear2", "feedForward.output")]
    for i in range(layers):
        torch_path, path = f"encoder.{i}", f"encoder.layers.{i}"
        pairs += self_attention_paths(f"{torch_path}.self_attn", f"{path}.selfAttention")
        pairs += layer_paths(torch_path, path, [("norm1", "selfAttentionNorm"), ("norm2", "feedForwardNorm")] + feed_forward)
    for i in range(layers):
        torch_path, path = f"decoder.{i}", f"decoder.layers.{i}"
        pairs += self_attention_paths(f"{torch_path}.self_attn", f"{path}.selfAttention")
        pairs += self_attention_paths(f"{torch_path}.multihead_attn", f"{path}.crossAttention")
        norms = [("norm1", "selfAttentionNorm"), ("norm2", "crossAttentionNorm"), ("norm3", "feedForwardNorm")]
        pairs += layer_paths(torch_path, path, norms + feed_forward)
    if pre_norm:
        for side in ("encoder", "decoder"):
            pairs += [(f"{side}_norm.{kind}", f"{side}.finalNorm.{kind}") for kind in ("weight", "bias")]
    fixture = Fixture()
    add_parameters(fixture, model, pairs, width)
    fixture.add("input/sources", sources)
    fixture.add("input/sourceLengths", source_lengths)
    fixture.add("input/targetInputs", inputs)
    fixture.add("input/targetOutputs", outputs)
    fixture.add("logits", logits)
    fixture.add("loss", loss)
    fixture.add("negativeLogLikelihood", F.cross_entropy(*flat, ignore_index=IGNORED, reduction="sum"))
    fixture.write(
        directory,
        name,
        {
            "vocabulary": vocabulary,
            "context": 17,
            "layers": layers,
            "width": width,
            "heads": heads,
            "feedForward": inner,
            "labelSmoothing": smoothing,
        },
    )


if __name__ == "__main__":
    directory = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent
    decoder_only(directory)
    encoder_decoder(directory, "encoder-decoder-post-norm", False, 20241)
    encoder_decoder(directory, "encoder-decoder-pre-norm", True, 20242)
