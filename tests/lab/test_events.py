"""What an operator is told: one line at notice level for every client that was refused, with the cause and the remedy;
the correlation id; and the fail2ban filter of docs/events.md against real lines.
"""

import contextlib
import os
import re
import struct
import time

import sstpclient as sc
from lablib import CLIENT4, CLIENT6, ROOT, SERVER4, SERVER6, check, wait_for
from sstpclient import (ABORT, CONF_REJ, CONF_REQ, CONNECTED, DISCONNECT, IPCP, IPV6CP, LCP, PROTO_REJ, Client, Closed,
                        cp, message, option, packet, status_info)

BESIDE = 1  # of the other files: see run.py

LOUD = ("notice", "warn", "error")
TIMEOUT = 2  # head and handshake, in the configuration
ECHO = 2     # echo-interval and echo-timeout


@contextlib.contextmanager
def fixture(lab):
    with lab.gatehouse(vpn={"auth": ["mschapv2", "pap"], "echo-interval": ECHO, "echo-timeout": ECHO},
                       limits={"connections": 4000, "head-timeout": TIMEOUT, "handshake-timeout": TIMEOUT}) as gh:
        yield gh
        check(not gh.events(None), f"lines that are no events: {gh.events(None)[:3]}")


def peer_of(s):
    """What the log calls this socket's own end."""
    host, port = s.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def loud(gh, peer):
    """What an operator sees of one connection at the default level, good news left out."""
    return [e for e in gh.log() if e.get("peer") == peer and e.get("level") in LOUD
            and e["event"] not in ("login-ok", "call-up")]


def told(gh, peer, event, remedy=r"\S", **match):
    """The one line about this peer: its event, its fields, and a remedy that speaks of the right thing."""
    wait_for(lambda: gh.events(event, peer=peer), 8, lambda: f"event {event} of {peer}; log ends: {gh.tail()}")
    lines = loud(gh, peer)
    check(len(lines) == 1, f"{len(lines)} lines instead of one: {[x['text'] for x in lines]}")
    e = lines[0]
    check(e["event"] == event and e["level"] == "notice", f"not {event} at notice: {e['text']}")
    check(e.get("conn", "").isdigit(), f"no conn=: {e['text']}")
    for k, v in match.items():
        check(e.get(k) == v, f"{k} is not {v!r}: {e['text']}")
    check(re.search(remedy, e.get("remedy", "")), f"the remedy does not speak of {remedy!r}: {e['text']}")
    return e


def over(c, timeout=8):
    """Answers nothing more; the server closes."""
    said, closed = c.fate(timeout)
    check(closed, f"the connection stayed open; the server said {said}")
    return said


def pump_to_end(c, timeout=8, **who):
    with contextlib.suppress(Closed):
        c.pump(lambda: False, timeout, **who)


def client(lab, **kw):
    return Client(lab.client, SERVER4, ca=lab.ca.cert, **kw)


def refused(lab, gh, cause, work, remedy=r"\S", level="notice"):
    """A connection that `work` spoils: refused with this cause. Returns the line."""
    with client(lab) as c:
        peer = peer_of(c.s)
        c.http()
        work(c)
    if level == "notice":
        return told(gh, peer, "refused", remedy, cause=cause)
    return wait_for(lambda: gh.events("refused", peer=peer, cause=cause), 8, f"refused, {cause}: {gh.tail()}")[0]


def to_login(c, method="mschapv2"):
    c.connect_request()
    check(c.login("alice", "wonderland", method), "login")


# ---- a call that does not come up ----------------------------------------------------------------------------------

def test_binding(lab, gh):
    """Each fault of crypto binding (MS-SSTP 3.3.5.2.3) has a cause and a remedy of its own."""
    def bent(**kw):
        def work(c):
            to_login(c)
            c.send(sc.call_connected(**{"nonce": c.nonce, "cert_der": c.cert, "hlak": c.hlak, **kw}))
            said = over(c)
            check([m.kind for m in said] == [ABORT] and c.status(said[0]) == [(3, 4)], f"the server said {said}")
        return work

    def missing(c):
        to_login(c)
        c.send(message(CONNECTED))
        said = over(c)
        check([m.kind for m in said] == [ABORT] and c.status(said[0]) == [(2, 9)], f"the server said {said}")

    refused(lab, gh, "binding-mac", bent(hlak=b"\0" * 32), "keys")
    refused(lab, gh, "binding-nonce", bent(nonce=b"\0" * 32), "another connection")
    refused(lab, gh, "binding-hash", bent(hash_bits=4), "hash")
    refused(lab, gh, "binding-missing", missing, "update")


