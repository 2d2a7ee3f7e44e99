"""Results as tables: plain ones for the terminal, Markdown for bench/results/latest.md."""

import peers
import web
from rows import CONGESTION, DIRECTIONS

TITLES = {t.key: t.title for t in peers.TUNNELS}


def num(v, digits=2):
    return "-" if v is None else f"{v:.{digits}f}"


def pair(v, digits=2):
    return f"{num(v['p50_ms'], digits)}/{num(v['p99_ms'], digits)}"


def two_calls(key, v):
    """A peer's name, and what its two calls do not share where they could."""
    return TITLES[key] + ("" if key != "gatehouse" or v["same_worker"] else ", another worker")


def share(v):
    return f"{100 * v['lost'] / v['sent']:.1f} %" if v["lost"] else "0"


def throughput(r, table):
    for n in (1, 4):
        if "tcp" in r:
            table([f"TCP, one call, {n} stream{'s' if n > 1 else ''}", "up Gbit/s", "down Gbit/s",
                   "server CPU-s/Gbit up", "down"],
                  [[TITLES[k], *(num(v[f"{d}-{n}"]["gbit_s"]) for d in DIRECTIONS),
                    *(num(v[f"{d}-{n}"]["cpu_s_per_gbit"]) for d in DIRECTIONS)] for k, v in r["tcp"].items()])
    for name, by in r.get("calls", {}).items():
        table([f"TCP, calls at once, a connection each, {name}", "up Gbit/s", "down Gbit/s",
               "slowest/fastest Mbit/s up", "down"],
              [[n, *(num(v[d]["gbit_s"]) for d in DIRECTIONS),
                *(f"{num(v[d]['least_mbit_s'], 1)}/{num(v[d]['most_mbit_s'], 1)}" for d in DIRECTIONS)]
               for n, v in by.items()])
    if "udp" in r:
        names = [f"{d}-{n}" for n in ("1400", "100", "1400-gso") for d in DIRECTIONS]
        table(["UDP, kpps at <= 1 % loss", *(n.replace("-", " ", 1) for n in names)],
              [[TITLES[k], *(num(v[n]["pps"] / 1000, 1) for n in names)] for k, v in r["udp"].items()])


def delay(r, table):
    if "latency" in r:
        table(["ping p50/p99 ms, same call", "idle", "TCP up", "TCP down"],
              [[TITLES[k], *(pair(v[n]) for n in ("idle", *DIRECTIONS))] for k, v in r["latency"].items()])
    for name in CONGESTION if "bottleneck" in r else ():
        table([f"behind 50 Mbit/s, {name}", *(f"{d}: {w}" for d in DIRECTIONS for w in (
            "idle p50/p99 ms", "loaded p50/p99", "added p99"))],
              [[TITLES[k], *(x for d in DIRECTIONS for x in (
                  f"{num(v[d]['idle_p50_ms'])}/{num(v[d]['idle_p99_ms'])}", pair(v[d], 1),
                  num(v[d]["added_p99_ms"], 1)))]
               for k, v in r["bottleneck"][name].items()])
    if "second" in r:
        kinds = ("idle", *(f"{what} {d}" for what in ("tcp", "udp") for d in DIRECTIONS))
        table(["ping p50/p99 ms of a second call, lost", *(k if k == "idle" else f"beside {k}" for k in kinds)],
              [[two_calls(k, v), *(pair(v[n]) + f", {share(v[n])}" for n in kinds)] for k, v in r["second"].items()])
    if "flood" in r:
        table(["one client floods upwards, once", "for s", "server MiB before/most/after", "another call's TCP, Gbit/s",
               "the same beside a call like it"],
              [[two_calls(k, v), v["seconds"],
                "/".join(num(v[f"memory_{n}_kib"] / 1024, 1) for n in ("before", "most", "after")),
                num(v["other_gbit_s"]), num(v["fair_gbit_s"])] for k, v in r["flood"].items()])


def calls(r, table):
    if "setup" in r:
        s = r["setup"]
        table(["dials of the server's own client, in turn", "server CPU ms a call", "dial ms, p50", "slowest"],
              [[TITLES[k], num(v["server_cpu_ms_per_call"]), num(v["dial_ms"], 0), num(v["dial_most_ms"], 0)]
               for k, v in s["stock"].items()])
    if "calls_s" in r.get("setup", {}):
        table(["call set-up, load client", "value"],
              [["server CPU ms a call", num(s["server_cpu_ms_per_call"])],
               ["calls/s, 16 at once", num(s["calls_s"], 0)],
               ["dial ms p50/p99, 16 at once", f"{num(s['dial_p50_ms'], 1)}/{num(s['dial_p99_ms'], 1)}"],
               ["dial ms p50/p99, idle server", f"{num(s['idle_dial_ms'], 1)}/{num(s['idle_dial_p99_ms'], 1)}"]])
    if "idle" in r:
        table(["idle calls", "KiB each, Pss", "of no file", "CPU %, all", "dialled at calls/s",
               "a packet each: p50/p99/max ms", "lost"],
              [[f"{TITLES[k]}, {n}{', once' if len(v['runs']) == 1 else ''}", num(v["pss_kib_per_call"], 1),
                num(v["anonymous_kib_per_call"], 1), num(v["idle_cpu_percent"], 2),
                *([num(v["calls_s"], 0), f"{num(v['p50_ms'])}/{num(v['p99_ms'])}/{num(v['max_ms'], 1)}", v["lost"]]
                  if "calls_s" in v else "---")] for k, by in r["idle"].items() for n, v in by.items()])


def tables(result):
    """[(head, lines)] of all that was measured."""
    out = []

    def table(head, lines):
        out.append(([str(h) for h in head], [[str(c) for c in line] for line in lines]))

    for part in (throughput, delay, calls):
        part(result["rows"], table)
    web.show(result["rows"], table, num)
    if result["bars"]:
        table(["bar", "measured", "wanted", "met"],
              [[b["name"], num(b["value"], 3 if b["value"] < 1 else 2), f"{b['sign']} {b['bar']}",
                "yes" if b["met"] else "NO"] for b in result["bars"]])
    return out


def plain(result):
    text = ""
    for head, lines in tables(result):
        wide = [max(len(row[i]) for row in (head, *lines)) for i in range(len(head))]
        for n, row in enumerate((head, *lines)):
            text += "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, wide))).rstrip()
            text += "\n" + ("  ".join("-" * w for w in wide) + "\n" if n == 0 else "")
        text += "\n"
    return text + "".join(f"skipped: {k}: {why.splitlines()[0]}\n" for k, why in result["skipped"].items())


def markdown(result):
    m = result["machine"]
    text = (f"# Benchmark of {result['date'][:10]}\n\nWritten by `make bench`; the rows are explained in "
            f"[testing.md](../../docs/testing.md).\n{m['cpus']} CPUs ({m['cpu']}), Linux {m['kernel']}, "
            f"{m['openssl']}, congestion control {m['congestion_control']}, inner MTU {result['mtu']}, "
            f"{result['seconds']} s"
            f"{', a quick look' if result['quick'] else ''}.\n\n")
    for head, lines in tables(result):
        text += "| " + " | ".join(head) + " |\n|" + "---|" + "---:|" * (len(head) - 1) + "\n"
        text += "".join("| " + " | ".join(line) + " |\n" for line in lines) + "\n"
    return text + "".join(f"- skipped: {k}: {why.splitlines()[0]}\n" for k, why in result["skipped"].items())
