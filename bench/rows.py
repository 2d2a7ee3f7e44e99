"""The measurements. Each takes the peers that are up and returns plain data; nothing here prints."""

import json
import re
import statistics
import subprocess
import time

import lab
from lab import Failed, INSIDE, cpu_seconds

DIRECTIONS = ("up", "down")


def median(values):
    return statistics.median(values) if values else None


def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * p / 100))]


def iperf(peer, direction, seconds, process=None):
    """One TCP run: Gbit/s of goodput, and CPU seconds per Gbit of the peer's server, or of another process of its."""
    process = process or peer.server
    before = cpu_seconds(process.pid) if process else 0
    reverse = ["-R"] if direction == "down" else []
    out = peer.lab.run(peer.lab.c, "iperf3", "-c", INSIDE, "-J", "-t", str(seconds), *reverse)
    cpu = cpu_seconds(process.pid) - before if process else 0
    got = json.loads(out)["end"]["sum_received"]
    return got["bits_per_second"] / 1e9, cpu / (got["bytes"] * 8 / 1e9) if got["bytes"] else None


def tcp(peers, quick):
    """One call, one TCP connection each way. Peers take turns, so that a slow minute of the machine hits all alike:
    five for those that bars speak of, three for the others."""
    runs = {p.key: {d: [] for d in DIRECTIONS} for p in peers}
    for p in peers:
        p.lab.start(p.lab.i, "iperf3", "-s", "--forceflush").wait_for("listening", 5)
    for n in range(1 if quick else 5):
        for direction in DIRECTIONS:
            for p in peers:
                if p.compared or n % 2 == 0:
                    runs[p.key][direction].append(iperf(p, direction, 2 if quick else 3))
    return {k: {d: {"gbit_s": median([g for g, _ in r]), "cpu_s_per_gbit": median([c for _, c in r if c is not None]),
                    "runs": [g for g, _ in r]} for d, r in by.items()} for k, by in runs.items()}


def connect(pair, quick):
    """One TCP connection each way with the bench client and with `gatehouse connect`, in turns that change their order:
    whoever comes second finds the machine warmer. CPU seconds are the client's."""
    runs = {p.key: {d: [] for d in DIRECTIONS} for p in pair}
    for p in pair:
        p.lab.start(p.lab.i, "iperf3", "-s", "--forceflush").wait_for("listening", 5)
    for n in range(4 if quick else 10):
        for direction in DIRECTIONS:
            for p in pair if n % 2 == 0 else reversed(pair):
                runs[p.key][direction].append(iperf(p, direction, 2, p.client))
    return {k: {d: {"gbit_s": median([g for g, _ in r]), "client_cpu_s_per_gbit": median([c for _, c in r]),
                    "runs": [g for g, _ in r]} for d, r in by.items()} for k, by in runs.items()}


class Udp:
    """One sink and its sender through a tunnel."""

    def __init__(self, peer, direction, tool):
        self.peer, self.tool = peer, tool
        links = json.loads(peer.lab.run(peer.lab.c, "ip", "-j", "-4", "addr", "show", "tun0"))
        mine = links[0]["addr_info"][0]["local"]
        self.src, dst, addr = (peer.lab.c, peer.lab.i, INSIDE) if direction == "up" else (peer.lab.i, peer.lab.c, mine)
        self.to = f"{addr}:5301"
        self.sink = peer.lab.start(dst, tool, "recv", self.to)
        self.lines = 1
        self.sink.wait_lines(self.lines, 5)

    def once(self, size, rate, ms):
        """Packets a second received, and the share lost."""
        sent = json.loads(self.peer.lab.run(self.src, self.tool, "send", self.to, "--size", str(size), "--rate",
                                            str(rate), "--ms", str(ms)))
        self.lines += 1
        got = json.loads(self.sink.wait_lines(self.lines, 15)[self.lines - 1])
        return got["received"] / max(got["seconds"], ms / 1000), 1 - got["received"] / sent["sent"]

    def search(self, size, ms, steps):
        """The highest rate that arrives with at most 1 % lost."""
        flood, loss = self.once(size, 0, ms)
        best, low, high = (flood, flood, flood) if loss <= 0.01 else (0, 0, flood * 1.5)
        rate = flood * 0.85
        for _ in range(steps if high > low else 0):
            got, loss = self.once(size, rate, ms)
            if 0.01 < loss < 0.05:  # something else may have had the CPU for a moment
                got, loss = self.once(size, rate, ms)
            if loss <= 0.01:
                best, low = max(best, got), rate
            else:
                high = rate
            rate = (low + high) / 2
        return {"pps": best, "flood_pps": flood}


