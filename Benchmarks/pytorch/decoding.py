"""Greedy decoding and beam search of the encoder-decoder model with cached keys and values, a fixed number of steps.

Legend: B sources, k beam size, R = B k rows, H heads, K head size, T target positions, V vocabulary.
"""

import torch
import torch.nn.functional as F

from workloads import START


class Decoder:
    def __init__(self, model, is_compiled, keeps_scores):
        self.model, self.c, self.keeps_scores = model, model.c, keeps_scores
        self.is_static = is_compiled
        self.next_logits = torch.compile(self.token_logits, dynamic=False) if is_compiled else self.token_logits

    def layer(self, i, x, keys, values, source_keys, source_values, position, mask):
        """One position of every row through decoder layer i: [R, 1, D]. Writes keys and values [R, H, T, K] in place."""
        m, path = self.model, f"decoder.layers.{i}"

        def self_attention(h):
            q, k, v = m.split(m.linear(path + ".selfAttention.qkv", h), 3)
            if self.is_static:  # shapes that stay the same, as compiled code wants them
                keys.index_copy_(2, position, k)
                values.index_copy_(2, position, v)
                y = m.attend(q, keys, values, mask=mask)
            else:
                keys[:, :, position], values[:, :, position] = k[:, :, 0], v[:, :, 0]
                y = m.attend(q, keys[:, :, : position + 1], values[:, :, : position + 1])
            return m.linear(path + ".selfAttention.output", y)

        def cross_attention(h):
            # The rows of a source share its keys: they become queries of one sequence.
            q = m.linear(path + ".crossAttention.query", h).view(source_keys.shape[0], -1, m.heads, m.head_size).transpose(1, 2)
            return m.linear(path + ".crossAttention.output", m.attend(q, source_keys, source_values).reshape(h.shape))

        x = m.sublayer(path + ".selfAttentionNorm", x, self_attention)
        x = m.sublayer(path + ".crossAttentionNorm", x, cross_attention)
        return m.sublayer(path + ".feedForwardNorm", x, lambda h: m.feed_forward(path + ".feedForward", h))

    def token_logits(self, tokens, caches, sources, position, mask):
        """The logits after `tokens` [R] at `position`: [R, V]."""
        m = self.model
        positions = m.positions.index_select(0, position) if self.is_static else m.positions[position]
        x = m.embed(tokens[:, None], positions)
        for i, ((keys, values), (source_keys, source_values)) in enumerate(zip(caches, sources)):
            x = self.layer(i, x, keys, values, source_keys, source_values, position, mask)
        return F.linear(x[:, 0], m.p["embedding.weight"])

    def run(self, source, steps):
        """Decodes `steps` tokens for each source [B, S]: the best tokens [B, steps] and the sums of their log probabilities [B].

        Greedy decoding needs no log probabilities: it has them only if the decoder keeps scores.
        """
        m, k = self.model, self.c["beam"]
        batch = source.shape[0]
        rows = batch * k
        memory = m.encode(source)
        sources = []
        for i in range(self.c["layers"]):
            keys, values = m.split(m.linear(f"decoder.layers.{i}.crossAttention.keyValue", memory), 2)
            sources.append((keys.contiguous(), values.contiguous()))
        cache_shape = (rows, m.heads, steps, m.head_size)
        caches = [tuple(torch.zeros(cache_shape, dtype=memory.dtype) for _ in range(2)) for _ in range(self.c["layers"])]
        tokens = torch.full((rows,), START)
        outputs = torch.zeros(rows, steps, dtype=torch.long)
        scores = torch.full((batch, k), -1e9)
        scores[:, 0] = 0  # the first step has one hypothesis
        first_rows = torch.arange(batch)[:, None] * k
        numbers = torch.arange(steps)
        for t in range(steps):
            if self.is_static:
                logits = self.next_logits(tokens, caches, sources, numbers[t: t + 1], (numbers <= t)[None, None, None])
            else:
                logits = self.next_logits(tokens, caches, sources, t, None)
            if k == 1:
                tokens = logits.argmax(-1)
                outputs[:, t] = tokens
                if self.keeps_scores:
                    scores += logits.float().log_softmax(-1).gather(1, tokens[:, None])
                continue
            # The best k of each hypothesis hold the best k of all.
            logits = logits.float()
            best, words = logits.topk(k, -1)
            best = (best - logits.logsumexp(-1, keepdim=True)).view(batch, k, k) + scores[:, :, None]
            scores, choice = best.flatten(1).topk(k, -1)
            parents = (first_rows + choice // k).flatten()
            tokens = words.view(batch, -1).gather(1, choice).flatten()
            outputs = outputs.index_select(0, parents)
            outputs[:, t] = tokens
            caches = [tuple(part.index_select(0, parents) for part in cache) for cache in caches]
        return outputs[::k], scores[:, 0]
