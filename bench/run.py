#!/usr/bin/env python3
"""Measures Gatehouse beside its peers in one run, in network namespaces made for it (root needed).

    bench/run.py [--quick] [--only ROW]... [--peer PEER]... [--build DIR]

Rows: tcp udp latency connect setup memory handshake web passthrough. Writes bench/results/DATE.json and latest.json (not with
--quick, --only or --peer, unless --save) and prints a table. Exit status 1 when a bar is missed or a measurement
failed.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import lab  # noqa: E402
import peers as all_peers  # noqa: E402
import rows  # noqa: E402
import web  # noqa: E402

WEB_ROWS = {"handshake": web.handshakes, "web": web.web, "passthrough": web.passthrough}
ROWS = ("tcp", "udp", "latency", "connect", "setup", "memory", *WEB_ROWS)
BARS = 13  # what Bench.bars() gives when everything was measured


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="shorter and fewer runs: a look, not a result")
    p.add_argument("--only", action="append", choices=ROWS, help="this row only; may be given again")
    p.add_argument("--peer", action="append", choices=[t.key for t in all_peers.TUNNELS],
                   help="this peer only; may be given again")
    p.add_argument("--build", default=os.path.join(os.path.dirname(HERE), "build"), help="build directory")
    p.add_argument("--save", action="store_true", help="write results of a partial run too")
    return p.parse_args()


def machine():
    model = ""
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    with open("/proc/sys/net/ipv4/tcp_congestion_control") as f:
        congestion = f.read().strip()  # a namespace cannot choose what the host does not allow to all, so all have it
    return {"cpu": model, "cpus": os.cpu_count(), "kernel": platform.release(),
            "openssl": lab.sh("openssl", "version").strip(), "congestion_control": congestion,
            "load_before": os.getloadavg()[0]}


class Bench:
    def __init__(self, args, work):
        self.args, self.work = args, work
        self.rows, self.skipped, self.up = {}, {}, []
        self.certs = lab.certificates(os.path.join(work, "certs"))

    def say(self, text):
        print(f"# {text}", file=sys.stderr, flush=True)

    def bring(self, kind):
        """A peer that is up, or None with the reason noted."""
        key = kind.key
        if key == "openvpn" and not lab.have("openvpn"):
            self.skipped[key] = "openvpn is not installed"
        elif key.startswith("gatehouse") and not os.path.exists(os.path.join(self.args.build, "gatehouse")):
            self.skipped[key] = "not built"
        else:
            try:
                peer = kind(self.work, self.args.build, self.certs)
                self.up.append(peer)
                return peer
            except (lab.Failed, OSError) as e:
                self.skipped[key] = str(e)
        self.say(f"{key} skipped: {self.skipped[key]}")
        return None

    def row(self, name, measure, *args):
        self.say(f"measuring {name}")
        start = time.monotonic()
        try:
            self.rows[name] = measure(*args)
        except (lab.Failed, OSError, ValueError, KeyError) as e:
            self.skipped[name] = f"{type(e).__name__}: {e}"
            self.say(f"{name} failed: {e}")
        self.say(f"{name} took {time.monotonic() - start:.0f} s")

    def run(self):
        want, quick = self.args.only or ROWS, self.args.quick
        if "setup" in want or "memory" in want:
            server = self.bring(all_peers.GatehouseServer)
            if server:
                if "setup" in want:
                    self.row("setup", rows.setup, server, quick)
                if "memory" in want:
                    self.row("memory", rows.memory, server, quick)
                server.close()
        if "connect" in want:
            pair = [p for p in map(self.bring, all_peers.CLIENTS) if p]
            if len(pair) == len(all_peers.CLIENTS):
                self.row("connect", rows.connect, pair, quick)
            for p in pair:
                p.close()
        if set(WEB_ROWS) & set(want):
            self.web(want, quick)
        if not {"tcp", "udp", "latency"} & set(want):
            return
        kinds = [t for t in all_peers.TUNNELS if t.key in (self.args.peer or [t.key])]
        tunnels = [p for p in map(self.bring, kinds) if p]
        some = [p for p in tunnels if p.compared or (self.args.peer and p.server)]
        if "tcp" in want:
            self.row("tcp", rows.tcp, tunnels, quick)
        if "latency" in want:
            self.row("latency", rows.latency, some, quick)
        if "udp" in want:
            self.row("udp", rows.udp, some, quick, os.path.join(self.args.build, "bench", "bench-udp"))

    def web(self, want, quick):
        """The rows of the door as a web server; they share one lab."""
        absent = [p for p in ("nginx", "wrk", "haproxy") if not lab.have(p)]
        try:
            if absent:
                raise lab.Failed(f"not installed: {', '.join(absent)}")
            door = web.Door(self.work, self.args.build, self.certs)
        except (lab.Failed, OSError) as e:
            for name in set(WEB_ROWS) & set(want):
                self.skipped[name] = str(e)
            self.say(f"web rows skipped: {e}")
            return
        self.up.append(door)
        for name, measure in WEB_ROWS.items():
            if name in want:
                self.row(name, measure, door, quick)
        door.close()

    def close(self):
        for p in self.up:
            p.close()

    def bars(self):
        """What the project promises, and whether this run shows it: (name, value, sign, bar, met)."""
        out = []

        def bar(name, value, sign, limit):
            if value is not None:
                out.append({"name": name, "value": value, "sign": sign, "bar": limit,
                            "met": value <= limit if sign == "<=" else value >= limit})

        s, m, t = self.rows.get("setup"), self.rows.get("memory"), self.rows.get("tcp", {})
        if s:
            bar("set-up: server CPU ms a call", s["server_cpu_ms_per_call"], "<=", 1.0)
            bar("dial on an idle server, ms", s["idle_dial_ms"], "<=", 30.0)
        if m:
            bar("memory of an idle call, KiB", m["pss_kib_per_call"], "<=", 24.0)
        for key, title, limit in (("limit-packed", "limit packed", 0.9), ("openvpn", "OpenVPN", 1.5)):
            for d in rows.DIRECTIONS:
                if "gatehouse" in t and key in t:
                    # Of runs that were neighbours, so that what else the machine did hit both.
                    pairs = zip(t["gatehouse"][d]["runs"], t[key][d]["runs"])
                    bar(f"TCP {d} / {title}", rows.median([g / o for g, o in pairs]), ">=", limit)
        self.connect_bars(bar)
        web.bars(self.rows, bar)
        return out

    def connect_bars(self, bar):
        """As fast as the bench client. On two cores that both clients, the server and iperf3 share, medians of the same
        program differ by some hundredths, too."""
        c = self.rows.get("connect")
        for d in rows.DIRECTIONS if c else ():
            pairs = zip(c["gatehouse-connect"][d]["runs"], c["gatehouse"][d]["runs"])
            bar(f"connect, TCP {d} / bench client", rows.median([g / o for g, o in pairs]), ">=", 0.9)


def table(head, lines):
    lines = [[str(c) for c in r] for r in [head, *lines]]
    wide = [max(len(r[i]) for r in lines) for i in range(len(head))]
    for n, r in enumerate(lines):
        print("  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(r, wide))).rstrip())
        if n == 0:
            print("  ".join("-" * w for w in wide))
    print()


def num(v, digits=2):
    return "-" if v is None else f"{v:.{digits}f}"


def show(result):
    titles, r = {t.key: t.title for t in all_peers.TUNNELS}, result["rows"]
    if "tcp" in r:
        table(["TCP, one call", "up Gbit/s", "down Gbit/s", "server CPU-s/Gbit up", "down"],
              [[titles[k], *(num(v[d]["gbit_s"]) for d in rows.DIRECTIONS),
                *(num(v[d]["cpu_s_per_gbit"]) if k != "direct" else "-" for d in rows.DIRECTIONS)]
               for k, v in r["tcp"].items()])
    if "udp" in r:
        names = [f"{d}-{n}" for n in (1400, 100) for d in rows.DIRECTIONS]
        table(["UDP, kpps at <= 1 % loss", *(n + " B" for n in names)],
              [[titles[k], *(num(v[n]["pps"] / 1000, 1) for n in names)] for k, v in r["udp"].items()])
    if "latency" in r:
        table(["ping p50/p99 ms", "idle", "TCP up", "TCP down"],
              [[titles[k], *(f"{num(v[n]['p50_ms'])}/{num(v[n]['p99_ms'])}" for n in ("idle", "up", "down"))]
               for k, v in r["latency"].items()])
    if "connect" in r:
        names = {"gatehouse": "bench client", "gatehouse-connect": "gatehouse connect"}
        table(["TCP, our server with", "up Gbit/s", "down Gbit/s", "client CPU-s/Gbit up", "down"],
              [[names[k], *(num(v[d]["gbit_s"]) for d in rows.DIRECTIONS),
                *(num(v[d]["client_cpu_s_per_gbit"]) for d in rows.DIRECTIONS)] for k, v in r["connect"].items()])
    if "setup" in r:
        s = r["setup"]
        table(["call set-up", "value"],
              [["server CPU ms a call", num(s["server_cpu_ms_per_call"])],
               ["calls/s, 16 at once", num(s["calls_s"], 0)],
               ["dial ms p50/p99, 16 at once", f"{num(s['dial_p50_ms'], 1)}/{num(s['dial_p99_ms'], 1)}"],
               ["dial ms, idle server", num(s["idle_dial_ms"], 1)]])
    if "memory" in r:
        m = r["memory"]
        table([f"{m['calls']} idle calls", "value"],
              [["KiB a call, Pss", num(m["pss_kib_per_call"], 1)],
               ["KiB a call, private", num(m["private_kib_per_call"], 1)],
               ["CPU %, all of them", num(m["idle_cpu_percent"], 1)]])
    web.show(r, table, num)
    if result["bars"]:
        table(["bar", "measured", "wanted", "met"],
              [[b["name"], num(b["value"]), f"{b['sign']} {b['bar']}", "yes" if b["met"] else "NO"]
               for b in result["bars"]])
    for k, why in result["skipped"].items():
        print(f"skipped: {k}: {why.splitlines()[0]}")


def save(result):
    folder = os.path.join(HERE, "results")
    os.makedirs(folder, exist_ok=True)
    for name in (result["date"][:10] + ".json", "latest.json"):
        with open(os.path.join(folder, name), "w") as f:
            json.dump(result, f, indent=1)
            f.write("\n")


def main():
    args = arguments()
    if os.geteuid() != 0:
        sys.exit("bench: needs root (network namespaces, TUN)")
    for program in ("ip", "iperf3", "openssl", "ping"):
        if not lab.have(program):
            sys.exit(f"bench: {program} is not installed")
    work = tempfile.mkdtemp(prefix="gatehouse-bench-")
    os.chmod(work, 0o755)  # the engine's user may look at the way to its control socket
    host, bench = machine(), Bench(args, work)
    start = time.monotonic()
    try:
        bench.run()
    finally:
        bench.close()
        shutil.rmtree(work, ignore_errors=True)
    result = {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"), "quick": args.quick,
              "seconds": round(time.monotonic() - start), "machine": host, "mtu": lab.MTU, "rows": bench.rows,
              "bars": bench.bars(), "skipped": bench.skipped}
    show(result)
    if args.save or not (args.quick or args.only or args.peer):
        save(result)
    failed = [k for k in bench.skipped if k in ROWS or k.startswith("gatehouse")]
    if not (args.only or args.peer) and len(result["bars"]) < BARS:
        # A bar that could not be measured is not met.
        print(f"{BARS - len(result['bars'])} of {BARS} bars could not be measured: {bench.skipped}")
        failed.append("bars")
    sys.exit(1 if failed or not all(b["met"] for b in result["bars"]) else 0)


if __name__ == "__main__":
    main()