def udp(peers, quick, tool):
    """UDP in IP packets of 1400 and 100 bytes."""
    out = {p.key: {} for p in peers}
    for direction in DIRECTIONS:
        for p in peers:
            u = Udp(p, direction, tool)
            for packet in (1400, 100):
                r = u.search(packet - 28, 400 if quick else 800, 4 if quick else 6)
                r["mbit_s"] = r["pps"] * packet * 8 / 1e6
                out[p.key][f"{direction}-{packet}"] = r
            u.sink.stop()
    return out


def latency(peers, quick):
    """Ping through the tunnel: idle, and while one TCP connection fills it."""
    out = {p.key: {} for p in peers}
    count = 100 if quick else 300

    def ping(p):
        text = p.lab.run(p.lab.c, "ping", "-i", "0.01", "-c", str(count), "-W", "1", INSIDE, check=False)
        times = [float(t) for t in re.findall(r"time=([\d.]+) ms", text)]
        if not times:
            return {"p50_ms": None, "p99_ms": None, "lost": 1.0}
        return {"p50_ms": percentile(times, 50), "p99_ms": percentile(times, 99), "lost": 1 - len(times) / count}

    for p in peers:
        out[p.key]["idle"] = ping(p)
        if not any("iperf3" in q.cmd[0] and q.p.poll() is None for q in p.lab.procs):
            p.lab.start(p.lab.i, "iperf3", "-s", "--forceflush").wait_for("listening", 5)
        for direction in DIRECTIONS:
            flow = p.lab.start(p.lab.c, "iperf3", "-c", INSIDE, "-t", str(3 if quick else 5),
                               *(["-R"] if direction == "down" else []))
            time.sleep(0.7)
            out[p.key][direction] = ping(p)
            flow.p.wait(30)
    return out


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
    n = 100 if quick else 500
    report(server.load("rate", "--total", "20", "--concurrency", "4"))
    before = cpu_seconds(server.server.pid)
    r = report(server.load("rate", "--total", str(n), "--concurrency", "16"))
    cpu = cpu_seconds(server.server.pid) - before
    dial = report(server.load("dial", "--total", "20"))
    return {"calls": n, "server_cpu_ms_per_call": cpu * 1000 / n, "calls_s": r["calls_s"], "dial_p50_ms": r["p50_ms"],
            "dial_p99_ms": r["p99_ms"], "idle_dial_ms": dial["p50_ms"]}


def memory(server, quick):
    """What one idle call holds in the server's processes, and what keeping all of them costs."""
    n = 200 if quick else 2000
    pss, private = lab.memory_kib(server.server.pid)
    load = server.load("hold", "--total", str(n), "--concurrency", "16")
    try:
        held = lab.read_json_line(load.stdout, 120)
        if held["failed"]:
            raise Failed(f"{held['failed']} of {n} calls failed: {held['error']}")
        time.sleep(1)
        pss_n, private_n = lab.memory_kib(server.server.pid)
        before, start = cpu_seconds(server.server.pid), time.monotonic()
        time.sleep(2 if quick else 5)
        idle = (cpu_seconds(server.server.pid) - before) / (time.monotonic() - start)
    finally:
        load.stdin.close()
        try:
            load.wait(30)
        except subprocess.TimeoutExpired:
            load.kill()
            load.wait()
    return {"calls": n, "pss_kib_per_call": (pss_n - pss) / n, "private_kib_per_call": (private_n - private) / n,
            "pss_kib_before": pss, "idle_cpu_percent": idle * 100}
