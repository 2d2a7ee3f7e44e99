"""Input that has broken other servers, over real TLS. While it is sent, a call made beforehand goes on passing data,
the engine's memory stays bounded, and every offender's connection ends in bounded time with the answer that is defined.
"""

import contextlib
import json
import os
import re
import ssl
import struct
import threading
import time

import sstpclient as sc
from lablib import INSIDE4, POOL_SERVER, SERVER4, VECTORS, check, wait_for
from sstpclient import (ABORT, CC_NAK, CHAP, CONF_NAK, CONF_REQ, EAP, ECHO_REQUEST, LCP, PAP, PROTO_REJ, URI, Client,
                        Closed, Frame, attribute, cp, message, option, packet, status_info)

TIMEOUT = 2           # head and handshake, in the configuration
NEGOTIATION_MAX = 60  # Configure packets in one negotiation
FAULTS_MAX = 16       # so many faults one CALL_CONNECT_NAK tells
MEMORY_KIB = 2048     # how much the engine's peak may exceed what it had before the case


class Control:
    """The server, a good call through it, and its memory before anything bad was sent."""

    def __init__(self, lab, gh):
        self.lab, self.gh = lab, gh
        self.call = Client(lab.client, SERVER4, ca=lab.ca.cert)
        self.call.call("erin", "secret", "mschapv2")
        self.seq = 0
        self.ping()
        for user, password in (("alice", "wonderland"), ("bob", "correct horse")) * 4:  # what is allocated once
            with self.client() as c:
                c.call(user, password)
                c.hang_up()
        self.measure()

    def memory_kib(self, what):
        pid, = self.gh.engine_pids()
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            return int(re.search(rf"{what}:\s+(\d+)", f.read()).group(1))

    def measure(self):
        """From here on the kernel keeps the engine's peak anew."""
        pid, = self.gh.engine_pids()
        with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as f:
            f.write("5")
        self.rss = self.memory_kib("VmRSS")

    def ping(self):
        self.seq += 1
        check(self.call.ping(INSIDE4, seq=self.seq), "the control call no longer passes data")

    def well(self):
        """After each case; the peak covers the time in which the offender was connected."""
        self.ping()
        peak = self.memory_kib("VmHWM")
        check(peak < self.rss + MEMORY_KIB, f"the engine grew from {self.rss} to {peak} KiB")
        wait_for(lambda: len(self.gh.sessions()) == 1, 8, lambda: f"one session, not {self.gh.sessions()}")
        self.measure()

    def client(self, **kw):
        return Client(self.lab.client, SERVER4, ca=self.lab.ca.cert, **kw)


@contextlib.contextmanager
def fixture(lab):
    with lab.gatehouse(vpn={"auth": ["mschapv2", "pap"]},
                       limits={"connections": 4000, "head-timeout": TIMEOUT, "handshake-timeout": TIMEOUT}) as gh:
        c = Control(lab, gh)
        yield c
        c.call.hang_up()
        check(not gh.events(None), f"lines that are no events: {gh.events(None)[:3]}")


def statuses(c, said, kind):
    return [s for m in said if m.kind == kind for s in c.status(m)]


def ends(c, kind=None, *want, timeout=8):
    """The server ends the connection: with one message of this kind and its status, or (None) without any message."""
    said, closed = c.fate(timeout)
    check(closed, f"the connection stayed open; the server said {said}")
    if kind is None:
        check(not said, f"the server said {said} instead of just closing")
        return
    check([m.kind for m in said if m.kind in (ABORT, CC_NAK)] == [kind], f"the server said {said}")
    if want:
        check(statuses(c, said, kind) == list(want), f"the server said {said}, expected status {want}")


def naked(c, *want):
    """A CALL_CONNECT_NAK with exactly these (AttribID, Status); a good request is still taken afterwards."""
    nak = c.expect(CC_NAK)
    check(c.status(nak) == list(want), f"NAK with {c.status(nak)}, expected {want}")
    c.connect_request()


# ---- SSTP framing --------------------------------------------------------------------------------------------------

