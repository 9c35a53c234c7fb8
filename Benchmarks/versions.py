#!/usr/bin/env python3
"""Two builds of Mneme in turns: is the new one slower?

    Benchmarks/versions.py --old OTHER/.build/release/mneme --rounds 5 --output Benchmarks/results/versions.md

Each workload and precision runs in a process of its own, old and new taking turns; the medians of the turns' medians are compared. A tape runs too, by
operation. Nothing else should run on the machine: the load average is written down.
"""

import argparse
import json
import os
import statistics
import subprocess
from pathlib import Path

from report import cpu_name

HERE = Path(__file__).resolve().parent
# Workload, precision, threads, seconds of a turn, fewest steps of a turn.
CASES = [
    ("gpt2-124m", "float32", 1, 0, 2), ("gpt2-124m", "bfloat16", 1, 0, 2), ("gpt-small", "float32", 1, 3, 3), ("gpt-small", "bfloat16", 1, 3, 3),
    ("gpt-small", "bfloat16", 2, 3, 3), ("encoder-decoder", "float32", 1, 0, 2), ("encoder-decoder", "bfloat16", 1, 0, 2),
    ("lstm", "float32", 1, 3, 3), ("lstm", "bfloat16", 1, 3, 3), ("greedy", "bfloat16", 1, 0, 2), ("beam", "bfloat16", 1, 0, 2),
    ("ntm-copy", "float32", 1, 2, 5), ("dnc-repeat-copy", "float32", 1, 2, 5), ("dnc-copy", "float32", 1, 2, 3), ("memn2n", "float32", 1, 2, 50),
]


def bench(program, workload, precision, threads, seconds, steps):
    """The objects that `mneme bench` prints."""
    environment = {key: value for key, value in os.environ.items() if key != "OPENBLAS_CORETYPE"}
    command = [program, "bench", workload, "--json", "--precision", precision, "--threads", threads, "--seconds", seconds, "--steps", steps,
               "--warm-up", 3 if seconds else 2]
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=environment, timeout=900)
    if result.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {result.returncode}: {result.stderr.strip()}")
    return [json.loads(line) for line in result.stdout.splitlines()]


def table(turns, cases, times, losses, tape):
    """The Markdown of what was measured in so many turns."""
    lines = [
        f"# Two builds of Mneme, {turns} turns each", "", f"{cpu_name()}; load average {os.getloadavg()[0]:.1f} at the end.", "",
        "| workload | precision | threads | old, ms | new, ms | new / old | loss of step 1, old and new |", "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for case in cases:
        old, new = (statistics.median(times[case, name]) for name in ("old", "new"))
        lines.append(f"| {case[0]} | {case[1]} | {case[2]} | {1e3 * old:.2f} | {1e3 * new:.2f} | {new / old:.3f} | "
                     f"{losses[case, 'old']:.6f} {losses[case, 'new']:.6f} |")
    if tape:
        lines += ["", "Nanoseconds of one operation of the tape, both passes, without its kernels where these are measured (the shortest of all turns).", "",
                  "| operation | on the tape | old | new |", "| --- | --- | --- | --- |"]
        for operation, length, name in tape:
            if name == "old":
                def both(which):
                    return min(r["nanoseconds_both"] - (r.get("nanoseconds_kernels") or 0) for r in tape.get((operation, length, which), [{"nanoseconds_both": float("nan")}]))
                lines.append(f"| {operation} | {length} | {both('old'):.0f} | {both('new'):.0f} |")
    return "\n".join(lines) + "\n"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--old", required=True, type=Path, help="the program to compare with")
    p.add_argument("--new", default=HERE.parent / ".build/release/mneme", type=Path, help="the program (default: the release build)")
    p.add_argument("--rounds", type=int, default=3, help="turns of both (default: 3)")
    p.add_argument("--workloads", help="only these, with commas between them")
    p.add_argument("--output", type=Path, help="a file for the table, written after every turn")
    options = p.parse_args()
    chosen = options.workloads and options.workloads.split(",")
    cases = [case for case in CASES if not chosen or case[0] in chosen]
    times, losses, tape = {}, {}, {}
    for turn in range(options.rounds):
        for case in cases:
            programs = [("old", options.old), ("new", options.new)]
            for name, program in programs if turn % 2 == 0 else reversed(programs):
                (result,) = bench(program, *case)
                times.setdefault((case, name), []).append(result["seconds_median"])
                losses[case, name] = (result.get("losses") or [float("nan")])[0]
        for name, program in (("old", options.old), ("new", options.new)):
            for result in bench(program, "tape", "float32", 1, 3, 3) if not chosen or "tape" in chosen else []:
                tape.setdefault((result["operation"], result["length"], name), []).append(result)
        text = table(turn + 1, cases, times, losses, tape)
        if options.output:
            options.output.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
