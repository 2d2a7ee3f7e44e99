"""What the tests of the data path share: transfers that are checked, paths that are bad, floods, rates, memory."""

import contextlib
import hashlib
import json
import os
import random
import re
import select
import signal
import socket
import struct
import threading
import time
from fcntl import ioctl

from connectlib import _descendants
from connecttools import dial
from lablib import INSIDE4, POOL_SERVER, SERVER4, Netns, check, wait_for

PORT = 7010
UDP_SEGMENT, SOL_UDP, SO_RCVBUFFORCE = 103, 17, 33
BLOB = os.urandom(16 << 20)


# ---- calls ---------------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def call(lab, ns=None, offload="auto", user="alice", password="wonderland", conf=None):
    """A client that is up, with a way to the inside host."""
    tunnel = {"offload": offload, "routes": ["198.51.100.0/24", "10.66.0.0/24"], "dns": "off"}
    with dial(lab, ns=ns, user=user, password=password, conf={"tunnel": tunnel, **(conf or {})}) as c:
        c.address = c.wait_up()["ip"]
        yield c


@contextlib.contextmanager
def both(lab, server="auto", client="auto", ns=None, **kw):
    """A server and a call to it."""
    with lab.gatehouse(vpn={"offload": server}, log={"level": "info"}) as gh, call(lab, ns, client, **kw) as c:
        yield gh, c


# ---- data over TCP ---------------------------------------------------------------------------------------------------

def part(seed, n):
    """n bytes that differ from those of other seeds, as pieces."""
    at = seed * 7919 * 64 % len(BLOB)
    view = memoryview(BLOB)
    while n:
        piece = view[at:at + min(n, 1 << 20)]
        yield piece
        n -= len(piece)
        at = (at + len(piece)) % len(BLOB)


def digest(pieces):
    h = hashlib.sha256()
    for p in pieces:
        h.update(p)
    return h.hexdigest()


class DataServer:
    """
    An end of transfers in a namespace. A line asks: `down SEED N` for bytes, `up` takes them to the end and answers
    with their hash. `taken`, `sent`: bytes of all.
    """

    def __init__(self, ns, host=INSIDE4, port=PORT):
        with ns.entered():
            family, kind, _, _, self.at = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            self.s = socket.socket(family, kind)
        self.s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.s.bind(self.at)
        self.s.listen(64)
        self.taken = self.sent = 0
        self.lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.s.shutdown(socket.SHUT_RDWR)
        self.s.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self.s.accept()[0],), daemon=True).start()

    def _serve(self, s):
        with contextlib.closing(s), contextlib.suppress(OSError):
            line = b""
            while not line.endswith(b"\n"):
                line += s.recv(1)
            word, *numbers = line.split()
            if word == b"down":
                for p in part(*map(int, numbers)):
                    s.sendall(p)
                    with self.lock:
                        self.sent += len(p)
                return
            h, room = hashlib.sha256(), memoryview(bytearray(1 << 20))
            while n := s.recv_into(room):
                h.update(room[:n])
                with self.lock:
                    self.taken += n
            s.sendall(h.hexdigest().encode())


def reach(ns, host, port=PORT, timeout=30):
    with ns.entered():
        family, kind, _, _, at = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        s = socket.socket(family, kind)
    s.settimeout(timeout)
    s.connect(at)
    return s


def down(ns, n, seed=0, host=INSIDE4):
    with contextlib.closing(reach(ns, host)) as s:
        s.sendall(f"down {seed} {n}\n".encode())
        got = 0

        def pieces():
            nonlocal got
            while p := s.recv(1 << 20):
                got += len(p)
                yield p
        same = digest(pieces()) == digest(part(seed, n))
        check(got == n and same, f"{got} of {n} bytes came down, {'the same' if same else 'others'}")


def up(ns, n, seed=0, host=INSIDE4):
    with contextlib.closing(reach(ns, host)) as s:
        s.sendall(b"up\n")
        for p in part(seed, n):
            s.sendall(p)
        s.shutdown(socket.SHUT_WR)
        got = b"".join(iter(lambda: s.recv(100), b"")).decode()
        check(got == digest(part(seed, n)), f"other bytes than those came up: {got!r}")


