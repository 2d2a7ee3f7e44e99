"""Clients that read slowly or never, that flood, that lie in the headers of their packets: what others feel of it, and
what memory it takes.
"""

import contextlib
import os
import random
import secrets
import select
import socket
import struct
import threading
import time
import types

import speedtools as st
from connecttools import dial, status
from fakeserver import FakeServer, habit
from lablib import INSIDE4, POOL_SERVER, SERVER4, check, wait_for
from sstpclient import (IP, IPV6, Client, icmp6_echo, icmp_echo, ipv4, ipv6, link_local, packet, tcp, tcp_parse, udp,
                        udp6)
from test_net import sanitized

LAST = True  # when nothing runs beside it: see run.py

CALL_QUEUE_KIB = 512
STOPPED = 200  # one large packet for each is more than the worker may have
SLACK_KIB = 6 << 10  # what the allocator, pools of buffers and a busy kernel add to what is named
BOB = {"user": "bob", "password": "correct horse"}
SERVER_LINK_LOCAL = bytes.fromhex("fe800000000000000000000000000001")


@contextlib.contextmanager
def fixture(lab):
    """One worker, so that all meet."""
    with lab.gatehouse(worker={"threads": 1}, log={"level": "info"}, vpn={"auth": ["mschapv2", "pap"]},
                       limits={"call-queue": CALL_QUEUE_KIB}) as gh:
        yield gh


def reader(lab, stack, receive_buffer=4096):
    """A call that reads nothing by itself."""
    c = stack.enter_context(Client(lab.client, SERVER4, ca=lab.ca.cert, receive_buffer=receive_buffer,
                                   iid=secrets.token_bytes(8)))
    c.call("alice", "wonderland", "pap")
    return c


@contextlib.contextmanager
def one_byte_window(lab):
    """A call that reads all it gets, but says at each step that it has room for one byte."""
    with contextlib.ExitStack() as stack:
        lab.client.sysctl("net.ipv4.tcp_window_scaling", "0")  # or it would be a multiple
        try:
            c = reader(lab, stack)
        finally:
            lab.client.sysctl("net.ipv4.tcp_window_scaling", "1")
        port = c.s.getsockname()[1]
        lab.client.sh("nft", "add table ip narrow; add chain ip narrow o { type filter hook output priority 0; }; "
                      f"add rule ip narrow o tcp sport {port} tcp dport 443 tcp window set 1 counter")
        try:
            yield c
        finally:
            lab.client.sh("nft", "delete table ip narrow")


def deaf_flow(stack, c):
    """A TCP flow down to a call whose client acknowledges what it has not read, bit by bit, for ever."""
    def send(seq, ack, flags, data=b""):
        c.send_ip(tcp(c.address, INSIDE4, 5555, st.PORT, seq, ack, flags, data))
    def mine(f):  # not what is still sent to whoever had the address before
        segment = tcp_parse(f.data) if f.protocol == IP else None
        return segment and segment.dport == 5555
    send(1000, 0, 2)
    answer = tcp_parse(c.wait_packet(mine) or b"")
    check(answer and answer.flags == 0x12, f"no SYN-ACK: {answer}")
    send(1001, answer.seq + 1, 16, b"down 1 1000000000\n")
    ack = answer.seq + 1

    def acknowledge():
        nonlocal ack
        time.sleep(0.001)
        ack = (ack + 1200) & 0xFFFFFFFF  # less than a packet: it has been sent when this comes
        send(1019, ack, 16)
    stack.enter_context(st.Forked(acknowledge))


class Slowly(threading.Thread):
    """Reads the raw bytes of connections, so many at a time and with pauses."""

    def __init__(self, size, pause, sockets):
        super().__init__(daemon=True)
        self.size, self.pause, self.sockets, self.end, self.got = size, pause, sockets, threading.Event(), 0

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.end.set()
        self.join()

    def run(self):
        while not self.end.wait(self.pause):
            with contextlib.suppress(OSError):  # the test is over
                for fd in self.sockets:
                    if select.select([fd], [], [], 0)[0]:
                        self.got += len(os.read(fd, self.size))


