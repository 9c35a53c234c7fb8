#!/usr/bin/env python3
"""Does damage to runs of two ranks again and again, and compares the bits of a run on several numbers of ranks.

    Benchmarks/faults.py digests          the same run on 1, 2, 3, 4, 6 and 8 ranks, some of which share out the optimizer's state: digests and diffs
    Benchmarks/faults.py kill stop        a rank is killed: the job is gone within 5 s; a rank is stopped: it is named, and the job ends
    Benchmarks/faults.py stop --times 20  how often (default: 20)

The small LSTM of launch/runs/copy-lstm.yaml is trained under Open MPI's mpirun. The exit code is 1 when something did not come out as it should.
"""

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
RUN = HERE.parent / "launch/runs/copy-lstm.yaml"
ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")


def command(program, ranks, directory, *settings):
    words = ["mpirun", "--quiet", "--bind-to", "none", "--oversubscribe", "--mca", "mpi_yield_when_idle", "1", "-n", ranks, program, "train", RUN]
    for setting in (f"run={directory}", *settings):
        words += ["--set", setting]
    return list(map(str, words))


def digests(program, scratch):
    print("| ranks | optimizer's state | checkpoint | against one rank |\n| --- | --- | --- | --- |")
    outcomes = []
    for ranks in (1, 2, 3, 4, 6, 8):
        directory, shared = scratch / f"on{ranks}", ranks in (3, 6, 8)
        settings = ["batch.groups=8", "parallel.reproducible=true", f"parallel.shardOptimizer={str(shared).lower()}", "steps=40", "checkpoint.every=20",
                    "evaluation.every=40"]
        subprocess.run(command(program, ranks, directory, *settings), env=ENVIRONMENT, capture_output=True, check=True)
        verified = subprocess.run([program, "checkpoint", "verify", directory], capture_output=True, text=True, check=True).stdout.strip()
        compared = subprocess.run([program, "checkpoint", "diff", scratch / "on1", directory], capture_output=True, text=True)
        outcomes.append((verified.split("digest")[-1], compared.returncode))
        print(f"| {ranks} | {'shared out' if shared else 'whole'} | {verified.split(': ', 1)[-1]} | {compared.stdout.strip()} |", flush=True)
    return len(set(outcomes)) == 1 and outcomes[0][1] == 0


def children(process):
    return sorted(map(int, subprocess.run(["pgrep", "-P", str(process)], capture_output=True, text=True).stdout.split()))


def damage(program, scratch, kind, times):
    right, seconds = 0, []
    settings = ["steps=1000000", "evaluation.every=never", "checkpoint.every=never", "watchdog.atLeast=10", "watchdog.first=60", "log.every=1"]
    for attempt in range(times):
        directory = scratch / "damaged"
        shutil.rmtree(directory, ignore_errors=True)
        metrics, errors = directory / "metrics.jsonl", scratch / "errors"
        with open(errors, "w") as output:
            job = subprocess.Popen(command(program, 2, directory, *settings), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=output)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (metrics.exists() and metrics.read_bytes().count(b"\n") > 20):
            time.sleep(0.1)
        rank = attempt % 2
        victim = children(job.pid)[rank]
        os.kill(victim, signal.SIGSTOP if kind == "stop" else signal.SIGKILL)
        start = time.monotonic()
        try:
            job.wait(timeout=60)
        except subprocess.TimeoutExpired:
            job.kill()
        seconds.append(time.monotonic() - start)
        if kind == "stop":
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                pass
            text = errors.read_text()
            good = seconds[-1] < 60 and "does not answer" in text and f"rank {rank} (" in text and f"process {victim}" in text
        else:
            good = seconds[-1] < 5
        right += good
        if not good:
            print(f"attempt {attempt}: {errors.read_text()[-600:]}", file=sys.stderr)
    what = "stopped ranks named and their jobs ended" if kind == "stop" else "jobs gone within 5 s of a rank's death"
    print(f"{what}: {right} of {times}; seconds to the end: median {statistics.median(seconds):.1f}, most {max(seconds):.1f}", flush=True)
    return right == times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("campaigns", nargs="+", choices=["digests", "kill", "stop"])
    parser.add_argument("--mneme", default=HERE.parent / ".build/release/mneme", type=Path, help="the program (default: the release build)")
    parser.add_argument("--times", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mneme-faults-") as scratch:
        outcomes = [
            digests(options.mneme, Path(scratch)) if name == "digests" else damage(options.mneme, Path(scratch), name, options.times)
            for name in options.campaigns
        ]
    sys.exit(0 if all(outcomes) else 1)


if __name__ == "__main__":
    main()