def test_length_below_header(_lab, ctl):
    """Length 0 to 3: nothing can be delimited any more; closed at once, in whatever state."""
    for length in range(4):
        for state in ("before the request", "after the ACK"):
            with ctl.client() as c:
                c.http()
                if state == "after the ACK":
                    c.connect_request()
                for control in (True, False):
                    with contextlib.suppress(Closed):
                        c.send(packet(b"", control=control, length=length) + b"\0" * 64)
                ends(c)
    ctl.well()


def test_control_length_below_eight(_lab, ctl):
    """Too short for its own header: as little to be delimited as a length below four."""
    for length in (4, 5, 6, 7):
        with ctl.client() as c:
            c.http()
            c.send(packet(b"\0\1\0\1"[:length - 4], control=True))
            ends(c)
    ctl.well()


def test_wrong_version(_lab, ctl):
    for version in (0x00, 0x11, 0x20, 0xFF):
        with ctl.client() as c:
            c.http()
            c.send(packet(sc.CCR_BYTES[4:], control=True, version=version))
            ends(c)
    ctl.well()


def test_reserved_bits(_lab, ctl):
    """Reserved bits of flags and Length are ignored; Length has 12 bits, so none is above 4095."""
    for header in ({"flags": 0xFF}, {"length": 0xF000 | 14}, {"flags": 0x81, "length": 0xA000 | 14}):
        with ctl.client() as c:
            c.http()
            c.connect_request(packet(sc.CCR_BYTES[4:], control=True, **header))
    with ctl.client() as c:  # reserved nibble of an attribute's Length
        c.http()
        c.connect_request(message(1, attribute(1, b"\0\1", length=0xF006)))
    ctl.well()


def test_largest_packet(_lab, ctl):
    """4095 bytes are legal, and 4096 is Length 0."""
    with ctl.client() as c:
        c.call("alice", "wonderland")
        c.send(packet(b"\xff\x03\xc0\x21" + cp(11, 1, c.magic + b"x" * 4079), length=4095))
        check(c.ping(POOL_SERVER), "no ping after a packet of 4095 bytes")
        c.send(packet(b"\0" * 4092, length=4096))
        ends(c)
    ctl.well()


def test_attribute_lengths(_lab, ctl):
    """An attribute length of 0 to 3, or beyond the packet: an invalid message, status 7."""
    for length in (0, 1, 2, 3, 7, 16, 4095):
        with ctl.client() as c:
            c.http()
            c.send(message(1, attribute(1, b"\0\1", length=length)))
            ends(c, ABORT, (2, 7))
    ctl.well()


def test_attribute_count(_lab, ctl):
    for count in (2, 255, 65535):
        with ctl.client() as c:
            c.http()
            c.send(message(1, attribute(1, b"\0\1"), count=count))
            ends(c, ABORT, (2, 7))
    with ctl.client() as c:  # as many as a packet holds, all of them faults: the first few are told
        c.http()
        c.send(message(1, *[attribute(9)] * 1000))
        naked(c, *[(9, 2)] * FAULTS_MAX)
    with ctl.client() as c:
        c.http()
        c.send(message(1, *[attribute(9)] * 1000, count=65535))
        ends(c, ABORT, (2, 7))
    ctl.well()


def test_duplicate_attributes(_lab, ctl):
    with ctl.client() as c:
        c.http()
        c.send(message(1, attribute(1, b"\0\1"), attribute(1, b"\0\1")))
        naked(c, (1, 1))
    ctl.well()


def test_unacceptable_requests(_lab, ctl):
    """Each fault has its status; after more than three NAKs the server gives up with status 6."""
    cases = [(message(1, attribute(1, b"\0\2")), [(1, 4)]), (message(1), [(1, 10)]),
             (message(1, attribute(1, b"\0\1"), attribute(7)), [(7, 2)]),
             (message(1, attribute(1, b"\0\1\0\0")), [(1, 3)]),
             (message(1, attribute(1, b"\0\1"), status_info(0, 4)), [(2, 11)])]
    for data, want in cases:
        with ctl.client() as c:
            c.http()
            c.send(data)
            naked(c, *want)
    with ctl.client() as c:
        c.http()
        for _ in range(3):
            c.send(message(1, attribute(1, b"\0\2")))
            c.expect(CC_NAK)
        c.send(message(1, attribute(1, b"\0\2")))
        ends(c, ABORT, (2, 6))
    ctl.well()


