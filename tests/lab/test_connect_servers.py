"""`gatehouse connect` against servers of other makes, replayed by fakeserver.py, and against hostile ones: each dial ends
in bounded time and memory, with one clear line, the cause that it had and that cause's exit status.
"""

import concurrent.futures
import contextlib
import ipaddress
import itertools
import signal
import time

import fakeserver as fs
from connectlib import Connect, network
from fakeserver import FakeServer, habit, hostile
from lablib import SERVER4, SERVER6, Ca, check, wait_for

BESIDE = 1  # of the other files: see run.py

HOST, USER, PASSWORD = "www.example.com", "alice", "wonderland"
MEMORY_KIB = 4096  # how much more an engine may have at its peak than one that dials an honest server
AT_ONCE = 6        # dials at the same time
LIMIT = 15         # seconds that a dial may take which is answered with nonsense
IMPATIENT = {"reconnect": {"echo-interval": 1, "echo-timeout": 3}}


class Field:
    """The servers' side, and what an honest dial needs."""

    def __init__(self, lab):
        self.lab, self.ports = lab, itertools.count(5000)
        self.base = 0
        with self.server() as s, self.connect(s) as c:
            c.wait_up()
            c.ping(s.habit.ip)
            self.base = wait_for(c.peak_kib, 5, "the engine's memory")

    def server(self, what=None, certs=None, users=None, at=(SERVER4,)):
        """A server of this habit, on a port of its own and with a network of its own."""
        port = next(self.ports)
        what = what or habit()
        net = f"10.99.{port % 250}"
        ours = {"ip": f"{net}.1", "client_ip": what.client_ip.replace("10.99.0", net),
                "dns": tuple(d.replace("10.99.0", net) for d in what.dns)}
        s = FakeServer([self.lab.server.listen(a, port) for a in at], certs or [self.lab.www],
                       users or {USER: PASSWORD}, fs.dataclasses.replace(what, **ours))
        s.port = port
        return s

    def connect(self, server, host=HOST, conf=None, alone=True, **kw):
        conf = dict(conf or {})
        conf["tunnel"] = {"interface": f"ghc{server.port}", "dns": "off", **conf.get("tunnel", {})}
        c = Connect(self.lab, f"https://{host}:{server.port}/", user=kw.pop("user", USER),
                    password=kw.pop("password", PASSWORD), once=kw.pop("once", True), label=f"connect-{server.port}",
                    alone=alone, **kw)
        for section, body in conf.items():
            c.conf[section] = {**c.conf.get(section, {}), **body}
        return c

    def small(self, c):
        peak = c.peak_kib()
        check(peak < self.base + MEMORY_KIB, f"the engine had {peak} KiB, {self.base} with an honest server")


@contextlib.contextmanager
def fixture(lab):
    yield Field(lab)


def dns_of(habit_):
    return list(habit_.dns)


def good_call(field, what, conf=None, stay=0, **kw):
    """Dials, pings, stays, hangs up. Returns (event up, the server with its events)."""
    with field.server(what) as s:
        with field.connect(s, conf=conf, **kw) as c:
            up = c.wait_up()
            h = s.habit
            check((up["ip"], up["peer"], up["dns"]) == (h.client_ip, h.ip, dns_of(h)), f"{up}")
            s.wait("up")
            c.ping(h.ip)
            end = time.monotonic() + stay
            while time.monotonic() < end:
                time.sleep(0.5)
                check(c.alive(), f"ended: {c.tail()}")
            if stay:
                c.ping(h.ip)
            field.small(c)
        order = [e["event"] if e["event"] != "message" else e["type"] for e in s.events()
                 if e["event"] in ("terminate", "ended", "closed")]
        s.wait("closed")
        check(order[:2] == ["terminate", "ended"], f"the goodbye was {order}")
        check(s.events("ended")[0]["what"] == "DISCONNECT", f"{s.events('ended')}")
        for odd in ("bad-ccr", "bad-ack", "bad-request", "bad-packet", "bad-eap", "code-rejected", "data-too-early",
                    "wrong-source"):
            check(not s.events(odd), f"the server saw {s.events(odd)}")
        return up, s


