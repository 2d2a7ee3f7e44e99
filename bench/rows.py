"""Throughput: TCP and UDP through one call, TCP through many. Each takes the peers that are up and returns plain data;
nothing here prints."""

import itertools
import json
import statistics

from lab import Failed, INSIDE, cpu_seconds

DIRECTIONS = ("up", "down")
STREAMS = (1, 4)
CONGESTION = ("as is", "cubic")  # of all TCP, inside tunnels and outside: the machine's, and Linux's own default
SINK = f"{INSIDE}:5302"


def median(values):
    return statistics.median(values) if values else None


def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * p / 100))]


def iperf(peer, direction, seconds, streams):
    """One TCP run: Gbit/s of goodput, and CPU seconds per Gbit of the peer's server."""
    before = cpu_seconds(peer.server.pid) if peer.server else 0
    out = peer.lab.run(peer.lab.c, "iperf3", "-c", INSIDE, "-J", "-t", str(seconds), "-P", str(streams),
                       *(["-R"] if direction == "down" else []))
    cpu = cpu_seconds(peer.server.pid) - before if peer.server else 0
    got = json.loads(out)["end"]["sum_received"]
    if not got["bytes"]:
        raise Failed(f"{peer.key}: nothing arrived")
    return got["bits_per_second"] / 1e9, cpu / (got["bytes"] * 8 / 1e9) if peer.server else None


def tcp(peers, quick):
    """One call, one TCP connection each way, and four of them. Peers take turns, so that a slow minute of the machine
    hits all alike: five for those that bars speak of, three for the others."""
    runs = {p.key: {(d, n): [] for d in DIRECTIONS for n in STREAMS} for p in peers}
    for p in peers:
        p.lab.start(p.lab.i, "iperf3", "-s", "--forceflush").wait_for("listening", 5)
    for streams in STREAMS:
        for n in range(1 if quick else 5 if streams == 1 else 3):
            for direction in DIRECTIONS:
                for p in peers:
                    if n < 3 or p.often:
                        runs[p.key][direction, streams].append(iperf(p, direction, 2, streams))

    def one(r):
        return {"gbit_s": median([g for g, _ in r]), "cpu_s_per_gbit": median([c for _, c in r if c is not None]),
                "runs": [g for g, _ in r]}

    return {k: {f"{d}-{n}": one(by[d, n]) for d in DIRECTIONS for n in STREAMS} for k, by in runs.items()}


def bench_tcp(server, tool, direction, ips, quick, streams=1):
    """TCP connections through each of these calls at once (no calls: as the routes are)."""
    before = cpu_seconds(server.server.pid)
    r = json.loads(server.lab.run(server.lab.c, tool, "run", SINK, *(["--sources", ",".join(ips)] if ips else []),
                                  "--streams", str(streams), "--warm", "700", "--ms", "1000" if quick else "1500",
                                  *(["--down"] if direction == "down" else [])))
    cpu = cpu_seconds(server.server.pid) - before
    return {"gbit_s": r["bytes_s"] * 8 / 1e9, "least_mbit_s": r["least_bytes_s"] * 8 / 1e6,
            "most_mbit_s": r["most_bytes_s"] * 8 / 1e6, "server_cpu_s": cpu}