def test_binding_certificate(lab, gh):
    """The client saw another certificate: told by binding-mismatch with both hashes, and only there."""
    with client(lab) as c:
        peer = peer_of(c.s)
        c.http()
        to_login(c)
        c.send_connected(cert=b"another certificate")
        over(c)
        served = sc.hashlib.sha256(c.cert).hexdigest()
    sent = sc.hashlib.sha256(b"another certificate").hexdigest()
    told(gh, peer, "binding-mismatch", "re-encrypting device", served=served, client_sent=sent, sni="www.example.com")
    check(gh.events("refused", peer=peer, cause="binding-cert", level="info"), f"no cause: {gh.tail()}")


def test_login_failed(lab, gh):
    """One line per attempt, with the reason; the end of the call repeats it at info only."""
    for user, password, reason, remedy in (
            ("alice", "looking-glass", "wrong-password", "passwd"), ("mallory", "x", "unknown-user", "user add"),
            ("carol", "secret", "disabled", "disabled"), ("dave", "secret", "expired", "expires")):
        with client(lab) as c:
            peer = peer_of(c.s)
            c.http()
            c.connect_request()
            check(not c.login(user, password, "pap"), f"{user} was let in")
            over(c)
        told(gh, peer, "login-failed", remedy, reason=reason, user=user, method="pap")
        wait_for(lambda p=peer: gh.events("refused", peer=p, cause="auth-failed", level="info"), 5,
                 lambda: f"no cause auth-failed: {gh.tail()}")


def test_no_plain_password(lab):
    """CHAP-MD5 for a user of whom only the NT hash is known."""
    with lab.gatehouse(vpn={"auth": ["chap"]}) as gh, client(lab) as c:
        peer = peer_of(c.s)
        c.http()
        c.connect_request()
        check(not c.login("alice", "wonderland", "chap"), "alice was let in")
        over(c)
        told(gh, peer, "login-failed", "--plain", reason="no-plain-password")


def test_no_method(lab, gh):
    """A client that refuses every method."""
    def work(c):
        c.connect_request()
        c.start_lcp()
        with contextlib.suppress(Closed):
            while True:
                item = c.read()
                if not isinstance(item, sc.Frame):
                    c._on_message(item)  # pylint: disable=protected-access
                elif item.protocol == LCP and item.data[0] == CONF_REQ:
                    auth = dict(sc.options(item.data[4:])).get(3)
                    check(auth is not None, "the server wants no authentication")
                    c.send_ppp(LCP, cp(CONF_REJ, item.data[1], option(3, auth)))
                elif item.protocol == LCP and item.data[0] == sc.TERM_REQ:
                    c.send_ppp(LCP, cp(sc.TERM_ACK, item.data[1]))
    refused(lab, gh, "no-auth-method", work, "vpn.auth")


def test_no_network(lab, gh):
    """A client that rejects both IPCP and IPV6CP."""
    def work(c):
        to_login(c)
        for protocol in (IPCP, IPV6CP):
            c.send_ppp(LCP, cp(PROTO_REJ, c.ident(), struct.pack("!HBBH", protocol, 1, 1, 4)))
        pump_to_end(c)
        check(c.terminate_text, "not told why")
    refused(lab, gh, "network-failed", work, "IPv4 or IPv6")


def test_broken_protocol(lab, gh):
    def twice(c):
        c.connect_request()
        c.send(sc.CCR_BYTES)
        over(c)
    e = refused(lab, gh, "protocol", twice, "protocol")
    check("UNACCEPTED_FRAME_RECEIVED" in e["text"], f"does not say how: {e['text']}")

    def framing(c):
        c.connect_request()
        c.send(packet(b"", length=2))
        over(c)
    refused(lab, gh, "framing", framing, "not SSTP")


