"""Delay: of a packet beside a transfer in the same call, behind a slow link, and beside another call that floods."""

import itertools
import json
import os
import time

import lab
from lab import INSIDE
from rows import CONGESTION, DIRECTIONS, SINK, median, percentile

RATE = "50mbit"
OURS = "gatehouse"


def ping(p, ns, count, ms=10, must=True):
    """Echo requests, one each `ms`. must: an answer must come. Beside a flood a peer may answer nothing: all are lost."""
    tool = os.path.join(p.build, "bench", "bench-ping")
    times = json.loads(p.lab.run(ns, tool, INSIDE, "--count", str(count), "--ms", str(ms)))["times_ms"]
    if must and not times:
        raise lab.Failed(f"{p.key}: no ping was answered")
    return {"p50_ms": percentile(times, 50) if times else None, "p99_ms": percentile(times, 99) if times else None,
            "max_ms": max(times, default=None), "sent": count, "lost": count - len(times)}


def together(found):
    """The median of each number of the runs; what was sent and lost is added up."""
    out = {k: median([f[k] for f in found if f[k] is not None]) for k in ("p50_ms", "p99_ms", "max_ms")}
    return {**out, **{k: sum(f[k] for f in found) for k in ("sent", "lost")}, "runs": found}


class Load:
    """TCP connections that fill a call for as long as the block runs."""

    def __init__(self, p, ns, tool, direction, settle):
        self.p, self.settle = p, settle
        self.cmd = (ns, tool, "run", SINK, "--ms", "600000", *(["--down"] if direction == "down" else []))

    def __enter__(self):
        self.proc = self.p.lab.start(*self.cmd)
        time.sleep(self.settle)

    def __exit__(self, *_):
        end(self.proc)


def end(sender):
    """Of a load, which must have been one to its end."""
    alive = sender.p.poll() is None
    sender.stop()
    if not alive:
        raise lab.Failed(f"{os.path.basename(sender.cmd[0])} ended before its time: {sender.text()[-300:]}")


def sink(p, tool):
    """Where TCP connections end; it stays for the rows that follow."""
    if not p.sink:
        p.sink = p.lab.start(p.lab.i, tool, "sink", SINK)
        p.sink.wait_for("ready", 5)


def latency(peers, quick, tool):
    """Ping through the tunnel: idle, and while one TCP connection fills it."""
    found = {p.key: {k: [] for k in ("idle", *DIRECTIONS)} for p in peers}
    count = 100 if quick else 150
    for p in peers:
        sink(p, tool)
    for _ in range(1 if quick else 3):
        for p in peers:
            found[p.key]["idle"].append(ping(p, p.lab.c, count))
            for d in DIRECTIONS:
                with Load(p, p.lab.c, tool, d, 0.7):
                    found[p.key][d].append(ping(p, p.lab.c, count))
    return {k: {what: together(runs) for what, runs in by.items()} for k, by in found.items()}


def bottleneck(bring, quick, tool):
    """The same behind 50 Mbit/s in the middle of the path between client and server; added is what the load adds to p50
    and p99. bring(congestion) gives the peers of a laboratory with that congestion control everywhere."""
    out = {}
    for name in CONGESTION:
        peers = bring(None if name == "as is" else name)
        for p in peers:
            sink(p, tool)
        found = {p.key: {d: [] for d in DIRECTIONS} for p in peers}
        for _ in range(1 if quick else 3):
            for d in DIRECTIONS:
                for p in peers:
                    found[p.key][d].append(behind(p, d, quick, tool))
        for p in peers:
            p.close()
        out[name] = {k: {d: median_of(runs) for d, runs in by.items()} for k, by in found.items()}
    return out


def behind(p, direction, quick, tool):
    p.lab.bottleneck(direction, RATE)
    idle = ping(p, p.lab.c, 100 if quick else 250)
    with Load(p, p.lab.c, tool, direction, 3):  # a queue is looked at for a second before it is bounded
        loaded = ping(p, p.lab.c, 100 if quick else 250)
    p.lab.bottleneck(direction, None)
    return {"idle_p50_ms": idle["p50_ms"], "idle_p99_ms": idle["p99_ms"], "p50_ms": loaded["p50_ms"],
            "p99_ms": loaded["p99_ms"], "added_p50_ms": loaded["p50_ms"] - idle["p50_ms"],
            "added_p99_ms": loaded["p99_ms"] - idle["p99_ms"], "lost": loaded["lost"]}


