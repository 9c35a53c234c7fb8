#!/usr/bin/env python3
"""Every kind of memory on the same tasks, with as many parameters and as many steps each: one table of right answers. Needs Python and mneme alone.

    Benchmarks/memories.py --scratch DIR --steps 3000                       all models on all tasks, one after the other: some hours
    Benchmarks/memories.py --scratch DIR --models lstm sparse-delta --tasks pairs-8
    Benchmarks/memories.py --scratch DIR --output NAME                      NAME.md, and NAME.csv with the accuracies at other lengths

A model gets its parameters by one size that is free, the width of its feed-forward blocks or its units, so that their number is within two percent of
--parameters. Runs that are finished are not trained again: other steps or parameters want another scratch folder. Accuracies are those of the test part.
A model that is not made for a task has no figure. The exit code is 1 where a run failed.
"""

import argparse
import csv
import json
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

# What is learned, by how many lanes, and what a guess gets.
TASKS = {
    "pairs-8": ("{kind: mqar, vocabulary: 1024, pairs: 8, length: 64, examples: 512, testLengths: [2, 4, 16, 32]}", 64, 1 / 512),
    "pairs-64": ("{kind: mqar, vocabulary: 1024, pairs: [4, 64], length: 256, examples: 256, testLengths: [8, 16, 32, 64]}", 16, 1 / 512),
    "rewritten": ("{kind: mqar, vocabulary: 1024, pairs: 8, rewrites: 8, length: 64, examples: 512, testLengths: [4, 16]}", 64, 1 / 512),
    "segment-before": ("{kind: segment-recall, keys: 4, pairs: 4, questions: 8, distance: 1, values: 16, segments: SEGMENTS}", 32, 1 / 16),
    "three-segments-before": ("{kind: segment-recall, keys: 4, pairs: 4, questions: 8, distance: 3, values: 16, segments: SEGMENTS}", 32, 1 / 16),
}
# What each is made of, and how many segments of a stream a step reads: several where a gradient has to reach the segment in which something was
# remembered. FREE is the size that is chosen by the number of parameters, CARRY what makes a model go on from segment to segment.
LAYERED = "layers: 2, width: 64, heads: 2, feedForward: FREE"
MODELS = {
    "lstm": ("{kind: lstm, layers: 2, width: FREE, embedding: 64, forgetBias: 1CARRY}", 8),
    "gated-deltanet": (f"{{kind: gated-deltanet, {LAYERED}, embedding: 64CARRY}}", 8),
    "linear attention": (f"{{kind: gated-deltanet, {LAYERED}, delta: false, embedding: 64CARRY}}", 8),
    "sparse-delta": (f"{{kind: sparse-delta, {LAYERED}, rows: 256, writes: 8, reads: 8, embedding: 64CARRY}}", 8),
    "recurrent-memory": (f"{{kind: recurrent-memory, {LAYERED}, segment: 16, memoryTokens: 4, associative: true, embedding: 48CARRY}}", 8),
    "memory tokens": (f"{{kind: recurrent-memory, {LAYERED}, segment: 16, memoryTokens: 4, associative: false, embedding: 48CARRY}}", 8),
    "memformer": (f"{{kind: memformer, {LAYERED}, segment: 16, slots: 16, embedding: 48CARRY}}", 8),
    "attention": (f"{{kind: transformer-xl, {LAYERED}, memory: 0}}", 1),
    "transformer-xl": (f"{{kind: transformer-xl, {LAYERED}, memory: 16}}", 1),
    "compressive-transformer": (f"{{kind: compressive-transformer, {LAYERED}, memory: 16, compression: {{slots: 16, rate: 4}}}}", 1),
    "stored pairs": (f"{{kind: transformer-xl, {LAYERED}, memory: 0, memorizing: {{layer: 1, scope: lane, nearest: 32, capacity: 4096}}}}", 1),
}
# Sequences of symbols have no earlier segment.
WITHOUT_SEQUENCES = {"transformer-xl", "compressive-transformer", "stored pairs"}

RUN = """run: {directory}
seed: {seed}
steps: {steps}
task: {task}
model: {model}
batch: {{lanes: {lanes}}}
optimizer: {{kind: adamw, learningRate: {rate}, betas: [0.9, 0.98], weightDecay: 0.01, clip: 1}}
schedule: {{kind: cosine, warmup: {warmup}, floor: 1e-5}}
checkpoint: {{every: {every}, keep: 1}}
evaluation: {{every: {every}}}
log: {{every: 50}}
parallel: {{threads: {threads}}}
"""


