"""`gatehouse connect` and the network: routes, name servers, what is undone and when, leaks, and dialling again when
the server, the cable, the address, the proxy or the certificate goes away.
"""

import contextlib
import itertools
import os
import shutil
import signal
import socket
import struct
import threading
import time

from connectlib import EXIT, RESOLV_CONF
from connecttools import OwnServer, Recorder, dial, ping_by, refused, side_by_side, status
from lablib import INSIDE4, POOL_SERVER, SERVER4, SERVER6, SERVER_IN4, Ca, Netns, check, wait_for
from test_connect import make_crl

BESIDE = 1  # of the other files: see run.py

OUTSIDE4, OUTSIDE6 = "203.0.113.77", "2001:db8:ffff::77"  # nobody; a packet to there has left the tunnel or not
LIVELY = {"reconnect": {"first": 1, "max": 2, "echo-interval": 1, "echo-timeout": 2}}
PATIENT = {"reconnect": {"first": 1, "max": 2}}
DEFAULT = ["--default-route"]
_numbers = itertools.count(1)


class Home:
    """A namespace with one wire to the server's, which is its gateway for both families."""

    def __init__(self, lab):
        self.lab, n = lab, next(_numbers)
        self.ns, self.far = Netns(f"home-{n}"), f"h{n}"
        self.own, self.gateway, self.other = (f"10.60.{n}.{x}" for x in (1, 2, 3))
        self.own6, self.gateway6 = (f"fd00:60:{n}::{x}" for x in (1, 2))
        self.ns.ip("link", "add", "eth0", "type", "veth", "peer", "name", self.far, "netns", lab.server.name)
        for a in (self.gateway + "/24", self.other + "/24", self.gateway6 + "/64"):
            lab.server.ip("addr", "add", a, "dev", self.far, *(["nodad"] if ":" in a else []))
        self.cable(True)
        self.plug(True)

    def plug(self, there):
        """Our own end of the wire, with the addresses and routes that go and come with it."""
        self.ns.ip("link", "set", "eth0", "up" if there else "down")
        if there:
            for a in (self.own + "/24", self.own6 + "/64"):
                self.ns.ip("addr", "replace", a, "dev", "eth0", *(["nodad"] if ":" in a else []))
            self.ns.ip("route", "replace", "default", "via", self.gateway)
            self.ns.ip("-6", "route", "replace", "default", "via", self.gateway6)

    def cable(self, there):
        """The far end: without it ours has no carrier."""
        self.lab.server.ip("link", "set", self.far, "up" if there else "down")
        if there:
            self.lab.server.ip("addr", "replace", self.gateway6 + "/64", "dev", self.far, "nodad")

    def way(self, to):
        """The device that a packet would leave by; None when there is none."""
        with contextlib.suppress(Exception):
            words = self.ns.ip("route", "get", to).split()
            return words[words.index("dev") + 1]
        return None

    def close(self):
        with contextlib.suppress(Exception):
            self.lab.server.ip("link", "del", self.far)
        self.ns.close()


@contextlib.contextmanager
def home(lab):
    h = Home(lab)
    try:
        yield h
    finally:
        h.close()


def at_home(lab, job):
    """A job for side_by_side that gets a home of its own."""
    def run():
        with home(lab) as h:
            job(h)
    return run


def call(h, *args, host="vpn.example.com", alone=True, **kw):
    return dial(h.lab, host, ns=h.ns, alone=alone, args=list(args), **kw)


@contextlib.contextmanager
def fixture(lab):
    with lab.gatehouse() as gh:
        yield gh


def resolv(c):
    with open(c.resolv_conf, encoding="utf-8") as f:
        return f.read()


def as_before(c, but=("links", "files")):
    """Routes, rules and resolv.conf are those of before, while the client lives."""
    def faults():
        now = c.leavings()
        now = {k: [x.replace(" linkdown", "") for x in v] if isinstance(v, list) else v for k, v in now.items()}
        return {k: (c.before[k], now[k]) for k in c.before if k not in but and c.before[k] != now[k]}
    wait_for(lambda: not faults(), 3, lambda: f"as before: {faults()}")


