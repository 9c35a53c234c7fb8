"""Damage to the files of a run, for faults.py: each operation of a save that fails, flipped bits, shards that are lost."""

import collections
import concurrent.futures
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

from faultyfiles import FAULTS, FaultyFiles, operations
from hdf5map import what

HERE = Path(__file__).resolve().parent
RUN = HERE.parent / "launch/runs/copy-lstm.yaml"
ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
# A model of two thousand parameters.
SMALL = ["model.layers=1", "model.width=16", "batch.lanes=4", "batch.groups=4", "evaluation.every=never", "parallel.reproducible=true", "parallel.threads=1"]
# What differs between two runs of the same bits.
TIMES = {"seconds", "tokens_per_second", "rank_seconds"}


def train(program, directory, *settings, ranks=None, environment={}):
    """A session, alone or of several ranks under launch/mpirun: the finished process with what it wrote."""
    words = [program] if ranks is None else [HERE.parent / "launch/mpirun", ranks]
    words += ["train", RUN]
    for setting in (f"run={directory}", *settings):
        words += ["--set", setting]
    return subprocess.run(list(map(str, words)), env=dict(ENVIRONMENT, MNEME=str(program), **environment), capture_output=True, text=True, timeout=300)


def mneme(program, *words):
    return subprocess.run(list(map(str, [program, *words])), capture_output=True, text=True, timeout=300)


def metrics(directory):
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name not in TIMES and "seconds" not in name} for line in lines]


def steps(directory):
    return sorted(int(path.name[5:]) for path in directory.glob("step-*"))


def unlike(program, directory, whole, step):
    """What distinguishes a finished run from another one; empty where nothing does."""
    compared = mneme(program, "checkpoint", "diff", whole / f"step-{step}", directory / f"step-{step}")
    return ([] if compared.returncode == 0 else [compared.stdout + compared.stderr]) + ([] if metrics(directory) == metrics(whole) else ["other metrics"])


# --- Each operation of a save fails


