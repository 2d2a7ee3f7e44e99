"""Steering: the kernel puts a packet into the queue of the worker that has the call, or the workers hand it over."""

import contextlib
import errno
import json
import os
import re
import secrets
import signal
import socket
import time

from lablib import INSIDE4, POOL, ROOT, SERVER4, Skip, check, need
from sstpclient import Client, link_local, udp

SERVER_LINK_LOCAL = bytes.fromhex("fe800000000000000000000000000001")


def dial(lab):
    c = Client(lab.client, SERVER4, ca=lab.ca.cert, iid=secrets.token_bytes(8))
    c.call("alice", "wonderland")
    c.open_ipv6cp()
    return c


@contextlib.contextmanager
def calls(lab, gh, least=5, most=30):
    """Calls on both workers, at least so many: which one gets a connection is the kernel's choice."""
    with contextlib.ExitStack() as stack:
        clients = []
        while len(clients) < most:
            clients.append(stack.enter_context(dial(lab)))
            workers = {s["worker"] for s in gh.cli("sessions")["sessions"]}
            if len(clients) >= least and len(workers) == 2:
                break
        check(workers == {0, 1}, f"{len(clients)} calls came to workers {workers} alone")
        yield clients


def traffic(lab, clients):
    """From the network to the calls, of many flows, unasked for; and answers over both versions."""
    with lab.inside.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with contextlib.closing(sock):
        for n, c in enumerate(clients):
            for flow in range(8):
                data = b"call %d flow %d" % (n, flow)
                sock.sendto(data, (c.address, 20000 + flow))
                got = c.wait_packet(lambda f, want=data: f.data.endswith(want))  # ours, no other's
                check(got, f"{data} did not come")
            check(c.ping(INSIDE4, seq=n + 1), f"no ping of call {n}")
            check(c.ping6(SERVER_LINK_LOCAL, src=link_local(c.iid), seq=n + 1), f"no ping of call {n} over IPv6")


def handed_over(gh):
    return gh.cli("status")["totals"]["handed_over"]


def steered(gh):
    """The server's status, where the kernel has bpf() at all: what a kernel without it (ENOSYS) does is test_off."""
    status = gh.cli("status")
    if os.strerror(errno.ENOSYS) in status["steering_reason"]:
        raise Skip(f"this kernel does not steer: {status['steering_reason']}")
    return status


def check_steered(lab, gh):
    status = steered(gh)
    check(status["steering"] == "ebpf", f"no steering: {status['steering_reason']}")
    check(status["steering_reason"] == "", f"a reason for what is not so: {status}")
    check(not gh.events("steering"), "an event about what is well")
    with calls(lab, gh) as clients:
        traffic(lab, clients)
        clients[0].hang_up()
        with dial(lab) as again:  # an address may change its worker
            traffic(lab, [again, *clients[1:]])
    check(handed_over(gh) == 0, f"{handed_over(gh)} packets came in on another worker's queue")


def check_handover(lab, gh):
    """All works, the long way."""
    check(gh.cli("status")["steering"] == "handover", f"status: {gh.cli('status')}")
    with calls(lab, gh) as clients:
        traffic(lab, clients)
    check(handed_over(gh) > 0, "nothing was handed over: this test shows nothing")


def test_steered(lab):
    with lab.gatehouse() as gh:
        check_steered(lab, gh)
        text = gh.ns.sh("cat", "/sys/class/net/gh0/tx_queue_len").strip()
        check(text == "4096", f"the interface's rings hold {text} packets")


def test_several_networks(lab):
    """The second network's slots are behind those of the first, which five calls fill."""
    with lab.gatehouse(vpn={"network": ["10.77.64.0/29", POOL]}) as gh:
        with calls(lab, gh, least=9) as clients:
            found = {c.address.rsplit(".", 1)[0] for c in clients}
            check(found == {"10.77.64", "10.77.0"}, f"addresses in {found}")
            traffic(lab, clients)
        check_steered(lab, gh)


def test_off(lab):
    with lab.gatehouse(vpn={"steering": "off"}) as gh:
        check(gh.cli("status")["steering_reason"] == "vpn.steering is off", f"status: {gh.cli('status')}")
        check(not gh.events("steering"), "an event about what was asked for")
        check_handover(lab, gh)


def tx_dropped(gh):
    return json.loads(gh.ns.sh("ip", "-s", "-j", "link", "show", "gh0"))[0]["stats64"]["tx"]["dropped"]