def check_cc(server, ok=True, **want):
    cc = server.events("cc")
    check(len(cc) == 1 and cc[0]["ok"] == ok, f"CALL_CONNECTED: {cc}")
    check(cc[0]["ms_after_auth"] < 1000, f"it came late: {cc}")
    for k, v in want.items():
        check(cc[0][k] == v, f"{k}: {cc}")


# ---- habits --------------------------------------------------------------------------------------------------------

METHODS = {"eap-mschapv2": "eap", "mschapv2": "mschapv2", "chap": "chap", "pap": "pap"}


def test_honest(_lab, field):
    """Every method, when it is the only one that is allowed here and when it is the only one that is offered."""
    for ours, theirs in METHODS.items():
        for offered in (("pap", "chap", "eap", "mschapv2"), (theirs,)):
            up, s = good_call(field, habit(auth=offered), {"login": {"auth": [ours]}})
            check(up["method"] == ours and up["hash"] == "sha256", f"{up}")
            check_cc(s, hash="sha256")


def test_default_methods(_lab, field):
    """Without a word about methods the password is never shown: the first offer is taken when it is one of the two."""
    for offered, want in ((("mschapv2", "eap", "pap"), "mschapv2"), (("eap", "mschapv2", "pap"), "eap-mschapv2"),
                          (("pap", "chap", "mschapv2"), "mschapv2"), (("pap", "eap"), "eap-mschapv2")):
        up, _ = good_call(field, habit(auth=offered))
        check(up["method"] == want, f"offered {offered}, taken {up['method']}")


def test_hashes(_lab, field):
    """SHA-256 where it is offered, SHA-1 where nothing else is."""
    for bitmask, want in ((1, "sha1"), (2, "sha256"), (3, "sha256")):
        for method in ("mschapv2", "eap", "pap"):
            up, s = good_call(field, habit(bitmask=bitmask, auth=(method,)),
                              {"login": {"auth": ["eap-mschapv2", "mschapv2", "pap"]}})
            check(up["hash"] == want, f"{up}")
            check_cc(s, hash=want)


def test_next_address(lab, field):
    """An address that takes TCP and is no SSTP server, or has a bad certificate, leaves the turn to the other; the fault of
    the first is told when none is left."""
    name = "several.example.com"
    strange = Ca(lab.fresh_dir("stranger")).issue("several", [name])
    for what, certs, words in ((hostile("tls-text"), None, "another address"), (hostile("status-404"), None, "404"),
                               (habit(), [strange], "not trusted")):
        with field.server() as good, FakeServer([lab.server.listen(SERVER6, good.port)], certs or [lab.www],
                                                {USER: PASSWORD}, what) as bad:
            bad.port = good.port
            with field.connect(good, host=name, hosts=((SERVER6, name), (SERVER4, name))) as c:
                up = c.wait_up()
                check(up["server"] == f"{SERVER4}:{good.port}", f"{up}")
                steps = [e["text"] for e in c.events("step")]
                check(any(words in t for t in steps), f"{steps}")
        with field.server(what, certs=certs) as bad:
            e = field.connect(bad, host=name, hosts=((SERVER6, name), (SERVER4, name))).start().fails(
                ("tls", "http", "certificate"), event="failed")
            check(e["cause"] != "unreachable", f"{e}")


def test_ipv6_outside(_lab, field):
    with field.server(at=(SERVER6,), certs=[field.lab.vpn]) as s, field.connect(s, "six.example.com") as c:
        check(c.wait_up()["server"].startswith("[2001:db8:"), "not over IPv6")
        c.ping(s.habit.ip)


def test_request(_lab, field):
    """The request is what MS-SSTP 2.2.2 says, and the server speaks first in nothing."""
    _, s = good_call(field, habit())
    r, = s.events("request")
    check(r["line"] == f"SSTP_DUPLEX_POST {fs.URI} HTTP/1.1" and r["early"] == 0, f"{r}")
    check(r["headers"]["host"] == f"{HOST}:{s.port}", f"{r}")
    check(s.events("tls")[0]["sni"] == HOST, f"{s.events('tls')}")


