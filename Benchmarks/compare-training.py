#!/usr/bin/env python3
"""Times training steps of Mneme and of PyTorch in turns on this machine, and prints their ratio.

Example: Benchmarks/compare-training.py --python venv/bin/python gpt2-124m gpt-small
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

from training_peer import WORKLOADS

HERE = Path(__file__).resolve().parent
# Both programs choose their own BLAS kernels, as for a user who sets nothing.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("OPENBLAS_", "MKL_", "OMP_", "MNEME_"))}


def run(command):
    done = subprocess.run([str(part) for part in command], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with exit code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def cpu_name():
    with open("/proc/cpuinfo") as f:
        return next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), platform.processor())


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("workloads", nargs="+", choices=WORKLOADS)
    p.add_argument("--mneme", default=HERE.parent / ".build/release/mneme", type=Path, help="the program (default: the release build)")
    p.add_argument("--python", default=os.environ.get("PEERS_PYTHON", sys.executable), help="a Python that has torch (default: PEERS_PYTHON)")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--rounds", type=int, default=3, help="turns; the medians of the turns' medians are compared")
    p.add_argument("--seconds", type=float, default=8, help="timed steps of one turn, at least 5 steps")
    p.add_argument("--modes", default="highest,medium", help="PyTorch's float32 matmul precisions; highest is its default, medium may use oneDNN")
    p.add_argument("--check", action="store_true", help="only compare the losses of 7 steps with dropout 0 (and exit 1 beyond 1e-3)")
    p.add_argument("--output", type=Path, help="also write everything as JSON to this file")
    a = p.parse_args()
    modes = a.modes.split(",")
    doctor = run([a.mneme, "doctor", "--json"])
    results = dict(date=datetime.date.today().isoformat(), cpu=cpu_name(), cores=os.cpu_count(), kernel=platform.release(), doctor=doctor, workloads={})
    failed = False
    for name in a.workloads:
        common = [name, "--threads", a.threads]
        peer = [a.python, HERE / "training_peer.py"] + common
        mine = [a.mneme, "bench", "--json"] + common
        # The same computation? With dropout 0 the losses of every step must agree.
        check = ["--seconds", 0, "--dropout", 0]
        pairs = list(zip(run(mine + check)["losses"], run(peer + check)["losses"]))
        difference = max(abs(x - y) for x, y in pairs)
        failed |= difference > 1e-3
        print(f"{name}: largest difference of the losses of {len(pairs)} steps {difference:.2e} {'(too large)' if difference > 1e-3 else ''}", flush=True)
        entry = results["workloads"][name] = dict(loss_difference=difference, loss_steps=len(pairs), mneme=[], torch={mode: [] for mode in modes}, load=[])
        if a.check:
            continue
        for _ in range(a.rounds):
            entry["load"].append(os.getloadavg()[0])
            entry["mneme"].append(run(mine + ["--seconds", a.seconds]))
            for mode in modes:
                entry["torch"][mode].append(run(peer + ["--seconds", a.seconds, "--matmul-precision", mode]))

        def rate(turns):
            return statistics.median(turn["tokens_per_second"] for turn in turns)

        def memory(turns):
            return max(turn["peak_resident_bytes"] for turn in turns) / 1e6

        own = rate(entry["mneme"])
        loads = ", ".join(f"{load:.1f}" for load in entry["load"])
        print(f"| {name}, {a.threads} thread(s) | tokens/s | ratio | peak MB |\n|---|---|---|---|")
        percent = statistics.median(turn["percent_of_sgemm"] for turn in entry["mneme"])
        print(f"| Mneme ({percent:.0f} % of SGEMM) | {own:.1f} | 1 | {memory(entry['mneme']):.0f} |")
        for mode in modes:
            turns = entry["torch"][mode]
            label = "stock" if mode == "highest" else f"matmul precision {mode}"
            print(f"| PyTorch {turns[0]['torch']}, {label} | {rate(turns):.1f} | {own / rate(turns):.2f} | {memory(turns):.0f} |")
        print(f"load averages before the turns: {loads}\n", flush=True)
    if a.output:
        a.output.write_text(json.dumps(results, indent=1) + "\n")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