def comes_back(c, since, within=8):
    """Up again by itself, and packets pass. Returns the seconds that it took."""
    began = time.monotonic()
    c.wait_up(within, since=since)
    took = time.monotonic() - began
    ping_by(c)
    return took


def lives(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="ascii") as f:
        return f.read().rpartition(")")[2].split()[0] != "Z"
    return False


def kill(server):
    """Without a word to anybody: the engine first, since one whose monitor is gone hangs up in order."""
    pids = [*server.engine_pids(), server.monitor_pid()]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    server.proc.wait(5)


# ---- routes and name servers ---------------------------------------------------------------------------------------

class Sniffer:
    """Packets on a wire that are neither of the call nor needed to find neighbours."""

    def __init__(self, ns, device, server):
        self.server, self.leaks, self.seen = server, [], 0
        self.s = ns.sock(socket.AF_PACKET, socket.SOCK_RAW)
        self.s.bind((device, 3))  # all protocols
        self.s.settimeout(0.1)
        self.on = True
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while self.on:
            try:
                frame = self.s.recv(4096)
            except TimeoutError:
                continue
            kind, = struct.unpack_from("!H", frame, 12)
            self.seen += 1
            if kind == 0x0806 or (kind == 0x86dd and (frame[38] in (0xff, 0xfe) or frame[22] in (0xff, 0xfe))):
                continue  # ARP; IPv6 to or from link-local and multicast addresses
            ends = (socket.inet_ntop(2, frame[26:30]), socket.inet_ntop(2, frame[30:34])) if kind == 0x0800 else \
                (socket.inet_ntop(10, frame[22:38]), socket.inet_ntop(10, frame[38:54])) if kind == 0x86dd else ()
            if kind == 0x86dd and frame[20] == 58 and frame[54] in (135, 136):
                continue  # neighbours are asked for by their other addresses too
            if self.server not in ends:
                self.leaks.append((hex(kind), *ends))

    def end(self):
        time.sleep(0.15)
        self.on = False
        self.thread.join(2)
        self.s.close()
        check(self.seen, "the wire was silent: it proves nothing")
        check(not self.leaks, f"beside the tunnel there were {self.leaks}")


def test_routes(lab, _gh):
    """None, listed ones of both families, all: the tables while up; as they were afterwards (Connect looks)."""
    def none(h):
        with call(h) as c:
            check(c.wait_up()["routes"] == [], "routes are there")
            check(h.way(POOL_SERVER) == c.interface and h.way(OUTSIDE4) == h.way(OUTSIDE6) == "eth0", "ways")
            ping_by(c)

    def listed(h):
        with call(h, "--route", "198.51.100.0/24", "--route", "2001:db8:77::/48", "--route", "10.0.0.0/8") as c:
            up = c.wait_up()
            check(set(up["routes"]) == {"198.51.100.0/24", "2001:db8:77::/48", "10.0.0.0/8"}, f"{up}")
            for to, dev in ((INSIDE4, c.interface), ("2001:db8:77::1", c.interface), ("10.1.1.1", c.interface),
                            (h.gateway, "eth0"), (SERVER4, "eth0"), (OUTSIDE4, "eth0"), (OUTSIDE6, "eth0")):
                check(h.way(to) == dev, f"{to} goes by {h.way(to)}")
            c.ping(INSIDE4)

    def server_within(h):
        with call(h, "--route", "192.0.0.0/8") as c:
            c.wait_up()
            check(h.way(SERVER4) == "eth0" and h.way("192.0.9.9") == c.interface, f"{h.ns.ip('route')}")
            check(f"{SERVER4} via {h.gateway} dev eth0" in h.ns.ip("route"), h.ns.ip("route"))
            ping_by(c)

    def default4(h):
        with call(h, "--route", "0.0.0.0/0") as c:
            c.wait_up()
            check(h.way(OUTSIDE4) == c.interface and h.way(OUTSIDE6) == "eth0", "IPv6 is not left as it is")
    side_by_side({f.__name__: at_home(lab, f) for f in (none, listed, server_within, default4)})