def test_rras(_lab, field):
    up, s = good_call(field, habit("rras"))
    check(up["method"] == "eap-mschapv2", f"{up}")
    check_cc(s, hash="sha256")
    check(s.events("rejected", protocol="CCP"), "CCP was not rejected")
    check(s.events("up")[0]["ipv6"], "no IPv6")


def test_rras_without_eap(_lab, field):
    up, s = good_call(field, habit("rras"), {"login": {"auth": ["mschapv2"]}})
    check(up["method"] == "mschapv2", f"{up}")
    check_cc(s)


def test_routeros(_lab, field):
    up, s = good_call(field, habit("routeros"))
    check(up["method"] == "mschapv2" and s.habit.dns == (), f"{up}")
    up, s = good_call(field, habit("routeros", auth=("pap",)), {"login": {"auth": ["pap"]}})
    check(up["method"] == "pap", f"{up}")
    up, s = good_call(field, habit("routeros", bitmask=1))
    check_cc(s, hash="sha1")
    for e in s.events("frame", protocol="IPCP", code=1):
        check(all(k != 2 for k, _ in fs.options(bytes.fromhex(e["hex"])[4:])), f"VJ was asked for: {e}")


def test_softether(_lab, field):
    """It drops a client that is silent for 20 s, and never answers: what it sends itself is life enough."""
    up, s = good_call(field, habit("softether"), IMPATIENT | {"reconnect": {"echo-interval": 2, "echo-timeout": 4}},
                      stay=24)
    check(up["method"] == "eap-mschapv2" and up["hash"] == "sha256", f"{up}")
    asked = s.events("message", type="ECHO_RESPONSE")
    check(len(asked) >= 4, f"{len(asked)} answers to its echoes")
    check(up["mtu"] <= 1500, f"{up}")


def test_softether_without_eap(_lab, field):
    up, _ = good_call(field, habit("softether"), {"login": {"auth": ["mschapv2"]}})
    check(up["method"] == "mschapv2", f"{up}")


def test_accel_ppp(_lab, field):
    began = time.monotonic()
    up, s = good_call(field, habit("accel-ppp"))
    check(up["method"] == "mschapv2" and s.events("dropped", protocol="IPCP"), "no IPCP request came early")
    check(time.monotonic() - began < 10, "it took too long")


def test_sorz(_lab, field):
    good_call(field, habit("sorz"))


def test_naks_then_good(_lab, field):
    """A CALL_CONNECT_NAK, in the bytes of three servers, is answered by another request."""
    for n, name in ((1, "honest"), (3, "honest"), (1, "softether"), (2, "accel-ppp")):
        _, s = good_call(field, habit(name, naks=n))
        check(len(s.events("message", type="CCR")) == n + 1, f"{name}: {s.events('message', type='CCR')}")


def test_login_refused(_lab, field):
    """By each method, and in each server's words."""
    for name in ("honest", "rras", "routeros", "softether", "accel-ppp"):
        for ours, theirs in METHODS.items():
            if theirs not in habit(name).auth:
                continue
            with field.server(habit(name, auth=(theirs,))) as s:
                e = field.connect(s, password="looking-glass", conf={"login": {"auth": [ours]}}).start().fails("login")
                check("691" in e["windows"], f"{e}")
                check(not s.events("cc"), "CALL_CONNECTED after a refused login")


def test_account_codes(_lab, field):
    for code in (646, 647, 648, 649):
        for method in ("mschapv2", "eap"):
            with field.server(habit(auth=(method,), failure=f"E={code} R=0 C={{challenge}} V=3 M=no")) as s:
                e = field.connect(s).start().fails("login")
                check(str(code) in e["windows"] and str(code) in e["text"], f"{e}")