def test_malformed_vectors(_lab, ctl):
    """tests/vectors/sstp-messages.json: ABORT with status 7, or nothing where no packet can be told apart."""
    with open(os.path.join(VECTORS, "sstp-messages.json"), encoding="utf-8") as f:
        vectors = json.load(f)["malformed"]
    done = {"close": 0, "abort": 0, "nak": 0}
    for v in vectors:
        want = v["expect"]
        if want.startswith("valid"):
            continue
        with ctl.client() as c:
            c.http()
            c.send(bytes.fromhex(v["hex"]))
            if want.startswith("NAK"):
                naked(c, tuple(int(re.search(rf"{k} (0x[0-9a-f]+|\d+)", want).group(1), 0)
                               for k in ("attrib", "status")))
                done["nak"] += 1
            elif want.startswith(("delineation", "invalid control packet")):
                ends(c)
                done["close"] += 1
            else:
                check(want.startswith(("Call Abort", "malformed", "invalid message")), f"what is {want!r}?")
                ends(c, ABORT, (2, 7))
                done["abort"] += 1
    check(done["close"] >= 4 and done["abort"] >= 6 and done["nak"] >= 6, f"only these vectors were used: {done}")
    ctl.well()


def test_unknown_message(_lab, ctl):
    """A type that is none is an invalid message; one that has no place here is an unaccepted frame."""
    for kind in (0, 10, 0x1234, 0xFFFF):
        with ctl.client() as c:
            c.http()
            c.send(message(kind))
            ends(c, ABORT, (2, 7))
    for body in (message(sc.CC_ACK, attribute(4, b"\0\0\0\3" + b"n" * 32)), message(sc.CC_NAK),
                 message(ECHO_REQUEST), message(sc.ECHO_RESPONSE), message(sc.DISCONNECT_ACK)):
        with ctl.client() as c:
            c.http()
            c.send(body)
            ends(c, ABORT, (2, 5))
    ctl.well()


# ---- order ---------------------------------------------------------------------------------------------------------

def test_data_before_connect(_lab, ctl):
    """PPP before CALL_CONNECT_REQUEST is dropped, not answered, and does no harm to the call."""
    with ctl.client() as c:
        c.http()
        for _ in range(50):
            c.send_ppp(LCP, cp(CONF_REQ, 1, option(5, c.magic)))
            c.send_ip(sc.icmp_echo("10.77.0.5", POOL_SERVER, 1, 1))
        c.connect_request()
        check(not [x for x in c.seen if isinstance(x, Frame)], f"the server answered {c.seen}")
        check(c.login("alice", "wonderland"), "no login afterwards")
    ctl.well()


def test_data_before_connected(lab, ctl):
    """IP between login and CALL_CONNECTED does not come out inside (MS-SSTP 3.3.7); afterwards it does."""
    sink = lab.inside.listen(INSIDE4, 9001, sc.socket.SOCK_DGRAM)
    sink.settimeout(5)
    with contextlib.closing(sink), ctl.client() as c:
        c.http()
        c.connect_request()
        check(c.login("alice", "wonderland", "mschapv2"), "login")
        mine = c.open_ipcp()  # control traffic: passes already
        for _ in range(20):
            c.send_ip(sc.udp(mine, INSIDE4, 1, 9001, b"early"))
        c.send_connected()
        c.send_ip(sc.udp(mine, INSIDE4, 1, 9001, b"late"))
        check(sink.recv(100) == b"late", "what was sent before CALL_CONNECTED came out")
        c.hang_up()
    ctl.well()


def test_connected_twice(_lab, ctl):
    with ctl.client() as c:
        c.call("alice", "wonderland")
        c.send_connected()
        ends(c, ABORT, (2, 5))
    ctl.well()


def test_second_connect_request(_lab, ctl):
    with ctl.client() as c:
        c.http()
        c.connect_request()
        c.send(sc.CCR_BYTES)
        ends(c, ABORT, (2, 5))
    ctl.well()


