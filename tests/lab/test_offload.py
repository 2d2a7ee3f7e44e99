"""TLS that HAProxy ends, or passes on with a PROXY header: calls bind to the certificate that it shows, also when it is
replaced meanwhile; the client's address is the one in the header, from those who may say so and nobody else.
"""

import contextlib
import hashlib
import os
import random
import ssl
import threading
import time
import types

import fronts
from fronts import v1, v2, v2_raw
from lablib import (CLIENT4, CLIENT6, INSIDE4, POOL_SERVER, SERVER4, SERVER6, Gatehouse, LabError, check, conf_text,
                    need, wait_for)
from sstpclient import Client, Closed, Protocol
from test_passthrough import Hello

DOOR = 8443  # the listener for the front, as in the documentation
NAMES = ["www.example.com", "vpn.example.com", "six.example.com", "web.example.com"]
TIMEOUT = 2


def front_conf(lab, site, offload=None, **changes):
    """
    The laboratory's configuration with listen and offload of the documentation, as written there but for paths.
    offload: [(old, new)] to change in that text.
    """
    conf = lab.conf(listen=None, certificates=None, **{"worker": {"threads": 1}, **changes})
    text = fronts.from_docs("listen: { address = [ ]; };")
    text = fronts.replaced(text, ("/etc/haproxy/site.pem", site), *(offload or ()))
    return conf_text(conf) + text


def start_text(lab, text, label="gatehouse"):
    """A daemon from configuration text."""
    gh = Gatehouse(lab, text, label)
    gh.conf = text + conf_text({"control": {"socket": gh.socket_path()}})
    return gh


def haproxy(lab, site, *changes, label="haproxy"):
    text = fronts.from_docs("# /etc/haproxy/haproxy.cfg: TLS ends here")
    text = fronts.replaced(text, ("/run/haproxy/admin.sock", "@SOCK@"), ("/etc/haproxy/site.pem", site), *changes)
    return fronts.Haproxy(lab, text, 443, label)


def issue(lab, name, key="P-256"):
    return lab.ca.issue(name, NAMES, key=key)


@contextlib.contextmanager
def fixture(lab):
    """HAProxy in front and the door behind it, both as the documentation has them."""
    need("haproxy", "curl", "socat")
    root = lab.fresh_dir("root")
    blob = os.urandom(8 << 20)
    fronts.put(os.path.join(root, "blob"), blob)
    fronts.put(os.path.join(root, "index.html"), b"<title>x</title>the site with a name\n")
    site = fronts.put(os.path.join(lab.test_dir, "site.pem"), *issue(lab, "front", "rsa:4096"))
    text = front_conf(lab, site, vpn={"auth": ["mschapv2", "pap"]},
                      web=[{"name": "web.example.com", "root": root}, {}],
                      limits={"head-timeout": TIMEOUT, "handshake-timeout": TIMEOUT})
    with start_text(lab, text) as gh, haproxy(lab, site) as ha:
        yield types.SimpleNamespace(gh=gh, ha=ha, site=site, digest=hashlib.sha256(blob).hexdigest())


def dial(lab, host=SERVER4, **kw):
    return Client(lab.client, host, ca=lab.ca.cert, **kw)


def whole_call(lab, host=SERVER4, method="mschapv2", algorithm="sha256", **kw):
    with dial(lab, host, **kw) as c:
        c.call("alice", "wonderland", method, algorithm)
        check(c.ping(POOL_SERVER), "no ping")
        c.hang_up()
        return c


def curl(lab, url, *argv, host=SERVER4):
    name = url.split("/")[2]
    addr = f"[{host}]" if ":" in host else host
    return lab.client.sh("curl", "-sS", "--max-time", "30", "--cacert", lab.ca.cert, "--resolve", f"{name}:443:{addr}",
                         *argv, url)


def replace(lab, f, name, by_api=False, key="P-256"):
    """The order that the documentation tells: file, then this server, then the front."""
    fronts.put(f.site, *issue(lab, name, key))
    since = f.gh.mark()
    f.gh.cli("reload")
    f.gh.wait_event("front-changed", since=since)
    if by_api:
        text = fronts.from_docs("    printf 'set ssl cert")
        lab.server.sh("sh", "-ec", fronts.replaced(text, ("/run/haproxy/admin.sock", f.ha.sock),
                                                   ("/etc/haproxy/site.pem", f.site)))
    else:
        f.ha.reload()
    want = fronts.leaf(f.site)

    def shown():
        with dial(lab) as c:
            return c.cert == want
    wait_for(shown, 5, "HAProxy's new certificate")