def test_binding_refused(_lab, field):
    """A server that thinks of another certificate; each in the form of its ABORT."""
    other = field.lab.ca.issue("elsewhere", ["elsewhere.example.com"])
    for name in ("honest", "rras", "accel-ppp", "routeros"):
        with field.server(habit(name)) as s:
            shown = s.context
            s.context = lambda n, h, shown=shown: (shown(n, h)[0], fs.leaf_der(other[0]))
            e = field.connect(s).start().fails("binding")
            check("RasSstp 6" in e["windows"] and e["remedy"], f"{e}")
            check_cc(s, ok=False, why="certificate")


def test_server_hangs_up(_lab, field):
    """ABORT and DISCONNECT in the bodies of three servers, and LCP's end, while the call is up: said, answered."""
    for name in ("honest", "softether", "sorz"):
        for deed, reply in (("disconnect", "DISCONNECT_ACK"), ("abort", "ABORT"), ("terminate", None)):
            with field.server(habit(name)) as s:
                c = field.connect(s).start()
                c.wait_up()
                call = s.call()
                call.ask(deed)
                if deed == "terminate":
                    s.wait("frame", protocol="LCP", code=6)
                c.fails("hung-up", event="down")
                check(reply is None or s.events("message", type=reply), f"{deed} was not answered: {s.events()[-4:]}")


def test_echo_is_answered(_lab, field):
    _, s = good_call(field, habit(own_echo=(0.3, 0.5)), stay=3)
    check(len(s.events("message", type="ECHO_RESPONSE")) >= 5, "echoes unanswered")


def test_dead_server(_lab, field):
    """One that says nothing any more, its TCP alive: noticed by the client's echo."""
    with field.server() as s:
        c = field.connect(s, conf=IMPATIENT).start()
        c.wait_up()
        s.call().ask("silence")
        began = time.monotonic()
        c.fails("silent", timeout=12, event="down")
        check(time.monotonic() - began < 8, "noticed late")
        check(s.events("message", type="ECHO_REQUEST"), "without having asked")


