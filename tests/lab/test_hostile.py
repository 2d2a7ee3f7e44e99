"""What nobody means to do to the door, and what it may cost: TCP as no TLS client speaks it, a reload too many."""

import socket
import threading
import time

import fronts
from lablib import CLIENT4, SERVER4, check, wait_for
from test_passthrough import Hello

UPSTREAM = 9999
BUSY = 0.2  # of one CPU: an engine that spins takes all of it


def cpu(gh, seconds=2):
    """The part of one CPU that the engine takes."""
    def used():
        with open(f"/proc/{gh.engine_pids()[0]}/stat", encoding="ascii") as f:
            return sum(int(x) for x in f.read().rsplit(")", 1)[1].split()[11:13])
    before = used()
    time.sleep(seconds)
    return (used() - before) / 100 / seconds


def door(lab):
    return lab.gatehouse(passthrough=[{"name": "legacy.example.com", "upstream": f"127.0.0.1:{UPSTREAM}"}])


def test_urgent_data_before_the_name(lab):
    """Urgent data in a ClientHello that is peeked at: it waits for its deadline, the engine sleeps."""
    with door(lab) as gh:
        for first in (b"\x16", b"\x16\x03\x01\x02"):
            with lab.client.connect(SERVER4, 443) as s:
                s.sendall(first)
                time.sleep(0.1)
                s.send(b"!", socket.MSG_OOB)
                busy = cpu(gh)
                check(busy < BUSY, f"the engine took {busy:.0%} of a CPU for one urgent byte")
        # The pause is not the end: what comes whole after it is served.
        hello = Hello(lab, "www.example.com").dial(lab)
        for part in (hello.first[:1], hello.first[1:100]):
            hello.s.sendall(part)
            time.sleep(0.1)
        with lab.client.connect(SERVER4, 443) as s:
            s.sendall(b"\x16")
            s.send(b"!", socket.MSG_OOB)
            began = time.monotonic()
            hello.s.sendall(hello.first[100:])
            check(hello.finish() == fronts.leaf(lab.www[0]), "another certificate")
            check(time.monotonic() - began < 1, "it took long")
            gh.wait_event("timed-out", 12)
        hello.s.close()


def test_urgent_data_in_the_passage(lab):
    """Urgent data behind the ClientHello: the connection ends, the engine sleeps."""
    listener, held = lab.server.listen("127.0.0.1", UPSTREAM), []

    def accept():
        held.append(listener.accept()[0])
    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    with door(lab) as gh:
        with lab.client.connect(SERVER4, 443) as s:
            s.sendall(Hello(lab, "legacy.example.com").first)
            thread.join(5)
            check(held, "the server behind was not reached")
            s.send(b"!", socket.MSG_OOB)
            s.sendall(b"more")
            gh.wait_event("passthrough-done", 5, how="client-gone")
            busy = cpu(gh)
            check(busy < BUSY, f"the engine took {busy:.0%} of a CPU")
            wait_for(lambda: gh.cli("status")["connections"] == 0, 5, "the end of the connection")
    for x in (*held, listener):
        x.close()


def test_reload_without_a_certificate(lab):
    """Offload alone by reload: the sockets of listen.address are still there, and would have nothing to show."""
    offload = {"listen": [f"{SERVER4}:8443"], "from": [CLIENT4], "proxy-protocol": False, "certificates": [lab.www[0]]}
    with lab.gatehouse(offload=offload) as gh:
        gh.write_conf({**gh.conf, "listen": {"address": []}, "certificates": None})
        gh.cli("reload", ok=(1,))
        check("restart" in gh.wait_event("reload-failed")["reason"], "the reason does not name the remedy")
        hello = Hello(lab, "www.example.com").dial(lab)
        check(hello.whole() == fronts.leaf(lab.www[0]), "another certificate")
        hello.s.close()