def run_file(options, model, task, size, directory, steps):
    description, segments = MODELS[model]
    text, lanes, _ = TASKS[task]
    is_stream = "segment-recall" in text
    description = description.replace("FREE", str(size)).replace("CARRY", ", carry: true" if is_stream else "")
    if is_stream:
        text = text.replace("SEGMENTS", str(segments))
        lanes = max(1, lanes // segments)
    return RUN.format(
        directory=directory, seed=options.seed, steps=steps, task=text, model=description, lanes=lanes, rate=options.rate, every=max(1, steps // 4),
        warmup=min(100, steps // 2), threads=options.threads)


def train(options, file):
    words = [str(options.mneme), "train", str(file)]
    return subprocess.run(words, capture_output=True, text=True)


def parameters(options, model, task, size):
    """How many a model of that size has, by one step of it."""
    file = options.scratch / "size.yaml"
    file.write_text(run_file(options, model, task, size, options.scratch / "size", 1))
    words = [str(options.mneme), "train", str(file), "--fresh", "--set", "evaluation.every=never", "--set", "batch.lanes=1"]
    session = subprocess.run(words, capture_output=True, text=True)
    found = re.search(r"model .*?, ([\d,]+) parameters", session.stdout + session.stderr)
    if not found:
        raise RuntimeError((session.stderr.strip().splitlines() or ["no line of the model"])[-1])
    return int(found.group(1).replace(",", ""))


def size(options, model, task):
    """The size with the number of parameters nearest to what is asked for."""
    low, high = 1, 4096
    while high - low > 1:
        middle = (low + high) // 2
        if parameters(options, model, task, middle) > options.parameters:
            high = middle
        else:
            low = middle
    return low


def measured(options, model, task):
    directory = options.scratch / f"{model.replace(' ', '-')}-{task}"
    file = directory.with_suffix(".yaml")
    if not file.exists():
        chosen = size(options, model, task)
        count = parameters(options, model, task, chosen)
        if abs(count - options.parameters) > 0.02 * options.parameters:
            print(f"{model}, {task}: {count} parameters", file=sys.stderr)
        file.write_text(run_file(options, model, task, chosen, directory, options.steps))
    session = train(options, file)
    if session.returncode != 0:
        raise RuntimeError((session.stderr.strip().splitlines() or [f"code {session.returncode}"])[-1])
    evaluated = subprocess.run([str(options.mneme), "evaluate", str(directory), "--json"], capture_output=True, text=True, check=True)
    report = json.loads(evaluated.stdout)
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return {
        "accuracy": report["accuracy"], "minutes": lines[-1]["seconds"] / 60,
        "lengths": {int(key.rsplit("_", 1)[1]): value for key, value in report.items() if key.startswith("accuracy_length_")},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mneme", default=HERE.parent / ".build/release/mneme", type=Path, help="the program (default: the release build)")
    parser.add_argument("--scratch", required=True, type=Path, help="where the runs are")
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS), metavar="MODEL", help="; ".join(MODELS))
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS), metavar="TASK", help="; ".join(TASKS))
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--parameters", type=int, default=300_000)
    parser.add_argument("--rate", type=float, default=2e-3, help="the learning rate (default: 2e-3)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help="NAME of NAME.md and NAME.csv")
    options = parser.parse_args()
    options.scratch = options.scratch.resolve()
    options.scratch.mkdir(parents=True, exist_ok=True)
    lines, rows, failed = [], [], False
    header = [
        "| | " + " | ".join(options.tasks) + " |", "| --- |" + " --- |" * len(options.tasks),
        "| a guess | " + " | ".join(f"{100 * TASKS[task][2]:.1f} %" for task in options.tasks) + " |",
    ]
    print("\n".join(header), flush=True)
    for model in options.models:
        cells = []
        for task in options.tasks:
            if "mqar" in TASKS[task][0] and model in WITHOUT_SEQUENCES:
                cells.append("-")
                continue
            try:
                found = measured(options, model, task)
            except (RuntimeError, subprocess.CalledProcessError) as error:
                print(f"{model}, {task}: {error}", file=sys.stderr, flush=True)
                cells.append("failed")
                failed = True
                continue
            cells.append(f"{100 * found['accuracy']:.1f} % ({found['minutes']:.0f} min)")
            rows += [[model, task, length, accuracy] for length, accuracy in [("", found["accuracy"]), *sorted(found["lengths"].items())]]
        lines.append(f"| {model} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    if options.output:
        options.output.with_suffix(".md").write_text("\n".join(header + lines) + "\n")
        with open(options.output.with_suffix(".csv"), "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["model", "task", "pairs", "accuracy"])
            writer.writerows(rows)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