def test_bursts(_lab, field):
    """Datagrams as fast as they come, none is lost or changed on the way to the interface."""
    with field.server() as s, field.connect(s) as c:
        up = c.wait_up()
        sock = field.lab.client.sock(kind=fs.socket.SOCK_DGRAM)
        sock.setsockopt(fs.socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
        sock.bind((up["ip"], 4000))
        sock.settimeout(5)
        for size in (4, 500, up["mtu"] - 28):
            s.call().burst(2000, size, 4000)
            for n in range(2000):
                data = sock.recv(4096)
                check(data == fs.struct.pack("!I", n).ljust(size, b"b"), f"datagram {n} of {size} bytes is {data[:8]}")
        sock.close()


def test_wrong_certificate_at_reconnect(_lab, field):
    """The call comes back after the server was away, but not to another certificate."""
    stranger = stranger_for(field.lab)
    with field.server(certs=[field.lab.www, field.lab.www, stranger, stranger, field.lab.www]) as s:
        c = field.connect(s, once=False)
        with c:
            c.wait_up()
            s.call().ask("reset")
            c.wait_event("down", cause="lost")
            since = c.mark()
            c.wait_up(since=since)
            c.ping(s.habit.ip)
            since = c.mark()
            s.call().ask("reset")
            e = c.wait_event("failed", since=since)
            check(e["cause"] == "certificate", f"{e}")
            n = e and len(s.events("request"))
            check(n == 2, f"{n} requests: one was sent to the wrong certificate")
            c.wait_up(timeout=30, since=since)  # the right one is back
            c.ping(s.habit.ip)


def stranger_for(lab):
    """A certificate for the same name by somebody else."""
    other = type(lab.ca)(lab.fresh_dir("stranger"))
    return other.issue("www", [HOST])


def test_interrupt(_lab, field):
    """SIGINT as SIGTERM, at any stage of a dial that hangs."""
    for stage in ("accept", "request", "ccr", "ack", "auth"):
        with field.server(habit(at=((stage, "silence"),))) as s:
            c = field.connect(s).start()
            s.wait("deed")
            time.sleep(0.2)
            c.stop(num=signal.SIGINT)


# ---- hostile servers -----------------------------------------------------------------------------------------------

UP = "up"
EXPECT = {
    **dict.fromkeys(("wrong-proof", "wrong-proof-eap", "no-proof", "no-proof-eap", "success-at-once",
                     "success-at-once-eap"), "server-proof"),
    **dict.fromkeys(("no-auth", "pap-only", "chap-only", "mschapv1-only", "eap-md5-only"), "no-method"),
    "eap-lies": (UP, "timeout", "ppp", "server-proof"), "eap-lies-only": ("timeout", "ppp"),
    "eap-endless-identity": ("timeout", "ppp"), "eap-endless-notification": ("timeout", "ppp"),
    "chap-endless": ("timeout", "ppp"), "endless-nak": "sstp-refused",
    **dict.fromkeys(("endless-lcp-nak", "endless-lcp-reject", "endless-lcp-request"), ("ppp", "timeout")),
    **dict.fromkeys(("endless-ipcp-nak", "endless-ipcp-reject"), ("no-address", "ppp")),
    **dict.fromkeys(("address-0.0.0.0", "address-127.0.0.1", "address-224.0.0.1", "address-255.255.255.255"),
                    "no-address"),
    "address-ours": (UP, "no-address"), "no-ipcp": "no-address", "ipv6-alone": UP, "dns-loopback": UP,
    "head-drip": "http-timeout", "head-flood": "http", "head-lines": "http", "trailing-zeros": "sstp",
    "trailing-text": "sstp", "trailing-ack": "sstp", "status-503": "busy", "status-100": ("http", "http-timeout"),
    **dict.fromkeys(("tls-garbage", "tls-text", "anonymous"), "tls"),
    **dict.fromkeys(("bitmask-0", "bitmask-4", "ack-short", "ack-no-attribute"), "sstp"),
    **dict.fromkeys(("early-data", "big-packets", "compressed", "one-byte-records", "bad-options", "reserved-bits",
                     "unknown-protocols"), UP),
    "echo-flood": ("sstp", "lost", "silent"), "no-lcp": ("timeout", "ppp"),
}
SLOW = {"head-drip": 75, "eap-lies-only": 45, "no-lcp": 75, "status-100": 75, "eap-lies": 45}
# What ends a call, or hangs, at a stage: before the 200, before the ACK, before the login, before IPCP, up.
AT = {"silence": {"accept": "tls", "tls": "http-timeout", "request": "http-timeout", "http": "timeout",
                  "ccr": "timeout", "ack": "timeout", "lcp": "timeout", "auth": ("timeout", "no-address", "silent"),
                  "cc": ("timeout", "no-address", "silent"), "up": "silent"},
      "close": {"accept": "tls", "tls": "http-timeout", "request": "http-timeout"},
      "terminate": {"lcp": ("ppp", "login"), "up": "hung-up"},
      "abort": {"auth": ("binding", "sstp"), "cc": ("binding", "sstp"), "up": "hung-up"},
      "disconnect": {"up": "hung-up"}}
AT["cut"] = AT["close"]
AT["reset"] = {**AT["close"], "accept": ("tls", "unreachable")}  # it may come before connect() has seen the answer
LATE = {"close": ("lost", "sstp"), "cut": ("lost", "sstp"), "reset": ("lost", "sstp"), "abort": ("sstp",),
        "disconnect": ("sstp", "hung-up"), "terminate": ("ppp", "hung-up")}
# Vectors that are good packets: an ECHO_REQUEST, which has its place once CALL_CONNECTED was sent.
ECHOES = ("reserved_bits_set_in_flags", "reserved_nibble_set_in_length")


def expected(name):
    """(outcomes that are right, seconds that it may take)"""
    what, _, stage = name.partition("@")
    if not stage:
        want = EXPECT.get(name, "http")
        return (want,) if isinstance(want, str) else want, SLOW.get(name, LIMIT)
    if what in LATE or what == "silence":
        want = AT[what].get(stage) or LATE[what]
        return (want,) if isinstance(want, str) else want, 75 if what == "silence" else LIMIT
    if what in ECHOES:
        return ((UP,) if stage in ("cc", "up") else ("sstp", UP) if stage == "auth" else ("sstp",)), LIMIT
    if what == "nak_late" and stage in ("http", "ccr"):
        return (UP, "sstp"), LIMIT  # it is none there: the request is sent again, or an ACK comes twice
    if what == "ack_again" and stage in ("http", "ccr"):
        return ("sstp", "binding"), LIMIT
    return ("sstp",), LIMIT


def one(field, name):
    """Dials the hostile server; None, or what was wrong."""
    want, limit = expected(name)
    h = hostile(name)
    began = time.monotonic()
    try:
        with field.server(h) as s:
            if name == "address-ours":
                s.habit = fs.dataclasses.replace(s.habit, client_ip=s.habit.ip)
            c = field.connect(s, conf=IMPATIENT, alone=False).start()
            try:
                outcome(field, name, c, s, want, limit)
            finally:
                c.close()
            check(time.monotonic() - began < limit + 5, f"it took {time.monotonic() - began:.0f} s")
            field.small(c)
            check(not s.events("fault"), f"{s.events('fault')}")
    except Exception as e:  # whatever it is, the others go on
        return f"{name}: {type(e).__name__}: {e}"
    return None


def outcome(_field, name, c, s, want, limit):
    wait_for(lambda: not c.alive() or c.events("up"), limit, f"{name}: an end, or a call: {c.tail()}")
    if UP not in want:
        c.fails([w for w in want if w != UP], timeout=limit)
        return
    if c.events("up"):
        time.sleep(0.5)
        if want == (UP,) or c.alive():
            up = c.wait_up()
            check(c.alive(), f"it ended: {c.tail()}")
            if name == "dns-loopback":
                check(up["dns"] == [], f"{up}")
            if name == "ipv6-alone":
                call = s.call()
                c.ping(str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + call.iid)) + "%" + up["interface"])
            elif name != "address-ours":
                c.ping(s.habit.ip)
            c.stop()
            return
    c.fails([w for w in want if w != UP], timeout=limit)


