#!/usr/bin/env python3
"""The 20 tasks of bAbI with an end-to-end memory network, beside the published figures.

    MNEME_DATA=DATA Benchmarks/babi.py [--seeds 10] [--output Benchmarks/results/babi-memn2n]
    MNEME_DATA=DATA Benchmarks/babi.py --joint [--run launch/runs/babi-memn2n-joint.yaml] [--seeds 3]

Each task (or, with --joint, all of them at once) is trained with several seeds; the seed with the lowest training loss is reported, as Sukhbaatar et al.
2015 choose among their restarts: what the test says chooses nothing. Writes OUTPUT.md and OUTPUT.csv.
"""
import argparse
import csv
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Sukhbaatar et al. 2015, table 1 (1,000 training questions a task): position encoding, linear start, random noise; three hops; each task by itself, and jointly.
PAPER_SINGLE = [0.0, 8.3, 40.3, 2.8, 13.1, 7.6, 17.3, 10.0, 13.2, 15.1, 0.9, 0.2, 0.4, 1.7, 0.0, 1.3, 51.0, 11.1, 82.8, 0.0]
PAPER_JOINT = [0.0, 11.4, 21.9, 13.4, 14.4, 2.8, 18.3, 9.3, 1.9, 6.5, 0.3, 0.1, 0.2, 6.9, 0.0, 2.7, 40.4, 9.4, 88.0, 0.0]


def mneme(*arguments):
    result = subprocess.run([os.path.join(ROOT, ".build/release/mneme"), *arguments], capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"mneme {' '.join(arguments)} ended with {result.returncode}: {result.stderr.strip()}")
    return result.stdout


def train(run_file, directory, seed, settings):
    """Trains one run and measures it: the test scores and the seconds of training."""
    overrides = [word for setting in settings for word in ("--set", setting)]
    begin = time.monotonic()
    mneme("train", run_file, "--fresh", "--set", f"run={directory}", "--set", f"seed={seed}", "--set", "parallel.threads=1", *overrides)
    seconds = time.monotonic() - begin
    scores = json.loads(mneme("evaluate", directory, "--part", "test", "--json"))
    shutil.rmtree(directory, ignore_errors=True)
    return scores, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--joint", action="store_true", help="all tasks with one model")
    parser.add_argument("--run", help="the run file")
    parser.add_argument("--seeds", type=int, help="restarts (10; joint 3)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed on to mneme train")
    parser.add_argument("--tasks", type=int, nargs="+", default=list(range(1, 21)))
    parser.add_argument("--output", help="path of the results without its extension")
    options = parser.parse_args()
    kind = "joint" if options.joint else "single"
    run_file = options.run or os.path.join(ROOT, f"launch/runs/babi-memn2n-{kind}.yaml")
    seeds = options.seeds or (3 if options.joint else 10)
    output = options.output or os.path.join(ROOT, f"Benchmarks/results/babi-memn2n-{kind}")
    paper = PAPER_JOINT if options.joint else PAPER_SINGLE

    rows, total = {}, 0.0
    with tempfile.TemporaryDirectory() as scratch:
        directory = os.path.join(scratch, "run")
        if options.joint:
            runs = []
            for seed in range(1, seeds + 1):
                scores, seconds = train(run_file, directory, seed, options.set)
                total += seconds
                runs.append((scores["training_loss"], seed, scores))
                print(f"seed {seed}: error {100 * scores['error']:.1f} %, training loss {scores['training_loss']:.4f}, {seconds:.1f} s", flush=True)
            best = min(runs)
            for task in options.tasks:
                values = [100 * run[2][f"error_task_{task}"] for run in runs]
                rows[task] = (100 * best[2][f"error_task_{task}"], best[1], values, best[2]["training_error"])
        else:
            for task in options.tasks:
                runs = []
                for seed in range(1, seeds + 1):
                    scores, seconds = train(run_file, directory, seed, options.set + [f"task.tasks=[{task}]"])
                    total += seconds
                    runs.append((scores["training_loss"], seed, 100 * scores["error"], scores["training_error"]))
                best = min(runs)
                rows[task] = (best[2], best[1], [run[2] for run in runs], best[3])
                print(f"task {task}: {best[2]:.1f} % (seed {best[1]}; paper {paper[task - 1]})", flush=True)

    mean = statistics.mean(row[0] for row in rows.values())
    paper_mean = statistics.mean(paper[task - 1] for task in rows)
    failed = sum(row[0] > 5 for row in rows.values())
    lines = [
        f"# bAbI, end-to-end memory network, {'one model for all tasks' if options.joint else 'a model for each task'}",
        "",
        f"Test error in percent. `Benchmarks/babi.py{' --joint' if options.joint else ''}` with `{os.path.relpath(run_file, ROOT)}`"
        f"{''.join(' --set ' + s for s in options.set)}, {seeds} seeds, one thread; the seed with the lowest training loss is reported. "
        f"Training took {total:.0f} s for all seeds on {platform.machine()}.",
        "",
        "| task | this run | published (PE LS RN) | seed | lowest to highest of all seeds | training error |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for task, (error, seed, values, fit) in rows.items():
        lines.append(f"| {task} | {error:.1f} | {paper[task - 1]:.1f} | {seed} | {min(values):.1f} to {max(values):.1f} | {100 * fit:.1f} |")
    lines += [f"| mean | {mean:.1f} | {paper_mean:.1f} | | | |", f"| failed (> 5 %) | {failed} | {sum(paper[t - 1] > 5 for t in rows)} | | | |", ""]
    print("\n".join(lines))
    with open(output + ".md", "w") as file:
        file.write("\n".join(lines))
    with open(output + ".csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["task", "error", "paper", "seed", "lowest", "highest", "training_error"])
        for task, (error, seed, values, fit) in rows.items():
            writer.writerow([task, f"{error:.1f}", paper[task - 1], seed, f"{min(values):.1f}", f"{max(values):.1f}", f"{100 * fit:.2f}"])


main()
