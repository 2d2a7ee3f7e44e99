"""Dial storms: hundreds of handshakes and calls at once, and what a running call feels of them.

One worker, so that the storm and the call meet, and a certificate with an RSA key, whose signatures are slow. The storm's
programs run with the lowest priority: what is measured is the server, not who gets the CPU.
"""

import contextlib
import fcntl
import json
import os
import select
import socket
import ssl
import time

from lablib import POOL_SERVER, SERVER4, Gatehouse, check, load_path, wait_for
from sstpclient import Client

LAST = True  # when nothing runs beside it: see run.py

AT_ONCE = 500
P99_MS = 40  # of the running call's round trips in a storm; 200 and more when all that came is done at once
WORST_MS = 90


@contextlib.contextmanager
def fixture(lab, key="rsa:2048", timeout=20):
    chain, private = lab.ca.issue("storm-" + key.replace(":", ""), ["www.example.com"], key=key)
    with lab.gatehouse("storm", worker={"threads": 1}, log={"level": "notice"},
                       certificates=[{"name": "www", "chain": chain, "key": private, "for": ["default"]}],
                       vpn={"network": ["10.77.0.0/20"], "max-calls": 3000},
                       limits={"unauthenticated-per-source": 10000, "handshake-timeout": timeout}) as gh:
        yield gh


def steady(lab):
    """A call that is up."""
    c = Client(lab.client, ca=lab.ca.cert)
    c.call("alice", "wonderland")
    check(c.ping(POOL_SERVER), "no answer to a ping through the call")
    return c


def feel(c, going_on, every=0.004):
    """Round trips in ms through the call, one after the other, while going_on()."""
    trips, seq = [], 0
    while going_on():
        seq += 1
        began = time.monotonic()
        check(c.ping(POOL_SERVER, seq & 0xFFFF), "a ping was lost")
        trips.append((time.monotonic() - began) * 1000)
        time.sleep(every)
    return trips


