"""A router's buffer that holds 200 ms, and cubic, which fills it: what a call moves does not wait there."""

import contextlib
import re
import threading
import time

import speedtools as st
from lablib import SERVER4, SERVER_IN4, check

LAST = True  # when nothing runs beside it: see run.py

PLAIN_PORT = 7011
MBIT = 50
WARM = 3  # seconds until the queue was noticed and is gone


@contextlib.contextmanager
def path(lab):
    """A home behind the bottleneck; both ends of what crosses it use cubic."""
    with st.Router(lab) as r:
        lab.server.ip("route", "replace", "10.5.0.0/24", "via", "203.0.113.1", "congctl", "cubic")
        r.home.ip("route", "replace", "default", "via", "10.5.0.1", "congctl", "cubic")
        r.rate(f"{MBIT}mbit", burst="32kb")
        yield r


@contextlib.contextmanager
def call(lab):
    """And a call across it, cubic inside, too: BBR would spare the path by itself."""
    with path(lab) as r, st.both(lab, ns=r.home) as (gh, c), st.DataServer(lab.inside) as data:
        inside = ["route", "replace", "10.77.0.0/16", "via", SERVER_IN4]
        lab.inside.ip(*inside, "congctl", "cubic")
        r.home.ip("route", "replace", "198.51.100.0/24", "dev", c.interface, "congctl", "cubic")
        for ns in (lab.server, r.home):
            text = ns.sh("ss", "-Htin", "state", "established", "( sport = :443 or dport = :443 )")
            check("cubic" in text, f"not cubic: {text}")
        yield r, gh, c, data
        lab.inside.ip(*inside)


def beside(move, ns):
    """(bits a second, round trips in ms, sorted) of move(seconds), which warms up itself, and pings beside it."""
    found = []
    t = threading.Thread(target=lambda: found.append(move(5)), daemon=True)
    t.start()
    time.sleep(WARM)
    pings = st.Pings(ns)
    time.sleep(4)
    trips = pings.trips()
    t.join(20)
    check(found, "the transfer failed")
    return found[0], trips


def check_short(bps, trips, what):
    p99 = st.percentile(trips, 99)
    print(f"# {what}: {bps / 1e6:.1f} Mbit/s, ping {st.percentile(trips, 50):.1f} ms, p99 {p99:.1f} ms", flush=True)
    check(bps > 0.8 * MBIT * 1e6, f"{what}: {bps / 1e6:.1f} Mbit/s of {MBIT}")
    check(p99 < 30, f"{what}: p99 of pings in the call {p99:.1f} ms")


def test_as_bad_as_we_say(lab):
    """Else the tests below show nothing: a plain transfer makes pings slow."""
    with path(lab) as r, st.DataServer(lab.server, SERVER4, PLAIN_PORT):
        t = threading.Thread(target=lambda: rate_plain(r.home, 4), daemon=True)
        t.start()
        time.sleep(WARM)
        text = r.home.sh("ping", "-n", "-c", "60", "-i", "0.05", SERVER4, ok=(0, 1))  # some are lost
        t.join(20)
        trips = sorted(float(x) for x in re.findall(r"time=([0-9.]+)", text))
        check(len(trips) > 30, f"{len(trips)} answers of 60")
        check(st.percentile(trips, 50) > 60, f"pings took {st.percentile(trips, 50):.1f} ms: no queue")


def rate_plain(ns, seconds):
    with contextlib.closing(st.reach(ns, SERVER4, PLAIN_PORT)) as s:
        s.sendall(f"down 1 {1 << 40}\n".encode())
        end, got, room = time.monotonic() + WARM + seconds, 0, bytearray(1 << 18)
        while (now := time.monotonic()) < end:
            n = s.recv_into(room)
            got += n if now >= end - seconds else 0
        return got * 8 / seconds


def test_up(lab):
    """The first thing in a call, and the way back is slow, too."""
    with call(lab) as (r, _, _, data):
        check_short(*beside(lambda s: st.rate_up(data, r.home, s, WARM), r.home), "up")


def test_each_way_in_turn(lab):
    """
    Twice in one call, only the way that is loaded being slow: the queue of the other way, and what was tried then,
    leaves nothing behind.
    """
    with call(lab) as (r, gh, _, data):
        for turn in ("first", "second"):
            r.wide("wan")
            check_short(*beside(lambda s: st.rate_down(r.home, s, WARM), r.home), f"down, {turn}")
            check(gh.cli("sessions")["sessions"][0]["window"] > 0, "no bound: what kept the queue short?")
            r.rate(f"{MBIT}mbit", burst="32kb", ways=["wan"])
            r.wide("lan")
            check_short(*beside(lambda s: st.rate_up(data, r.home, s, WARM), r.home), f"up, {turn}")
            r.rate(f"{MBIT}mbit", burst="32kb", ways=["lan"])


def test_another_rate(lab):
    """A line that gets slower, and fast again."""
    with call(lab) as (r, _, _, _):
        stop, got = threading.Event(), [0]

        def receive():
            with contextlib.closing(st.reach(r.home, st.INSIDE4)) as s:
                s.sendall(f"down 1 {1 << 40}\n".encode())
                room = bytearray(1 << 18)
                while not stop.is_set():
                    got[0] += s.recv_into(room)
        t = threading.Thread(target=receive, daemon=True)
        t.start()
        try:
            for mbit, after in ((MBIT, WARM), (10, 8), (MBIT, WARM)):
                r.rate(f"{mbit}mbit", burst="32kb")
                time.sleep(after)
                pings, before, began = st.Pings(r.home), got[0], time.monotonic()
                time.sleep(4)
                bps = (got[0] - before) * 8 / (time.monotonic() - began)
                trips = pings.trips()
                p99 = st.percentile(trips, 99)
                print(f"# {mbit}: {bps / 1e6:.1f} Mbit/s, p99 {p99:.1f} ms", flush=True)
                check(bps > 0.8 * mbit * 1e6, f"{bps / 1e6:.1f} Mbit/s of {mbit}")
                check(p99 < 30, f"behind {mbit} Mbit/s: p99 of pings in the call {p99:.1f} ms")
        finally:
            stop.set()
            t.join(5)