def test_client_gives_up(lab, gh):
    """The client aborts, hangs up, or just vanishes while the call is set up."""
    def aborts(c):
        c.connect_request()
        c.send(message(ABORT, status_info(3, 4)))
        over(c)

    def hangs_up(c):
        c.connect_request()
        c.send(message(DISCONNECT, status_info()))
        over(c)
    e = refused(lab, gh, "client-aborted", aborts, "own log")
    check("VALUE_NOT_SUPPORTED" in e["text"], f"not the client's reason: {e['text']}")
    refused(lab, gh, "client-hung-up", hangs_up, "own log")
    refused(lab, gh, "lost", Client.connect_request, "own log")


def test_deaf_client(lab, gh):
    """Makes the server talk and does not listen: a bounded queue, then the end."""
    def work(c):
        c.connect_request()
        c.open_lcp("mschapv2", "alice", "wonderland")
        c.s.settimeout(3)
        with contextlib.suppress(Closed, TimeoutError):
            for n in range(40000):
                c.send_ppp(LCP, cp(sc.LCP_ECHO, n & 0xFF, c.magic + b"x" * 1000))
        wait_for(lambda: gh.events("refused", peer=peer_of(c.s)), 8, lambda: f"the end; log ends: {gh.tail()}")
    refused(lab, gh, "client-deaf", work, "stopped reading")


def test_talkative_is_not_deaf(lab, gh):
    """More answers at once than the queue before login holds: who reads them is no deaf client and logs in."""
    with client(lab) as c:
        c.http()
        c.connect_request()
        c.open_lcp("pap")
        echo = [packet(b"\xff\x03" + struct.pack("!H", LCP) + cp(sc.LCP_ECHO, n, c.magic + b"x" * 1000))
                for n in range(60)]
        c.send(b"".join(echo))
        check(c.login("alice", "wonderland"), "not logged in")
        c.hang_up()


def test_silence_in_set_up(lab, gh):
    """No answer to LCP, and none to the challenge: about half a minute each, at the same time."""
    with client(lab) as lcp, client(lab) as auth:
        peers = [peer_of(c.s) for c in (lcp, auth)]
        began = time.monotonic()
        lcp.http()
        lcp.connect_request()
        auth.http()
        auth.connect_request()
        auth.open_lcp("mschapv2", "alice", "wonderland")
        said = {}
        for c in (lcp, auth):
            def quiet(f, c=c):
                if f.protocol == LCP and f.data[0] == sc.TERM_REQ:
                    said[c] = f.data[4:].decode()
            c._on_frame = quiet  # pylint: disable=protected-access
            pump_to_end(c, 45)
        took = time.monotonic() - began
        check(20 < took < 45, f"took {took:.0f} s")
        check("authentication" in said.get(auth, ""), f"the client that did not log in was told {said}")
    told(gh, peers[0], "refused", "does not speak PPP", cause="lcp-timeout")
    told(gh, peers[1], "refused", "challenge", cause="auth-timeout")


# ---- addresses -----------------------------------------------------------------------------------------------------

def test_address_taken(lab, gh):
    """A fixed address that an earlier call holds: the newer is told, the earlier is ended, the third dial works."""
    with client(lab) as first, client(lab) as second:
        peers = [peer_of(c.s) for c in (first, second)]
        check(first.call("erin", "secret") == "10.77.0.77", f"erin got {first.address}")
        second.http()
        second.connect_request()
        check(second.login("erin", "secret", "mschapv2"), "login")
        pump_to_end(second, user="erin", password="secret", method="mschapv2")
        check("dial again" in (second.terminate_text or ""), f"the newer call was told {second.terminate_text!r}")
        pump_to_end(first)
        check(first.ended and first.ended.kind == DISCONNECT, f"the earlier call ended with {first.ended}")
    told(gh, peers[1], "refused", "dial again", cause="address-taken")
    down = gh.wait_event("call-down", peer=peers[0])
    check(down.get("cause") == "replaced" and len(loud(gh, peers[0])) == 1, f"the earlier call's end: {down['text']}")
    gh.no_sessions()
    with client(lab) as third:
        check(third.call("erin", "secret") == "10.77.0.77", f"the third dial got {third.address}")
        check(third.ping("10.77.0.1"), "no data in the third call")
        third.hang_up()
    gh.no_sessions()


