"""What the project promises, and whether a run shows it."""

import web
from rows import CONGESTION, DIRECTIONS, median

COUNT = 38  # of the bars of a run that measured everything


def neighbours(row, a, b, what):
    """The median ratio of runs that were neighbours, so that what else the machine did hit both."""
    if a in row and b in row:
        return median([x / y for x, y in zip(row[a][what]["runs"], row[b][what]["runs"]) if y])
    return None


def throughput(rows, bar):
    t, u, c = rows.get("tcp", {}), rows.get("udp", {}), rows.get("calls", {})
    for key, title, limit in (("limit-gso", "limit gso", 0.9), ("openvpn", "OpenVPN TCP", 6)):
        for d in DIRECTIONS:
            bar(f"TCP {d} / {title}", neighbours(t, "gatehouse", key, f"{d}-1"), ">=", limit)
            bar(f"TCP {d}, 4 streams / {title}", neighbours(t, "gatehouse", key, f"{d}-4"), ">=", limit)
    for d in DIRECTIONS if "gatehouse" in t else ():
        bar(f"server CPU-s per Gbit, {d}", t["gatehouse"][f"{d}-1"]["cpu_s_per_gbit"], "<=", 0.2)
    for name, by in c.items():
        for d in DIRECTIONS:
            pairs = zip(by["200"][d]["runs"], by["1"][d]["runs"])
            bar(f"200 calls / one call, {d}, congestion control {name}", median([a / b for a, b in pairs if b]), ">=",
                0.85)
    for d in DIRECTIONS:
        bar(f"UDP 100 bytes {d} / OpenVPN UDP", neighbours(u, "gatehouse", "openvpn-udp", f"{d}-100"), ">=", 4)


def delay(rows, bar):
    b, s, f = rows.get("bottleneck", {}), *(rows.get(n, {}).get("gatehouse") for n in ("second", "flood"))
    for name in CONGESTION:
        ours = b.get(name, {}).get("gatehouse", {})
        for d in DIRECTIONS:
            bar(f"added p99 ms behind 50 Mbit/s, {d}, congestion control {name}", ours.get(d, {}).get("added_p99_ms"),
                "<=", 20)
    if s:
        floods = {k: v for k, v in s.items() if k.startswith(("tcp", "udp"))}
        bar("pings lost beside a flooded call", sum(v["lost"] for v in floods.values()), "<=", 0)
        for k, v in floods.items():
            bar(f"p99 ms beside a flooded call, {k}", v["p99_ms"], "<=", 5)
    if f:
        bar("memory while a client floods upwards, MiB more", (f["memory_most_kib"] - f["memory_before_kib"]) / 1024,
            "<=", 10)
        bar("another call's rate meanwhile / beside a fair one", f["ratio"], ">=", 0.9)


def calls(rows, bar):
    s, i = rows.get("setup", {}), rows.get("idle", {}).get("gatehouse", {}).get("10000")
    if "calls_s" in s:
        bar("set-up: server CPU ms a call", s["server_cpu_ms_per_call"], "<=", 0.6)
        bar("set-up: calls/s", s["calls_s"], ">=", 1000)
        bar("dial on an idle server, ms", s["idle_dial_ms"], "<=", 10)
    if i:
        bar("KiB of an idle call, of 10,000", i["pss_kib_per_call"], "<=", 20)
        bar("CPU % of 10,000 idle calls", i["idle_cpu_percent"], "<=", 2)
        bar("10,000 calls move a packet each: lost", i["lost"], "<=", 0)
        bar("10,000 calls move a packet each: slowest, ms", i["max_ms"], "<=", 100)


def bars(rows):
    """A list of {name, value, sign, bar, met}; what was not measured is not in it."""
    out = []

    def bar(name, value, sign, limit):
        if value is not None:
            out.append({"name": name, "value": value, "sign": sign, "bar": limit,
                        "met": value <= limit if sign == "<=" else value >= limit})

    for part in (throughput, delay, calls):
        part(rows, bar)
    web.bars(rows, bar)
    return out