def test_default_route(lab, _gh):
    """Everything goes into the tunnel, over either family; other IPv6 is unreachable; nothing leaks beside it."""
    def job(server, host):
        def run(h):
            with call(h, *DEFAULT, host=host) as c:
                c.wait_up()
                check(h.way(OUTSIDE4) == c.interface and h.way(server) == "eth0", f"{h.ns.ip('route')}")
                check(h.way(OUTSIDE6) is None, f"IPv6 leaves by {h.way(OUTSIDE6)}")
                sent = status(c)["call"]["tx_packets"]
                sniffer = Sniffer(h.ns, "eth0", server)
                for to in (OUTSIDE4, OUTSIDE6, "8.8.8.8", "2001:4860:4860::8888", h.gateway6.replace("::2", ":9::2")):
                    h.ns.sh("ping", "-c", 1, "-W", 1, to, ok=(1, 2))
                c.ping(POOL_SERVER)
                c.ping(INSIDE4)
                sniffer.end()
                check(status(c)["call"]["tx_packets"] >= sent + 6, "they did not go into the tunnel")
        return at_home(lab, run)

    def by_proxy(h):
        """It is the proxy that keeps a route of its own."""
        with Recorder(lab, 3140, lab.server, to=(SERVER_IN4, 443), at=SERVER4) as proxy, \
                call(h, *DEFAULT, "--proxy", f"http://{SERVER4}:3140") as c:
            up = c.wait_up()
            check(up["proxy"] == f"{SERVER4}:3140" and len(proxy.heads) == 1, f"{up}")
            check(f"{SERVER4} via {h.gateway} dev eth0" in h.ns.ip("route"), h.ns.ip("route"))
            check(h.way(OUTSIDE4) == h.way(SERVER_IN4) == c.interface, "ways")
            c.ping(POOL_SERVER)

    def gateway_changes(h):
        """The server's own route follows."""
        with call(h, *DEFAULT) as c:
            c.wait_up()
            since = c.mark()
            h.ns.ip("route", "replace", "default", "via", h.other)
            wait_for(lambda: f"{SERVER4} via {h.other} dev eth0" in h.ns.ip("route"), 3, lambda: h.ns.ip("route"))
            ping_by(c)
            check(not c.events("down", since), "the call ended")
            h.ns.ip("route", "replace", "default", "via", h.gateway)
            wait_for(lambda: f"{SERVER4} via {h.gateway} dev eth0" in h.ns.ip("route"), 3, lambda: h.ns.ip("route"))
    side_by_side({"IPv4": job(SERVER4, "vpn.example.com"), "IPv6": job(SERVER6, "six.example.com"),
                  "by proxy": at_home(lab, by_proxy), "another gateway": at_home(lab, gateway_changes)})


def test_route_of_others(lab, gh):
    """A route that the call wants and somebody else has: told with what Windows logs for it, and theirs stays."""
    with home(lab) as h:
        h.ns.ip("route", "add", "10.123.0.0/16", "via", h.gateway)
        before = h.ns.ip("route", "show")
        e = refused(call(h, "--route", "10.123.0.0/16"), "local", "route", windows="RasSstp 14")
        check("10.123.0.0/16" in e["text"], f"{e}")
        check(h.ns.ip("route", "show") == before, f"{h.ns.ip('route', 'show')}, before: {before}")


