#!/usr/bin/env python3
"""Does damage to runs of two ranks again and again, and compares the bits of a run on several numbers of ranks.

    Benchmarks/faults.py digests          the same run on 1, 2, 3, 4, 6 and 8 ranks, some of which share out the optimizer's state: digests and diffs
    Benchmarks/faults.py kill stop        a rank is killed: the job is gone within 5 s; a rank is stopped: it is named, and the job ends
    Benchmarks/faults.py resume           a rank, all ranks or mpirun are killed at random moments, and the run goes on with another number of ranks
    Benchmarks/faults.py link             the network cable of one of two hosts is cut (cluster/sandbox hosts; as root): it is named, and the job ends
    Benchmarks/faults.py save             every operation on files that a save makes fails once: with EIO, ENOSPC, half done, killed before it
    Benchmarks/faults.py flips            bits of a checkpoint's files are flipped at random: found, or without effect
    Benchmarks/faults.py products         a bit of a matrix product's output is flipped on one of two ranks with parallel.verify: found, or without effect
    Benchmarks/faults.py parity           each file of a checkpoint is lost or damaged, and repaired from parity
    Benchmarks/faults.py bank --times 200 edits of a bank by one rank and by two are killed at random moments: nothing acknowledged is lost, nothing deleted is back
    Benchmarks/faults.py stop --times 20  how often (default: 20; save and parity try everything once)

The small LSTM of launch/runs/copy-lstm.yaml is trained under Open MPI's mpirun. The exit code is 1 when something did not come out as it should.
"""

