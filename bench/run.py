#!/usr/bin/env python3
"""Measures Gatehouse beside its peers in one run, in network namespaces made for it (root needed).

    bench/run.py [--quick] [--only ROW]... [--peer PEER]... [--build DIR] [--results DIR]

Rows: tcp calls udp latency bottleneck second flood setup idle handshake web passthrough. Writes bench/results/DATE.json
and latest.json, latest.md and latest.svg (not with --quick, --only or --peer, unless --save), and prints tables. Exit
status 1 when a bar is missed or a measurement failed.
"""

import argparse
import datetime
import json
import os
import platform
import resource
import shutil
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import bars  # noqa: E402
import delay  # noqa: E402
import draw  # noqa: E402
import lab  # noqa: E402
import peers as all_peers  # noqa: E402
import rows  # noqa: E402
import setup  # noqa: E402
import show  # noqa: E402
import web  # noqa: E402

WEB_ROWS = {"handshake": web.handshakes, "web": web.web, "passthrough": web.passthrough}
ROWS = ("setup", "idle", "calls", "second", "flood", "tcp", "latency", "udp", "bottleneck", *WEB_ROWS)
FILES = 1 << 16  # descriptors: ten thousand calls are as many at either end


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="shorter and fewer runs: a look, not a result")
    p.add_argument("--only", action="append", choices=ROWS, help="this row only; may be given again")
    p.add_argument("--peer", action="append", choices=[t.key for t in all_peers.TUNNELS],
                   help="this peer only, in rows that have peers; may be given again")
    p.add_argument("--build", default=os.path.join(os.path.dirname(HERE), "build"), help="build directory")
    p.add_argument("--save", action="store_true", help="write results of a partial run too")
    p.add_argument("--results", default=os.path.join(HERE, "results"), help="where results go")
    return p.parse_args()


def machine():
    model = ""
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    with open("/proc/sys/net/ipv4/tcp_congestion_control") as f:
        congestion = f.read().strip()
    return {"cpu": model, "cpus": os.cpu_count(), "kernel": platform.release(),
            "openssl": lab.sh("openssl", "version").strip(), "congestion_control": congestion,
            "load_before": os.getloadavg()[0]}


