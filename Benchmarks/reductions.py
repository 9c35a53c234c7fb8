#!/usr/bin/env python3
"""What it costs a step to sum gradients in each way, what each rank then holds in memory, and what travels.

    Benchmarks/reductions.py --ranks 2 --rounds 5 --steps 24
    Benchmarks/reductions.py --hosts 1gbit --rounds 3
    Benchmarks/reductions.py --loss --steps 400 --rounds 1
    Benchmarks/reductions.py --plan             what 'mneme plan' says of each step, from what it and 'mneme doctor' have measured just before each turn

One training run of a small GPT (about 14 million parameters, 256 positions a lane) on the synthetic copy of a text of its own making, in turns: the
library's sums (messages of a tree between nodes), the reproducible tree, the tree with the optimizer's state shared out, trees whose sums are adaptive or
rounded, and local steps, of which a meeting is counted as a share of each step. A step's time is the median of the steps of a turn after the
first five; a mode's is the median of its turns. Memory is the most that a rank held at once (VmHWM), the largest of the ranks. Nothing else should run.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from report import cpu_name

HERE = Path(__file__).resolve().parent
ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
MODES = {
    "library's sums": [],
    "reproducible": ["parallel.reproducible=true"],
    "reproducible, state shared out": ["parallel.reproducible=true", "parallel.shardOptimizer=true"],
    "reproducible, bfloat16": ["parallel.reproducible=true", "parallel.gradients=bfloat16"],
    "reproducible, adaptive sums": ["parallel.reproducible=true", "parallel.combination=adasum"],
    "reproducible, int8": ["parallel.reproducible=true", "parallel.gradients=int8"],
    "local steps, 8 between two meetings": ["parallel.reproducible=true", "parallel.localSteps=8"],
}


def corpus(program, scratch):
    """Half a million bytes of random words, sharded once."""
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(3000)]
    text = scratch / "text.txt"
    text.write_text("\n".join(" ".join(draw.choices(words, k=40)) for _ in range(8000)) + "\n")
    subprocess.run([program, "tokenizer", "train", "--kind", "bpe", "--vocabulary", "8000", "--output", scratch / "words.model", text], check=True,
                   capture_output=True)
    subprocess.run([program, "corpus", "shard", "--format", "text", "--tokenizer", scratch / "words.model", "--output", scratch / "corpus", text],
                   check=True, capture_output=True)


def run_file(scratch, layers, width, lanes, steps, groups):
    path = scratch / "run.yaml"
    path.write_text(f"""run: {scratch}/run
