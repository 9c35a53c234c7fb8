#!/usr/bin/env python3
"""The 20 tasks of bAbI with an end-to-end memory network, beside the published figures.

    MNEME_DATA=DATA Benchmarks/babi.py [--seeds 10] [--output Benchmarks/results/babi-memn2n]
    MNEME_DATA=DATA Benchmarks/babi.py --joint [--run launch/runs/babi-memn2n-joint.yaml] [--seeds 3]
    MNEME_DATA=DATA Benchmarks/babi.py --joint-10k --set task.data=DIR/en-10k [--set task.missingFrom=DIR/en --smaller 3]

Each task (or, with --joint, all of them at once) is trained with several seeds; the seed with the lowest training loss is reported, as Sukhbaatar et al.
2015 choose among their restarts: what the test says chooses nothing. Writes OUTPUT.md and OUTPUT.csv; joint training writes them anew after each seed.
What stands in OUTPUT.md from its first line that begins with "## " on is kept.
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
# 10,000 training questions a task. The larger non-linear network (width 100); of joint networks the mean over the tasks, and tasks failed.
PAPER_NONLINEAR_10K = [0.0, 0.3, 2.1, 0.0, 0.8, 0.1, 2.0, 0.9, 0.3, 0.0, 0.1, 0.0, 0.0, 0.1, 0.0, 51.8, 18.6, 5.3, 2.3, 0.0]
PAPER_JOINT_10K = [("PE LS joint", 7.9, 6), ("PE LS RN joint", 7.5, 6), ("PE LS LW joint", 11.0, 6)]

program = os.path.join(ROOT, ".build/release/mneme")


def mneme(*arguments):
    result = subprocess.run([program, *arguments], capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"mneme {' '.join(arguments)} ended with {result.returncode}: {result.stderr.strip()}")
    return result.stdout


def train(run_file, directory, seed, settings, held_out=False):
    """Trains one run and measures it: the test scores, with the error on held-out questions where wanted, and the seconds of training."""
    overrides = [word for setting in settings for word in ("--set", setting)]
    begin = time.monotonic()
    mneme("train", run_file, "--fresh", "--set", f"run={directory}", "--set", f"seed={seed}", "--set", "parallel.threads=1", *overrides)
    seconds = time.monotonic() - begin
    scores = json.loads(mneme("evaluate", directory, "--part", "test", "--json"))
    if held_out:
        scores["held_out_error"] = json.loads(mneme("evaluate", directory, "--part", "validation", "--json"))["error"]
    shutil.rmtree(directory, ignore_errors=True)
    return scores, seconds


class Row:
    """A task's errors in percent: of the seed with the lowest training loss, and of all seeds."""

    def __init__(self, task, runs):
        """runs: (seed, scores) of each restart."""
        self.seed, best = min(runs, key=lambda run: run[1]["training_loss"])
        self.errors = [100 * scores[f"error_task_{task}"] for _, scores in runs]
        self.error = 100 * best[f"error_task_{task}"]
        self.fit = 100 * best["training_error"]


def kept(path):
    """What a person has written below the tables."""
    if not os.path.exists(path):
        return ""
    with open(path) as file:
        text = file.read()
    place = text.find("\n## ")
    return text[place:] if place >= 0 else ""