def calls(bring, limit, quick, tool):
    """TCP through 1, 16 and 200 calls of one load client at once, a connection each, in turns; and, to tell what is the
    calls' and what the connections', 200 connections through one call, and through `limit gso`. bring(congestion) and
    limit(congestion) give a server in a laboratory with that congestion control everywhere."""
    counts, out = {"1": (1, 1), "16": (16, 1), "200": (200, 1), "1 x 200": (1, 200)}, {}
    for name in CONGESTION:
        server = bring(None if name == "as is" else name)
        if not server:
            raise Failed("no server")
        server.lab.start(server.lab.i, tool, "sink", SINK).wait_for("ready", 5)
        found = {n: {d: [] for d in DIRECTIONS} for n in counts}
        for _, n in itertools.product(range(1 if quick else 3), counts):
            ips = server.tunnel(counts[n][0])
            try:
                for d in DIRECTIONS:
                    found[n][d].append(bench_tcp(server, tool, d, ips, quick, counts[n][1]))
            finally:
                server.hang_up()
        server.close()
        bare = limit(None if name == "as is" else name)
        if bare:
            bare.lab.start(bare.lab.i, tool, "sink", SINK).wait_for("ready", 5)
            found["limit gso x 200"] = {d: [bench_tcp(bare, tool, d, [], quick, 200) for _ in range(1 if quick else 3)]
                                        for d in DIRECTIONS}
            bare.close()
        out[name] = {n: {d: {**{k: median([r[k] for r in runs]) for k in runs[0]},
                                  "runs": [r["gbit_s"] for r in runs]} for d, runs in by.items()}
                     for n, by in found.items()}
    return out


class Udp:
    """One sink and its sender through a tunnel."""

    def __init__(self, peer, direction, tool):
        self.peer, self.tool = peer, tool
        self.src, dst, addr = ((peer.lab.c, peer.lab.i, INSIDE) if direction == "up" else
                               (peer.lab.i, peer.lab.c, peer.address()))
        self.to = f"{addr}:5301"
        self.sink = peer.lab.start(dst, tool, "recv", self.to)
        self.lines = 1
        self.sink.wait_lines(self.lines, 5)

    def once(self, size, rate, ms, *more):
        """Packets a second received, and the share lost."""
        sent = json.loads(self.peer.lab.run(self.src, self.tool, "send", self.to, "--size", str(size), "--rate",
                                            str(rate), "--ms", str(ms), *more))
        self.lines += 1
        got = json.loads(self.sink.wait_lines(self.lines, 15)[self.lines - 1])
        return got["received"] / max(got["seconds"], ms / 1000), 1 - got["received"] / sent["sent"]

    def search(self, size, ms, steps, *more):
        """The highest rate that arrives with at most 1 % lost."""
        flood, loss = self.once(size, 0, ms, *more)
        if loss <= 0.01:  # the sender is the limit: two of them, and the better of both where they are none
            two, lost = self.once(size, 0, ms, "--two", *more)
            if lost <= 0.01:
                flood = max(flood, two)
        best, low, high = (flood, flood, flood) if loss <= 0.01 else (0, 0, flood * 1.5)
        rate = flood * 0.85
        for _ in range(steps if high > low else 0):
            got, loss = self.once(size, rate, ms, *more)
            if 0.01 < loss < 0.05:  # something else may have had the CPU for a moment
                got, loss = self.once(size, rate, ms, *more)
            if loss <= 0.01:
                best, low = max(best, got), rate
            else:
                high = rate
            rate = (low + high) / 2
        return {"pps": best, "flood_pps": flood}


def udp(peers, quick, tool):
    """UDP in IP packets of 1400 and 100 bytes; and, for information, once of 1400 bytes from a sender that gives its
    kernel many at once, as servers of QUIC do."""
    kinds = {"1400": (1372, ()), "100": (72, ()), "1400-gso": (1372, ("--gso",))}
    found = {p.key: {f"{d}-{k}": [] for k in kinds for d in DIRECTIONS} for p in peers}
    for n in range(1 if quick else 3):
        for direction, (kind, (size, more)) in itertools.product(DIRECTIONS, kinds.items()):
            if not more or n == 0:
                for p in peers:
                    u = Udp(p, direction, tool)
                    found[p.key][f"{direction}-{kind}"].append(u.search(size, 400, 4 if quick else 5, *more))
                    u.sink.stop()

    def one(kind, runs):
        size = kinds[kind.split("-", 1)[1]][0] + 28
        pps = median([r["pps"] for r in runs])
        return {"pps": pps, "flood_pps": median([r["flood_pps"] for r in runs]), "mbit_s": pps * size * 8 / 1e6,
                "runs": [r["pps"] for r in runs]}

    return {k: {kind: one(kind, runs) for kind, runs in by.items()} for k, by in found.items()}