def judge(what, trips, p99=P99_MS, worst=WORST_MS):
    trips = sorted(trips)
    check(len(trips) >= 20, f"{what}: only {len(trips)} round trips: the storm was none, or they took for ever")
    at = {p: trips[min(len(trips) - 1, len(trips) * p // 100)] for p in (50, 99)}
    print(f"# {what}: {len(trips)} round trips, ms p50 {at[50]:.1f}, p99 {at[99]:.1f}, worst {trips[-1]:.1f}", flush=True)
    check(at[99] <= p99 and trips[-1] <= worst, f"{what}: round trips of a running call: p99 {at[99]:.0f} ms, worst "
                                                f"{trips[-1]:.0f} ms")


class Storm:
    """The load client at work."""

    def __init__(self, lab, mode, *argv):
        words = ["nice", "-n", "19", load_path(), mode, "--server", f"{SERVER4}:443", "--json", *map(str, argv)]
        self.proc = lab.client.start(words, f"{lab.test_dir}/{mode}.log")

    def going_on(self):
        return self.proc.alive()

    def result(self):
        return self.proc.wait(30), json.loads((self.proc.log().strip().splitlines() or ["{}"])[-1])


def test_handshakes(lab, gh):
    """Full handshakes by the hundred: all of them succeed."""
    since = gh.mark()
    with steady(lab) as c:
        storm = Storm(lab, "handshake", "--total", 3 * AT_ONCE, "--concurrency", AT_ONCE)
        trips = feel(c, storm.going_on)
        status, said = storm.result()
        check(status == 0 and said["handshakes"] == 3 * AT_ONCE, f"not all handshakes: {status} {said}")
        judge("handshakes", trips)
        check(not gh.events("refused", since), "somebody was refused")
        c.hang_up()
    gh.no_sessions()


def test_dials(lab, gh):
    """Whole calls by the hundred: all of them come up."""
    since = gh.mark()
    with steady(lab) as c:
        storm = Storm(lab, "rate", "--total", 2 * AT_ONCE, "--concurrency", AT_ONCE, "--user", "bob",
                      "--password", "correct horse")
        trips = feel(c, storm.going_on)
        status, said = storm.result()
        check(status == 0 and said["calls"] == 2 * AT_ONCE and not said["failed"], f"not all calls: {status} {said}")
        judge("dials", trips)
        check(not gh.events("refused", since), "somebody was refused")
        c.hang_up()
    gh.no_sessions()


def hello(name="www.example.com"):
    """A ClientHello."""
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    out = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        ctx.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name).do_handshake()
    return out.read()


def test_half_open(lab):
    """
    Some send nothing, some their ClientHello piece by piece without an end, some all of it and never an answer to the
    server's: none is held past its deadline, counted from the beginning, however busy it was.
    """
    first, n, limit = hello(), 150, 4
    with fixture(lab, timeout=limit) as gh, steady(lab) as c, contextlib.ExitStack() as held:
        began = time.monotonic()
        silent, pieces, whole = ([held.enter_context(lab.client.connect(SERVER4, 443)) for _ in range(n)]
                                 for _ in range(3))
        for s in whole:
            s.sendall(first)
        sent = [0]

        def one_more():
            if sent[0] < len(first) - 1:
                for s in pieces:
                    with contextlib.suppress(ConnectionError):
                        s.send(first[sent[0]:sent[0] + 1])
                sent[0] += 1
            return time.monotonic() < began + limit - 1
        judge("half-open", feel(c, one_more, 0.02))
        ended = wait_for(lambda: gh.cli("status")["connections"] == 1 and time.monotonic(), limit + 2,
                         "the half-open connections' end")
        check(limit - 0.5 < ended - began < limit + 3, f"they ended after {ended - began:.1f} s")
        for s in (*silent, *pieces, *whole):
            s.settimeout(1)
            with contextlib.suppress(ConnectionError):
                while s.recv(65536):
                    pass
        check(gh.events("timed-out"), "nothing tells of the deadline")
        check(c.ping(POOL_SERVER), "the running call is gone")
        c.hang_up()
        gh.no_sessions()


def test_gone_while_waiting(lab, gh):
    """Clients that reset the connection while their handshake waits, and a server that stops in the middle of a storm."""
    first = hello()
    with steady(lab) as c:
        socks = [lab.client.connect(SERVER4, 443) for _ in range(AT_ONCE)]
        for s in socks:
            s.sendall(first)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        for s in socks:
            s.close()
        began = time.monotonic()
        judge("resets", feel(c, lambda: time.monotonic() < began + 0.5))
        wait_for(lambda: gh.cli("status")["connections"] == 1, 2, "the end of what was reset")
        c.hang_up()
    conf = {**gh.conf, "listen": {"address": [f"{SERVER4}:8443"]}, "vpn": None}
    with Gatehouse(lab, conf, "stopped"):
        socks = [lab.client.connect(SERVER4, 8443) for _ in range(AT_ONCE)]
        for s in socks:
            s.sendall(first)
    for s in socks:
        s.close()


def test_too_many(lab):
    """More than can be done in time: those too many are refused at once, all others come up, and so does the next."""
    with fixture(lab, "rsa:4096", 2) as gh, steady(lab) as c:
        storm = Storm(lab, "rate", "--total", AT_ONCE, "--concurrency", AT_ONCE, "--user", "bob",
                      "--password", "correct horse")
        trips = feel(c, storm.going_on)
        _, said = storm.result()
        told = gh.events("refused", cause="handshake-limit")
        check(told and len(told) <= 20 * (said["seconds"] + 2), f"{len(told)} lines about the limit")
        check(said["calls"] >= 10 and said["calls"] + said["failed"] == AT_ONCE and said["failed"], f"{said}")
        check(not gh.events("timed-out"), "some were taken that could not be served in time")
        judge("too many", trips, 80, 150)  # one step takes so long, and is not cut
        with steady(lab) as again:
            again.hang_up()
        c.hang_up()
        gh.no_sessions()


def test_all_at_the_same_moment(lab):
    """Connections that were there before, whose ClientHellos come together: the same."""
    with fixture(lab, "rsa:4096", 2) as gh, steady(lab) as c, contextlib.ExitStack() as stack:
        out = ssl.MemoryBIO()
        tls = lab.tls().wrap_bio(ssl.MemoryBIO(), out, server_hostname="www.example.com")
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        hello = out.read()
        waiting = [stack.enter_context(lab.client.connect(SERVER4, 443, 10)) for _ in range(AT_ONCE)]
        time.sleep(0.1)
        for s in waiting:
            s.sendall(hello)
        answered, refused, end = 0, 0, time.monotonic() + 2
        while waiting and time.monotonic() < end:
            for s in select.select(waiting, [], [], 0.1)[0]:
                try:
                    good = bool(s.recv(1))
                except ConnectionResetError:
                    good = False
                answered, refused = answered + good, refused + (not good)
                waiting.remove(s)
        check(not waiting and answered >= 10 and refused >= 50,
              f"{answered} answered, {refused} refused, {len(waiting)} still wait")
        check(gh.events("refused", cause="handshake-limit"), "nothing is said of it")
        c.hang_up()


def test_log_reader_stops(lab):
    """Nobody reads the log any more: calls come up, go on and end; what was lost is told when somebody reads again."""
    gh = lab.gatehouse("unread", worker={"threads": 1}, log={"level": "debug"})
    fifo = os.path.join(gh.dir, "log")
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    text = bytearray()

    def read(wanted):
        with contextlib.suppress(BlockingIOError):
            text.extend(os.read(reader, 1 << 16))
        return wanted in text
    gh.prefix = ["sh", "-c", f'exec "$@" 2>{fifo}', "sh"]
    try:
        gh.spawn()
        wait_for(lambda: read(b"event=ready"), 10, "ready")
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
        with steady(lab) as c:
            for _ in range(20):
                with steady(lab) as other:
                    other.hang_up()
            trips = feel(c, iter([True] * 50 + [False]).__next__)
            judge("unread log", trips)
            check(not read(b"log-lost"), "all could be written")
            c.hang_up()
        wait_for(lambda: read(b"event=log-lost"), 5, lambda: f"what is missing is told: {text[-300:]}")
        gh.no_sessions()
        gh.stop()
    finally:
        gh.close()
        os.close(reader)