# ---- HAProxy ends TLS ----------------------------------------------------------------------------------------------

def test_web_and_calls(lab, f):
    """The web site by name; calls with either hash; the client's address everywhere."""
    for host, who in ((SERVER4, CLIENT4), (SERVER6, f"[{CLIENT6}]")):
        check("the site with a name" in curl(lab, "https://web.example.com/", host=host), "the site by its name")
        check("the site with a name" not in curl(lab, "https://www.example.com/", host=host), "the site without name")
        for algorithm in ("sha256", "sha1"):
            since = f.gh.mark()
            with dial(lab, host) as c:
                check(c.cert == fronts.leaf(f.site), "another certificate than HAProxy's")
                c.call("alice", "wonderland", algorithm=algorithm)
                check(c.hash_mask == 3, f"hash bitmask {c.hash_mask}")
                check(c.ping(INSIDE4), "no ping")
                check(f.gh.session("alice")["peer"].startswith(who + ":"), f"peer {f.gh.session('alice')['peer']}")
                c.hang_up()
            for e in (f.gh.wait_event("call-up", since=since), f.gh.wait_event("login-ok", since=since)):
                check(e["peer"].startswith(who + ":"), e["text"])
    down = curl(lab, "https://web.example.com/blob", "-o", os.path.join(lab.test_dir, "blob"), "-w", "%{http_code}")
    with open(os.path.join(lab.test_dir, "blob"), "rb") as b:
        check(down == "200" and hashlib.sha256(b.read()).hexdigest() == f.digest, "the download differs")


def test_resumed_at_the_front(lab, f):
    """A session resumed at HAProxy shows no certificate: the call binds to the one that was shown."""
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        ctx = lab.tls(minimum_version=version, maximum_version=version)
        first = Client(lab.client, SERVER4, context=ctx)
        first.call("alice", "wonderland", "pap")
        session, cert = first.s.session, first.cert
        first.hang_up()
        with Client(lab.client, SERVER4, context=ctx, session=session) as c:
            check(c.s.session_reused, f"{version.name}: not resumed")
            c.cert = cert
            c.call("alice", "wonderland", "pap")
            c.hang_up()


def test_stock_client(lab, f):
    """Scenario: sstpc through HAProxy; its certificate is replaced; the call stays, and the next one binds as well."""
    uml = lab.uml()
    with uml.sstpc("alice", "wonderland", "vpn.example.com", ca=lab.ca.cert, routes=["198.51.100.0/24"]) as call:
        call.wait_up()
        uml.sh(f"ping -c2 -i0.2 -W3 {INSIDE4}")
        check(f.gh.session("alice")["peer"].startswith(("10.9.", "192.0.2.")), "the peer is not the client")
        replace(lab, f, "front-uml", key="rsa:4096")
        uml.sh(f"ping -c2 -i0.2 -W3 {INSIDE4}")
        with uml.sstpc("bob", "correct horse", "vpn.example.com", ca=lab.ca.cert) as second:
            second.wait_up()
            uml.sh(f"ping -c2 -i0.2 -W3 {POOL_SERVER}")
            second.hang_up()
            second.wait_end()
        check(call.alive(), "the first call ended")
        call.hang_up()
        call.wait_end()
    f.gh.no_sessions()