import argparse
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bankfaults import bank
from filefaults import ENVIRONMENT, HERE, RUN, flips, parity, save


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
        settings = ["batch.groups=8", "parallel.reproducible=true", f"parallel.shardOptimizer={str(shared).lower()}", "parallel.gradients=int8", "steps=40", "checkpoint.every=20",
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


def ranks_of(job):
    """The processes of the ranks; mpirun starts those of its own node itself."""
    return [child for child in children(job.pid) if Path(f"/proc/{child}/exe").exists() and os.readlink(f"/proc/{child}/exe").endswith("mneme")]


def resume(program, scratch, times):
    """Kills a rank, all ranks or mpirun at random moments, goes on with any number of ranks, and compares what comes out with a run that nobody killed."""
    settings = ["batch.groups=8", "batch.lanes=8", "model.width=24", "steps=120", "checkpoint.every=7", "evaluation.every=60", "log.every=20",
                "parallel.reproducible=true", "parallel.gradients=int8", "watchdog.atLeast=30"]
    draw = random.Random(times)
    start = time.monotonic()
    subprocess.run(command(program, 1, scratch / "steady", *settings), env=ENVIRONMENT, capture_output=True, check=True)
    whole = time.monotonic() - start
    kills, equal, runs, counts, trouble, waits = 0, 0, 0, {}, 0, 0
    while kills < times:
        directory, sessions = scratch / f"killed{runs}", 0
        while True:
            ranks, shared = draw.choice([1, 2, 3, 4]), draw.random() < 0.5
            words = command(program, ranks, directory, *settings, f"parallel.shardOptimizer={str(shared).lower()}")
            job = subprocess.Popen(words, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            kind = draw.choice(["a rank", "all ranks", "mpirun"])
            try:
                # A run is killed up to five times, then it may end.
                errors = job.communicate(timeout=None if sessions == 5 else draw.uniform(0.05, 1.2 * whole))[1]
                if job.returncode == 69 and "another session has this run directory" in errors:
                    # A rank whose mpirun was killed while it started: it ends when it finds nobody.
                    waits += 1
                    time.sleep(0.5)
                    continue
                if job.returncode:
                    trouble += 1
                    print(f"run {runs}, {ranks} ranks: ended with {job.returncode}: {errors[-600:]}", file=sys.stderr)
                break
            except subprocess.TimeoutExpired:
                victims = ranks_of(job)
                for victim in {"a rank": victims[:1] if draw.random() < 0.5 else victims[-1:], "all ranks": victims, "mpirun": [job.pid]}[kind]:
                    try:
                        os.kill(victim, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                job.communicate()
                # Ranks whose mpirun was killed see it when they next meet; while one of them lives, the run directory is its own.
                while any(Path(f"/proc/{victim}").exists() for victim in victims):
                    time.sleep(0.02)
                kills, sessions = kills + 1, sessions + 1
                counts[kind] = counts.get(kind, 0) + 1
        runs += 1
        compared = subprocess.run([program, "checkpoint", "diff", scratch / "steady", directory], capture_output=True, text=True)
        same = compared.returncode == 0
        equal += same
        if not same:
            print(f"run {runs - 1}: {compared.stdout}{compared.stderr}", file=sys.stderr)
        shutil.rmtree(directory, ignore_errors=True)
    what = ", ".join(f"{counts[kind]} times {kind}" for kind in sorted(counts))
    print(f"{kills} kills ({what}) in {runs} runs on 1 to 4 ranks, the state shared out or not from session to session: {equal} of {runs} runs ended with the bits "
          f"of the run that nobody killed; {trouble} sessions ended by themselves with an error; {waits} were refused while a rank of the one before still ended", flush=True)
    return equal == runs and trouble == 0


def products(program, scratch, times):
    """Flips a bit of what a matrix product has computed, one of all that a rank's session computes, and looks whether the check on neighbours finds it."""
    settings = ["batch.groups=2", "batch.lanes=4", "model.width=24", "task.lengths=[1,6]", "steps=10", "checkpoint.every=5", "evaluation.every=never", "log.every=10",
                "parallel.reproducible=true", "parallel.verify=1"]
    draw = random.Random(times)
    subprocess.run(command(program, 2, scratch / "steady", *settings), env=ENVIRONMENT, capture_output=True, check=True)

    def session(directory, product=None, rank=0, action="error"):
        environment = dict(ENVIRONMENT, MNEME_FAILPOINT=f"product.output:{product}:{action}@{rank}") if product is not None else ENVIRONMENT
        return subprocess.run(command(program, 2, directory, *settings), env=environment, capture_output=True, text=True)

    def is_same(directory):
        return subprocess.run([program, "checkpoint", "diff", scratch / "steady", directory], capture_output=True).returncode == 0

    # The products of a session: a rank that is killed in one of them does not end well.
    low, count = 0, 1 << 20
    while low + 1 < count:
        middle = (low + count) // 2
        shutil.rmtree(scratch / "counted", ignore_errors=True)
        if session(scratch / "counted", middle, 0, "kill").returncode:
            low = middle
        else:
            count = middle
    found, harmless, wrong = 0, 0, 0
    while found + harmless + wrong < times:
        product, rank, directory = draw.randrange(count), draw.randrange(2), scratch / "damaged"
        shutil.rmtree(directory, ignore_errors=True)
        ended = session(directory, product, rank)
        if ended.returncode == 0:
            same = is_same(directory)
            harmless, wrong = harmless + same, wrong + (not same)
        else:
            # The session before the step that was damaged is kept, and the run goes on from there to the same bits.
            named = "computes other bits" in ended.stderr or "compute different bits" in ended.stderr or "not finite" in ended.stderr
            good = named and session(directory).returncode == 0 and is_same(directory)
            found, wrong = found + good, wrong + (not good)
            if not good:
                print(f"product {product} of rank {rank}: ended with {ended.returncode}: {ended.stderr[-600:]}", file=sys.stderr, flush=True)
    print(f"{times} flipped bits in outputs of {count} matrix products that each of two ranks computes: {found} found, and the run went on to the same bits; {harmless} without effect on any bit of the "
          f"result; {wrong} wrong", flush=True)
    return wrong == 0


def cut(host, state):
    subprocess.run(["ip", "link", "set", f"mneme-{host}", state], check=True)


def link(program, scratch, times):
    """Cuts the cable of one of two hosts while a run of two ranks goes on."""
    sandbox, folder = [HERE.parent / "cluster/sandbox", "hosts"], scratch / "hosts"
    subprocess.run([*sandbox, "up", "--folder", folder], check=True, stdout=subprocess.DEVNULL)
    right, seconds = 0, []
    try:
        environment = dict(ENVIRONMENT, MNEME=str(program))
        for line in subprocess.run([*sandbox, "env", "--folder", folder], check=True, capture_output=True, text=True).stdout.splitlines():
            name, value = line.removeprefix("export ").split("=", 1)
            environment[name] = value.strip("'")
        words = [HERE.parent / "launch/mpirun", 2, "train", RUN]
        for setting in (f"run={scratch / 'cut'}", "steps=1000000", "evaluation.every=never", "checkpoint.every=never", "watchdog.atLeast=10",
                        "watchdog.first=60", "log.every=1", "parallel.threads=1"):
            words += ["--set", setting]
        for attempt in range(times):
            shutil.rmtree(scratch / "cut", ignore_errors=True)
            host, metrics, errors = f"mx{attempt % 2 + 1}", scratch / "cut/metrics.jsonl", scratch / "errors"
            with open(errors, "w") as output:
                job = subprocess.Popen(list(map(str, words)), env=environment, stdout=subprocess.DEVNULL, stderr=output)
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline and not (metrics.exists() and metrics.read_bytes().count(b"\n") > 20):
                time.sleep(0.1)
            cut(host, "down")
            start = time.monotonic()
            try:
                job.wait(timeout=120)
            except subprocess.TimeoutExpired:
                # The second wish to end is one to end at once.
                for _ in range(2):
                    job.terminate()
                    time.sleep(1)
                job.wait()
            seconds.append(time.monotonic() - start)
            cut(host, "up")
            text = errors.read_text()
            good = job.returncode == 69 and any(f"({host}" in line or f" {host}" in line for line in text.splitlines() if line.startswith("mneme: error"))
            right += good
            if not good:
                print(f"attempt {attempt}, {host}, code {job.returncode}, {seconds[-1]:.0f} s: {text[-1500:]}", file=sys.stderr, flush=True)
            # What the host that was cut off had not noticed yet.
            for name in ("mx1", "mx2"):
                for process in subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True).stdout.split():
                    os.kill(int(process), signal.SIGKILL)
    finally:
        subprocess.run([*sandbox, "down", "--folder", folder], check=True)
    print(f"hosts whose cable was cut named, and their jobs ended with 69: {right} of {times}; seconds to the end: median {statistics.median(seconds):.1f}, "
          f"most {max(seconds):.1f}", flush=True)
    return right == times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    campaigns = {
        "digests": lambda scratch: digests(options.mneme, scratch),
        "kill": lambda scratch: damage(options.mneme, scratch, "kill", options.times),
        "stop": lambda scratch: damage(options.mneme, scratch, "stop", options.times),
        "resume": lambda scratch: resume(options.mneme, scratch, options.times),
        "products": lambda scratch: products(options.mneme, scratch, options.times),
        "link": lambda scratch: link(options.mneme, scratch, options.times),
        "save": lambda scratch: save(options.mneme, scratch, options.jobs),
        "flips": lambda scratch: flips(options.mneme, scratch, options.times, options.jobs),
        "bank": lambda scratch: bank(options.mneme, options.checks, scratch, options.times),
        "parity": lambda scratch: parity(options.mneme, scratch),
    }
    parser.add_argument("campaigns", nargs="+", choices=campaigns)
    parser.add_argument("--mneme", default=HERE.parent / ".build/release/mneme", type=Path, help="the program (default: the release build)")
    parser.add_argument("--checks", default=HERE.parent / ".build/release/distributed-checks", type=Path, help="bank: the program that edits (swift build -c release --build-tests makes it)")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="sessions of save and flips at a time (default: as many as cores)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mneme-faults-") as scratch:
        outcomes = [campaigns[name](Path(scratch)) for name in options.campaigns]
    sys.exit(0 if all(outcomes) else 1)


if __name__ == "__main__":
    main()
