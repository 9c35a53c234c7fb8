#!/usr/bin/env python3
"""One workload of `mneme bench` in PyTorch, in one mode, for compare.py: prints one JSON object.

Tokens are Mneme's. With --exact, parameters start from the same numbers too, so that with dropout 0 both programs must report the same losses, or
the same translations.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import time

import numpy as np

from workloads import WORKLOADS


def resident_peak():
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM:"))


def reset_resident_peak():
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as f:
        f.write("5")


def training_step(torch, a, c, parameters):
    """A function that makes one step and returns its loss."""
    from attention_models import DecoderOnly, EncoderDecoder
    from parameters import lane_tokens
    from recurrent_model import RecurrentLanguageModel

    model = dict(tokens=DecoderOnly, pairs=EncoderDecoder, recurrent=RecurrentLanguageModel)[c["kind"]](c, parameters)
    loss = torch.compile(model.loss) if a.compile else model.loss
    count = c["source"] + c["target"] + 1
    tokens = torch.from_numpy(np.stack([lane_tokens(lane, count, c["vocabulary"]) for lane in range(c["batch"])]))
    source, target = tokens[:, : c["source"]].contiguous(), tokens[:, c["source"]:]
    inputs, targets = target[:, :-1].contiguous(), target[:, 1:].contiguous()
    trained = list(parameters.values())
    if c["optimizer"] == "sgd":
        optimizer = torch.optim.SGD(trained, lr=c["learning_rate"], fused=True)
    else:
        groups = [dict(params=[q for q in trained if q.dim() > 1], weight_decay=c["decay"]),
                  dict(params=[q for q in trained if q.dim() <= 1], weight_decay=0.0)]
        optimizer = torch.optim.AdamW(groups, lr=c["learning_rate"], betas=c["betas"], eps=1e-8, fused=True)

    def step():
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=a.precision == "autocast"):
            value = loss(source, inputs, targets)
        value.backward()
        torch.nn.utils.clip_grad_norm_(trained, c["clip"])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return value.item()

    return step


def memory_step(torch, a, c, parameters):
    """A function that makes one step of a model with a memory and returns its loss."""
    from memory_models import MODELS

    model = MODELS[c["kind"]](c, parameters, a.compile)
    trained = list(parameters.values())
    if c["optimizer"] == "sgd":
        optimizer = torch.optim.SGD(trained, lr=c["learning_rate"], fused=True)
    else:
        optimizer = torch.optim.RMSprop(trained, lr=c["learning_rate"], momentum=0.9, foreach=True)

    def step():
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=a.precision == "autocast"):
            value = model.loss()
        value.backward()
        torch.nn.utils.clip_grad_norm_(trained, c["clip"])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return value.item()

    return step


def decoding_step(torch, a, c, parameters):
    """A function that decodes all sources and returns the best tokens and the sums of their log probabilities."""
    from attention_models import EncoderDecoder
    from decoding import Decoder
    from parameters import lane_tokens

    decoder = Decoder(EncoderDecoder(c, parameters), a.compile, keeps_scores=a.exact)
    source = torch.from_numpy(np.stack([lane_tokens(lane, c["source"], c["vocabulary"]) for lane in range(c["batch"])]))

    @torch.inference_mode()
    def step():
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=a.precision == "autocast"):
            return decoder.run(source, c["target"])

    return step


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("workload", choices=WORKLOADS)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--precision", default="float32", choices=["float32", "autocast", "bfloat16"],
                   help="autocast: bfloat16 products, float32 parameters; bfloat16: parameters and optimizer state too")
    p.add_argument("--compile", action="store_true", help="torch.compile")
    p.add_argument("--seconds", type=float, default=10, help="timed steps go on for so long")
    p.add_argument("--steps", type=int, default=5, help="the fewest timed steps")
    p.add_argument("--warm-up", type=int, default=2)
    p.add_argument("--dropout", type=float)
    p.add_argument("--exact", action="store_true", help="start from Mneme's parameters")
    a = p.parse_args()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(a.threads)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    np.seterr(over="ignore")
    import torch

    from parameters import SEED, Parameters

    torch.set_num_threads(a.threads)
    torch.manual_seed(SEED)
    c = dict(WORKLOADS[a.workload])
    if a.dropout is not None:
        c["dropout"] = a.dropout
    decodes = "beam" in c
    parameters = Parameters(a.exact, torch.bfloat16 if a.precision == "bfloat16" else torch.float32, trains=not decodes)
    make = decoding_step if decodes else memory_step if "rows" in c or "hops" in c else training_step
    step = make(torch, a, c, parameters)

    outcomes, seconds = [], []
    while len(seconds) < a.steps or sum(seconds) < a.seconds:
        if len(outcomes) == a.warm_up:
            reset_resident_peak()
        start = time.perf_counter()
        outcome = step()
        time_taken = time.perf_counter() - start
        outcomes.append(outcome)
        if len(outcomes) > a.warm_up:
            seconds.append(time_taken)
    median = statistics.median(seconds)
    result = dict(workload=a.workload, threads=a.threads, precision=a.precision, compiled=a.compile, steps=len(seconds), seconds_median=median,
                  seconds_minimum=min(seconds), seconds_maximum=max(seconds), peak_resident_bytes=resident_peak(), torch=torch.__version__)
    if decodes:
        tokens, scores = outcomes[-1]
        result.update(sentences_per_second=c["batch"] / median, outputs=tokens.tolist(), log_probabilities=scores.tolist())
    else:
        units = c.get("target") or c.get("steps") or 1
        result.update(tokens_per_second=c["batch"] * units / median, losses=outcomes)
    json.dump(result, sys.stdout)
    print()


if __name__ == "__main__":
    main()