class Load:
    """Dialling clients, held calls and downloads; what goes wrong is in `bad`."""

    def __init__(self, lab, f):
        self.lab, self.f, self.bad, self.stop = lab, f, [], threading.Event()
        self.dials = self.downloads = 0
        self.leaves = set()
        self.held = [dial(lab) for _ in range(8)]
        for c in self.held:
            c.call("bob", "correct horse")
        self.threads = [threading.Thread(target=self._run, args=(x,)) for x in [self._dial] * 4 + [self._download] * 2]
        self.threads += [threading.Thread(target=self._slow_dial)]
        for t in self.threads:
            t.start()

    def _run(self, one):
        while not self.stop.is_set():
            try:
                one()
            except (OSError, Closed, Protocol, TimeoutError, LabError) as e:
                self.bad.append(f"{one.__name__}: {type(e).__name__}: {e}")

    def _dial(self):
        c = whole_call(self.lab, (SERVER4, SERVER6)[self.dials % 2], "pap")
        self.leaves.add(c.cert)
        self.dials += 1

    def _download(self):
        with self.lab.tls().wrap_socket(self.lab.client.connect(SERVER4, 443), server_hostname="web.example.com") as s:
            s.settimeout(20)
            s.sendall(b"GET /blob HTTP/1.0\r\nHost: web.example.com\r\n\r\n")
            got = b"".join(iter(lambda: s.recv(1 << 16), b"")).partition(b"\r\n\r\n")[2]
        check(hashlib.sha256(got).hexdigest() == self.f.digest, f"{len(got)} bytes, not those")
        self.downloads += 1

    def _slow_dial(self):
        """Between TLS accept and Call Connected while the certificate is replaced: four calls, one after another."""
        while not self.stop.is_set():
            try:
                with dial(self.lab) as c:
                    c.http()
                    c.connect_request()
                    self.stop.wait(2.5)
                    check(c.login("alice", "wonderland", "pap"), "login")
                    c.send_connected()
                    c.open_ipcp()
                    c.hang_up()
            except (OSError, Closed, Protocol, TimeoutError, LabError) as e:
                self.bad.append(f"slow dial: {type(e).__name__}: {e}")

    def end(self):
        self.stop.set()
        for t in self.threads:
            t.join(30)
        for c in self.held:
            check(c.ping(POOL_SERVER), "a held call no longer passes data")
            c.hang_up()


def test_replaced_under_load(lab, f):
    """Six certificates, by reload and by the runtime API in turn: no dial, no download and no held call fails."""
    since, load = f.gh.mark(), Load(lab, f)
    try:
        for n in range(6):
            replace(lab, f, f"front-load{n}", by_api=n % 2 == 1)
            time.sleep(0.7)
    finally:
        load.end()
    check(not load.bad, f"{len(load.bad)} of {load.dials} dials and {load.downloads} downloads: {load.bad[:3]}")
    check(load.dials > 20 and load.downloads > 5, f"only {load.dials} dials, {load.downloads} downloads")
    check(len(load.leaves) >= 5, f"calls saw only {len(load.leaves)} certificates")
    check(not f.gh.events("binding-mismatch", since), "a mismatch")
    print(f"# {load.dials} dials, {load.downloads} downloads beside 6 replacements")
    f.gh.no_sessions()


