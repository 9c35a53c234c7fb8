#!/usr/bin/env python3
"""Kills ranks of a job that goes on without them, again and again, and compares the bits with those of a run that nobody disturbed.

    Benchmarks/lost-ranks.py --times 50       needs Open MPI 5: PATH=$(launch/setup --mpi openmpi-5 | tail -n 1)/bin:$PATH
    Benchmarks/lost-ranks.py cost             what it costs while nobody is lost: the same run with and without --with-ft ulfm and its copies

The models of launch/runs/copy-lstm.yaml and a language model whose state follows its lanes are trained by `launch/mpirun` with MNEME_OUTLIVE=1. The exit code
is 1 when something did not come out as it should.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SETTINGS = ["batch.groups=8", "batch.lanes=8", "model.width=24", "steps=1500", "checkpoint.every=never", "evaluation.every=500", "log.every=1",
            "parallel.reproducible=true", "checkpoint.keep=3"]


def start(program, ranks, directory, *settings, outlive=True):
    words = [HERE.parent / "launch/mpirun", ranks, "train", HERE.parent / "launch/runs/copy-lstm.yaml"]
    for setting in (f"run={directory}", *settings):
        words += ["--set", setting]
    environment = dict(os.environ, MNEME=str(program), **({"MNEME_OUTLIVE": "1"} if outlive else {}))
    return subprocess.Popen(list(map(str, words)), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def processes(directory):
    """The ranks of a run, by their order of start."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if f"run={directory}".encode() in words and Path(words[0].decode()).name.startswith("mneme") and words[1] == b"train":
                    found.append(int(entry.name))
            except OSError:
                pass
    return sorted(found)


def losses(directory):
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"], line["gradient_norm"]) for line in lines]


def count(directory):
    try:
        return (directory / "metrics.jsonl").read_bytes().count(b"\n")
    except OSError:
        return 0


def kill(program, scratch, times):
    draw = random.Random(5)
    steady = scratch / "steady"
    job = start(program, 2, steady, *SETTINGS, outlive=False)
    job.communicate()
    good, gaps, kinds = 0, [], {}
    for attempt in range(times):
        directory = scratch / f"lost{attempt}"
        ranks, shared, format = draw.choice([2, 3, 4]), draw.random() < 0.5, "float32"
        victim = draw.randrange(ranks)
        job = start(program, ranks, directory, *SETTINGS, f"parallel.shardOptimizer={str(shared).lower()}")
        at = draw.randrange(20, 900)
        deadline = time.monotonic() + 120
        while count(directory) < at and job.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        victims = processes(directory)
        before = count(directory)
        os.kill(victims[victim], signal.SIGKILL)
        killed = time.monotonic()
        # Training again: a line of a later step than those that were there, after the session's new beginning.
        while count(directory) <= before + 1 and job.poll() is None and time.monotonic() < killed + 60:
            time.sleep(0.002)
        gap = time.monotonic() - killed
        try:
            errors = job.communicate(timeout=120)[1]
        except subprocess.TimeoutExpired:
            for process in processes(directory):
                os.kill(process, signal.SIGKILL)
            errors = job.communicate()[1]
        compared = subprocess.run([program, "checkpoint", "diff", steady, directory], capture_output=True, text=True)
        said = re.search(r"rank \d was lost after step \d+: the run goes on with \d ranks?, and nothing is lost", errors)
        fine = job.returncode == 0 and compared.returncode == 0 and losses(directory) == losses(steady) and said is not None
        good += fine
        gaps.append(gap)
        kinds[ranks] = kinds.get(ranks, 0) + 1
        if not fine:
            unlike = [mine for mine, other in zip(losses(directory), losses(steady)) if mine != other][:3]
            print(f"attempt {attempt}: {ranks} ranks, rank {victim} at step {at}, shared {shared}: code {job.returncode}, {compared.stdout.strip()}, {len(losses(directory))} "
                  f"steps written, unlike {unlike}, said {said and said[0]}: {[line for line in errors.splitlines() if not line.startswith('step ')][-9:]}", file=sys.stderr, flush=True)
        shutil.rmtree(directory, ignore_errors=True)
    what = ", ".join(f"{kinds[ranks]} on {ranks} ranks" for ranks in sorted(kinds))
    print(f"a rank killed in {times} jobs ({what}): {good} went on without it to the end with the losses and the bits of the run that nobody disturbed; "
          f"seconds from the kill to the next new step: median {statistics.median(gaps):.2f}, most {max(gaps):.2f}", flush=True)
    return good == times


def cost(program, scratch, times):
    """Medians of steps per second, the two ways in turns."""
    speeds = {False: [], True: []}
    settings = [setting for setting in SETTINGS if not setting.startswith(("steps", "evaluation"))] + ["steps=1500", "evaluation.every=never", "model.width=128"]
    for attempt in range(times):
        for outlive in (False, True):
            directory = scratch / f"cost{attempt}{outlive}"
            job = start(program, 2, directory, *settings, outlive=outlive)
            job.communicate()
            lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
            speeds[outlive].append((lines[-1]["seconds"] - lines[200]["seconds"]) / (len(lines) - 201))
    medians = {outlive: statistics.median(values) for outlive, values in speeds.items()}
    print(f"a step of {1e3 * medians[False]:.3f} ms takes {1e3 * medians[True]:.3f} ms where ranks outlive others: {medians[True] / medians[False]:.3f} "
          f"({times} turns)", flush=True)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("campaign", nargs="?", default="kill", choices=["kill", "cost"])
    parser.add_argument("--mneme", default=HERE.parent / ".build/release/mneme", type=Path, help="the program (default: the release build)")
    parser.add_argument("--times", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mneme-lost-") as scratch:
        sys.exit(0 if {"kill": kill, "cost": cost}[options.campaign](options.mneme.resolve(), Path(scratch), options.times) else 1)


if __name__ == "__main__":
    main()