def all_of(field, names, at_once=AT_ONCE):
    before = network(field.lab.client)
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        faults = [f for f in pool.map(lambda n: one(field, n), names) if f]
    check(not faults, f"{len(faults)} of {len(names)}: " + "; ".join(faults))
    after = network(field.lab.client)
    check(after == before, f"left behind: {before} before, {after} after")


def by(test):
    return [n for n in fs.HOSTILE if test(n) and n not in SLOW and not n.startswith("silence@")]


def test_hostile_servers(_lab, field):
    """All but those with a stage."""
    all_of(field, by(lambda n: "@" not in n))


def test_hostile_slow(_lab, field):
    """What is over only by the clock: silence after each stage, a head that drips, all at the same time."""
    names = [n for n in fs.HOSTILE if n in SLOW or n.startswith("silence@")]
    all_of(field, names, at_once=len(names))


def test_hostile_ends(_lab, field):
    """Closed, cut, reset, aborted, disconnected at each stage."""
    all_of(field, by(lambda n: n.partition("@")[0] in LATE))


def _stage(stage):
    return by(lambda n: n.endswith(f"@{stage}") and n.partition("@")[0] not in LATE)


def test_malformed_for_ack(_lab, field):
    """Every malformed message of tests/vectors/sstp-messages.json, instead of the ACK and before it."""
    all_of(field, _stage("http") + _stage("ccr"))


def test_malformed_in_lcp(_lab, field):
    all_of(field, _stage("ack") + _stage("lcp"))


def test_malformed_in_network(_lab, field):
    all_of(field, _stage("auth") + _stage("cc"))


def test_malformed_in_call(_lab, field):
    all_of(field, _stage("up"))
