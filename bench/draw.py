#!/usr/bin/env python3
"""Draws bench/results/latest.svg from latest.json: what the README shows. No dependencies; readable on light and dark.

    bench/draw.py [latest.json [latest.svg]]
"""

import json
import os
import sys

WIDTH, LEFT, RIGHT, BAR, GAP, GROUP = 760, 170, 70, 11, 2, 7
KEYS = (("gatehouse", "Gatehouse"), ("limit-gso", "bare TLS forwarder, TSO"), ("openvpn-udp", "OpenVPN UDP"),
        ("openvpn", "OpenVPN TCP"), ("ocserv-dtls", "ocserv DTLS"), ("ocserv-tls", "ocserv TLS"))
WAYS = ("up", "down")
STYLE = """
text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 13px } .soft { fill: #59636e } .axis { stroke: #d1d9e0 }
.up { fill: #b1bac4 } .down { fill: #d1d7dd } .ours.up { fill: #1f6feb } .ours.down { fill: #0b3d91 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .soft { fill: #9198a1 } .axis { stroke: #3d444d }
.up { fill: #6e7681 } .down { fill: #484f58 } .ours.up { fill: #79b8ff } .ours.down { fill: #1f6feb }
}
"""


def escape(text):
    return text.replace("&", "&amp;").replace("<", "&lt;")


class Page:
    def __init__(self):
        self.y, self.parts = 0, []

    def text(self, x, y, text, kind="", anchor="start"):
        self.parts.append(f'<text x="{x:.0f}" y="{y:.0f}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>')

    def chart(self, title, note, names, lines, digits):
        """lines: (label, ours, values); names: what the values are, of which there are at most two."""
        if not lines:
            return
        self.y += 24
        self.text(8, self.y, title, "title")
        x = WIDTH - 168
        for kind, name in zip(WAYS, names):
            self.parts.append(f'<rect x="{x}" y="{self.y - 9}" width="10" height="10" rx="2" class="ours {kind}"/>')
            self.text(x + 15, self.y, name, "soft")
            x += 84
        self.y += 17
        self.text(8, self.y, note, "soft")
        self.y += 12
        top, most = self.y, max([v for _, _, values in lines for v in values if v is not None], default=0) or 1
        for label, ours, values in lines:
            middle = (len(values) * (BAR + GAP) - GAP) / 2
            self.text(LEFT - 10, self.y + middle + 4, label, "" if ours else "soft", "end")
            for kind, v in zip(WAYS, values):
                if v is not None:
                    long = max(1, v / most * (WIDTH - LEFT - RIGHT))
                    kinds = f"ours {kind}" if ours else kind
                    self.parts.append(f'<rect x="{LEFT}" y="{self.y}" width="{long:.1f}" height="{BAR}" rx="2" '
                                      f'class="{kinds}"/>')
                    self.text(LEFT + long + 6, self.y + BAR - 2, f"{v:.{digits}f}")
                self.y += BAR + GAP
            self.y += GROUP - GAP
        self.parts.append(f'<line x1="{LEFT}" x2="{LEFT}" y1="{top - 3}" y2="{self.y - GROUP + 6}" class="axis"/>')
        self.y += 14

    def svg(self, label):
        body = "\n".join(self.parts)
        return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{self.y:.0f}" viewBox="0 0 {WIDTH} '
                f'{self.y:.0f}" role="img" aria-label="{escape(label)}">\n<style>{STYLE}</style>\n{body}\n</svg>\n')


def of_peers(row, *values, more=lambda v: ""):
    """Lines of a chart: of each peer that took part these values; more: what its label says, too."""
    return [(title + more(row[key]), key == "gatehouse", [value(row[key]) for value in values])
            for key, title in KEYS if key in row]


def both(row, value, up="up", down="down", **how):
    return of_peers(row, lambda v: v[up][value], lambda v: v[down][value], **how)


def throughput(page, r, m):
    tcp = r.get("tcp", {})
    page.chart("TCP through one call, Gbit/s", "longer is better; client, server, source and sink share "
               f"{m['cpus']} cores", WAYS, both(tcp, "gbit_s", "up-1", "down-1"), 2)
    page.chart("Server CPU seconds per Gbit", "shorter is better", WAYS, both(tcp, "cpu_s_per_gbit", "up-1", "down-1"),
               2)
    page.chart("TCP through many calls at once, Gbit/s of all", "a connection in each; longer is better", WAYS,
               [(f"{n} calls, {m['congestion_control'] if how == 'as is' else how}", True,
                 [by[n][d]["gbit_s"] for d in WAYS])
                for how, by in r.get("calls", {}).items() for n in ("16", "200")], 2)
    page.chart("UDP of 100 bytes through one call, thousand packets/s", "at most 1 % lost; longer is better", WAYS,
               of_peers(r.get("udp", {}), *(lambda v, d=d: v[f"{d}-100"]["pps"] / 1000 for d in WAYS)), 0)


def delay(page, r):
    slow = r.get("bottleneck", {}).get("cubic", {})
    page.chart("What a transfer adds to a ping in the same call, p99 ms", "behind 50 Mbit/s, cubic; shorter is better",
               WAYS, of_peers(slow, *(lambda v, d=d: max(0, v[d]["added_p99_ms"]) for d in WAYS)), 1)
    page.chart("Ping beside a transfer in the same call, p99 ms", "no bottleneck but the CPU; shorter is better", WAYS,
               both(r.get("latency", {}), "p99_ms"), 1)

    def lost(v):
        most = max(100 * v[k]["lost"] / v[k]["sent"] for k in ("udp up", "udp down"))
        return f", {most:.0f} % lost" if most >= 1 else ""

    page.chart("Ping of a second call beside one that floods UDP, p99 ms", "of what was answered; shorter is better",
               WAYS, both(r.get("second", {}), "p99_ms", "udp up", "udp down", more=lost), 1)


def calls(page, r):
    page.chart("Server CPU ms to set up a call", "its own client, one call after the other; shorter is better", (),
               of_peers(r.get("setup", {}).get("stock", {}), lambda v: v["server_cpu_ms_per_call"]), 1)
    idle = {k: by["100"] for k, by in r.get("idle", {}).items() if "100" in by}
    page.chart("Server memory of an idle call, KiB", "100 calls; memory of the server's processes that is of no file; "
               "shorter is better", (), of_peers(idle, lambda v: v["anonymous_kib_per_call"]), 0)


def svg(result):
    page, r = Page(), result["rows"]
    throughput(page, r, result["machine"])
    delay(page, r)
    calls(page, r)
    return page.svg(f"Gatehouse beside other tunnels, measured {result['date'][:10]}")


def main():
    results = os.path.join(os.path.dirname(os.path.abspath(__file__)), "results")
    source = sys.argv[1] if len(sys.argv) > 1 else os.path.join(results, "latest.json")
    target = sys.argv[2] if len(sys.argv) > 2 else os.path.join(results, "latest.svg")
    with open(source) as f:
        result = json.load(f)
    with open(target, "w") as f:
        f.write(svg(result))


if __name__ == "__main__":
    main()