def test_connected_before_authentication(lab, ctl):
    """
    A CALL_CONNECTED with a MAC over zero keys, which anybody can make, must not open the gate: it is held, and judged
    by the keys of the login. With PAP, whose keys are zero, the held one is then right.
    """
    sink = lab.inside.listen(INSIDE4, 9002, sc.socket.SOCK_DGRAM)
    with contextlib.closing(sink):
        with ctl.client() as c:
            c.http()
            c.connect_request()
            c.send_connected(b"\0" * 32)
            for _ in range(20):
                c.send_ip(sc.udp("10.77.0.5", INSIDE4, 1, 9002, b"forged"))
            c.open_lcp("mschapv2", "alice", "wonderland")
            with contextlib.suppress(Closed):
                c.pump(lambda: c.auth_done or c.ended, user="alice", password="wonderland", method="mschapv2")
            said, closed = c.fate(8)
            end = [m for m in [c.ended, *said] if m]
            check(closed and [m.kind for m in end] == [ABORT], f"{end}, closed {closed}")
            check(c.status(end[0]) == [(3, 4)], f"ABORT with {end[0].attributes}")
        with ctl.client() as c:
            c.http()
            c.connect_request()
            c.send_connected(b"\0" * 32)
            check(c.login("alice", "wonderland", "pap"), "login")
            c.open_ipcp()
            check(c.ping(INSIDE4), "no data after a CALL_CONNECTED that came early")
            c.hang_up()
        sink.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            check(False, f"{sink.recv(100)} came out inside")
    ctl.well()


# ---- delivery ------------------------------------------------------------------------------------------------------

def test_record_ends_inside_header(_lab, ctl):
    for cut in (1, 2, 3, 5, 9):
        with ctl.client() as c:
            c.http()
            c.send(sc.CCR_BYTES[:cut])
            c.send(sc.CCR_BYTES[cut:])
            c.take_ack()
    ctl.well()


def test_request_and_first_packet_together(_lab, ctl):
    with ctl.client() as c:
        c.http(with_request=sc.CCR_BYTES)
        c.take_ack()
        check(c.login("alice", "wonderland"), "login")
    with ctl.client() as c:  # and the second packet begun
        c.http(with_request=sc.CCR_BYTES + b"\x10\x00")
        c.take_ack()
        c.send(packet(b"\xff\x03\xc0\x21" + cp(CONF_REQ, 9, option(5, c.magic)))[2:])
        c.credentials = (None, None, None)
        c.pump(lambda: LCP in c.open or c._acked[LCP], 5)  # pylint: disable=protected-access
    ctl.well()


def test_one_byte_records(_lab, ctl):
    """A whole call, every byte in a TLS record of its own."""
    with ctl.client() as c:
        whole = c.send
        c.send = lambda data, piece=None: whole(data, 1)
        c.call("alice", "wonderland")
        check(c.ping(INSIDE4), "no ping")
        c.hang_up()
    ctl.well()


def test_many_packets_in_one_record(_lab, ctl):
    with ctl.client() as c:
        mine = c.call("alice", "wonderland")
        c.send(b"".join(packet(b"\xff\x03\0\x21" + sc.icmp_echo(mine, POOL_SERVER, 77, n)) for n in range(200)))
        seen = []
        c.on_packet = lambda f: seen.append(struct.unpack("!H", f.data[26:28])[0])
        c.pump(lambda: len(seen) >= 200, 10)
        # Not in order: the kernel may give a flow's first answer to another worker's queue, which hands it over.
        check(sorted(seen) == list(range(200)), f"answers are missing: {sorted(seen)}")
        c.hang_up()
    ctl.well()


# ---- PPP -----------------------------------------------------------------------------------------------------------

