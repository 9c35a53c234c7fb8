#!/usr/bin/env python3
"""How long training waits for a checkpoint of 1.5 GB, and how fast one is written and read, beside plain writing and reading on the same disk.

    Benchmarks/checkpoint-speed.py --turns 5
    Benchmarks/checkpoint-speed.py --scratch /scratch/me        a folder on the file system in question (default: the system's for temporary files)

A decoder of 127 million parameters is trained by AdamW, one rank, all cores: parameters and two moments are 1.5 GB. A turn is

- dd, 1.5 GB of noise with fsync, and again from the disk (its pages are taken out of the system's cache before);
- a session that saves twice while it goes on, the first time into memory that is fresh, and at its end, when it waits for the whole save;
- a session that resumes from the last checkpoint (taken out of the cache) and makes one step.

The session's waits are the spans 'save' and 'wait for the checkpoint' of 'mneme train --trace'; when the shard was begun, was on the disk and was read back
is seen by strace, which looks at openings and syncs alone. Figures are medians over the turns. Nothing else should run.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from reductions import corpus
from report import cpu_name

HERE = Path(__file__).resolve().parent


def run_file(scratch):
    path = scratch / "run.yaml"
    path.write_text(f"""run: {scratch}/run
steps: 1
corpus: {{shards: {scratch}/corpus}}
model: {{kind: decoder-only, layers: 17, width: 768, heads: 12, context: 64}}
batch: {{lanes: 1, length: 64}}
optimizer: {{kind: adamw, learningRate: 0.0003}}
log: {{every: 1, tensorboard: false}}
evaluation: {{every: never}}
checkpoint: {{every: 1000000, keep: 2}}
""")
    return path


def forget(path):
    """Takes a file out of the system's cache."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def timed(*words):
    start = time.monotonic()
    subprocess.run(list(map(str, words)), check=True, capture_output=True)
    return time.monotonic() - start


def session(program, path, steps, every, log=None):
    """Trains, and returns the spans of the trace: name, beginning and length in seconds."""
    words = [] if log is None else ["strace", "-f", "--seccomp-bpf", "-qq", "-ttt", "-T", "-y", "-e", "trace=openat,fsync,close", "-o", log]
    words += [program, "train", path, "--trace", "--set", f"steps={steps}", "--set", f"checkpoint.every={every}"]
    subprocess.run(list(map(str, words)), check=True, capture_output=True)
    events = json.loads((path.parent / "run/trace-0.json").read_text())
    events = events["traceEvents"] if isinstance(events, dict) else events
    return [(event["name"], event["ts"] / 1e6, event["dur"] / 1e6) for event in events if event["ph"] == "X"]


def writing(log):
    """Of each shard that strace saw being written: seconds until its fsync had ended, and from then until it was closed after being read back."""
    begun, synced, times = None, None, []
    for line in log.read_text(errors="replace").splitlines():
        found = re.match(r"\d+ +([0-9.]+) (\w+)\((.*) = .*<([0-9.]+)>$", line)
        if not found or "shard-0-of-1" not in line:
            continue
        at, call, words, took = float(found[1]), found[2], found[3], float(found[4])
        if call == "openat" and "O_CREAT" in words:
            begun, synced = at, None
        elif call == "fsync" and begun and not synced:
            synced = at + took
            times.append([synced - begun, 0.0])
        elif call == "close" and synced and ".partial" in words:
            times[-1][1] = at + took - synced
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mneme", default=HERE.parent / ".build/release/mneme", type=Path, help="the program (default: the release build)")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=48, help="steps between two saves: the one before must be on the disk before they are done")
    parser.add_argument("--scratch", help="where to write")
    options = parser.parse_args()
    figures = {}

    def note(name, value):
        figures.setdefault(name, []).append(value)

    with tempfile.TemporaryDirectory(prefix="mneme-checkpoint-speed-", dir=options.scratch) as scratch:
        scratch = Path(scratch)
        corpus(options.mneme, scratch)
        path, noise, log = run_file(scratch), scratch / "noise", scratch / "strace"
        half = options.steps
        for turn in range(options.turns):
            shutil.rmtree(scratch / "run", ignore_errors=True)
            spans = session(options.mneme, path, 3 * half, half, log)
            shard = scratch / f"run/step-{3 * half}/shard-0-of-1.h5"
            size = shard.stat().st_size
            waits = [span for span in spans if span[0] in ("save", "wait for the checkpoint")]
            begun = [at for name, at, _ in waits if name == "save"]
            second, last = begun[1], begun[-1]
            steps = [length for name, _, length in spans if name == "step"]
            note("the loop waits for its first save, s", sum(length for _, at, length in waits if at < second))
            note("the loop waits for a later save, s", sum(length for _, at, length in waits if second <= at < last))
            note("the loop waits for a save at its end, s", sum(length for _, at, length in waits if at >= last))
            note("a step, s", statistics.median(steps[2:half]))
            note("a step while a checkpoint is written, s", statistics.median(steps[half:half + 3]))
            for write, read_back in writing(log):
                note("written and synced, MB/s", size / write / 1e6)
                note("read back and compared, MB/s", size / read_back / 1e6)
            if not noise.exists():
                with noise.open("wb") as file:
                    for _ in range(size >> 20):
                        file.write(os.urandom(1 << 20))
            # The source is in the cache.
            subprocess.run(["cat", noise], stdout=subprocess.DEVNULL, check=True)
            copy = scratch / "copy"
            note("dd with fsync, MB/s", noise.stat().st_size / timed("dd", f"if={noise}", f"of={copy}", "bs=4M", "conv=fsync") / 1e6)
            note("dd with fsync, direct, MB/s", noise.stat().st_size / timed("dd", f"if={noise}", f"of={copy}", "bs=4M", "oflag=direct", "conv=fsync") / 1e6)
            forget(copy)
            note("dd from the disk, MB/s", noise.stat().st_size / timed("dd", f"if={copy}", "of=/dev/null", "bs=4M") / 1e6)
            copy.unlink()
            forget(shard)
            spans = session(options.mneme, path, 3 * half + 1, 1000000)
            restored = sum(length for name, _, length in spans if name == "restore")
            note("restored, MB/s", size / restored / 1e6)
            forget(shard)
            note("checkpoint verify, MB/s", size / timed(options.mneme, "checkpoint", "verify", shard.parent) / 1e6)
            print(f"turn {turn + 1}, load {os.getloadavg()[0]:.1f}: " + "; ".join(f"{name} {values[-1]:.3g}" for name, values in figures.items()), flush=True)
    medians = {name: statistics.median(values) for name, values in figures.items()}
    print(f"\n{cpu_name()}, {os.cpu_count()} cores, shard of {size / 1e9:.2f} GB, {options.turns} turns\n\n| | median | least | most |\n| --- | --- | --- | --- |")
    for name, values in figures.items():
        print(f"| {name} | {medians[name]:.3g} | {min(values):.3g} | {max(values):.3g} |")
    pairs = [("the loop waits for its first save, s", "the loop waits for a save at its end, s"),
             ("the loop waits for a later save, s", "the loop waits for a save at its end, s"), ("written and synced, MB/s", "dd with fsync, MB/s"),
             ("restored, MB/s", "dd from the disk, MB/s")]
    print()
    for first, second in pairs:
        print(f"{first} / {second}: {100 * medians[first] / medians[second]:.1f} %")


if __name__ == "__main__":
    main()