class Bench:
    def __init__(self, args, work):
        self.args, self.work = args, work
        self.want, self.quick = args.only or ROWS, args.quick
        self.rows, self.skipped, self.up = {}, {}, []
        self.certs = lab.certificates(os.path.join(work, "certs"))

    def tool(self, name):
        return os.path.join(self.args.build, "bench", name)

    def say(self, text):
        print(f"# {text}", file=sys.stderr, flush=True)

    def bring(self, kind, **how):
        """A peer that is up, or None with the reason noted."""
        absent = [p for p in kind.needs if not lab.have(p)]
        if absent:
            self.skipped[kind.key] = f"not installed: {', '.join(absent)}"
        elif kind.key.startswith("gatehouse") and not os.path.exists(os.path.join(self.args.build, "gatehouse")):
            self.skipped[kind.key] = "not built"
        else:
            try:
                peer = kind(self.work, self.args.build, self.certs, **how)
                self.up.append(peer)
                return peer
            except (lab.Failed, OSError, KeyError, ValueError) as e:
                self.skipped[kind.key] = f"{type(e).__name__}: {e}"
        self.say(f"{kind.key} skipped: {self.skipped[kind.key]}")
        return None

    def server(self, congestion=None):
        return self.bring(all_peers.GatehouseServer, congestion=congestion)

    def bring_all(self, row, **how):
        kinds = [t for t in all_peers.TUNNELS if row in t.rows and t.key in (self.args.peer or [t.key])]
        return [p for p in (self.bring(t, **how) for t in kinds) if p]

    def row(self, name, measure, *args):
        if name not in self.want:
            return
        self.say(f"measuring {name}")
        start = time.monotonic()
        try:
            self.rows[name] = measure(*args)
        except (lab.Failed, OSError, ValueError, KeyError) as e:
            self.skipped[name] = f"{type(e).__name__}: {e}"
            self.say(f"{name} failed: {e}")
        self.say(f"{name} took {time.monotonic() - start:.0f} s")

    def run(self):
        tcp, udp = self.tool("bench-tcp"), self.tool("bench-udp")
        ours = self.server if "gatehouse" in (self.args.peer or ["gatehouse"]) else None
        self.row("setup", setup.setup, ours, lambda: self.bring_all("setup"), self.quick)
        self.row("idle", setup.idle, ours, lambda: self.bring_all("idle"), self.quick)
        self.row("calls", rows.calls, self.server,
                 lambda congestion: self.bring(all_peers.LimitGso, congestion=congestion), self.quick, tcp)
        self.together({"pair": True}, second=(delay.second, tcp, udp), flood=(delay.flood, tcp, udp))
        self.together({}, tcp=(rows.tcp,), latency=(delay.latency, tcp), udp=(rows.udp, udp))
        self.row("bottleneck", delay.bottleneck,
                 lambda congestion: self.bring_all("bottleneck", congestion=congestion, slow=True), self.quick, tcp)
        if set(WEB_ROWS) & set(self.want):
            self.web()

    def together(self, how, **measures):
        """Rows whose peers, those of the first, stay up for all of them."""
        if not set(measures) & set(self.want):
            return
        up = self.bring_all(next(iter(measures)), **how)
        for name, (measure, *tools) in measures.items():
            self.row(name, measure, [p for p in up if name in p.rows or self.args.peer], self.quick, *tools)
        for p in up:
            p.close()

    def web(self):
        """The rows of the door as a web server; they share one lab."""
        absent = [p for p in ("nginx", "wrk", "haproxy") if not lab.have(p)]
        try:
            if absent:
                raise lab.Failed(f"not installed: {', '.join(absent)}")
            door = web.Door(self.work, self.args.build, self.certs)
        except (lab.Failed, OSError) as e:
            for name in set(WEB_ROWS) & set(self.want):
                self.skipped[name] = str(e)
            self.say(f"web rows skipped: {e}")
            return
        self.up.append(door)
        for name, measure in WEB_ROWS.items():
            self.row(name, measure, door, self.quick)
        door.close()

    def close(self):
        for p in self.up:
            p.close()


def save(result, folder):
    os.makedirs(folder, exist_ok=True)
    for name in (result["date"][:10] + ".json", "latest.json"):
        with open(os.path.join(folder, name), "w") as f:
            json.dump(result, f, indent=1)
            f.write("\n")
    with open(os.path.join(folder, "latest.md"), "w") as f:
        f.write(show.markdown(result))
    with open(os.path.join(folder, "latest.svg"), "w") as f:
        f.write(draw.svg(result))


def more_files():
    """As many as we may have: not every root may raise the limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for n in (max(FILES, hard), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (n, n))
            return
        except ValueError:
            continue


def main():
    args = arguments()
    if os.geteuid() != 0:
        sys.exit("bench: needs root (network namespaces, TUN)")
    for program in ("ip", "tc", "iperf3", "openssl", "ping"):
        if not lab.have(program):
            sys.exit(f"bench: {program} is not installed")
    more_files()
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
              "bars": bars.bars(bench.rows), "skipped": {**bench.skipped, **lab.left_out}}
    print(show.plain(result))
    whole = not (args.only or args.peer)
    if args.save or (whole and not args.quick):
        save(result, args.results)
    failed = [k for k in bench.skipped if k in ROWS or k.startswith("gatehouse")]
    if whole and len(result["bars"]) < bars.COUNT:
        # A bar that could not be measured is not met.
        print(f"{bars.COUNT - len(result['bars'])} of {bars.COUNT} bars could not be measured: {bench.skipped}")
        failed.append("bars")
    sys.exit(1 if failed or not all(b["met"] for b in result["bars"]) else 0)


if __name__ == "__main__":
    main()