def test_lengths_that_lie(_lab, ctl):
    """
    EAP, CHAP, PAP and LCP packets whose inner lengths exceed the packet: dropped, but for the one Protocol-Reject that
    EAP gets. They log nobody in, and use up none of the tries: the right password still passes.
    """
    for length in (0, 3, 5, 1500, 4096, 65535):
        with ctl.client() as c:
            c.http()
            c.connect_request()
            c.open_lcp("mschapv2", "alice", "wonderland")
            for n in range(100):
                for protocol, body in ((EAP, b"\x01alice"), (EAP, b"\x0d\xc0\xff\xff\xff\xffxx"),
                                       (CHAP, b"\x31" + b"x" * 10), (CHAP, b"\xff"), (PAP, b"\xff\xff")):
                    c.send_ppp(protocol, cp(2, n, body, length))
            for n in (0, 1, 3, 60, 255):
                c.send_ppp(LCP, cp(CONF_REQ, n, option(5, b"abcd", length=n)))
            check(not c.auth_done, f"length {length}: logged in by a lie")
            check(c.login("alice", "wonderland", "mschapv2"), f"length {length}: {c.failure_text}")
            rejects = [f.data for f in c.seen if isinstance(f, Frame) and f.protocol == LCP and f.data[0] == PROTO_REJ]
            check([x[4:6].hex() for x in rejects] == ["c227"], f"length {length}: Protocol-Rejects {rejects}")
    with ctl.client() as c:
        c.http()
        c.connect_request()
        c.open_lcp("pap")
        for body in (b"\xff", b"\x05alice", b"\x05alice\xffwonderland", b""):
            c.send_ppp(PAP, cp(1, c.ident(), body))
        check(c.login("alice", "wonderland", "pap"), "no login after malformed PAP requests")
    ctl.well()


def test_endless_configure_nak(_lab, ctl):
    """A client that naks every request is told goodbye after as many packets as one negotiation may have."""
    rounds, closed = 0, False
    with ctl.client() as c:
        peer = "%s:%d" % c.s.getsockname()
        c.http()
        c.connect_request()
        c.start_lcp()
        try:
            deadline = time.monotonic() + 30
            while rounds < 500:
                item = c.read(max(0.01, deadline - time.monotonic()))
                if not isinstance(item, Frame):
                    check(item.kind == sc.DISCONNECT, f"the server said {item}")
                    c.send(message(sc.DISCONNECT_ACK))
                elif item.protocol == LCP and item.data[0] == CONF_REQ:
                    rounds += 1
                    c.send_ppp(LCP, cp(CONF_NAK, item.data[1], option(1, struct.pack("!H", 1000 + rounds))))
                elif item.protocol == LCP and item.data[0] == sc.TERM_REQ:
                    c.send_ppp(LCP, cp(sc.TERM_ACK, item.data[1]))
        except Closed:
            closed = True
        check(closed, f"the connection stayed open for {rounds} rounds")
        check(NEGOTIATION_MAX - 5 <= rounds <= NEGOTIATION_MAX + 2, f"{rounds} rounds")
    e = ctl.gh.wait_event("refused", peer=peer, cause="protocol")
    check('text="endless negotiation"' in e["text"], e["text"])
    ctl.well()


def test_flood_of_requests(_lab, ctl):
    """Ten thousand Configure-Requests without reading an answer: memory stays bounded."""
    with ctl.client() as c:
        c.http()
        c.connect_request()
        c.s.settimeout(3)
        with contextlib.suppress(Closed, TimeoutError, OSError):
            for n in range(10000):
                c.send_ppp(LCP, cp(CONF_REQ, n & 0xFF, option(5, c.magic) + option(99, b"x" * 200)))
        ctl.well()


# ---- HTTP and TLS --------------------------------------------------------------------------------------------------

def test_oversized_head(_lab, ctl):
    """A head on the SSTP URI above the limit: 431 and the end, whether it comes at once or byte by byte; and a line."""
    big = f"SSTP_DUPLEX_POST {URI} HTTP/1.1\r\nHost: a\r\n".encode() + b"X-Filler: " + b"x" * 9000
    for piece in (len(big), 1, 1000):
        with ctl.client() as c:
            peer, began, answer, sent = "%s:%d" % c.s.getsockname(), time.monotonic(), b"", 0
            c.s.setblocking(False)
            while b"\r\n\r\n" not in answer and time.monotonic() < began + TIMEOUT + 2:  # reads while it writes
                with contextlib.suppress(ssl.SSLWantWriteError):
                    if sent < len(big):
                        sent += c.s.send(big[sent:sent + piece])
                with contextlib.suppress(ssl.SSLWantReadError):
                    answer += c.s.recv(4096)
            check(answer.startswith(b"HTTP/1.1 431 "), f"pieces of {piece}: answer {answer[:100]!r} to {sent} bytes")
            check(time.monotonic() - began < TIMEOUT, f"pieces of {piece}: {time.monotonic() - began:.1f} s")
            c.s.settimeout(5)
            check(c.read_all(5) == b"", "more than an answer")
        e = ctl.gh.wait_event("refused", peer=peer, cause="bad-request")
        check('text="head too large"' in e["text"] and e.get("remedy"), e["text"])
    ctl.well()


