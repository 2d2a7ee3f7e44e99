#!/usr/bin/env python3
"""Draws a flame graph of one program out of what `perf record -g` wrote.

    perf record -a --call-graph dwarf,32768 -m 16M -F 299 -o perf.data -- sleep 9
    bench/flame.py perf.data PROGRAM > flame.svg

The width of a box is the share of samples in it and in what it called; boxes below 0.3 % are left out. Functions of
libraries without symbols are one box with the library's name. The loop has an array of events on its stack: with less
than 32 KiB of stack a third of the samples would have no root. Root for perf's sake only.
"""

import collections
import html
import re
import subprocess
import sys

WIDTH, ROW, LEAST = 1200, 16, 0.003
COLOURS = {"kernel": "#c8553d", "libcrypto": "#588157", "libssl": "#84a98c", "libc": "#8d99ae", "other": "#e9b44c"}


def frames(path, program):
    """Each sample as a list of (function, kind), outermost first."""
    text = subprocess.run(["perf", "script", "-i", path, "--no-inline", "--comm", program, "-F", "ip,sym,dso"],
                          capture_output=True, text=True, check=True).stdout
    for sample in text.split("\n\n"):
        stack = []
        for line in sample.splitlines():
            m = re.match(r"\s*[0-9a-f]+ (.*) \((.*)\)$", line)
            if not m:
                continue
            name, dso = m.group(1).split("+")[0], m.group(2).rsplit("/", 1)[-1].split(".so")[0]
            kind = "kernel" if "kernel" in dso else dso if dso in COLOURS else "other"
            name = name if name != "[unknown]" else dso
            if not stack or stack[-1] != (name, kind):
                stack.append((name, kind))
        if stack:
            yield stack[::-1]


class Box:
    def __init__(self):
        self.n, self.inside = 0, collections.OrderedDict()


def tree(stacks):
    root = Box()
    for stack in stacks:
        at = root
        root.n += 1
        for frame in stack:
            at = at.inside.setdefault(frame, Box())
            at.n += 1
    return root


def draw(box, x, depth, scale, least, out):
    deepest = depth
    for (name, kind), child in sorted(box.inside.items(), key=lambda i: -i[1].n):
        if child.n < least:
            continue
        wide, y = child.n * scale, depth * ROW
        share = f"{name} ({100 * child.n * scale / WIDTH:.1f} %)"
        out.append(f'<g><title>{html.escape(share)}</title><rect x="{x:.1f}" y="{y}" width="{max(wide - 0.5, 0.5):.1f}" '
                   f'height="{ROW - 1}" fill="{COLOURS[kind]}" rx="1"/>')
        if wide > 40:
            out.append(f'<text x="{x + 3:.1f}" y="{y + 12}">{html.escape(name[:int(wide / 6.4)])}</text>')
        out.append("</g>")
        deepest = max(deepest, draw(child, x, depth + 1, scale, least, out))
        x += wide
    return deepest


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    root = tree(frames(*sys.argv[1:]))
    if not root.n:
        sys.exit(f"flame: no sample of {sys.argv[2]} in {sys.argv[1]}")
    out = []
    deepest = draw(root, 0, 2, WIDTH / root.n, root.n * LEAST, out)
    legend = "".join(f'<rect x="{150 * i}" y="4" width="12" height="12" fill="{c}"/><text x="{150 * i + 17}" y="14">{k}'
                     "</text>" for i, (k, c) in enumerate(COLOURS.items()))
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {(deepest + 2) * ROW}" '
          f'font-family="monospace" font-size="11">\n<rect width="100%" height="100%" fill="#fff"/>\n{legend}\n'
          + "\n".join(out) + "\n</svg>")


if __name__ == "__main__":
    main()