def test_unreadable_file(lab, f):
    """A file of the front that is no certificate: the last good one is accepted on, and the log says so."""
    with open(f.site, "rb") as x:
        good = x.read()
    der = ssl.PEM_cert_to_DER_cert(good[:good.index(b"-----BEGIN", 10)].decode())
    key = good[good.index(b"-----BEGIN PRIVATE"):]
    leaf = good[:good.index(b"-----BEGIN", 10)]
    with open(lab.ca.cert, "rb") as x:
        issuer = x.read()
    for bad in (b"", b"garbage\n", good[:300], der, good[:300] + key, key, issuer + leaf + key,
                leaf + issuer[:200] + key, good * (10 * 2**20 // len(good))):
        since = f.gh.mark()
        fronts.put(f.site, bad)
        e = f.gh.wait_event("front-kept", since=since)
        check(f.site in e["text"] and e["reason"], e["text"])
        f.gh.cli("reload", ok=(1,))
        whole_call(lab, method="pap")
    since = f.gh.mark()
    for fine in (good.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + good, good):  # as editors leave it: no fault
        fronts.put(f.site, fine)
        f.gh.cli("reload")
        whole_call(lab, method="pap")
    time.sleep(1.3)  # the restored file is seen
    check(not f.gh.events("front-kept", since) and not f.gh.events("front-changed", since), "the leaf is the same")


def test_health_check(lab, f):
    """A front that only looks whether we are there fills no log."""
    since = f.gh.mark()
    for first in (b"", v2_raw(0x20, 0, b""), v2(), v1()):
        s = lab.server.connect("127.0.0.1", DOOR)
        s.sendall(first)
        s.close()
    whole_call(lab, method="pap")
    loud = [e["text"] for e in f.gh.log()[since:] if e.get("level") in ("notice", "warn", "error")
            and e["event"] not in ("login-ok", "call-up", "call-down")]
    check(not loud, f"lines about a health check: {loud}")


# ---- which certificates --------------------------------------------------------------------------------------------

def mismatch(lab, gh, algorithm="sha256"):
    """A call that is refused for its certificate; returns the event."""
    since = gh.mark()
    with dial(lab) as c:
        c.http()
        c.connect_request()
        check(c.login("alice", "wonderland", "mschapv2"), "login")
        c.send_connected(algorithm=algorithm)
        _, closed = c.fate(8)
        check(closed, "a call with a certificate that is not configured stayed up")
        e = gh.wait_event("binding-mismatch", since=since)
        check(e["client_sent"] == hashlib.new(algorithm, c.cert).hexdigest(), f"not the client's hash: {e['text']}")
        check("a front whose certificate is not configured" in e["remedy"], e["text"])
        check(e["peer"].startswith(f"{CLIENT4}:"), e["text"])
    check(not gh.events("call-up", since), "the call came up")
    return e


def test_overlap(lab):
    """The old leaf is accepted for the overlap after its file changed, and not longer; the new one at once."""
    old, new = issue(lab, "overlap-old"), issue(lab, "overlap-new")
    site = fronts.put(os.path.join(lab.test_dir, "site.pem"), *old)
    served = fronts.put(os.path.join(lab.test_dir, "served.pem"), *old)
    text = front_conf(lab, site, [("overlap        = 600", "overlap = 3")])
    with start_text(lab, text) as gh, haproxy(lab, served) as ha:
        whole_call(lab)
        fronts.put(site, *new)
        gh.wait_event("front-changed")
        changed = time.monotonic()
        whole_call(lab)  # HAProxy still shows the old one
        status = gh.cli("status")["front"]
        check([bool(x["until"]) for x in status] == [False, True], f"status: {status}")
        fronts.put(served, *new)
        ha.reload()
        wait_for(lambda: whole_call(lab).cert == fronts.leaf(new[0]), 3, "a call with the new certificate")
        fronts.put(served, *old)
        ha.reload()
        time.sleep(max(0, changed + 4.1 - time.monotonic()))
        e = mismatch(lab, gh)
        check(e["accepted"] == fronts.sha256(fronts.leaf(new[0])) and e["accepted_count"] == "1", e["text"])
        mismatch(lab, gh, "sha1")
        gh.no_sessions()


def test_listed_hashes(lab):
    """Hashes instead of files: with SHA-256 alone nothing else is offered; what is not listed is refused and named."""
    one, two = issue(lab, "listed"), issue(lab, "unlisted")
    site = fronts.put(os.path.join(lab.test_dir, "site.pem"), *one)
    text = front_conf(lab, site, [(f'"{site}"', f'"sha256:{fronts.sha256(fronts.leaf(one[0])).upper()}"')])
    with start_text(lab, text) as gh, haproxy(lab, site) as ha:
        check(whole_call(lab).hash_mask == 2, "a hash is offered that is not known")
        since = gh.mark()
        with dial(lab) as c:
            c.http()
            c.connect_request()
            check(c.login("alice", "wonderland", "mschapv2"), "login")
            c.send_connected(algorithm="sha1")
            check(c.fate(8)[1], "a hash that was not offered is taken")
        gh.wait_event("refused", since=since, cause="binding-hash")
        fronts.put(site, *two)
        ha.reload()
        wait_for(lambda: dial(lab).cert == fronts.leaf(two[0]), 5, "HAProxy's other certificate")
        mismatch(lab, gh)
        gh.write_conf(gh.conf.replace('certificates   = [ ', f'certificates = [ "{two[0]}", '))
        gh.cli("reload")
        check(whole_call(lab).hash_mask == 2, "a hash is offered that is not known for all")


def test_forms_of_the_header(lab):
    """send-proxy in version 1, and no PROXY header at all: then everybody has HAProxy's address."""
    site = fronts.put(os.path.join(lab.test_dir, "site.pem"), *issue(lab, "forms"))
    to = "send-proxy-v2 proxy-v2-options authority"
    for form, required, who in (("send-proxy", "true", CLIENT4), ("", "false", "127.0.0.1")):
        text = front_conf(lab, site, [("proxy-protocol = true", f"proxy-protocol = {required}")])
        with start_text(lab, text) as gh, haproxy(lab, site, (to, form)):
            check("title" in curl(lab, "https://www.example.com/"), "no page")
            whole_call(lab)
            e = gh.wait_event("call-up")
            check(e["peer"].startswith(f"{who}:"), f"{form}: {e['text']}")


# ---- the listener itself -------------------------------------------------------------------------------------------

@contextlib.contextmanager
def door(lab, proxy=True, listen="127.0.0.1", source="127.0.0.1", **changes):
    """A door for a front that is played by the test: it says which leaf it would have shown."""
    cert = issue(lab, "played")
    offload = {"listen": [f"{listen}:{DOOR}"], "from": [source], "proxy-protocol": proxy, "certificates": [cert[0]]}
    limits = {"head-timeout": TIMEOUT, "handshake-timeout": TIMEOUT, **changes.pop("limits", {})}
    with lab.gatehouse(offload=offload, worker={"threads": 1}, limits=limits, **changes) as gh:
        gh.leaf = fronts.leaf(cert[0])
        yield gh


def knock(lab, data, host="127.0.0.1", ns=None):
    """Sends bytes to the door; returns what comes back until its end, b"" for a reset."""
    with contextlib.closing((ns or lab.server).connect(host, DOOR)) as s:
        got = b""
        with contextlib.suppress(ConnectionError):
            s.sendall(data)
            while part := s.recv(65536):
                got += part
    return got


GET = b"GET / HTTP/1.0\r\nHost: www.example.com\r\n\r\n"


def test_not_from_the_front(lab):
    """Who is not in offload.from is closed without a byte, and the log names the cause."""
    with door(lab, listen=SERVER4, source=SERVER4) as gh:
        for data in (v2() + GET, GET, b""):
            since = gh.mark()
            began = time.monotonic()
            check(knock(lab, data, SERVER4, lab.client) == b"", "an answer to a stranger")
            check(time.monotonic() - began < 1, "a stranger is not closed at once")
            e = gh.wait_event("refused", since=since, cause="not-from-front")
            check(e["peer"].startswith(f"{CLIENT4}:") and "offload.from" in e["remedy"], e["text"])
        check(knock(lab, v2() + GET, SERVER4).startswith(b"HTTP/1."), "the front gets no answer")


def test_call_through_the_door(lab):
    """Bytes of a front by hand: the call binds to the front's leaf, its source is the header's, also IPv6 and LOCAL."""
    with door(lab) as gh:
        for header, who in ((v2("203.0.113.9"), "203.0.113.9:40000"), (v1("203.0.113.9"), "203.0.113.9:40000"),
                            (v2("2001:db8:5::9", SERVER6), "[2001:db8:5::9]:40000"),
                            (v1("2001:db8:5::9", SERVER6), "[2001:db8:5::9]:40000"),
                            (b"PROXY UNKNOWN\r\n", "127.0.0.1:"), (b"PROXY UNKNOWN ff:: x 1 2\r\n", "127.0.0.1:"),
                            (v2_raw(0x20, 0, b""), "127.0.0.1:"), (v2_raw(0x20, 0x11, b"\1" * 12), "127.0.0.1:"),
                            (v2_raw(0x21, 0, b""), "127.0.0.1:"), (v2_raw(0x21, 0x31, b"/x" * 108), "127.0.0.1:")):
            since = gh.mark()
            with Client(lab.server, "127.0.0.1", DOOR, before=header, plain=gh.leaf) as c:
                c.call("alice", "wonderland")
                check(c.ping(POOL_SERVER), "no ping")
                check(gh.session("alice")["peer"].startswith(who), f"{header}: {gh.sessions()}")
                c.hang_up()
            check(gh.wait_event("call-up", since=since)["peer"].startswith(who), f"{header}: in the log")
            gh.no_sessions()


def test_header_cut(lab):
    """Each byte of a header may come late, alone or not; what comes behind it is not lost."""
    with door(lab, limits={"unauthenticated-per-source": 4000, "web-per-source": 4000, "connections": 4000}) as gh:
        name = fronts.tlv(2, b"www.example.com")
        for header in (v2(), v2("2001:db8:5::9", SERVER6, tlvs=name), v1(), v1("2001:db8:5::9", SERVER6),
                       b"PROXY UNKNOWN\r\n", v2_raw(0x20, 0, b"")):
            data = header + GET
            parts = [(data[:n], data[n:]) for n in range(1, len(data))]
            socks = [lab.server.connect("127.0.0.1", DOOR) for _ in parts]
            for s, (first, _) in zip(socks, parts):
                s.sendall(first)
            time.sleep(0.1)
            for s, (_, rest) in zip(socks, parts):
                s.sendall(rest)
            for s, (first, _) in zip(socks, parts):
                check(s.recv(12) == b"HTTP/1.1 200", f"{header} cut at {len(first)}")
                s.close()
        check(not gh.events("refused"), f"refused: {gh.events('refused')[:1]}")
        # Byte by byte, all of it; and cut off for good at each place.
        with contextlib.closing(lab.server.connect("127.0.0.1", DOOR)) as s:
            for n in range(len(v2() + GET)):
                s.sendall((v2() + GET)[n:n + 1])
                time.sleep(0.003)
            check(s.recv(12) == b"HTTP/1.1 200", "byte by byte")
        since = gh.mark()
        stalled = [lab.server.connect("127.0.0.1", DOOR) for _ in range(len(v2()))]
        for n, s in enumerate(stalled):
            s.sendall(v2()[:n])
        ends = time.monotonic() + TIMEOUT + 2
        for n, s in enumerate(stalled):
            s.settimeout(max(0.1, ends - time.monotonic()))
            with contextlib.suppress(ConnectionError):
                check(s.recv(10) == b"", f"an answer to a header cut at {n}")
            s.close()
        check(all("PROXY header" in e["msg"] for e in gh.wait_event("timed-out", since=since) and
                  gh.events("timed-out", since)), "the log does not say what was missing")
        wait_for(lambda: gh.cli("status")["connections"] == 0, 3, "the end of all connections")


def bad_headers():
    rng, good = random.Random(3), v2()
    yield from (GET, b"\r\n\r\n", b"\0" * 64, b"PROXY", b"PROXY \r\n", b"PROXY TCP4\r\n", b"proxy UNKNOWN\r\n",
                b"PROXY TCP4 203.0.113.9 192.0.2.2 1\r\n", b"PROXY TCP4 203.0.113.9 192.0.2.2 1 65536\r\n",
                b"PROXY TCP4 203.0.113.9 192.0.2.2 -1 2\r\n", b"PROXY TCP4 203.0.113.9  192.0.2.2 1 2\r\n",
                b"PROXY TCP4 203.0.113.999 192.0.2.2 1 2\r\n", b"PROXY TCP6 203.0.113.9 192.0.2.2 1 2\r\n",
                b"PROXY TCP4 ::1 ::2 1 2\r\n", b"PROXY UDP4 203.0.113.9 192.0.2.2 1 2\r\n",
                b"PROXY UNKNOWN" + b"x" * 200 + b"\r\n", b"PROXY TCP4 " + b"1" * 5000,
                b"PROXY TCP4 203.0.113.9 192.0.2.2 01 2\r\n", b"PROXY TCP4 203.0.113.9 192.0.2.2 1 2 3\r\n",
                b"PROXY TCP4 203.0.113.9\0 192.0.2.2 1 2\r\n",
                v2_raw(0x21, 0x11, b"\1" * 12, 4097) + b"\0" * 5000,
                v2_raw(0x21, 0x11, b"\1" * 12, 65535) + b"\0" * 70000,
                v2_raw(0x21, 0x11, b"\1" * 11), v2_raw(0x21, 0x21, b"\1" * 35), v2_raw(0x21, 0x11, b""),
                v2_raw(0x11, 0x11, b"\1" * 12), v2_raw(0x22, 0x11, b"\1" * 12), v2_raw(0x21, 0x41, b"\1" * 12),
                v2_raw(0x21, 0x13, b"\1" * 12), v2(tlvs=fronts.tlv(2, b"abc", 4)), v2(tlvs=b"\x02"), v2(tlvs=b"\x02\0"))
    for n in range(12):
        yield good[:n] + bytes([good[n] ^ 0x20]) + good[n + 1:] + GET
    for _ in range(60):
        yield rng.randbytes(rng.randrange(16, 300))


def test_bad_headers(lab):
    """Missing, oversized, garbage: closed without a byte, cause proxy-header; none of it is read as a request."""
    with door(lab) as gh, Client(lab.server, "127.0.0.1", DOOR, before=v2(), plain=gh.leaf) as call:
        call.call("erin", "secret")
        cases = list(bad_headers())
        for data in cases:
            got = knock(lab, data + (b"" if data == GET else GET))
            check(got == b"", f"{data[:60]}: answered {got[:60]!r}")
        time.sleep(1.1)  # lines beyond so many a second are only counted; the next line says how many
        knock(lab, GET)
        told = gh.events("refused")
        check({e["cause"] for e in told} == {"proxy-header"}, f"causes: {told}")
        total = sum(1 + int(e.get("dropped", 0)) for e in told)
        check(total == len(cases) + 1, f"{total} refusals of {len(cases) + 1}: {told[-1]['text']}")
        check(call.ping(INSIDE4), "the call no longer passes data")
        check(not gh.events("web-done"), "something was passed on")
        call.hang_up()
        wait_for(lambda: gh.cli("status")["connections"] == 0, 3, "the end of all connections")


def test_sources_are_counted(lab):
    """The limits of one source go by the header: one claimed address is full, another not; the front is free."""
    with door(lab, limits={"unauthenticated-per-source": 4, "handshake-timeout": 8, "head-timeout": 8}) as gh:
        socks = []

        def unfinished(header):
            s = lab.server.connect("127.0.0.1", DOOR)
            socks.append(s)
            s.sendall(header + b"GET /")
            s.settimeout(0.3)
            with contextlib.suppress(TimeoutError):
                with contextlib.suppress(ConnectionError):
                    s.recv(10)
                return False
            return True
        try:
            check([unfinished(v2("203.0.113.1", sport=1000 + n)) for n in range(5)] == [True] * 4 + [False],
                  "five unfinished connections of one source where four are allowed")
            e = gh.wait_event("refused", cause="source-limit")
            check(e["peer"].startswith("203.0.113.1:"), e["text"])
            check(unfinished(v2("203.0.113.2")), "another source is refused, too")
            check(all(unfinished(v2_raw(0x20, 0, b"")) for _ in range(6)), "the front's own connections are counted")
        finally:
            for s in socks:
                s.close()


# ---- listen.proxy-from ---------------------------------------------------------------------------------------------

def test_spoofed(lab):
    """A PROXY header from somebody who is no balancer, on the normal port: never believed, and no way past anything."""
    with lab.gatehouse(listen={"address": ["0.0.0.0:443", "[::]:443"], "proxy-from": ["192.0.2.77", "127.0.0.1"]},
                       worker={"threads": 1}) as gh:
        for header in (v2("203.0.113.66"), v1("203.0.113.66"), v2("127.0.0.1"), v2_raw(0x20, 0, b"")):
            since = gh.mark()
            for host in (SERVER4, SERVER6):
                try:
                    Client(lab.client, host, ca=lab.ca.cert, before=header, timeout=3).close()
                    check(False, f"{header}: TLS came about behind it")
                except (OSError, ssl.SSLError):
                    pass
            e = gh.wait_event("tls-failed", since=since)
            check(e["peer"].startswith((f"{CLIENT4}:", f"[{CLIENT6}]:")), e["text"])
        check("203.0.113.66" not in str(gh.log()), "the forged address is in the log")
        with dial(lab) as c:  # without a header all is well
            c.call("alice", "wonderland")
            check(gh.session("alice")["peer"].startswith(f"{CLIENT4}:"), "another peer")
            c.hang_up()
        # The other way round: from a balancer, a connection without a header is refused.
        since = gh.mark()
        with contextlib.suppress(OSError):
            Client(lab.server, "127.0.0.1", timeout=3).close()
            check(False, "a balancer needs no header")
        e = gh.wait_event("refused", since=since, cause="proxy-header")
        check("listen.proxy-from" in e["remedy"], e["text"])


def test_header_and_hello_cut(lab):
    """
    PROXY header and ClientHello in two segments, divided at every byte: passed on or served here, what the header says
    is in the log. A bad header is closed on without a byte, also here.
    """
    legacy = lab.ca.issue("behind", ["legacy.example.com"])
    nginx = fronts.NginxTls(lab, legacy)
    passages = [{"name": "legacy.example.com", "upstream": f"127.0.0.1:{nginx.PORT}"}]
    limits = {"connections": 4000, "unauthenticated-per-source": 4000, "handshake-timeout": 8}
    try:
        with lab.gatehouse(listen={"address": ["0.0.0.0:443"], "proxy-from": [CLIENT4]}, passthrough=passages,
                           limits=limits) as gh:
            for header, name, want in ((v2(), "legacy.example.com", legacy), (v1(), "legacy.example.com", legacy),
                                       (v2(), "www.example.com", lab.www), (v1(), "www.example.com", lab.www)):
                made = [Hello(lab, name).dial(lab) for _ in range(len(header) + len(Hello(lab, name).first) - 1)]
                for n, h in enumerate(made, 1):
                    h.s.sendall((header + h.first)[:n])
                time.sleep(0.2)
                for n, h in enumerate(made, 1):
                    if rest := (header + h.first)[n:]:  # extensions may differ in length
                        h.s.sendall(rest)
                for n, h in enumerate(made, 1):
                    check(h.finish() == fronts.leaf(want[0]), f"{header} and {name} cut at {n}: another certificate")
                    h.close()
            check(not gh.events("refused") and not gh.events("tls-failed"), "a good header was refused")
            for e in gh.events("passthrough"):
                check(e["peer"] == "203.0.113.9:40000", e["text"])
            cases = list(bad_headers())
            for data in cases:
                with contextlib.closing(lab.client.connect(SERVER4, 443)) as s, contextlib.suppress(ConnectionError):
                    s.sendall(data + Hello(lab, "legacy.example.com").first)
                    check(s.recv(10) == b"", f"{data[:60]}: an answer")
            check({e["cause"] for e in gh.events("refused")} == {"proxy-header"}, f"{gh.events('refused')}")
            wait_for(lambda: gh.cli("status")["connections"] == 0, 5, "the end of all connections")
    finally:
        nginx.stop()


def test_balancer(lab):
    """HAProxy passes TLS on with a header: the certificate is chosen by the address that the client dialled."""
    need("haproxy")
    other = lab.ca.issue("dialled", NAMES)
    base = lab.conf()
    certs = [*base["certificates"], {"name": "dialled", "chain": other[0], "key": other[1],
                                      "for": [f"{SERVER4}:{DOOR}"]}]
    conf = fronts.from_docs("# /etc/haproxy/haproxy.cfg: TLS goes through")
    with lab.gatehouse(listen={"address": ["0.0.0.0:443"], "proxy-from": ["127.0.0.1"]}, certificates=certs,
                       worker={"threads": 1}, limits={"unauthenticated-per-source": 3}) as gh, \
            fronts.Haproxy(lab, conf, DOOR):
        for algorithm in ("sha256", "sha1"):
            with dial(lab, port=DOOR) as c:
                check(c.cert == fronts.leaf(other[0]), "the certificate is not the one for the address dialled")
                c.call("alice", "wonderland", algorithm=algorithm)
                check(c.ping(POOL_SERVER), "no ping")
                check(gh.session("alice")["peer"].startswith(f"{CLIENT4}:"), f"{gh.sessions()}")
                c.hang_up()
        with dial(lab) as c:  # directly
            check(c.cert == fronts.leaf(lab.www[0]), "the direct way has another certificate")
            c.call("alice", "wonderland")
            c.hang_up()
        with dial(lab, port=DOOR, sni="vpn.example.com") as c:
            check(c.cert == fronts.leaf(other[0]), "an address outranks a name")
        # Two clients behind the balancer do not share one limit.
        mine = [lab.client.connect(SERVER4, DOOR) for _ in range(3)]
        try:
            with Client(lab.server, SERVER4, DOOR, ca=lab.ca.cert) as c:
                c.call("alice", "wonderland")
                c.hang_up()
        finally:
            for s in mine:
                s.close()