def test_many_header_lines(_lab, ctl):
    with ctl.client() as c:
        with contextlib.suppress(Closed):
            c.send(c.request(extra="".join(f"X-{n}: y\r\n" for n in range(200))))
        answer = c.read_all(5)
        check(answer.startswith(b"HTTP/1.1 431 "), f"answer {answer[:100]!r}")
    ctl.well()


def within(seconds, work):
    began = time.monotonic()
    work()
    took = time.monotonic() - began
    check(took < seconds, f"took {took:.1f} s")


def test_slow_clients(lab, ctl):
    """Slow heads, silence after and before TLS, half a ClientHello, all at once: each ends at its deadline."""
    faults, peers, since = [], [], ctl.gh.mark()

    def case(name, body):
        def run():
            try:
                within(TIMEOUT + 3, body)
            except Exception as e:  # told by the test's own thread
                faults.append(f"{name}: {e}")
        return threading.Thread(target=run)

    def slow_head():
        with ctl.client() as c:
            peers.append("%s:%d" % c.s.getsockname())
            with contextlib.suppress(Closed):
                for b in c.request()[:-2]:
                    c.send(bytes([b]))
                    try:
                        c._fill(time.monotonic() + 0.1)  # pylint: disable=protected-access
                    except TimeoutError:
                        pass
            check(c.read_all(3) == b"", "an answer")

    def silent_tls():
        with ctl.client() as c:
            peers.append("%s:%d" % c.s.getsockname())
            check(c.read_all(TIMEOUT + 2) == b"", "an answer")

    def tcp(first):
        def body():
            with contextlib.closing(lab.client.connect(SERVER4, 443, TIMEOUT + 3)) as s:
                peers.append("%s:%d" % s.getsockname())
                s.sendall(first)
                with contextlib.suppress(ConnectionError):
                    while s.recv(4096):
                        pass
        return body

    threads = [case("slow head", slow_head), case("silence after TLS", silent_tls), case("silence", tcp(b"")),
               case("half a ClientHello", tcp(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"))]
    for t in threads:
        t.start()
    ctl.ping()
    for t in threads:
        t.join(15)
    check(not faults, "; ".join(faults))
    check(len(peers) == len(threads), f"{len(peers)} clients")
    for p in peers:
        wait_for(lambda p=p: len(ctl.gh.events("timed-out", since, peer=p, level="notice")) == 1, 5,
                 lambda p=p: f"one timed-out of {p}: {ctl.gh.tail()}")
    ctl.well()


def test_plain_http_to_the_tls_port(lab, ctl):
    since = ctl.gh.mark()
    for first in (b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n", sc.Client.request(), b"\0" * 3000,
                  os.urandom(3000)):
        with contextlib.closing(lab.client.connect(SERVER4, 443, 4)) as s:
            s.sendall(first)
            with contextlib.suppress(ConnectionError):
                answer = s.recv(4096)
                check(not answer.startswith(b"HTTP/1.1 200"), f"answer {answer!r}")
                while s.recv(4096):
                    pass
    ctl.gh.wait_event("tls-failed", since=since)
    ctl.well()


def test_no_call_is_left(_lab, ctl):
    """After all of the above: one session, no connection of ours that still waits on the server."""
    ctl.well()
    ours = ctl.lab.server.sh("ss", "-Htn", "state", "established", "sport = :443").split("\n")
    check(len([x for x in ours if x.strip()]) == 1, f"connections: {ours}")