def flood_while_stopped(lab, gh, victim, other):
    """
    While the server gets no processor: more for one call than the kernel keeps, then some for another one. Both are
    answers, which without steering come back on the queue that was asked on.
    """
    with lab.inside.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    [engine] = gh.engine_pids()
    before, got = tx_dropped(gh), []
    with contextlib.closing(sock):
        sock.bind((INSIDE4, 0))
        sock.settimeout(5)
        for c in (victim, other):
            c.send_ip(udp(c.address, INSIDE4, 20000, sock.getsockname()[1], b"asked"))
            check(sock.recv(100) == b"asked", "nothing comes up")
        os.kill(engine, signal.SIGSTOP)
        try:
            for _ in range(8000):
                sock.sendto(b"flood", (victim.address, 20000))
            time.sleep(0.2)
            for n in range(20):
                sock.sendto(b"other %02d" % n, (other.address, 20000))
            time.sleep(0.2)
        finally:
            os.kill(engine, signal.SIGCONT)
    check(tx_dropped(gh) - before > 2000, "the flood found room: this test shows nothing")
    other.on_packet = lambda f: got.append(f.data[28:]) if f.data[28:].startswith(b"other") else None
    with contextlib.suppress(TimeoutError):
        other.pump(lambda: len(got) >= 20, 5)
    check(got == [b"other %02d" % n for n in range(20)], f"of 20 packets beside a flood came {got}")
    check(victim.ping(INSIDE4, seq=77), "no ping of the flooded call afterwards")


def test_a_flood_fills_its_own_queue(lab):
    """One worker, two calls: its queues keep them apart, with steering and without."""
    for steering in ("auto", "off"):
        with lab.gatehouse(worker={"threads": 1}, vpn={"steering": steering}) as gh:
            status = steered(gh)
            check(status["steering"] == ("ebpf" if steering == "auto" else "handover"), f"status: {status}")
            with dial(lab) as a, dial(lab) as b:
                flood_while_stopped(lab, gh, a, b)
                flood_while_stopped(lab, gh, b, a)


def test_one_worker_refused(lab):
    """There is nobody to hand packets to: no event, whatever the kernel says."""
    need("setpriv")
    with open("/proc/sys/kernel/unprivileged_bpf_disabled", encoding="ascii") as f:
        if f.read().strip() == "0":
            raise Skip("this kernel lets everybody use bpf()")
    gh = lab.gatehouse(worker={"threads": 1})
    gh.prefix = ["setpriv", "--bounding-set=-bpf,-sys_admin"]
    with gh, dial(lab) as c:
        status = gh.cli("status")
        check(status["steering"] == "handover" and "not permitted" in status["steering_reason"], f"status: {status}")
        check(not gh.events("steering"), "an event about what changes nothing")
        check(c.ping(INSIDE4), "no ping")


def test_refused(lab):
    """A container whose root has no CAP_BPF, on a host that lets nobody else: an event with a remedy, and service."""
    need("setpriv")
    with open("/proc/sys/kernel/unprivileged_bpf_disabled", encoding="ascii") as f:
        if f.read().strip() == "0":
            raise Skip("this kernel lets everybody use bpf()")
    gh = lab.gatehouse()
    gh.prefix = ["setpriv", "--bounding-set=-bpf,-sys_admin"]
    with gh:
        e = gh.wait_event("steering")
        check(e["level"] == "info" and "CAP_BPF" in e.get("remedy", ""), e["text"])
        status = gh.cli("status")
        check(status["steering_reason"] == e["reason"] and "not permitted" in e["reason"], f"{status} {e['text']}")
        check_handover(lab, gh)


def test_rights_of_the_unit(lab):
    """What packaging/gatehouse.service leaves to root is enough."""
    need("setpriv")
    with open(os.path.join(ROOT, "packaging", "gatehouse.service"), encoding="utf-8") as f:
        caps = re.search(r"^CapabilityBoundingSet=(.*)$", f.read(), re.M)[1].lower().replace("cap_", "+").split()
    gh = lab.gatehouse()
    gh.prefix = ["setpriv", "--bounding-set=" + ",".join(["-all", *caps])]
    with gh:
        check_steered(lab, gh)


def test_added_while_running(lab):
    with lab.gatehouse(vpn=None) as gh:
        status = gh.cli("status")
        check(status["offload"] == "off" and status["steering"] == "handover" and status["steering_reason"],
              f"status without a VPN: {status}")
        gh.write_conf(lab.conf())
        gh.cli("reload")
        check_steered(lab, gh)
