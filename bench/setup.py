"""Calls that come, go and idle: what a dial costs, and what keeping thousands of calls does."""

import json
import time

import lab
from lab import Failed, INSIDE, cpu_seconds
from rows import median

# A call's own questions to its peer come once a minute: a minute of ten thousand calls has all of them in it.
IDLE = {100: 5, 2000: 5, 10000: 62}


def report(load):
    """The JSON that a load client prints when it ends. Calls that failed are in it."""
    text, _ = load.communicate(timeout=120)
    if not text:
        raise Failed(f"load client: exit status {load.returncode}")
    r = json.loads(text.splitlines()[-1])
    if r["failed"]:
        raise Failed(f"{r['failed']} calls failed: {r['error']}")
    return r


def setup(server, quick):
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


def one_idle(server, n, seconds):
    pss, private = lab.memory_kib(server.server.pid)
    with Held(server, n) as held:
        time.sleep(2)
        pss_n, private_n = lab.memory_kib(server.server.pid)
        before, start = cpu_seconds(server.server.pid), time.monotonic()
        time.sleep(seconds)
        idle = (cpu_seconds(server.server.pid) - before) / (time.monotonic() - start)
        moves = [held.move() for _ in range(3)]
    return {"pss_kib_per_call": (pss_n - pss) / n, "private_kib_per_call": (private_n - private) / n,
            "pss_kib_before": pss, "idle_cpu_percent": idle * 100, "cpu_seconds_over": seconds,
            "calls_s": held.dialled["calls_s"], "lost": sum(m["lost"] for m in moves),
            # The first is that of calls which have idled; all count.
            "p50_ms": median([m["p50_ms"] for m in moves]), "p99_ms": median([m["p99_ms"] for m in moves]),
            "max_ms": max(m["max_ms"] for m in moves), "moves": moves}


def idle(bring, quick):
    """What idle calls hold and cost in the server's processes; then every one of them moves a packet. Each number of
    calls has a server of its own: memory that calls have left is used again by the next."""
    out = {}
    for n, seconds in IDLE.items():
        server = bring()
        if not server:
            raise Failed("no server")
        out[str(n)] = one_idle(server, n, 3 if quick else seconds)
        server.close()
    return out