def test_dns(lab, _gh):
    """resolv.conf has the server's name server while up, and is what it was, byte for byte, afterwards; or is left."""
    def changed(h, text=RESOLV_CONF + "search example.com\noptions edns0"):  # with no newline at its end
        c = call(h)
        with open(c.resolv_conf, "w", encoding="utf-8") as f:
            f.write(text)
        with c:
            check(c.wait_up()["dns_way"] == "resolv.conf", "another way")
            now = resolv(c)
            check(f"\nnameserver {POOL_SERVER}\n" in now and "192.0.2.53" not in now, now)
            check("search example.com" in now, now)
        check(resolv(c) == text, resolv(c))

    def off(h):
        with call(h, conf={"tunnel": {"dns": "off"}}) as c:
            c.wait_up()
            check(resolv(c) == RESOLV_CONF, resolv(c))

    def edited(h):
        """Somebody else's change meanwhile is theirs."""
        with call(h, alone=False) as c:
            c.wait_up()
            with open(c.resolv_conf, "a", encoding="utf-8") as f:
                f.write("nameserver 192.0.2.54\n")
        check("192.0.2.54" in resolv(c), resolv(c))
    side_by_side({f.__name__: at_home(lab, f) for f in (changed, off, edited)})


def test_undone(lab, gh):
    """
    Routes, rules, links and resolv.conf are as before, however it ends; what a killed one left, the next start undoes.
    """
    def by_signal(num):
        def run(h):
            c = call(h, *DEFAULT).start()
            try:
                c.wait_up()
                check(c.leavings() != c.before, "nothing was changed")
                c.stop(num=num)
            finally:
                c.close()
        return at_home(lab, run)

    def engine_killed(h):
        c = call(h, *DEFAULT).start()
        c.wait_up()
        os.kill(c.engine_pid(), signal.SIGKILL)
        check(c.wait(5) == EXIT["internal"], f"status {c.returncode}")
        c.check_nothing_left()

    def monitor_killed(other):
        def run(h):
            c = call(h, *DEFAULT).start()
            c.wait_up()
            pids = c.pids("")
            check(len(pids) == 2, f"{pids}")
            c.signal(signal.SIGKILL)
            c.proc.p.wait(5)
            wait_for(lambda: not any(lives(p) for p in pids), 5, "the others' end")
            left = c.leavings()
            check(left["resolv.conf"] != RESOLV_CONF and left["files"], f"nothing was left: {left}")
            check(c.interface not in left["links"], "the interface stays")
            if other:  # another interface's start does it too
                c.conf["tunnel"]["interface"] = c.interface = "another0"
            c.start()
            c.wait_up(since=len(c.events()) - 1)
            c.stop()
        return at_home(lab, run)

    def while_waiting(h):
        with call(h, *DEFAULT, host="https://vpn.example.com:9/", conf={"reconnect": {"first": 30, "max": 60}}) as c:
            c.wait_event("retry")
            as_before(c)

    def wrong_password(h):
        refused(call(h, *DEFAULT, password="x"), "login")

    def interface_deleted(h):
        c = call(h, *DEFAULT, once=True).start()
        c.wait_up()
        h.ns.ip("link", "del", c.interface)
        c.fails("local", event="down")

    def server_gone(once):
        def run(h):
            server = OwnServer(lab, 3 + once)
            server.start()
            try:
                c = call(h, *DEFAULT, host=server.url(), once=once).start()
                c.wait_up()
                kill(server)
                if once:
                    e = c.fails("lost", event="down")
                    check(e["windows"] == "RasClient 20227 (629)", f"{e}")
                else:
                    c.wait_event("retry")
                    as_before(c)  # between two dials too
                    check(h.way(OUTSIDE4) == h.way(OUTSIDE6) == "eth0", "the tunnel is still the way")
                    c.stop()
            finally:
                server.close()
        return at_home(lab, run)
    side_by_side({"SIGTERM": by_signal(signal.SIGTERM), "SIGINT": by_signal(signal.SIGINT),
                  "SIGHUP": by_signal(signal.SIGHUP), "engine killed": at_home(lab, engine_killed),
                  "monitor killed": monitor_killed(False), "monitor killed, another interface": monitor_killed(True),
                  "waiting": at_home(lab, while_waiting), "wrong password": at_home(lab, wrong_password),
                  "interface deleted": at_home(lab, interface_deleted), "server killed": server_gone(False),
                  "server killed, --once": server_gone(True)})
    with contextlib.suppress(Exception):
        gh.cli("disconnect", "--user", "alice", ok=(0, 1))