def at_once(*jobs):
    """Runs functions side by side; the first fault is raised."""
    faults = []

    def one(job):
        try:
            job()
        except Exception as e:  # whatever it is
            faults.append(e)
    threads = [threading.Thread(target=one, args=(j,), daemon=True) for j in jobs]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if faults:
        raise faults[0]


def flows(ns, n, up_flows=2, down_flows=2, host=INSIDE4):
    """Several transfers of n bytes at once, each with bytes of its own."""
    at_once(*[lambda k=k: down(ns, n, 10 + k, host) for k in range(down_flows)],
            *[lambda k=k: up(ns, n, 20 + k, host) for k in range(up_flows)])


# ---- rates -----------------------------------------------------------------------------------------------------------

def rate_down(ns, seconds, warm=0.5, host=INSIDE4):
    """Bits a second that one flow brings down, after some time to get going."""
    with contextlib.closing(reach(ns, host)) as s:
        s.sendall(f"down 1 {1 << 40}\n".encode())
        room, got, began = bytearray(1 << 18), 0, time.monotonic()
        while (now := time.monotonic()) < began + warm + seconds:
            n = s.recv_into(room)
            check(n, "the flow broke off")
            if now >= began + warm:
                got += n
        return got * 8 / seconds


def rate_up(server, ns, seconds, warm=0.5, host=INSIDE4):
    """The same upwards, as it arrives at a DataServer that serves nobody else."""
    with contextlib.closing(reach(ns, host)) as s:
        s.sendall(b"up\n")
        stop = threading.Event()

        def send():
            with contextlib.suppress(OSError):
                for p in part(1, 1 << 40):
                    if stop.is_set():
                        return
                    s.sendall(p[:1 << 16])
        t = threading.Thread(target=send, daemon=True)
        t.start()
        time.sleep(warm)
        before, began = server.taken, time.monotonic()
        time.sleep(seconds)
        bps = (server.taken - before) * 8 / (time.monotonic() - began)
        stop.set()
        s.shutdown(socket.SHUT_RDWR)
        t.join(5)
        # What it did not send yet must not be sent beside the next measurement: the next call has the same address.
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return bps


class Pings:
    """Echoes beside something else; trips() ends them: their round trips in ms. A lost one is a fault."""

    def __init__(self, ns, host=INSIDE4, every=0.02, device=None):
        words = ["ping", "-n", "-i", every, *(["-I", device] if device else []), host]
        self.proc = ns.start(words, f"/tmp/pings-{os.getpid()}-{id(self)}")

    def trips(self, lost=1):  # the last may be on its way
        time.sleep(0.3)
        self.proc.signal(signal.SIGINT)
        self.proc.wait(5)
        text = self.proc.log()
        os.unlink(self.proc.log_path)
        trips = [float(t) for t in re.findall(r"time=([0-9.]+)", text)]
        sent, came = map(int, re.search(r"(\d+) packets transmitted, (\d+) received", text).groups())
        check(sent - came <= lost and came > 5, f"{sent} pings, {came} answers")
        return sorted(trips)