steps: {steps}
corpus: {{shards: {scratch}/corpus}}
model: {{kind: decoder-only, layers: {layers}, width: {width}, heads: {max(1, width // 64)}, context: 256}}
batch: {{lanes: {lanes}, length: 256, groups: {groups}}}
optimizer: {{kind: adamw, learningRate: 0.0003}}
log: {{every: 1, tensorboard: false}}
evaluation: {{every: never}}
checkpoint: {{every: never}}
parallel: {{threads: 1}}
""")
    return path


def most_memory(process, most):
    """Watches the ranks of a job: the most that any of them ever held, in kilobytes."""
    while process.poll() is None:
        for child in subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split():
            try:
                for line in Path(f"/proc/{child}/status").read_text().splitlines():
                    if line.startswith("VmHWM:"):
                        most[0] = max(most[0], int(line.split()[1]))
            except OSError:
                pass
        time.sleep(0.2)


def interface_bytes():
    """Bytes that the first host has sent and received, as the machine's end of its network cable counts them."""
    folder = Path("/sys/class/net/mneme-mx1/statistics")
    return sum(int((folder / name).read_text()) for name in ("rx_bytes", "tx_bytes")) if folder.exists() else 0


def launched(program, ranks, hosts):
    """The words that start so many ranks."""
    return ["mpirun", "--quiet", "--bind-to", "core" if ranks <= os.cpu_count() else "none", "--oversubscribe", "-n", ranks, program] if not hosts \
        else [HERE.parent / "launch/mpirun", ranks]


def planned(program, scratch, run, ranks, modes, hosts):
    """Seconds of a step, by mode, as 'mneme plan' predicts them from what 'mneme doctor' measures now."""
    cluster, environment = scratch / "cluster.yaml", dict(ENVIRONMENT, **hosts)
    words = launched(program, ranks, hosts) + ["doctor", "--output", cluster]
    subprocess.run(list(map(str, words)), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds = {}
    for mode in modes:
        words = [program, "plan", run, "--cluster", cluster, "--nodes", ranks if hosts else 1, "--ranks-per-node", 1 if hosts else ranks, "--threads", 1, "--json"]
        for setting in MODES[mode]:
            words += ["--set", setting]
        output = subprocess.run(list(map(str, words)), env=ENVIRONMENT, check=True, capture_output=True, text=True).stdout
        seconds[mode] = json.loads(output)["as_it_is"][0]["step_seconds"]
    return seconds


def turn(program, scratch, run, ranks, settings, hosts):
    words = launched(program, ranks, hosts) + ["train", run, "--fresh"]
    for setting in settings:
        words += ["--set", setting]
    before = interface_bytes()
    process = subprocess.Popen(list(map(str, words)), env=dict(ENVIRONMENT, **hosts), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    most = [0]
    watcher = threading.Thread(target=most_memory, args=(process, most))
    watcher.start()
    errors = process.communicate()[1]
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, words))} ended with {process.returncode}: {errors[-800:]}")
    lines = [json.loads(line) for line in (scratch / "run/metrics.jsonl").read_text().splitlines()]
    steps = [after["seconds"] - before["seconds"] for before, after in zip(lines[4:], lines[5:])]
    # Two whole rounds from meeting to meeting, where there are such.
    seconds = statistics.mean(steps[-16:]) if any("localSteps" in setting for setting in settings) else statistics.median(steps)
    last = lines[-max(1, len(lines) // 10):]
    return {
        "seconds": seconds, "memory": most[0] / 1024, "bytes": (interface_bytes() - before) / len(lines) / 1e6,
        "loss": statistics.mean(line["loss"] for line in last),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mneme", default=HERE.parent / ".build/release/mneme", type=Path, help="the program (default: the release build)")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--lanes", type=int, default=8, help="lanes of all ranks together")
    parser.add_argument("--modes", nargs="*", default=list(MODES), choices=list(MODES), metavar="MODE", help="; ".join(MODES))
    parser.add_argument("--hosts", metavar="RATE", help="two hosts that a network of this rate joins, such as 1gbit, one rank on each")
    parser.add_argument("--loss", action="store_true", help="print the loss at the end of the runs, too")
    parser.add_argument("--plan", action="store_true", help="print what 'mneme plan' predicts, too")
    options = parser.parse_args()
    turns = {mode: [] for mode in options.modes}
    with tempfile.TemporaryDirectory(prefix="mneme-reductions-") as scratch:
        scratch, hosts = Path(scratch), {}
        corpus(options.mneme, scratch)
        run = run_file(scratch, options.layers, options.width, options.lanes, options.steps, options.ranks)
        sandbox = [HERE.parent / "cluster/sandbox", "hosts"]
        if options.hosts:
            subprocess.run([*sandbox, "up", "--folder", scratch / "hosts", "--rate", options.hosts], check=True, stdout=subprocess.DEVNULL)
            (scratch / "one-each").write_text("mx1 slots=1\nmx2 slots=1\n")
            for line in subprocess.run([*sandbox, "env", "--folder", scratch / "hosts"], check=True, capture_output=True, text=True).stdout.splitlines():
                name, value = line.removeprefix("export ").split("=", 1)
                hosts[name] = value.strip("'")
            hosts["MNEME_HOSTFILE"] = str(scratch / "one-each")
        try:
            for _ in range(options.rounds):
                for mode in options.modes:
                    # Machines that others use change their speed from one minute to the next: what is planned is measured in the same minute.
                    plan = planned(options.mneme, scratch, run, options.ranks, [mode], hosts) if options.plan else {}
                    turns[mode].append(dict(turn(options.mneme, scratch, run, options.ranks, MODES[mode], hosts), planned=plan.get(mode, 0)))
                    print(f"{mode}: {1e3 * turns[mode][-1]['seconds']:.1f} ms, planned {1e3 * plan.get(mode, 0):.1f} ms", file=sys.stderr, flush=True)
        finally:
            if options.hosts:
                subprocess.run([*sandbox, "down", "--folder", scratch / "hosts"], check=True)
    first = options.modes[0]
    place = f"on two hosts at {options.hosts}" if options.hosts else "on one host"
    print(f"{cpu_name()}; {options.ranks} ranks of one thread {place}, {options.layers} layers of width {options.width}, {options.lanes} lanes of 256 tokens, "
          f"{options.rounds} turns of {options.steps} steps; load average {os.getloadavg()[0]:.1f} at the end.\n")
    columns = ["ms a step", "against the first", "tokens/s", "MB a step on the wire" if options.hosts else "MB of a rank"] + ["loss"] * options.loss + ["planned ms", "planned against measured"] * options.plan
    print("| " + " | ".join(["sums"] + columns) + " |\n" + "| --- " * (len(columns) + 1) + "|")
    for mode in options.modes:
        def median(name):
            return statistics.median(result[name] for result in turns[mode])
        ratio = statistics.median(mine["seconds"] / other["seconds"] for mine, other in zip(turns[mode], turns[first]))
        row = [mode, f"{1e3 * median('seconds'):.1f}", f"{ratio:.3f}", f"{options.lanes * 256 / median('seconds'):.0f}"]
        row += [f"{median('bytes'):.1f}" if options.hosts else f"{median('memory'):.0f}"] + [f"{median('loss'):.4f}"] * options.loss
        against = statistics.median(result["planned"] / result["seconds"] for result in turns[mode])
        row += [f"{1e3 * median('planned'):.1f}", f"{against:.2f}"] if options.plan else []
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