def median_of(runs):
    return {**{k: median([r[k] for r in runs]) for k in runs[0]}, "runs": [r["added_p99_ms"] for r in runs]}


class Flood:
    """UDP of 1400 bytes as fast as its sender goes, through the first call."""

    def __init__(self, p, tool, direction):
        src, self.dst, to = ((p.lab.c, p.lab.i, INSIDE) if direction == "up" else (p.lab.i, p.lab.c, p.address()))
        self.p, self.tool, self.to = p, tool, f"{to}:5303"
        self.cmd = (src, tool, "send", self.to, "--size", "1372", "--ms", "600000")

    def __enter__(self):
        self.sink = self.p.lab.start(self.dst, self.tool, "recv", self.to)
        self.sink.wait_for("ready", 5)
        self.proc = self.p.lab.start(*self.cmd)
        time.sleep(0.7)

    def __exit__(self, *_):
        self.sink.stop()
        end(self.proc)


def second(pairs, quick, tcp_tool, udp_tool):
    """Ping of one call while another of the same server is flooded as fast as it goes."""
    floods = {**{f"tcp {d}": lambda p, d=d: Load(p, p.lab.c, tcp_tool, d, 0.7) for d in DIRECTIONS},
              **{f"udp {d}": lambda p, d=d: Flood(p, udp_tool, d) for d in DIRECTIONS}}
    found = {p.key: {k: [] for k in ("idle", *floods)} for p in pairs}
    for p in pairs:
        sink(p, tcp_tool)
    times = 1 if quick else 3
    for _, p in itertools.product(range(times), pairs):
        count = 100 if quick else 300 if p.key == OURS else 150
        with lab.may_fail(p, "second"):
            found[p.key]["idle"].append(ping(p, p.lab.c2, count))
            for name, flood in floods.items():
                with flood(p):
                    found[p.key][name].append(ping(p, p.lab.c2, count, must=False))
    return {p.key: {"same_worker": p.same_worker, **{k: together(runs) for k, runs in found[p.key].items()}}
            for p in pairs if all(len(runs) == times for runs in found[p.key].values())}


def other_rate(pair, tool, ms):
    """Gbit/s of the second call, upwards."""
    r = lab.json.loads(pair.lab.run(pair.lab.c2, tool, "run", SINK, "--warm", "500", "--ms", str(ms)))
    return r["bytes_s"] * 8 / 1e9


def flood(pairs, quick, tcp_tool, udp_tool):
    """One client sends upwards without end, for a peer less long. The server's memory, and what another call's transfer
    reaches, against what it reaches beside a call with a transfer like its own."""
    out = {}
    for p in pairs:
        with lab.may_fail(p, "flood"):
            out[p.key] = one_flood(p, quick, tcp_tool, udp_tool)
    return out


def one_flood(pair, quick, tcp_tool, udp_tool):
    sink(pair, tcp_tool)
    seconds, ms = (10, 1500) if quick else (60, 3000) if pair.key == OURS else (15, 1500)
    fair, beside, memory = [], [], []
    for _ in range(1 if quick else 3):
        with Load(pair, pair.lab.c, tcp_tool, "up", 0.7):
            fair.append(other_rate(pair, tcp_tool, ms))
    time.sleep(1)
    before, _ = lab.memory_kib(pair.server.pid)
    with Flood(pair, udp_tool, "up"):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            memory.append(lab.memory_kib(pair.server.pid)[0])
            if len(beside) < (1 if quick else 5):
                beside.append(other_rate(pair, tcp_tool, ms))
            else:
                time.sleep(0.25)
        memory.append(lab.memory_kib(pair.server.pid)[0])
    time.sleep(1)
    return {"seconds": seconds, "same_worker": pair.same_worker, "memory_before_kib": before,
            "memory_most_kib": max(memory), "memory_after_kib": lab.memory_kib(pair.server.pid)[0],
            "fair_gbit_s": median(fair), "other_gbit_s": median(beside),
            "ratio": median(beside) / median(fair) if median(fair) else None,
            "fair_runs": fair, "other_runs": beside}