# ---- dialling again ------------------------------------------------------------------------------------------------

def restart(server, **changes):
    since = server.mark()
    if changes:
        server.conf = {**server.conf, **changes}
    server.spawn()
    server.wait_event("ready", since=since, timeout=15)


def test_server_restarts(lab):
    """Killed and started again; stopped in order and started again."""
    def job(number, end, causes):
        def run(h):
            server = OwnServer(lab, number)
            server.start()
            try:
                with call(h, host=server.url(), conf=PATIENT) as c:
                    c.wait_up()
                    since = c.mark()
                    end(server)
                    down = c.wait_event("down", since=since)
                    check(down["cause"] in causes and down["what"], f"{down}")
                    c.wait_event("retry", since=since)
                    server.proc.wait(10)
                    restart(server)
                    c.wait_up(since=since)
                    ping_by(c, server.address)
                    check(status(c)["last_end"]["cause"] in causes, f"{status(c)}")
            finally:
                server.close()
        return at_home(lab, run)
    side_by_side({"killed": job(1, kill, ("lost",)),
                  "stopped": job(2, lambda server: server.proc.signal(signal.SIGTERM), ("hung-up",))})


def test_cable(lab, gh):
    """A short cut does no harm; a long one is noticed by silence, and it is up again as soon as the cable is back."""
    def short(h):
        with call(h, *DEFAULT) as c:
            c.wait_up()
            since = c.mark()
            h.cable(False)
            time.sleep(3)
            h.cable(True)
            wait_for(lambda: c.events("up", since) or not c.events("down", since), 5, "up again")
            wait_for(lambda: c.pings(POOL_SERVER), 6, lambda: f"pings again: {c.tail()}")

    def long(h, server=None):
        with call(h, *DEFAULT, conf=LIVELY, **({"host": server} if server else {})) as c:
            c.wait_up()
            since = c.mark()
            h.cable(False)
            down = c.wait_event("down", since=since, timeout=10)
            check(down["cause"] == "silent" and down["what"] and down["windows"], f"{down}")
            as_before(c)
            time.sleep(3)
            check(not c.events("up", since), "up without a cable")
            since = c.mark()
            h.cable(True)
            took = comes_back(c, since)
            check(took < 3, f"up again only after {took:.1f} s")

    def unplugged(h):
        with call(h, *DEFAULT, conf=LIVELY, alone=False) as c:
            c.wait_up()
            since = c.mark()
            h.plug(False)
            c.wait_event("down", since=since, timeout=10)
            time.sleep(2)
            since = c.mark()
            h.plug(True)
            took = comes_back(c, since)
            check(took < 3, f"up again only after {took:.1f} s")
    side_by_side({"short": at_home(lab, short), "long": at_home(lab, long), "unplugged": at_home(lab, unplugged),
                  "long, IPv6": at_home(lab, lambda h: long(h, "six.example.com"))})
    gh.cli("disconnect", "--user", "alice", ok=(0, 1))


def test_address_changes(lab, gh):
    """Our address goes, another one comes: dialled again at once, from that one."""
    def run(h):
        with call(h, *DEFAULT, conf={"reconnect": {"first": 10, "max": 60}}, alone=False) as c:
            c.wait_up()
            since, began = c.mark(), time.monotonic()
            new = h.own[:-1] + "9"
            h.ns.ip("addr", "del", f"{h.own}/24", "dev", "eth0")
            h.ns.ip("addr", "add", f"{new}/24", "dev", "eth0")
            h.ns.ip("route", "replace", "default", "via", h.gateway)
            down = c.wait_event("down", since=since)
            check(down["cause"] == "network-changed" and h.own in down["text"], f"{down}")
            check(down["windows"] == "RasSstp 15", f"{down}")
            c.wait_up(since=since)
            check(time.monotonic() - began < 2, f"it took {time.monotonic() - began:.1f} s")
            ping_by(c)
            check(f"{new}:" in h.ns.sh("ss", "-Htn", "dst", f"{SERVER4}:443"), "not from the new address")
    with home(lab) as h:
        run(h)
    gh.cli("disconnect", "--user", "alice", ok=(0, 1))


