"""Calls that come, go and idle: what a dial costs, and what keeping thousands of calls does."""

import json
import time

import lab
from lab import Failed, INSIDE, cpu_seconds
from rows import median

# Calls: seconds of their CPU time, and runs. A call's own questions to its peer come once a minute: a minute of ten
# thousand calls has all of them in it, and one run of them takes minutes.
IDLE = {100: (5, 3), 2000: (5, 3), 10000: (62, 1)}
IDLE_PEERS = 100  # each call of theirs is a client's process


def report(load):
    """The JSON that a load client prints when it ends. Calls that failed are in it."""
    text, _ = load.communicate(timeout=120)
    if not text:
        raise Failed(f"load client: exit status {load.returncode}")
    r = json.loads(text.splitlines()[-1])
    if r["failed"]:
        raise Failed(f"{r['failed']} calls failed: {r['error']}")
    return r


def setup(bring, bring_peers, quick):
    """Our calls set up and hung up by the load client; and those of each server's own client, one after the other.
    bring: None when ours are not wanted."""
    out = {}
    if bring:
        server = brought(bring)
        out = loaded(server, quick)
        server.close()
    peers = bring_peers()
    out["stock"] = {}
    for p in peers:
        with lab.may_fail(p, "setup"):
            out["stock"][p.key] = dials(p, 3 if quick else 10)
        p.close()
    return out


def brought(bring):
    server = bring()
    if not server:
        raise Failed("no server")
    return server


def dials(p, n):
    """What a dial of the peer's own client takes, from the start of its process; and the server's CPU for a call."""
    p.client.stop()
    time.sleep(0.5)
    before, took = cpu_seconds(p.server.pid), []
    for _ in range(n):
        client = p.dial(p.lab.c)
        took.append(client.took * 1000)
        client.stop()
    time.sleep(0.5)  # the last one's end is to be seen, too
    return {"calls": n, "dial_ms": median(took), "dial_most_ms": max(took),
            "server_cpu_ms_per_call": (cpu_seconds(p.server.pid) - before) * 1000 / n, "runs": took}


def loaded(server, quick):
    """Calls set up and hung up: server CPU, rate, and the time of one dial on an idle server."""
    n = 200 if quick else 1000
    report(server.load("rate", "--total", "50", "--concurrency", "4"))
    runs = []
    for _ in range(1 if quick else 3):
        before = cpu_seconds(server.server.pid)
        r = report(server.load("rate", "--total", str(n), "--concurrency", "16"))
        cpu = cpu_seconds(server.server.pid) - before
        dial = report(server.load("dial", "--total", "20"))
        runs.append({"server_cpu_ms_per_call": cpu * 1000 / n, "calls_s": r["calls_s"], "dial_p50_ms": r["p50_ms"],
                     "dial_p99_ms": r["p99_ms"], "idle_dial_ms": dial["p50_ms"], "idle_dial_p99_ms": dial["p99_ms"]})
    return {"calls": n, **{k: median([r[k] for r in runs]) for k in runs[0]}, "runs": runs}


class Held:
    """Calls that a load client keeps up for as long as the block runs."""

    def __init__(self, server, n):
        self.n = n
        self.load = server.load("hold", "--total", str(n), "--concurrency", "32")

    def __enter__(self):
        try:
            self.dialled = lab.read_json_line(self.load.stdout, 180)
            if self.dialled["failed"]:
                raise Failed(f"{self.dialled['failed']} of {self.n} calls failed: {self.dialled['error']}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def move(self):
        """Every call moves a packet: how many answers did not come, and how long the others took."""
        self.load.stdin.write(f"move {INSIDE}\n".encode())
        self.load.stdin.flush()
        return lab.read_json_line(self.load.stdout, 30)

    def __exit__(self, *_):
        self.load.stdin.close()
        try:
            self.load.wait(60)
        except lab.subprocess.TimeoutExpired:
            self.load.kill()
            self.load.wait()
        self.load.stdout.close()


def resting(server, n, before, seconds):
    """What n calls hold and cost that have come since the memory was as before."""
    time.sleep(2)
    pss, anonymous = lab.memory_kib(server.server.pid)
    cpu, start = cpu_seconds(server.server.pid), time.monotonic()
    time.sleep(seconds)
    cpu = (cpu_seconds(server.server.pid) - cpu) / (time.monotonic() - start)
    return {"pss_kib_per_call": (pss - before[0]) / n, "anonymous_kib_per_call": (anonymous - before[1]) / n,
            "pss_kib_before": before[0], "idle_cpu_percent": cpu * 100, "cpu_seconds_over": seconds}


def one_idle(server, n, seconds):
    before = lab.memory_kib(server.server.pid)
    with Held(server, n) as held:
        rest = resting(server, n, before, seconds)
        moves = [held.move() for _ in range(3)]
    return {**rest, "calls_s": held.dialled["calls_s"], "lost": sum(m["lost"] for m in moves),
            # The first is that of calls which have idled; all count.
            "p50_ms": median([m["p50_ms"] for m in moves]), "p99_ms": median([m["p99_ms"] for m in moves]),
            "max_ms": max(m["max_ms"] for m in moves), "moves": moves}


def of_runs(runs):
    """Medians, but what was lost is added up, and the slowest is the slowest of all."""
    out = {k: median([r[k] for r in runs]) for k in runs[0] if k != "moves"}
    return {**out, "lost": sum(r["lost"] for r in runs), "max_ms": max(r["max_ms"] for r in runs), "runs": runs}


def idle_ours(bring, quick):
    """Each run has a server of its own: memory that calls have left is used again by the next."""
    out = {}
    for n, (seconds, times) in IDLE.items():
        runs = []
        for _ in range(1 if quick else times):
            server = brought(bring)
            runs.append(one_idle(server, n, 3 if quick else seconds))
            server.close()
        out[str(n)] = of_runs(runs)
    return out


def idle_peer(p, n):
    """Beside the one call that it has been brought with."""
    before = lab.memory_kib(p.server.pid)
    p.many(n)
    rest = resting(p, n, before, IDLE[n][0])
    p.close()
    return {str(n): {**rest, "runs": [rest]}}


def idle(bring, bring_peers, quick):
    """What idle calls hold and cost in the server's processes; then every one of ours moves a packet."""
    out = {"gatehouse": idle_ours(bring, quick)} if bring else {}
    for p in bring_peers():
        with lab.may_fail(p, "idle"):
            out[p.key] = idle_peer(p, IDLE_PEERS)
    return out