def test_no_address(lab):
    """The pool is used up; and a user's own address that is none of the pool's."""
    users = os.path.join(lab.test_dir, "users")
    with open(users, "w", encoding="ascii") as f:
        f.write('alice plain:"wonderland"\nbob plain:"correct horse"\n')
    with lab.gatehouse(vpn={"network": ["10.77.9.0/30"], "dns": ["10.77.9.1"], "users": users}) as gh, \
            client(lab) as holder:
        holder.call("bob", "correct horse")

        def work(c):
            to_login(c)
            pump_to_end(c, user="alice", password="wonderland", method="mschapv2")
            check("no address" in (c.terminate_text or ""), f"the client was told {c.terminate_text!r}")
        refused(lab, gh, "no-address", work, "vpn.network")
        check(holder.ping("10.77.9.1"), "the first call suffered")
        holder.hang_up()


def test_address_of_another_network(lab):
    """vpn.network changes at restart alone: until then a new user's address in the new one is none of ours."""
    users = os.path.join(lab.test_dir, "users")
    with open(users, "w", encoding="ascii") as f:
        f.write('alice plain:"wonderland"\n')
    with lab.gatehouse(vpn={"users": users}) as gh:
        with open(users, "a", encoding="ascii") as f:
            f.write('dora plain:"far away" ip=10.66.0.5\n')
        gh.write_conf({**gh.conf, "vpn": {**gh.conf["vpn"], "network": ["10.66.0.0/24"], "dns": ["10.66.0.1"]}})
        gh.cli("reload")

        def work(c):
            c.connect_request()
            check(c.login("dora", "far away", "mschapv2"), "login")
            pump_to_end(c, user="dora", password="far away", method="mschapv2")
            check("not one of" in (c.terminate_text or ""), f"the client was told {c.terminate_text!r}")
        refused(lab, gh, "address-invalid", work, "ip=.*restart")


# ---- a call that was up --------------------------------------------------------------------------------------------

def test_call_down(lab, gh):
    """Silence, a lost connection, a broken protocol and an abort: one line each when the call had been up."""
    def silent(c):
        c.answer_echo = False
        pump_to_end(c, 4 * ECHO)

    def twice(c):
        c.send_connected()
        over(c)

    def framing(c):
        c.send(packet(b"", length=1))
        over(c)

    def aborts(c):
        c.send(message(ABORT, status_info(0, 0)))
        over(c)
    for cause, work, remedy in (("client-silent", silent, "vanished"), ("protocol", twice, "protocol"),
                                ("framing", framing, "not SSTP"), ("client-aborted", aborts, "own log"),
                                ("lost", lambda c: None, "broke off")):
        with client(lab) as c:
            peer = peer_of(c.s)
            c.call("alice", "wonderland")
            work(c)
        told(gh, peer, "call-down", remedy, cause=cause, user="alice")
    with client(lab) as c:  # nothing to be done about a call that ended as it should
        peer = peer_of(c.s)
        c.call("alice", "wonderland")
        c.hang_up()
    e = told(gh, peer, "call-down", "", cause="client-hung-up")
    check(int(e["rx_bytes"]) >= 0 and "ip" in e, f"no counters: {e['text']}")


# ---- before a call -------------------------------------------------------------------------------------------------

def test_correlation_id(lab, gh):
    """corr= is what the client sent, on every line of the call."""
    ident = "{0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1F0}"
    with client(lab) as c:
        peer = peer_of(c.s)
        c.http(c.request().replace(b"{11111111-2222-3333-4444-555555555555}", ident.encode()))
        to_login(c)
        c.send_connected()
        c.open_ipcp()
        c.hang_up()
    gh.wait_event("call-down", peer=peer)
    for name in ("call-request", "login-ok", "call-up", "call-down"):
        e, = gh.events(name, peer=peer)
        check(e.get("corr", "").strip("{}") == ident.strip("{}"), f"another corr=: {e['text']}")
    with client(lab) as c:
        peer = peer_of(c.s)
        c.http(c.request().replace(b"SSTPCORRELATIONID", b"X-Else"))
        c.send(packet(b"", length=2))
        over(c)
    check("corr" not in told(gh, peer, "refused", cause="framing"), "a corr= that nobody sent")


def answer_to(lab, request, timeout=6):
    """(peer, status) of a request on the SSTP URI."""
    with client(lab) as c:
        with contextlib.suppress(Closed):
            c.send(request)
        head = c.read_head(timeout)
        return peer_of(c.s), int(head.split()[1])


