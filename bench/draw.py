#!/usr/bin/env python3
"""Draws bench/results/latest.svg from latest.json: what the README shows. No dependencies; readable on light and dark.

    bench/draw.py [latest.json [latest.svg]]
"""

import json
import os
import sys

WIDTH, LEFT, RIGHT, BAR, GAP, GROUP = 760, 170, 70, 13, 3, 12
KEYS = (("gatehouse", "Gatehouse"), ("limit-gso", "bare TLS forwarder, TSO"), ("openvpn-udp", "OpenVPN UDP"),
        ("openvpn", "OpenVPN TCP"), ("ocserv-dtls", "ocserv DTLS"), ("ocserv-tls", "ocserv TLS"))
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
        """lines: (label, ours, (value, value)); names: what the two values are."""
        if not lines:
            return
        self.y += 24
        self.text(8, self.y, title, "title")
        x = WIDTH - 168
        for kind, name in zip(("up", "down"), names):
            self.parts.append(f'<rect x="{x}" y="{self.y - 9}" width="10" height="10" rx="2" class="ours {kind}"/>')
            self.text(x + 15, self.y, name, "soft")
            x += 84
        self.y += 17
        self.text(8, self.y, note, "soft")
        self.y += 12
        top, most = self.y, max(v for _, _, values in lines for v in values if v is not None)
        for label, ours, values in lines:
            self.text(LEFT - 10, self.y + BAR + 5, label, "" if ours else "soft", "end")
            for kind, v in zip(("up", "down"), values):
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


def both(row, key, up, down, value):
    return row[key][up][value], row[key][down][value]


def svg(result):
    page, r = Page(), result["rows"]
    m = result["machine"]
    tcp = r.get("tcp", {})
    page.chart("TCP through one call, Gbit/s", "longer is better; client, server, source and sink share "
               f"{m['cpus']} cores", ("up", "down"),
               [(t, k == "gatehouse", both(tcp, k, "up-1", "down-1", "gbit_s")) for k, t in KEYS if k in tcp], 2)
    page.chart("Server CPU seconds per Gbit", "shorter is better", ("up", "down"),
               [(t, k == "gatehouse", both(tcp, k, "up-1", "down-1", "cpu_s_per_gbit")) for k, t in KEYS if k in tcp],
               2)
    slow = r.get("bottleneck", {}).get("cubic", {})
    added = {k: tuple(max(0, v) for v in both(slow, k, "up", "down", "added_p99_ms")) for k in slow}
    page.chart("What a transfer adds to a ping in the same call, p99 ms", "behind 50 Mbit/s, cubic; shorter is better",
               ("up", "down"), [(t, k == "gatehouse", added[k]) for k, t in KEYS if k in added], 1)
    latency = r.get("latency", {})
    page.chart("Ping beside a transfer in the same call, p99 ms", "no bottleneck but the CPU; shorter is better",
               ("up", "down"), [(t, k == "gatehouse", both(latency, k, "up", "down", "p99_ms"))
                                for k, t in KEYS if k in latency], 1)
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
