"""Edits of a bank that are killed at random moments, for faults.py."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from filefaults import ENVIRONMENT, mneme


def ranks_of(job, program):
    """The processes of the ranks: the job itself where it has no mpirun."""
    found = [int(child) for child in subprocess.run(["pgrep", "-P", str(job.pid)], capture_output=True, text=True).stdout.split()]
    return [child for child in found if Path(f"/proc/{child}/exe").exists() and os.readlink(f"/proc/{child}/exe") == str(program)] or [job.pid]


def follow(log, records, deleted):
    """Applies the edits that the log has as done to the records; the edit that was under way when it ends, or None."""
    under_way = None
    for line in log.read_text().splitlines():
        if line == "done":
            apply(under_way, records, deleted)
            under_way = None
        else:
            under_way = json.loads(line)
    return under_way


def apply(edit, records, deleted):
    for id in edit["gone"]:
        deleted.add(records[id])
    deleted.update(records[id] for id in edit["written"] if id in records)
    records.update(edit["written"])
    for id in edit["gone"]:
        del records[id]


def found(program, bank):
    """What the bank holds, as a reader finds it who checks every segment."""
    checked = mneme(program, "memory", "doctor", bank, "--all")
    listed = mneme(program, "memory", "export", bank, "--all")
    if checked.returncode not in (0, 65) or listed.returncode or "checksum" in checked.stderr:
        return checked.stderr + listed.stderr
    return {line["id"]: line["text"] for line in map(json.loads, listed.stdout.splitlines())}


def bank(program, checks, scratch, times):
    """Kills sessions that edit a bank, of one rank and of two in turns, and compares what the bank holds with what was acknowledged."""
    draw, records, deleted = random.Random(times), {}, set()
    directory, log = scratch / "bank", scratch / "log"
    counts = {"edits": 0, "before": 0, "as the edit under way makes it": 0, "between edits": 0, "wrong": 0}
    by_ranks = {1: 0, 2: 0}
    edits = {}
    for attempt in range(times):
        ranks = 1 + attempt % 2
        log.write_text("")
        words = [checks, "bank-edits", directory, attempt, log]
        if ranks > 1:
            words = ["mpirun", "--quiet", "--bind-to", "none", "--oversubscribe", "--mca", "mpi_yield_when_idle", "1", "-n", ranks, *words]
        job = subprocess.Popen(list(map(str, words)), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        # A random moment after one of the first lines of the log.
        lines, deadline = draw.randint(1, 6), time.monotonic() + 120
        while log.read_bytes().count(b"\n") < lines and job.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 0.3))
        victims = ranks_of(job, checks)
        for victim in victims if draw.random() < 0.5 else [draw.choice(victims)]:
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                pass
        errors = job.communicate()[1]
        while any(Path(f"/proc/{victim}").exists() for victim in victims):
            time.sleep(0.02)
        by_ranks[ranks] += 1
        before = log.read_text()
        if not before:
            print(f"session {attempt} did not begin: {errors[-500:]}", file=sys.stderr)
            counts["wrong"] += 1
            continue
        counts["edits"] += before.count("done")
        under_way = follow(log, records, deleted)
        now = found(program, directory)
        expected = dict(records)
        if under_way:
            edits[under_way["edit"]] = edits.get(under_way["edit"], 0) + 1
            apply(under_way, expected, set())
        if under_way is None and now == records:
            counts["between edits"] += 1
        elif now == records:
            counts["before"] += 1
        elif now == expected:
            counts["as the edit under way makes it"] += 1
            apply(under_way, records, deleted)
        else:
            counts["wrong"] += 1
            print(f"session {attempt}, {ranks} ranks, killed in {under_way}: {now if isinstance(now, str) else sorted(now.items() ^ records.items())[:10]}", file=sys.stderr)
            if not isinstance(now, dict):
                break
            records = now
    # Nothing that was deleted or replaced is left after a compaction.
    compacted = mneme(program, "memory", "compact", directory)
    left = deleted - set(records.values())
    held = b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())
    back = [text for text in left if text.encode() in held]
    what = ", ".join(f"{number} in {name}" for name, number in sorted(edits.items()))
    print(f"{times} kills ({by_ranks[1]} of one rank, {by_ranks[2]} of two) after {counts['edits']} acknowledged edits; {what}.\n"
          f"{times - counts['wrong']} banks hold what was acknowledged: {counts['between edits']} killed between edits, {counts['before']} as before the edit under way, "
          f"{counts['as the edit under way makes it']} as after it; {counts['wrong']} wrong.\n"
          f"After a compaction {len(back)} of {len(left)} deleted and replaced values are in the bank's files.", flush=True)
    return not counts["wrong"] and not back and compacted.returncode == 0
