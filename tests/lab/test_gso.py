"""Cutting as the kernel does: the same super-packets, through the kernel's own segmentation and through ours.

One TUN takes super-packets with a virtio_net header, the kernel routes them to another, which has no offloads, so that
the kernel itself must cut them. What comes out there is compared with ip/cut.c by gso_tool.c, bit for bit.
"""

import contextlib
import os
import re

from lablib import ROOT, Netns, Skip, check, gatehouse_path

MTU = 9200
ROUNDS = 1000
KINDS = ("tcp4", "tcp6", "udp4", "udp6")


def tool():
    """GATEHOUSE_GSO in the environment, else beside the program under test, else built."""
    places = [os.path.dirname(gatehouse_path()), os.path.join(ROOT, "build")]
    path = os.environ.get("GATEHOUSE_GSO") or next(
        (p for p in (os.path.join(d, "tests", "lab", "gatehouse-gso") for d in places) if os.access(p, os.X_OK)), None)
    if not path:
        raise Skip("gatehouse-gso is not built")
    return os.path.abspath(path)


def router():
    """A namespace that routes between two TUN devices: gso_tool.c's addresses."""
    ns = Netns("gso")
    for key in ("ipv4.ip_forward", "ipv6.conf.all.forwarding"):
        ns.sysctl(f"net.{key}", "1")
    for name, vnet, net4, net6 in (("in0", ["vnet_hdr"], "10.1.0.0/16", "fd00:1::/32"),
                                   ("out0", [], "10.2.0.0/16", "fd00:2::/32")):
        ns.ip("tuntap", "add", "dev", name, "mode", "tun", *vnet)
        ns.ip("link", "set", name, "mtu", MTU, "txqueuelen", 5000, "up")
        ns.ip("route", "add", net4, "dev", name)
        ns.ip("-6", "route", "add", net6, "dev", name)
    for key in ("all", "in0"):
        ns.sysctl(f"net.ipv4.conf.{key}.rp_filter", "0")
    return ns


def test_kernel_cuts_alike(lab):
    """TCP and UDP over IPv4 and IPv6: options, extension headers, every flag, ids and sequence numbers that wrap."""
    path = tool()
    ns = router()
    log = os.path.join(lab.test_dir, "gso.log")
    with contextlib.closing(ns.start([path, "in0", "out0", os.environ.get("GSO_SEED", "1"), ROUNDS], log)) as p:
        status, text = p.wait(60), p.log()
    check(status == 0, f"status {status}: {text[-600:]}")
    done = {kind: int(n) for kind, n in re.findall(r"^(\w+) \d+ super-packets, (\d+) packets$", text, re.M)}
    for kind in KINDS:
        if f"{kind} unknown to this kernel" in text and kind.startswith("udp"):
            print(f"# {kind}: not in this kernel")
            continue
        check(done.get(kind, 0) > ROUNDS, f"{kind}: {done}")
    ns.close()