def percentile(trips, p):
    return trips[min(len(trips) - 1, len(trips) * p // 100)]


# ---- memory ----------------------------------------------------------------------------------------------------------

def memory_kib(gh):
    """Of all the server's processes, what they share counted once."""
    total = 0
    for pid in [gh.monitor_pid(), *_descendants(gh.monitor_pid())]:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
                total += int(re.search(r"^Pss:\s+(\d+)", f.read(), re.M).group(1))
    return total


# ---- paths -----------------------------------------------------------------------------------------------------------

class Router:
    """
    A home, and a router between it and the server: `home` is the client's namespace, rate() narrows both ways, lose()
    drops at random. The server is where it always is.
    """

    def __init__(self, lab):
        self.lab = lab
        self.home, self.ns = Netns("home"), Netns("router")
        for a, a_dev, a_addr, b, b_dev, b_addr in (
                (self.ns, "lan", "10.5.0.1/24", self.home, "eth0", "10.5.0.2/24"),
                (self.ns, "wan", "203.0.113.1/24", lab.server, "far0", "203.0.113.2/24")):
            a.ip("link", "add", a_dev, "type", "veth", "peer", "name", b_dev, "netns", b.name)
            for ns, dev, addr in ((a, a_dev, a_addr), (b, b_dev, b_addr)):
                ns.ip("addr", "add", addr, "dev", dev)
                ns.ip("link", "set", dev, "up")
        self.ns.sysctl("net.ipv4.ip_forward", "1")
        self.home.ip("route", "add", "default", "via", "10.5.0.1")
        self.ns.ip("route", "add", f"{SERVER4}/32", "via", "203.0.113.2")
        lab.server.ip("route", "add", "10.5.0.0/24", "via", "203.0.113.1")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lab.server.ip("link", "del", "far0")
        self.home.close()
        self.ns.close()

    def rate(self, text, burst="16kb", latency="200ms", ways=("lan", "wan")):
        """lan: to the home; wan: from it."""
        for dev in ways:
            self.ns.sh("tc", "qdisc", "replace", "dev", dev, "root", "tbf", "rate", text, "burst", burst, "latency",
                       latency)

    def wide(self, way):
        self.ns.sh("tc", "qdisc", "del", "dev", way, "root")

    def lose(self, percent):
        self.ns.sh("nft", "add table ip lose; add chain ip lose f { type filter hook forward priority 0; }; "
                   f"add rule ip lose f tcp dport 443 numgen random mod 100 < {percent} counter drop; "
                   f"add rule ip lose f tcp sport 443 numgen random mod 100 < {percent} counter drop")

    def lost(self):
        return dropped(self.ns)


def dropped(ns):
    """Packets that the rules of lose() and losing_inside() dropped."""
    return [int(n) for n in re.findall(r"counter packets (\d+)", ns.sh("nft", "list", "ruleset"))]


@contextlib.contextmanager
def losing_inside(lab, percent):
    """Between server and inside host. Segments travel there one by one downwards, and in super-packets upwards."""
    lab.server.sh("nft", "add table ip lose; "
                  "add chain ip lose pre { type filter hook prerouting priority 0; }; "
                  "add chain ip lose post { type filter hook postrouting priority 0; }; "
                  f"add rule ip lose pre iifname in0 tcp dport != 443 numgen random mod 100 < {percent} counter drop; "
                  f"add rule ip lose post oifname in0 numgen random mod 100 < {percent} counter drop")
    lab.inside.ip("link", "set", "in0", "gso_max_segs", 3)
    try:
        yield lambda: dropped(lab.server)
    finally:
        lab.inside.ip("link", "set", "in0", "gso_max_segs", 65535)
        lab.server.sh("nft", "delete table ip lose")


def open_tun(ns, name, address):
    with ns.entered():
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        ioctl(fd, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x1001))  # TUNSETIFF, IFF_TUN | IFF_NO_PI
    ns.ip("addr", "add", address, "dev", name)
    ns.ip("link", "set", name, "up", "txqueuelen", 4000)
    return fd


class Shuffled:
    """A host (`ns`, `host`) behind a wire to the server that changes the order of packets."""

    def __init__(self, lab, share=0.05, net="10.66.0"):
        self.host, self.door = f"{net}.2", f"{net}.1"  # its address, and the server's on the wire
        self.ns, self.share, self.swapped = Netns("shuffled"), share, 0
        self.fds = [open_tun(lab.server, "shuffle0", f"{self.door}/24"),
                    open_tun(self.ns, "shuffle0", f"{self.host}/24")]
        self.ns.ip("route", "add", "10.77.0.0/16", "via", self.door)
        self.end = threading.Event()
        self.threads = [threading.Thread(target=self._pump, args=pair, daemon=True)
                        for pair in (self.fds, self.fds[::-1])]
        for t in self.threads:
            t.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end.set()
        for t in self.threads:
            t.join()
        for fd in self.fds:
            os.close(fd)
        self.ns.close()

    def _pump(self, source, target):
        held, behind, dice = None, 0, random.Random(1)

        def put(p):
            with contextlib.suppress(OSError):
                os.write(target, p)
        while not self.end.is_set():
            try:
                p = os.read(source, 65536)
            except BlockingIOError:
                if held and not select.select([source], [], [], 0.002)[0]:
                    put(held)
                    held = None
                elif not held:
                    select.select([source], [], [], 0.1)
                continue
            if held is None and dice.random() < self.share:
                held, behind = p, dice.randint(1, 6)
                continue
            put(p)
            behind -= 1
            if held and behind <= 0:
                put(held)
                held = None
                self.swapped += 1


def netstat(ns, name):
    """A counter of /proc/net/netstat or snmp in a namespace."""
    for path in ("/proc/net/netstat", "/proc/net/snmp"):
        lines = ns.sh("cat", path).splitlines()
        for names, values in zip(lines[::2], lines[1::2]):
            found = dict(zip(names.split(), values.split()))
            if name in found:
                return int(found[name])
    raise KeyError(name)


# ---- datagrams -------------------------------------------------------------------------------------------------------

def udp_socket(stack, ns, family, at):
    s = stack.enter_context(contextlib.closing(ns.sock(family, socket.SOCK_DGRAM)))
    s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
    level, discover = (0, 10) if family == socket.AF_INET else (41, 23)
    s.setsockopt(level, discover, 0)  # IP_MTU_DISCOVER, IP_PMTUDISC_DONT: packets may be cut
    s.bind(at)
    s.settimeout(3)
    return s


@contextlib.contextmanager
def udp_pair(lab, c):
    """(socket at the client, its address), (socket inside, its address)."""
    with contextlib.ExitStack() as stack:
        ends = [udp_socket(stack, ns, socket.AF_INET, (host, 0)) for ns, host in
                ((c.ns, c.address), (lab.inside, INSIDE4))]
        yield [(s, s.getsockname()) for s in ends]


def link_local(ns, dev):
    """(address, index of the device)."""
    link, = json.loads(ns.sh("ip", "-j", "-6", "addr", "show", "dev", dev, "scope", "link"))
    return link["addr_info"][0]["local"], link["ifindex"]


@contextlib.contextmanager
def udp_pair6(lab, c, dev="gh0"):
    """The same over IPv6, which is link-local in the tunnel: the other end is the server itself."""
    with contextlib.ExitStack() as stack:
        at = [link_local(c.ns, c.interface), link_local(lab.server, dev)]
        ends = [udp_socket(stack, ns, socket.AF_INET6, (host, 0, 0, index)) for ns, (host, index) in
                zip((c.ns, lab.server), at)]
        yield [(s, (host, s.getsockname()[1], 0, other)) for s, (host, _), (_, other) in zip(ends, at, at[::-1])]


def datagram(size):
    return random.Random(size).randbytes(size)


def take(s, wanted, what):
    """Exactly these datagrams, in this order."""
    for n, want in enumerate(wanted):
        try:
            got = s.recv(65536)
        except TimeoutError:
            got = None
        check(got is not None, f"{what}: datagram {n} of {len(wanted)} ({len(want)} bytes) did not come")
        check(got == want, f"{what}: datagram {n} is {len(got)} bytes and not those {len(want)}")


# ---- floods ----------------------------------------------------------------------------------------------------------

class Forked:
    """A function in a process of its own, over and over, until the end."""

    def __init__(self, function, nice=0):
        self.pid = os.fork()
        if self.pid == 0:
            try:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                os.nice(nice)
                while True:
                    function()
            finally:
                os._exit(1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def flood(lab, addresses, every=0.005, segments=44, size=1372):
    """Super-packets of datagrams from inside to each of the addresses, so often each."""
    s = lab.inside.sock(kind=socket.SOCK_DGRAM)
    s.setsockopt(SOL_UDP, UDP_SEGMENT, size)
    data = BLOB[:segments * size]

    def once():
        for a in addresses:
            with contextlib.suppress(OSError):
                s.sendto(data, (a, 9))
        time.sleep(every)
    return Forked(once)


def up_and_well(c, host=POOL_SERVER):
    """The call is still that one, and answers."""
    check(c.alive() and not c.events("down"), f"the call was disturbed: {c.tail()}")
    c.ping(host, 1, 2)


def settles(value, limit, timeout, what):
    """Waits until value() is at most limit."""
    return wait_for(lambda: (v := value()) <= limit and (v or True), timeout, lambda: f"{what}: {value()} > {limit}")