def test_slow_readers(lab, gh):
    """One reads never, one slowly, one has a window of a byte, all flooded: another call keeps rate and delay."""
    with contextlib.ExitStack() as stack:
        calls = [reader(lab, stack) for _ in range(2)]
        addresses = [c.address for c in calls]
        c = stack.enter_context(st.call(lab, **BOB))
        server = stack.enter_context(st.DataServer(lab.inside))
        st.rate_down(c.ns, 0.5)
        with st.flood(lab, [f"10.77.0.{n}" for n in (201, 202, 203)]):  # the same work, for nobody
            alone = st.rate_down(c.ns, 2)
        before = st.memory_kib(gh)
        with contextlib.ExitStack() as floods:
            taken = server.sent
            for k in calls:
                deaf_flow(floods, k)
            # From now on past TLS: a flow's beginning was still read through it.
            stack.enter_context(Slowly(2000, 0.05, [calls[1].s.fileno()]))
            narrow = stack.enter_context(one_byte_window(lab))
            calls.append(narrow)
            addresses.append(narrow.address)
            narrow = stack.enter_context(Slowly(65536, 0.001, [narrow.s.fileno()]))
            wait_for(lambda: server.sent - taken > 3 << 20, 15, "flows to those who do not read")
            floods.enter_context(st.flood(lab, addresses))
            time.sleep(0.5)
            pings = st.Pings(c.ns)
            beside = st.rate_down(c.ns, 2)
            trips = pings.trips()
            peak = st.memory_kib(gh)
            sessions = {s["ip"]: s for s in gh.sessions()}
        check(0 < narrow.got < 20000, f"{narrow.got} bytes through a window of one")
        waits = [sessions[a]["queued"] for a in addresses]
        print(f"# {narrow.got} bytes byte by byte; alone {alone / 1e6:.0f} Mbit/s, beside slow readers "
              f"{beside / 1e6:.0f}; pings p99 {st.percentile(trips, 99):.1f} ms; {peak - before} KiB more, "
              f"{waits} bytes wait")
        check(beside > 0.7 * alone, f"{beside / 1e6:.0f} Mbit/s beside slow readers, {alone / 1e6:.0f} alone")
        check(st.percentile(trips, 99) < 60, f"pings beside slow readers take {trips[-5:]} ms")
        check(all(s["drop_full"] for a, s in sessions.items() if a in addresses), f"no flood: {sessions}")
        check(all(0 < w <= CALL_QUEUE_KIB << 10 for w in waits), f"{waits} bytes wait")
        check(sanitized() or peak - before < len(calls) * CALL_QUEUE_KIB + SLACK_KIB, f"{peak - before} KiB more")
        st.up_and_well(c)
        for k in calls:
            k.close()
        wait_for(lambda: len(gh.sessions()) == 1, 5, lambda: f"calls that are gone: {gh.sessions()}")
        if not sanitized():
            st.settles(lambda: st.memory_kib(gh) - before, SLACK_KIB // 2, 5, "KiB kept for those who are gone")


def many_stopped(lab, workers, each_kib, **vpn):
    with lab.gatehouse(worker={"threads": workers}, log={"level": "info"}, vpn={"auth": ["mschapv2", "pap"], **vpn},
                       limits={"worker-queue": 8}) as gh, contextlib.ExitStack() as stack:
        calls = [reader(lab, stack) for _ in range(STOPPED)]
        c = stack.enter_context(st.call(lab, **BOB))
        stack.enter_context(st.DataServer(lab.inside))
        before = st.memory_kib(gh)
        with st.flood(lab, [k.address for k in calls], every=0.1):
            time.sleep(2)
            pings = st.Pings(c.ns)
            beside = st.rate_down(c.ns, 2)
            trips = pings.trips()
            peak = st.memory_kib(gh)
        queued = gh.cli("status")["queued"]
        print(f"# beside {STOPPED} who stopped: {beside / 1e6:.0f} Mbit/s; pings p99 "
              f"{st.percentile(trips, 99):.1f} ms; {peak - before} KiB more, queued {queued}")
        check(beside > 20e6, f"{beside / 1e6:.1f} Mbit/s beside those who stopped")
        check(sanitized() or peak - before < workers * (each_kib + SLACK_KIB), f"{peak - before} KiB more")
        check(all(q <= 8 << 20 for q in queued), f"{queued} bytes wait")
        check(sum(queued) > 7 << 20, f"{queued} bytes wait: the memory was not filled")
        st.up_and_well(c)
        for k in calls:
            k.close()
        wait_for(lambda: len(gh.sessions()) == 1, 5, lambda: f"calls that are gone: {gh.sessions()}")
        if not sanitized():
            st.settles(lambda: st.memory_kib(gh) - before, SLACK_KIB // 2, 5, "KiB kept for those who are gone")


def test_many_stopped(lab):
    """Many who do not read may fill their worker's memory, and still it has some for the others."""
    many_stopped(lab, 1, 8 << 10)


def test_many_stopped_handed_over(lab):
    """The same where packets come in on another worker's queue, and some wait between the two."""
    many_stopped(lab, 2, (8 + 4) << 10, steering="off")


# ---- lies ------------------------------------------------------------------------------------------------------------

def put16(data, at, value):
    return data[:at] + struct.pack("!H", value & 0xFFFF) + data[at + 2:]


def put8(data, at, value):
    return data[:at] + bytes([value & 0xFF]) + data[at + 1:]


def tcp6(src, dst, payload):
    """With a checksum of nothing: it is not looked at before the lengths."""
    return ipv6(src, dst, 6, struct.pack("!HHIIBBHHH", 4000, 4001, 1, 1, 5 << 4, 16, 1000, 0, 0) + payload)


def good_packets(c):
    """[(protocol, packet)] of one end, of each kind that something looks into."""
    src, dst = link_local(c.iid), SERVER_LINK_LOCAL
    body = st.BLOB[:600]
    hop = struct.pack("!BB", 17, 0) + b"\x01\x04\0\0\0\0"
    return [(IP, tcp(c.address, c.to, 4000, 4001, 1000, 1, 16, body)),
            (IP, udp(c.address, c.to, 4000, 4001, body)),
            (IP, icmp_echo(c.address, c.to, 1, 1, body)),
            (IP, ipv4(c.address, c.to, 47, body)),
            (IPV6, tcp6(src, dst, body)),
            (IPV6, udp6(src, dst, 4000, 4001, body)),
            (IPV6, icmp6_echo(src, dst, 1, 1, body)),
            (IPV6, ipv6(src, dst, 0, hop + body)),
            (IPV6, ipv6(src, dst, 44, struct.pack("!BBHI", 17, 0, 1, 7) + body))]


def lies(c, dice):
    """(protocol, packet) of all kinds of lies."""
    for protocol, p in good_packets(c):
        length_at, l4 = (2, 20) if protocol == IP else (4, 40)
        for v in (0, 1, 7, 8, 19, 20, 21, 27, 28, 39, 40, len(p) - 40, len(p) - 1, len(p) + 1, 1500, 32768, 65535):
            yield protocol, put16(p, length_at, v)
            yield protocol, put16(p, l4 + 4, v)  # UDP's length, among others
        for v in range(16):
            yield protocol, put8(p, 0, (p[0] & 0xF0) | v)  # header length
            yield protocol, put8(p, 0, v << 4 | (p[0] & 15))
            yield protocol, put8(p, l4 + 12, v << 4)  # TCP data offset
            yield protocol, put8(put16(p[:l4 + v], length_at, l4 + v), l4, 5)
        for v in range(0, 256, 3):
            yield protocol, put8(p, 9 if protocol == IP else 6, v)  # next header
            yield protocol, put8(p, l4 + 1, v)  # length of an extension header
            yield protocol, put8(p, l4 + 13, v)  # TCP flags
        for n in range(l4 + 61):
            yield protocol, p[:n]
            yield protocol, put16(p[:n], length_at, n if protocol == IP else n - 40) if n >= 6 else p[:n]
        for v in (0x2000, 0x4000, 0x8000, 0x1FFF, 0x3FFF, 0xFFFF):
            yield protocol, put16(p, 6, v)  # fragments
        for _ in range(300):
            bad = bytearray(p)
            for _ in range(dice.randint(1, 4)):
                bad[dice.randrange(min(len(bad), l4 + 24))] = dice.randrange(256)
            yield protocol, bytes(bad)
        yield IP + IPV6 - protocol, p  # in a frame of the other protocol
    for spoofed in ("10.77.0.1", "127.0.0.1", "0.0.0.0", "255.255.255.255", INSIDE4, "224.0.0.1"):
        yield IP, udp(spoofed, c.to, 1, 4001, b"x")
        yield IP, tcp(spoofed, c.to, 1, 4001, 1, 1, 2)
    for spoofed in (bytes(16), SERVER_LINK_LOCAL, b"\xff\x02" + bytes(13) + b"\1", os.urandom(16)):
        yield IPV6, udp6(spoofed, SERVER_LINK_LOCAL, 1, 4001, b"x")
    for _ in range(3000):
        yield dice.choice((IP, IPV6)), dice.randbytes(dice.randint(0, 1500))


def joined_lies(c, dice):
    """Segments that follow each other, each in something a lie: what is joined is what is true."""
    for _ in range(400):
        seq = dice.randrange(1 << 32)
        for _ in range(dice.randint(2, 20)):
            body = st.BLOB[:dice.choice((1, 500, 1360, 1360, 1360))]
            p = tcp(c.address, c.to, 4000, 4001, seq, 1, dice.choice((16, 16, 16, 24, 17, 18)), body)
            seq = (seq + len(body)) & 0xFFFFFFFF
            if dice.random() < 0.2:
                p = put8(p, dice.randrange(40), dice.randrange(256))
            yield IP, p


def frames(packets):
    """SSTP data packets, many in one piece."""
    out = bytearray()
    for protocol, p in packets:
        out += packet(b"\xff\x03" + struct.pack("!H", protocol) + p)
        if len(out) > 60000:
            yield bytes(out)
            out.clear()
    yield bytes(out)


def test_lies(lab, gh):
    """Headers that lie change counters, and nothing else."""
    seed = random.randrange(1 << 32)
    print(f"# seed {seed}")
    dice = random.Random(seed)
    with contextlib.ExitStack() as stack:
        liar = reader(lab, stack, None)
        liar.open_ipv6cp()
        liar.to = INSIDE4
        c = stack.enter_context(st.call(lab, **BOB))
        stack.enter_context(st.DataServer(lab.inside))
        pings, since, pids = st.Pings(c.ns), gh.mark(), gh.engine_pids()
        before = st.memory_kib(gh)
        for what in (lies, joined_lies):
            n = 0
            for data in frames(what(liar, dice)):
                liar.send(data)
                n += 1
                if n % 4 == 0:  # answers to what was true by chance are read
                    check(liar.ping(POOL_SERVER, n), f"the liar's call is silent after {n} pieces of {what.__name__}")
            check(liar.ping(INSIDE4, 77), f"the liar's call is silent after {what.__name__}")
            st.flows(c.ns, 1 << 20)
        s = next(s for s in gh.sessions() if s["ip"] == liar.address)
        check(s["drop_source"] > 3000, f"only {s['drop_source']} packets were not theirs")
        check(gh.cli("status")["calls"] == 2, "status")
        loud = [e["text"] for e in gh.log()[since:] if e.get("level") in ("warn", "error")]
        check(not loud and gh.engine_pids() == pids, f"lines about lies: {loud[:3]}")
        check(sanitized() or st.memory_kib(gh) - before < SLACK_KIB, "memory grows by lies")
        trips = pings.trips()
        check(st.percentile(trips, 99) < 200, f"pings beside a liar: {trips[-5:]} ms")
        st.up_and_well(c)


def test_lies_of_a_server(lab):
    """The same to a client of ours: counters, and the call goes on."""
    seed = random.randrange(1 << 32)
    print(f"# seed {seed}")
    dice = random.Random(seed)
    what = habit(ip="10.99.7.1", client_ip="10.99.7.2", dns=())
    with FakeServer([lab.server.listen(SERVER4, 9443)], [lab.vpn], {"alice": "wonderland"}, what) as server, \
            dial(lab, "https://vpn.example.com:9443/", conf={"tunnel": {"dns": "off"}}) as c:
        c.wait_up()
        call, = server.calls
        end = types.SimpleNamespace(address=what.ip, to=what.client_ip, iid=secrets.token_bytes(8))
        for kind in (lies, joined_lies):
            for n, data in enumerate(frames(kind(end, dice))):
                call.do.put(lambda data=data: call.send(data))
                if n % 8 == 0:
                    st.up_and_well(c, what.ip)
            st.up_and_well(c, what.ip)
        s = status(c)["call"]
        check(s["drop_odd"] > 1000 and s["rx_packets"] > 1000, f"the client counted {s}")
        check(not [e for e in c.log() if e.get("level") in ("warn", "error")], f"loud: {c.tail(9)}")


# ---- floods ----------------------------------------------------------------------------------------------------------

def test_flood_upwards(lab, gh):
    """One sends as fast as it goes: no more memory, and the others have their share."""
    with contextlib.ExitStack() as stack:
        flooder = reader(lab, stack, None)
        c = stack.enter_context(st.call(lab, **BOB))
        stack.enter_context(st.DataServer(lab.inside))
        alone = st.rate_down(c.ns, 1)
        s = stack.enter_context(contextlib.closing(lab.inside.sock(kind=socket.SOCK_DGRAM)))
        s.bind((INSIDE4, 9))  # so that nobody answers
        before = st.memory_kib(gh)
        data = b"".join(frames([(IP, udp(flooder.address, INSIDE4, 5000 + n % 50, 9, st.BLOB[:1372]))
                                for n in range(300)]))
        sessions = {s["ip"]: s for s in gh.sessions()}
        with st.Forked(lambda: flooder.s.sendall(data)):
            pings, peak, began = st.Pings(c.ns), 0, time.monotonic()
            time.sleep(1)
            beside = st.rate_down(c.ns, 2)
            while time.monotonic() < began + 10:
                time.sleep(0.25)
                peak = max(peak, st.memory_kib(gh))
            trips = pings.trips()
            took = time.monotonic() - began
            now = {s["ip"]: s for s in gh.sessions()}
        bps = (now[flooder.address]["rx_bytes"] - sessions[flooder.address]["rx_bytes"]) * 8 / took
        print(f"# flood of {bps / 1e6:.0f} Mbit/s: {alone / 1e6:.0f} Mbit/s alone, {beside / 1e6:.0f} beside; pings "
              f"p50 {st.percentile(trips, 50):.1f}, p99 {st.percentile(trips, 99):.1f} ms; {peak - before} KiB more")
        check(bps > 50e6, f"this is no flood: {bps / 1e6:.0f} Mbit/s")
        check(peak - before < 10 << 10, f"{peak - before} KiB more in a flood")
        check(beside > 0.2 * alone, f"{beside / 1e6:.0f} Mbit/s beside a flood, {alone / 1e6:.0f} alone")
        check(st.percentile(trips, 99) < 60, f"pings beside a flood: {trips[-5:]} ms")
        st.up_and_well(c)