@contextlib.contextmanager
def swallowed(h):
    """What we send is lost somewhere behind the gateway; nothing here shows it."""
    table = f"cut{h.far}"
    h.lab.server.sh("nft", f"add table inet {table}; add chain inet {table} in {{ type filter hook input priority 0; }}; "
                           f"add rule inet {table} in iifname {h.far} meta l4proto tcp drop")
    try:
        yield
    finally:
        h.lab.server.sh("nft", f"delete table inet {table}")


def test_change_while_dialling(lab, gh):
    """A dial that nobody answers is begun anew when the network changes: from the address that there is now."""
    def run(h):
        with call(h, alone=False) as c:
            with swallowed(h):
                c.wait_event("step", step="resolve")
                time.sleep(3.5)  # the kernel's next SYN would be the one after 7 s
                check(not c.events("retry") and not c.events("up"), c.tail())
            began = time.monotonic()
            h.ns.ip("addr", "del", f"{h.own}/24", "dev", "eth0")
            h.ns.ip("addr", "add", f"{h.own[:-1]}9/24", "dev", "eth0")
            h.ns.ip("route", "replace", "default", "via", h.gateway)
            c.wait_up()
            check(time.monotonic() - began < 2, f"it took {time.monotonic() - began:.1f} s")
            ping_by(c)
    with home(lab) as h:
        run(h)
    gh.no_sessions()


def test_certificate_changes(lab):
    """Another authority's certificate after a restart is refused at each dial; with the right one it is up again."""
    stranger = Ca(lab.fresh_dir("stranger"))
    bad = stranger.issue("vpn", ["vpn.example.com"])
    with home(lab) as h:
        server = OwnServer(lab, 1)
        server.start()
        good = server.conf["certificates"]
        try:
            with call(h, *DEFAULT, host=server.url(), conf=PATIENT) as c:
                c.wait_up()
                since = c.mark()
                kill(server)
                restart(server, certificates=[{"name": "vpn", "chain": bad[0], "key": bad[1], "for": ["default"]}])
                wait_for(lambda: len(c.events("failed", since, cause="certificate")) >= 2, 10, c.tail)
                check(not c.events("up", since) and not server.events("login-ok", since=0)[1:], "it logged in there")
                as_before(c)
                server.proc.signal(signal.SIGTERM)
                server.proc.wait(10)
                restart(server, certificates=good)
                c.wait_up(since=since)
                ping_by(c, server.address)
        finally:
            server.close()


def test_proxy_dies(lab, gh):
    """It is told that the proxy does not answer, dialled again, and up when the proxy is there again."""
    with home(lab) as h:
        proxy = Recorder(lab, 3140, h.ns, to=(SERVER4, 443))
        try:
            with call(h, "--proxy", proxy.url, conf=PATIENT) as c:
                c.wait_up()
                since = c.mark()
                proxy.close()
                check(c.wait_event("down", since=since)["cause"] == "lost", c.tail())
                failed = c.wait_event("failed", since=since)
                check(failed["cause"] == "proxy-unreachable" and failed["windows"] == "RasSstp 1", f"{failed}")
                proxy = Recorder(lab, 3140, h.ns, to=(SERVER4, 443))
                comes_back(c, since)
        finally:
            proxy.close()
    gh.no_sessions()