def table(rows, paper, title):
    """The tasks, a line each, beside the published column, and the means."""
    lines = [
        f"| task | this run | published ({title}) | seed | lowest to highest of all seeds | training error |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for task, row in rows.items():
        spread = f"{min(row.errors):.1f} to {max(row.errors):.1f}"
        lines.append(f"| {task} | {row.error:.1f} | {paper[task - 1]:.1f} | {row.seed} | {spread} | {row.fit:.1f} |")
    mean, published = statistics.mean(row.error for row in rows.values()), statistics.mean(paper[task - 1] for task in rows)
    failed = sum(row.error > 5 for row in rows.values())
    return lines + [f"| mean | {mean:.1f} | {published:.1f} | | | |", f"| failed (> 5 %) | {failed} | {sum(paper[t - 1] > 5 for t in rows)} | | | |", ""]


def restarts(runs):
    """All restarts of a joint network: what chooses among them, and what the test said."""
    lines = ["| seed | training loss | training error | held-out error | test error | failed |", "| ---: | ---: | ---: | ---: | ---: | ---: |"]
    for seed, scores in runs:
        errors = [100 * scores[name] for name in ("training_error", "held_out_error", "error")]
        lines.append(f"| {seed} | {scores['training_loss']:.4f} | {errors[0]:.2f} | {errors[1]:.2f} | {errors[2]:.2f} | {scores['failed_tasks']:.0f} |")
    return lines + [""]


def larger_set(rows, smaller):
    """The means over 20 tasks beside the published ones of joint networks, and without the tasks that have a smaller training set."""
    published = "; ".join(f"{name} {mean} ({failed} failed)" for name, mean, failed in PAPER_JOINT_10K)
    lines = [f"Published means of networks trained jointly on this set, in percent: {published}. The column above is of the larger non-linear network."]
    if smaller:
        rest = [task for task in rows if task not in smaller]
        errors = [statistics.mean(errors) for errors in ([rows[t].error for t in rest], [PAPER_NONLINEAR_10K[t - 1] for t in rest])]
        lines += [
            "",
            f"The training set of task {', '.join(map(str, smaller))} is that of 1,000 questions here: its larger file was not at hand. The mean over the "
            f"other {len(rest)} tasks is {errors[0]:.2f} (published column: {errors[1]:.2f}).",
        ]
    return lines + [""]


def main():
    global program
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--joint", action="store_true", help="all tasks with one model")
    parser.add_argument("--joint-10k", action="store_true", help="the same on the larger set, whose directory --set task.data=DIR names")
    parser.add_argument("--smaller", type=int, nargs="+", default=[], help="tasks whose training file is the smaller set's")
    parser.add_argument("--run", help="the run file")
    parser.add_argument("--seeds", type=int, help="restarts (10; joint 3)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed on to mneme train")
    parser.add_argument("--tasks", type=int, nargs="+", default=list(range(1, 21)))
    parser.add_argument("--output", help="path of the results without its extension")
    parser.add_argument("--mneme", default=program, help="the program (.build/release/mneme)")
    options = parser.parse_args()
    program = options.mneme
    is_joint = options.joint or options.joint_10k
    kind = "joint-10k" if options.joint_10k else "joint" if options.joint else "single"
    run_file = options.run or os.path.join(ROOT, f"launch/runs/babi-memn2n-{kind}.yaml")
    seeds = options.seeds or (3 if is_joint else 10)
    output = options.output or os.path.join(ROOT, f"Benchmarks/results/babi-memn2n-{kind}")
    paper = PAPER_NONLINEAR_10K if options.joint_10k else PAPER_JOINT if options.joint else PAPER_SINGLE

    given = "".join(f" --set {setting}" for setting in options.set if not setting.startswith(("task.data=", "task.missingFrom=")))

    def write(rows, runs, count, seconds):
        """The result files. runs: all restarts of a joint network."""
        lines = [
            f"# bAbI, end-to-end memory network, {'one model for all tasks' if is_joint else 'a model for each task'}"
            f"{', 10,000 questions a task' if options.joint_10k else ''}",
            "",
            f"Test error in percent. `Benchmarks/babi.py{'' if kind == 'single' else f' --{kind}'}` with `{os.path.relpath(run_file, ROOT)}`{given}, "
            f"{count} seeds, one thread; the seed with the lowest training loss is reported. Training took {seconds:.0f} s for all seeds on {platform.machine()}.",
            "",
        ]
        lines += table(rows, paper, "non-linear" if options.joint_10k else "PE LS RN")
        if options.joint_10k:
            lines += larger_set(rows, options.smaller)
        if runs:
            lines += restarts(runs)
        with open(output + ".csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["task", "error", "paper", "seed", "lowest", "highest", "training_error"])
            for task, row in rows.items():
                spread = [f"{min(row.errors):.1f}", f"{max(row.errors):.1f}"]
                writer.writerow([task, f"{row.error:.1f}", paper[task - 1], row.seed, *spread, f"{row.fit:.2f}"])
        below = kept(output + ".md")
        with open(output + ".md", "w") as file:
            file.write("\n".join(lines) + below)
        return lines

    rows, total, lines = {}, 0.0, []
    with tempfile.TemporaryDirectory() as scratch:
        directory = os.path.join(scratch, "run")
        if is_joint:
            runs = []
            for seed in range(1, seeds + 1):
                scores, seconds = train(run_file, directory, seed, options.set, held_out=True)
                total += seconds
                runs.append((seed, scores))
                print(f"seed {seed}: error {100 * scores['error']:.1f} %, training loss {scores['training_loss']:.4f}, {seconds:.1f} s", flush=True)
                rows = {task: Row(task, runs) for task in options.tasks}
                lines = write(rows, runs, seed, total)
        else:
            for task in options.tasks:
                runs = []
                for seed in range(1, seeds + 1):
                    scores, seconds = train(run_file, directory, seed, options.set + [f"task.tasks=[{task}]"])
                    total += seconds
                    runs.append((seed, scores))
                rows[task] = Row(task, runs)
                print(f"task {task}: {rows[task].error:.1f} % (seed {rows[task].seed}; paper {paper[task - 1]})", flush=True)
            lines = write(rows, [], seeds, total)
    print("\n".join(lines))


main()