def save(program, scratch, jobs, worlds=(None, 2)):
    """Every operation on files of the second save fails: on one rank once in each way, on each of two once, in the ways by turns."""
    faulty = FaultyFiles(program, scratch)
    settings = [*SMALL, "steps=4", "checkpoint.every=2", "checkpoint.keep=1", "log.every=1"]
    whole = scratch / "whole"
    train(program, whole, *settings).check_returncode()

    def attempt(number, rank, ranks, at, kind):
        directory, log = scratch / f"run{number}", scratch / f"log{number}"
        environment = faulty.environment(directory, "partial-step-4", log, rank, AT=at, KIND=kind)
        session = train(program, directory, *settings, ranks=ranks, environment=environment)
        struck = operations(log)
        errors = [line for line in session.stderr.splitlines() if line.startswith(("mneme: error", "launch/mpirun: "))]
        problems = [] if "rash" not in session.stderr and "Fatal" not in session.stderr else ["a crash"]
        right = {0} if not struck or kind == "short" else {0, 74} if kind != "kill" else {-9} if ranks is None else {69}
        if session.returncode not in right:
            problems.append(f"code {session.returncode}")
        if len(errors) != (0 if session.returncode in (0, -9) else 1):
            problems.append(f"{len(errors)} lines of error")
        finished = steps(directory)
        for step in finished:
            if mneme(program, "checkpoint", "verify", directory / f"step-{step}").returncode != 0:
                problems.append(f"step {step} is damaged")
        if not finished:
            problems.append("no checkpoint is left")
        resumed = train(program, directory, *settings)
        if resumed.returncode != 0 or "passing over" in resumed.stderr:
            problems.append(f"not resumed: {resumed.returncode} {resumed.stderr[-500:]}")
        else:
            problems += unlike(program, directory, whole, 4)
            left = [path.name for path in directory.iterdir() if path.name.startswith(".")]
            # A session that has no step to make removes no checkpoint that is one too many.
            if left or steps(directory) not in ([4], [2, 4]):
                problems.append(f"left behind: {left}, steps {steps(directory)}")
        warned = [line for line in session.stderr.splitlines() if line.startswith("mneme: warning")]
        operation = f"{struck[0][1]} {os.path.relpath(struck[0][3], directory)}" if struck else None
        if problems:
            print(f"{ranks or 1} ranks, rank {rank}, {kind} at {at}, {operation}: {'; '.join(problems)}\n{session.stderr[-1500:]}", file=sys.stderr, flush=True)
        shutil.rmtree(directory)
        log.unlink(missing_ok=True)
        return kind, session.returncode, operation, bool(warned), problems

    print("| ranks | fault | operations tried | ended with 74, 69 or by the kill | went on, with a warning | went on in silence | resumed to the same bits | lost |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    number, good, silent = 0, True, collections.Counter()
    for ranks in worlds:
        outcomes = []
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            for rank in range(ranks or 1):
                directory, log = scratch / "counted", scratch / "log"
                train(program, directory, *settings, ranks=ranks, environment=faulty.environment(directory, "partial-step-4", log, rank)).check_returncode()
                for at, _, effect, _ in operations(log):
                    for kind in FAULTS[effect] if ranks is None else [FAULTS[effect][at % len(FAULTS[effect])]]:
                        number += 1
                        outcomes.append(pool.submit(attempt, number, rank, ranks, at, kind))
                shutil.rmtree(directory)
                log.unlink()
            outcomes = [outcome.result() for outcome in outcomes]
        for kind in ("EIO", "ENOSPC", "short", "kill"):
            # The threads of a session take turns: the last operations are not always reached.
            tried = [outcome for outcome in outcomes if outcome[0] == kind and outcome[2]]
            ended = sum(code != 0 for _, code, *_ in tried)
            warned = sum(code == 0 and warned for _, code, _, warned, _ in tried)
            bad = sum(bool(problems) for *_, problems in tried)
            fault = {"EIO": "EIO", "ENOSPC": "ENOSPC", "short": "half of the bytes are written", "kill": "SIGKILL before it"}[kind]
            print(f"| {ranks or 1} | {fault} | {len(tried)} | {ended} | {warned} | {len(tried) - ended - warned} | {len(tried) - bad} | {bad} |", flush=True)
            silent.update(re.sub(r"[0-9a-f]{6,}|\d{3,}", "N", operation) for _, code, operation, warned, _ in tried if code == 0 and not warned and kind != "short")
        good = good and not any(problems for *_, problems in outcomes)
    print("\nFaults that a session went on after in silence, by operation: " + ", ".join(f"{name} ({count})" for name, count in silent.most_common()))
    return good


# --- Flipped bits


def flips(program, scratch, times, jobs):
    """Flips bits at random places of all files of the newest of two checkpoints, one at a time."""
    settings = [*SMALL, "checkpoint.every=2", "checkpoint.parity=true", "log.every=1"]
    base, whole = scratch / "base", scratch / "whole"
    train(program, base, *settings, "steps=4", ranks=2).check_returncode()
    train(program, whole, *settings, "steps=6").check_returncode()
    digest = mneme(program, "checkpoint", "verify", base / "step-4").stdout.split(": ", 1)[1]
    sizes = {path.name: path.stat().st_size for path in (base / "step-4").iterdir()}
    draw = random.Random(times)

    def attempt(number, name, place, bit):
        directory = scratch / f"flipped{number}"
        shutil.copytree(base, directory)
        contents = bytearray((directory / "step-4" / name).read_bytes())
        contents[place] ^= 1 << bit
        (directory / "step-4" / name).write_bytes(contents)
        verified = mneme(program, "checkpoint", "verify", directory / "step-4")
        found = verified.returncode == 65
        resumed = train(program, directory, *settings, "steps=6")
        passed_over = f"passing over {directory}/step-4" in resumed.stderr and "resuming at step 2 " in resumed.stderr
        taken = not passed_over and "resuming at step 4 " in resumed.stderr
        problems = [] if resumed.returncode == 0 else [f"code {resumed.returncode}"]
        problems += unlike(program, directory, whole, 6) if not problems else []
        if not found and (verified.returncode != 0 or verified.stdout.split(": ", 1)[1] != digest):
            problems.append(f"verify ended with {verified.returncode}")
        # What is passed over has to be damaged, and what is taken must be proved whole by its bits.
        if not (passed_over and found or taken):
            problems.append("neither passed over nor taken")
        if problems:
            print(f"{name}, byte {place}, bit {bit}: {'; '.join(problems)}\n{verified.stderr[-300:]}{resumed.stderr[-1000:]}", file=sys.stderr, flush=True)
        shutil.rmtree(directory)
        return name, place, found, passed_over, problems

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        places = [(name, draw.randrange(sizes[name]), draw.randrange(8)) for name in draw.choices(sorted(sizes), k=times)]
        outcomes = [outcome.result() for outcome in [pool.submit(attempt, number, *place) for number, place in enumerate(places)]]
    print("| file | bytes | flipped bits | found by verify and passed over | found by verify, not read by a resume | found by neither: same digest, same bits | wrong |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in sorted(sizes):
        mine = [outcome for outcome in outcomes if outcome[0] == name]
        counts = [sum(found and passed_over for *_, found, passed_over, _ in mine), sum(found and not passed_over for *_, found, passed_over, _ in mine),
                  sum(not found for _, _, found, *_ in mine), sum(bool(problems) for *_, problems in mine)]
        print(f"| {name} | {sizes[name]} | {len(mine)} | " + " | ".join(map(str, counts)) + " |", flush=True)
    harmless = sorted((name, place) for name, place, found, *_ in outcomes if not found)
    kinds = collections.Counter(what((base / "step-4" / name).read_bytes(), place) for name, place in harmless)
    print("\nThe bytes that neither finds: " + "; ".join(f"{kind} ({count})" for kind, count in kinds.most_common()))
    return not any(problems for *_, problems in outcomes)


# --- Parity


def parity(program, scratch):
    """Deletes and damages each file of checkpoints with parity, and repairs it."""
    print("| ranks | file | files, each damaged in seven ways | repaired to the bit |\n| --- | --- | --- | --- |")
    good = True
    for ranks in (1, 2, 3, 4):
        directory = scratch / f"parity{ranks}"
        # Wide enough for shards of several stripes of parity.
        train(program, directory, *SMALL[:1], "model.width=256", *SMALL[2:], "steps=2", "checkpoint.every=2", "checkpoint.parity=true", ranks=ranks).check_returncode()
        checkpoint = directory / "step-2"
        digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in checkpoint.iterdir()}
        counts = collections.defaultdict(lambda: [0, 0])
        for name in sorted(digests):
            path = checkpoint / name
            contents = path.read_bytes()
            middle = len(contents) // 2
            damages = {
                "deleted": None, "empty": b"", "cut to half": contents[:middle], "one byte longer": contents + b"x",
                "64 KiB of zeros": contents[:middle] + bytes(min(65536, len(contents) - middle)) + contents[middle + 65536:],
                "noise": random.Random(name).randbytes(len(contents)), "a flipped bit": contents[:middle] + bytes([contents[middle] ^ 1]) + contents[middle + 1:],
            }
            for damage, damaged in damages.items():
                path.unlink()
                if damaged is not None:
                    path.write_bytes(damaged)
                repaired = mneme(program, "checkpoint", "repair", checkpoint)
                now = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in checkpoint.iterdir()}
                right = repaired.returncode == 0 and now == digests
                kind = "shard" if name.startswith("shard") else "parity" if "parity" in name else name
                counts[kind][0] += 1
                counts[kind][1] += right
                if not right:
                    good = False
                    print(f"{ranks} ranks, {name}, {damage}: {repaired.returncode} {repaired.stderr}", file=sys.stderr, flush=True)
                    path.write_bytes(contents)
        for kind, (tried, right) in counts.items():
            print(f"| {ranks} | {kind} | {tried // len(damages)} | {right} of {tried} |", flush=True)
    print("\nThe ways: " + ", ".join(damages))
    return good