def test_trust_is_read_anew(lab):
    """A client that runs for long: a leaf that was revoked meanwhile is refused, a list that was renewed is taken."""
    folder = lab.fresh_dir("lists")
    leaf = lab.ca.issue("several-months", ["vpn.example.com"])
    stale = make_crl(lab.ca, folder, leaf[0])
    fresh = make_crl(lab.ca, lab.fresh_dir("lists-before"))
    used = os.path.join(folder, "used.pem")
    shutil.copy(fresh, used)

    def run(h):
        server = OwnServer(lab, 1, certificates=[{"chain": leaf[0], "key": leaf[1]}])
        server.start()
        try:
            with call(h, host=server.url(), conf={**PATIENT, "server": {"crl": used}}) as c:
                c.wait_up()
                since = c.mark()
                shutil.copy(stale, used)
                server.cli("disconnect", "--user", "alice")
                e = c.wait_event("failed", since=since)
                check(e["cause"] == "certificate" and "revoked" in e["text"], f"{e}")
                shutil.copy(fresh, used)
                c.wait_up(since=since)
        finally:
            server.close()
    at_home(lab, run)()


def test_whole_group_is_told(lab, gh):
    """SIGTERM to every process of the client, and once more to the first, as `timeout` sends it: hung up in order; the
    same with the server."""
    def run(h):
        c = call(h).start()
        c.wait_up()
        since = gh.mark()
        for pid in (c.proc.pid, c.engine_pid(), c.proc.pid):
            with contextlib.suppress(ProcessLookupError):  # on a busy machine the first may have ended it all
                os.kill(pid, signal.SIGTERM)
            time.sleep(0.02)
        check(c.wait(15) == 0, f"{c.tail()}")
        check(c.events("down")[-1]["cause"] == "ok", f"{c.tail()}")
        wait_for(lambda: gh.events("call-down", since), 5, "the end at the server")
        check(gh.events("call-down", since)[0]["cause"] == "client-hung-up", f"{gh.events('call-down', since)}")

    def server(h):
        own = OwnServer(lab, 1)
        own.start()
        with call(h, host=own.url(), conf=PATIENT) as c:
            c.wait_up()
            since = c.mark()
            for _ in range(2):
                own.proc.signal(signal.SIGTERM)
                time.sleep(0.02)
            check(c.wait_event("down", since=since)["cause"] == "hung-up", c.tail())
            wait_for(lambda: not own.proc.alive(), 10, "the server's end")
            check(not own.events("engine-died") and own.events("stopped"), f"{own.events('stopped')}")
        own.close()
    at_home(lab, run)()
    at_home(lab, server)()


def test_hung_up(lab, gh):
    """The operator disconnects: dialled again; with --once it ends with 11; a login refused then is not tried again."""
    def again(h):
        with call(h, conf=PATIENT) as c:
            c.wait_up()
            since = c.mark()
            gh.cli("disconnect", "--user", "alice")
            down = c.wait_event("down", since=since)
            check(down["cause"] == "hung-up", f"{down}")
            comes_back(c, since)

    def once(h):
        c = call(h, "--once", user="bob", password="correct horse").start()
        c.wait_up()
        gh.cli("disconnect", "--user", "bob")
        e = c.fails("hung-up", event="down")
        check(EXIT[e["cause"]] == 11 and e["windows"] == "RasClient 20226 (629)", f"{e}")

    def locked_out(h):
        server = OwnServer(lab, 1)
        server.start()
        try:
            c = call(h, host=server.url(), conf=PATIENT).start()
            c.wait_up()
            users = server.conf["vpn"]["users"]
            with open(users, encoding="utf-8") as f:
                text = f.read()
            with open(users, "w", encoding="utf-8") as f:
                f.write("".join(x for x in text.splitlines(True) if not x.startswith("alice ")))
            server.cli("reload")
            server.cli("disconnect", "--user", "alice", ok=(0, 1))
            check(c.wait(10) == EXIT["login"], f"status {c.returncode}: {c.tail()}")
            check(len(c.events("failed")) == 1, f"{c.events('failed')}")
            c.check_nothing_left()
        finally:
            server.close()
    side_by_side({f.__name__: at_home(lab, f) for f in (again, once, locked_out)})