def test_bad_requests(lab, gh):
    for text, request, want in (
            ("too many header lines", Client.request(extra="".join(f"X-{n}: y\r\n" for n in range(200))), 431),
            ("head too large", Client.request(extra=f"X: {'y' * 9000}\r\n"), 431),
            ("HTTP version not supported", Client.request().replace(b"HTTP/1.1", b"HTTP/3.7"), 505)):
        peer, status = answer_to(lab, request)
        check(status == want, f"{text}: {status}")
        e = told(gh, peer, "refused", "no SSTP client", cause="bad-request")
        check(f'text="{text}"' in e["text"], f"does not say what is wrong: {e['text']}")


def test_probe(lab, gh):
    """A load balancer's question is no news: one line at info."""
    peer, status = answer_to(lab, Client.request(method="GET").replace(b"18446744073709551615", b"0"))
    check(status == 401, f"status {status}")
    e = gh.wait_event("probe", peer=peer)
    check(e["level"] == "info" and e.get("method") == "GET", e["text"])
    check(not loud(gh, peer), f"loud: {loud(gh, peer)}")


def test_no_tls(lab, gh):
    for first, remedy in ((b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n", "https://"), (b"\0" * 3000, r"tls\.")):
        with contextlib.closing(lab.client.connect(SERVER4, 443, 4)) as s:
            peer = peer_of(s)
            with contextlib.suppress(ConnectionError):
                s.sendall(first)
                while s.recv(4096):
                    pass
        check(told(gh, peer, "tls-failed", remedy).get("reason"), "no reason")


def test_left_early(lab, gh):
    """TLS, then nothing: as a client does that does not trust the certificate."""
    time.sleep(1.1)  # two such lines a second are enough for the log
    with client(lab) as c:
        peer = peer_of(c.s)
    told(gh, peer, "closed-early", "trust", sni="www.example.com")


def test_timed_out(lab, gh):
    began = time.monotonic()
    with contextlib.closing(lab.client.connect(SERVER4, 443, 8)) as silent, client(lab) as half:
        half.send(half.request()[:-2])
        with contextlib.suppress(ConnectionError):
            check(silent.recv(100) == b"", "an answer to silence")
        check(half.read_all(8) == b"", "an answer to half a request")
        check(TIMEOUT - 0.5 < time.monotonic() - began < TIMEOUT + 2, "not in time")
        peers = [peer_of(silent), peer_of(half.s)]
    check("handshake" in told(gh, peers[0], "timed-out", "handshake-timeout")["msg"], "which timeout")
    check("request" in told(gh, peers[1], "timed-out", "head-timeout")["msg"], "which timeout")


def test_draining(lab, gh):
    gh.cli("drain")
    try:
        peer, status = answer_to(lab, Client.request())
        check(status == 503, f"status {status}")
        told(gh, peer, "refused", "drain --off", cause="draining")
    finally:
        gh.cli("drain", "--off")
    with client(lab) as c:
        c.http()
        c.connect_request()


def test_max_calls(lab):
    with lab.gatehouse(vpn={"max-calls": 1}) as gh:
        with client(lab) as c:
            c.call("alice", "wonderland")
            peer, status = answer_to(lab, Client.request())
            check(status == 503, f"status {status}")
            told(gh, peer, "refused", r"vpn\.max-calls", cause="call-limit")
            check(c.ping("10.77.0.1"), "the first call suffered")
            c.hang_up()
        gh.no_sessions()
        with client(lab) as c:
            c.call("alice", "wonderland")
            c.hang_up()


def test_no_vpn(lab):
    with lab.gatehouse(vpn=None) as gh:
        peer, status = answer_to(lab, Client.request())
        check(status == 400, f"status {status}")
        told(gh, peer, "refused", "vpn section", cause="vpn-off")


def closed_at_once(lab, gh, remedy, cause):
    with contextlib.closing(lab.client.connect(SERVER4, 443, 4)) as s:
        peer = peer_of(s)
        with contextlib.suppress(ConnectionError):
            check(s.recv(100) == b"", "an answer")
    told(gh, peer, "refused", remedy, cause=cause)


def test_source_limit(lab):
    """One source's unfinished connections are limited; another source, and the first one afterwards, get in."""
    with lab.gatehouse(limits={"unauthenticated-per-source": 2}, worker={"threads": 1}) as gh:
        with client(lab), client(lab):
            closed_at_once(lab, gh, "unauthenticated-per-source", "source-limit")
            with Client(lab.client, SERVER6, ca=lab.ca.cert) as c:
                c.call("alice", "wonderland")
                c.hang_up()
        gh.wait_event("closed-early")
        wait_for(lambda: gh.cli("status")["connections"] == 0, 5, lambda: f"no connections: {gh.cli('status')}")
        with client(lab) as c:
            c.call("alice", "wonderland")
            c.hang_up()


def test_connection_limit(lab):
    most = 16
    with lab.gatehouse(limits={"connections": most}) as gh, client(lab) as c, contextlib.ExitStack() as others:
        c.call("alice", "wonderland")
        for _ in range(most - 1):
            others.enter_context(client(lab))
        closed_at_once(lab, gh, r"limits\.connections", "connection-limit")
        check(c.ping("10.77.0.1"), "the call suffered")
        c.hang_up()


def test_web_limit(lab):
    request = b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n"
    with lab.gatehouse(limits={"web-per-source": 1}, worker={"threads": 1}) as gh, client(lab) as first:
        first.send(request)
        check(first.read_head().startswith(b"HTTP/1.1 200"), "no page")
        with client(lab) as c:
            peer = peer_of(c.s)
            c.send(request)
            check(c.read_all(5) == b"", "an answer")
        told(gh, peer, "refused", "web-per-source", cause="web-limit")
        with client(lab) as c:
            c.call("alice", "wonderland")
            c.hang_up()


# ---- fail2ban ------------------------------------------------------------------------------------------------------

def failregex():
    """The filter of docs/events.md, as fail2ban would compile it (its <ADDR> and <HOST>)."""
    with open(os.path.join(ROOT, "docs", "events.md"), encoding="utf-8") as f:
        found = re.findall(r"^ *failregex = (.*)$", f.read(), re.M)
    check(len(found) == 1, f"{len(found)} failregex lines in docs/events.md")
    addr = r"(?:(?:::f{4,6}:)?(?P<ip4>(?:\d{1,3}\.){3}\d{1,3})|\[?(?P<ip6>(?:[0-9a-fA-F]{1,4}::?|::){1,7}" \
           r"(?:[0-9a-fA-F]{1,4}|(?<=:):))\]?)"
    return re.compile(found[0].replace("<ADDR>", addr).replace("<HOST>", addr).replace("%%", "%"))


def test_fail2ban(lab, gh):
    """Each failed login is one hit with the right address; nothing else is, whatever a user calls himself."""
    pattern = failregex()
    forged = "x event=login-failed peer=1.2.3.4:5"
    names = ("alice", forged, f'" level=notice {forged} ', f"\n<5>time=x level=notice {forged} ", "mallory")
    since, want = gh.mark(), []
    for host, own in ((SERVER4, CLIENT4), (SERVER6, CLIENT6)):
        for user in names:
            with Client(lab.client, host, ca=lab.ca.cert) as c:
                c.http()
                c.connect_request()
                check(not c.login(user, "wrong", "pap"), f"{user!r} was let in")
                want.append(own)
        with Client(lab.client, host, ca=lab.ca.cert) as c:
            c.call("alice", "wonderland")
            c.hang_up()
    wait_for(lambda: len(gh.events("login-failed", since)) >= len(want), 5, "the lines of failed logins")
    with open(gh.log_path, encoding="utf-8", errors="replace") as f:
        lines = [x for x in f.read().split("\n") if x.strip()][since:]
    # fail2ban cuts the time that its datepattern finds before it applies failregex; journald's lines come with a prefix
    for form in (lambda x: x, lambda x: re.sub(r"time=\S+", "", x, count=1),
                 lambda x: "host gatehouse[123]: " + re.sub(r"time=\S+", "", re.sub(r"^<\d>", "", x), count=1)):
        hits = [m for m in (pattern.search(form(x)) for x in lines) if m]
        got = [m["ip4"] or m["ip6"] for m in hits]
        check(got == want, f"fail2ban would have counted {got} instead of {want}")
    check(not any(pattern.search(x) for x in lines if "login-ok" in x), "a good login is counted")
    real = [e for e in gh.events("login-failed", since)]
    check(len(real) == len(want), f"{len(real)} lines for {len(want)} failed logins")
    check([e.get("user") for e in real[:2]] == ["alice", forged], f"names: {[e.get('user') for e in real]}")
