"""Names whose TLS another server ends: nginx with its own certificate, another SSTP server, and ClientHellos of all
kinds in front of them. A call through this door and a download through the passage are not disturbed by any of it.
"""

import contextlib
import hashlib
import os
import random
import ssl
import struct
import threading
import time
import types

import fronts
from lablib import CLIENT4, CLIENT6, INSIDE4, SERVER4, SERVER6, SERVER_IN4, check, need, nt_hash, wait_for
from sstpclient import Client, Protocol

SIZE = 50 << 20
TIMEOUT = 2
OTHER = 9443  # where the other SSTP server listens
LIMITS = {"connections": 8000, "handshake-timeout": TIMEOUT, "head-timeout": TIMEOUT, "web-per-source": 4000,
          "unauthenticated-per-source": 4000}


@contextlib.contextmanager
def other_server(lab):
    """Another SSTP server, on a host of its own: it takes PROXY headers from the door."""
    chain = lab.ca.issue("other", ["other.example.com"])
    users = os.path.join(lab.test_dir, "other-users")
    with open(users, "w", encoding="ascii") as f:
        f.write(f"olga nt:{nt_hash('tundra')}\n")
    os.chmod(users, 0o600)
    gh = lab.gatehouse(
        "other", listen={"address": [f"{INSIDE4}:{OTHER}"], "proxy-from": [SERVER_IN4]},
        certificates=[{"name": "other", "chain": chain[0], "key": chain[1], "for": ["default"]}],
        vpn={"network": ["10.78.0.0/24"], "dns": ["10.78.0.1"], "users": users, "forward": False, "interface": "gh1"},
        worker={"threads": 1})
    gh.ns = lab.inside
    with gh:
        yield types.SimpleNamespace(gh=gh, leaf=fronts.leaf(chain[0]))


@contextlib.contextmanager
def fixture(lab):
    need("curl")
    legacy = lab.ca.issue("legacy", ["legacy.example.com", "proxied.example.com", "v1.example.com",
                                     "*.wild.example.com", "a.b.wild.example.com"])
    nginx = fronts.NginxTls(lab, legacy)
    with open(os.path.join(nginx.docs, "index.html"), "w", encoding="ascii") as f:
        f.write("hello from the server behind\n")

    def passage(name, to, proxy="off"):
        return {"name": name, "upstream": to, "proxy-protocol": proxy}
    local = "127.0.0.1"
    passages = [passage("legacy.example.com", f"{local}:{nginx.PORT}"),
                passage("*.wild.example.com", f"{local}:{nginx.PORT}"),
                passage("proxied.example.com", f"{local}:{nginx.PROXY_PORT}", "v2"),
                passage("v1.example.com", f"{local}:{nginx.PROXY_PORT}", "v1"),
                passage("other.example.com", f"{INSIDE4}:{OTHER}", "v2"),
                passage("down.example.com", f"{local}:9")]
    try:
        with other_server(lab) as other, lab.gatehouse(passthrough=passages, limits=LIMITS) as gh, \
                Client(lab.client, SERVER4, ca=lab.ca.cert) as call:
            call.call("erin", "secret")
            p = types.SimpleNamespace(gh=gh, nginx=nginx, other=other, call=call, leaf=fronts.leaf(legacy[0]),
                                      own=fronts.leaf(lab.www[0]))
            yield p
            well(lab, p)
            call.hang_up()
    finally:
        nginx.stop()


def well(lab, p):
    """Others have not noticed: the call passes data, the passage too, and nothing is left over."""
    check(p.call.ping(INSIDE4), "the call no longer passes data")
    check("hello" in curl(lab, "https://legacy.example.com/"), "no page through the passage")
    wait_for(lambda: p.gh.cli("status")["connections"] == 1, 5,
             lambda: f"the end of all connections but the call's: {p.gh.cli('status')}")


def curl(lab, url, *argv, host=SERVER4, ok=(0,)):
    name = url.split("/")[2]
    addr = f"[{host}]" if ":" in host else host
    return lab.client.sh("curl", "-sS", "--max-time", "60", "--cacert", lab.ca.cert, "--resolve", f"{name}:443:{addr}",
                         *argv, url, ok=ok, timeout=90)


# ---- a client whose ClientHello can be cut -------------------------------------------------------------------------

class Hello:
    """TLS by memory: `first` is the ClientHello as it would be sent; finish() makes the handshake after it was."""

    def __init__(self, lab, name, **kw):
        self.incoming, self.out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = lab.tls(**kw).wrap_bio(self.incoming, self.out, server_hostname=name)
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        self.first = self.out.read()
        self.s = None

    def dial(self, lab, host=SERVER4):
        self.s = lab.client.connect(host, 443, 15)
        return self

    def records(self, *cuts):
        """The ClientHello in records that end at these places of the message."""
        body = self.first[5:]
        ends = [*cuts, len(body)]
        return b"".join(b"\x16\x03\x01" + struct.pack("!H", b - a) + body[a:b] for a, b in zip([0, *cuts], ends))

    def whole(self):
        self.s.sendall(self.first)
        return self.finish()

    def finish(self):
        """The rest of the handshake; returns the leaf that was shown."""
        while True:
            try:
                self.tls.do_handshake()
                self.s.sendall(self.out.read())
                return self.tls.getpeercert(binary_form=True)
            except ssl.SSLWantReadError:
                if data := self.out.read():
                    self.s.sendall(data)
                part = self.s.recv(65536)
                check(part, "the connection ended in the handshake")
                self.incoming.write(part)

    def close(self):
        if self.s:
            self.s.close()


@contextlib.contextmanager
def hellos(lab, name, n, **kw):
    made = []
    try:
        for _ in range(n):
            made.append(Hello(lab, name, **kw).dial(lab))
        yield made
    finally:
        for h in made:
            h.close()


def hello_with(name=b"legacy.example.com", pad=0, length=None, list_length=None, name_length=None, ext_length=None,
               exts_length=None, body_length=None, record_length=None, kind=1, record=22, major=3, session=0,
               again=False):
    """A ClientHello built by hand; each length in it can lie."""
    def n16(true, lie):
        return struct.pack("!H", true if lie is None else lie)
    entry = b"\0" + n16(len(name), name_length) + name
    value = n16(len(entry), list_length) + entry
    exts = b"\0\0" + n16(len(value), ext_length) + value
    exts = exts * (2 if again else 1) + b"\x00\x2b\x00\x03\x02\x03\x04"
    exts += b"\x00\x15" + struct.pack("!H", pad) + b"\0" * pad if pad else b""
    body = b"\x03\x03" + b"r" * 32 + bytes([session]) + b"\x00\x04\x13\x01\x13\x02" + b"\x01\x00" + \
        n16(len(exts), exts_length) + exts
    message = bytes([kind]) + struct.pack("!I", len(body) if body_length is None else body_length)[1:] + body
    pieces = [message[i:i + 16384] for i in range(0, len(message), 16384)] if length is None else [message[:length]]
    return b"".join(bytes([record, major, 1]) + n16(len(x), record_length) + x for x in pieces)


# ---- it is that server's -------------------------------------------------------------------------------------------

def test_server_behind(lab, p):
    """The certificate and the bytes are those of the server behind, over IPv4 and IPv6, TLS 1.2 and 1.3, h1 and h2."""
    for host in (SERVER4, SERVER6):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            h = Hello(lab, "legacy.example.com", minimum_version=version, maximum_version=version).dial(lab, host)
            check(h.whole() == p.leaf, f"{version.name} over {host}: another certificate")
            check(h.tls.version() == version.name.replace("_", "."), f"version {h.tls.version()}")
            h.close()
        for flags, said in ((("--http1.1",), "1.1"), (("--http2",), "2"), (("--tls-max", "1.2", "--http2"), "2")):
            out = curl(lab, "https://legacy.example.com/", *flags, "-w", "version=%{http_version}", host=host)
            check("hello from the server behind" in out and f"version={said}" in out, f"{flags} over {host}: {out!r}")
    e = p.gh.wait_event("passthrough", name="legacy.example.com")
    check(e["upstream"] == "127.0.0.1:8443" and e["peer"].startswith((CLIENT4, f"[{CLIENT6}]")), e["text"])
    done = p.gh.wait_event("passthrough-done", conn=e["conn"])
    check(int(done["down"]) > 1000 and int(done["up"]) > 200, done["text"])


def test_both_ways(lab, p):
    """50 MiB each way, byte for byte, with and without a PROXY header, while the call passes data."""
    data = os.urandom(SIZE)
    digest = hashlib.sha256(data).hexdigest()
    path = fronts.put(os.path.join(lab.test_dir, "data"), data)
    os.link(path, os.path.join(p.nginx.docs, "big"))
    try:
        for name in ("legacy", "proxied"):
            url = f"https://{name}.example.com"
            opts = f"--max-time 60 --cacert {lab.ca.cert} --resolve {name}.example.com:443:{SERVER4}"
            out = lab.client.start(["sh", "-c", f"curl -sS {opts} {url}/big | sha256sum"],
                                   os.path.join(lab.test_dir, f"{name}.sum"))
            check(p.call.ping(INSIDE4), "no data in the call during a download")
            out.wait(70)
            check(out.log().split()[0] == digest, f"{name}: what came down differs: {out.log()}")
            out.close()
            curl(lab, f"{url}/up-{name}", "-f", "-T", path, "-H", "Expect:")
            with open(os.path.join(p.nginx.docs, f"up-{name}"), "rb") as f:
                check(hashlib.sha256(f.read()).hexdigest() == digest, f"{name}: what went up differs")
    finally:
        for x in ("big", "up-legacy", "up-proxied"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(p.nginx.docs, x))


def test_proxy_header(lab, p):
    """The server behind learns who the client is; without a header it sees the door."""
    for name, host, who in (("proxied", SERVER4, CLIENT4), ("proxied", SERVER6, CLIENT6), ("v1", SERVER4, CLIENT4),
                            ("v1", SERVER6, CLIENT6), ("legacy", SERVER4, "127.0.0.1")):
        mark = f"/?{name}-{host}"
        curl(lab, f"https://{name}.example.com{mark}", host=host)
        line = p.nginx.last_access(mark)
        check(line.startswith(f"{who} "), f"{name} over {host}: {line}")


def test_names(lab, p):
    """A wildcard covers one label; a name that is not listed is served here, and so is a client without a name."""
    for name, leaf in (("x.wild.example.com", p.leaf), ("X.WILD.Example.COM", p.leaf), ("legacy.example.com", p.leaf),
                       ("LEGACY.example.com", p.leaf), ("a.b.wild.example.com", None), ("wild.example.com", None),
                       ("notlegacy.example.com", None), ("www.example.com", None), (None, None)):
        with contextlib.closing(Hello(lab, name, check_hostname=False).dial(lab)) as h:
            check(h.whole() == (leaf or p.own), f"{name}: the wrong certificate")


def test_other_sstp_server(lab, p):
    """A call through the passage is that server's, and binds to that server's leaf."""
    since = p.other.gh.mark()
    with Client(lab.client, SERVER4, ca=lab.ca.cert, sni="other.example.com") as c:
        check(c.cert == p.other.leaf, "another certificate than the other server's")
        c.call("olga", "tundra")
        check(c.address.startswith("10.78.0.") and c.ping("10.78.0.1"), "no ping to the other server")
        check(p.other.gh.session("olga")["peer"].startswith(f"{CLIENT4}:"), "it does not know who the client is")
        check(len(p.gh.sessions()) == 1, "the call is in this server's list")
        c.hang_up()
    p.other.gh.wait_event("call-up", since=since, user="olga")
    with Client(lab.client, SERVER4, ca=lab.ca.cert, sni="other.example.com") as c:
        c.http()
        c.connect_request()
        check(c.login("olga", "tundra", "mschapv2"), "login")
        c.send_connected(cert=p.own)  # this door's certificate is not what that server showed
        _, closed = c.fate(8)
        check(closed, "a call with the wrong certificate stayed up")
    p.other.gh.wait_event("binding-mismatch", since=since)


def test_upstream_down(lab, p):
    since = p.gh.mark()
    with contextlib.closing(Hello(lab, "down.example.com").dial(lab)) as h:
        h.s.sendall(h.first)
        with contextlib.suppress(ConnectionError):
            check(h.s.recv(100) == b"", "something was answered")
    e = p.gh.wait_event("upstream-down", since=since)
    check(e["upstream"] == "127.0.0.1:9" and "passthrough.upstream" in e["remedy"], e["text"])
    well(lab, p)


# ---- ClientHellos in pieces ----------------------------------------------------------------------------------------

def test_cut_at_every_byte(lab, p):
    """All places, a connection each, in two segments with time between them; passed through or served here alike."""
    for name, leaf, version in (("legacy.example.com", p.leaf, "TLSv1_3"), ("www.example.com", p.own, "TLSv1_3"),
                                ("legacy.example.com", p.leaf, "TLSv1_2")):
        v = getattr(ssl.TLSVersion, version)
        size = len(Hello(lab, name, maximum_version=v).first)
        for start in range(1, size, 50):  # a machine that is busy must be done with them in TIMEOUT
            cuts = range(start, min(start + 50, size))
            with hellos(lab, name, len(cuts), maximum_version=v) as these:
                for n, h in zip(cuts, these):
                    h.s.sendall(h.first[:n])
                time.sleep(0.05)
                check(p.call.ping(INSIDE4), "the call stopped while ClientHellos are unfinished")
                for n, h in zip(cuts, these):
                    h.s.sendall(h.first[n:])
                for n, h in zip(cuts, these):
                    check(h.finish() == leaf, f"{name} cut at {n} of {size}: the wrong certificate")
    well(lab, p)


def test_cut_into_records(lab, p):
    """RFC 8446 5.1: a message may lie in several records, whose borders have nothing to do with segments."""
    name = "legacy.example.com"
    size = len(Hello(lab, name).first) - 5
    rng = random.Random(1)
    cuts = [(n,) for n in range(1, size, 7)] + [(1, 2, 3, 4, 5), tuple(range(1, size)), tuple(range(40, size, 40))] + \
        [tuple(sorted(rng.sample(range(1, size), 5))) for _ in range(20)]
    with hellos(lab, name, len(cuts)) as all_of_them:
        for where, h in zip(cuts, all_of_them):
            data = h.records(*where)
            middle = rng.randrange(1, len(data))
            h.s.sendall(data[:middle])
            h.rest = data[middle:]
        time.sleep(0.1)
        for h in all_of_them:
            h.s.sendall(h.rest)
        for where, h in zip(cuts, all_of_them):
            check(h.finish() == p.leaf, f"records that end at {where}: the wrong certificate")
    well(lab, p)


def test_large(lab, p):
    """16 KiB in records of the largest size, as a client with very many extensions; nginx judges it, not we."""
    with contextlib.closing(lab.client.connect(SERVER4, 443, 10)) as s:
        s.sendall(hello_with(pad=16000))
        answer = s.recv(7)
        check(answer[:1] == b"\x15", f"no alert of nginx's: {answer}")  # it lacks what TLS 1.3 needs
    e = p.gh.events("passthrough")[-1]
    check(e["name"] == "legacy.example.com", e["text"])


def ended(s, timeout=TIMEOUT + 3):
    """Reads to the end; LabError when it does not come."""
    s.settimeout(timeout)
    got = b""
    try:
        while part := s.recv(4096):
            got += part
    except ConnectionError:
        pass
    except TimeoutError:
        check(False, f"the connection stayed open after {got[:40]!r}")
    return got


def test_slow(lab, p):
    """Byte by byte, or not at all: closed when the time for the handshake is over, however busy it was."""
    since, began = p.gh.mark(), time.monotonic()
    dribbled, silent = Hello(lab, "legacy.example.com").dial(lab), lab.client.connect(SERVER4, 443, 10)
    half = Hello(lab, "legacy.example.com").dial(lab)
    half.s.sendall(half.first[:100])
    with contextlib.closing(dribbled), contextlib.closing(silent), contextlib.closing(half), \
            contextlib.suppress(ConnectionError):
        for i in range(len(dribbled.first) - 1):
            dribbled.s.sendall(dribbled.first[i:i + 1])
            time.sleep(0.02)
            if time.monotonic() > began + TIMEOUT + 1:
                break
    check(time.monotonic() - began < TIMEOUT + 1, "a ClientHello that is dribbled is waited for without end")
    wait_for(lambda: len(p.gh.events("timed-out", since)) == 3, TIMEOUT + 2,
             lambda: f"three connections that time out: {[e['text'] for e in p.gh.log()[since:]]}")
    well(lab, p)


def cpu_ticks(gh):
    pid, = gh.engine_pids()
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        return sum(int(x) for x in f.read().rpartition(")")[2].split()[11:13])


def test_left_half_way(lab, p):
    """A client that half-closes or resets in the middle is forgotten at once, and nobody spins on what is peeked at."""
    made = [Hello(lab, "legacy.example.com").dial(lab) for _ in range(60)]
    before = cpu_ticks(p.gh)
    for n, h in enumerate(made):
        h.s.sendall(h.first[:1 + n * 7 % 400])
    time.sleep(1)
    used = cpu_ticks(p.gh) - before
    check(used < 30, f"{used} ticks of CPU in a second of waiting")
    for n, h in enumerate(made):
        if n % 2:
            h.s.shutdown(1)
        else:
            h.s.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER: a reset
            h.s.close()
    wait_for(lambda: p.gh.cli("status")["connections"] == 1, 1, "the end of those who left")
    for h in made:
        h.close()
    well(lab, p)


HOSTILE = {
    "record of no length": hello_with(record_length=0), "record longer than is sent": hello_with(record_length=16384),
    "record too long": hello_with(record_length=16385), "record of the largest length": hello_with(record_length=65535),
    "message longer than its record": hello_with(body_length=9000), "message shorter": hello_with(body_length=10),
    "message of no length": hello_with(body_length=0), "message of 16 MiB": hello_with(body_length=0xFFFFFF),
    "extensions too long": hello_with(exts_length=65535), "extensions too short": hello_with(exts_length=3),
    "extension too long": hello_with(ext_length=300), "list too long": hello_with(list_length=300),
    "list of no length": hello_with(list_length=0), "name too long": hello_with(name_length=300),
    "name of no length": hello_with(name_length=0), "name of 60000": hello_with(name_length=60000),
    "two names": hello_with(again=True), "session of 255": hello_with(session=255),
    "not a ClientHello": hello_with(kind=2), "an alert": hello_with(record=21),
    "application data": hello_with(record=23),
    "TLS 9": hello_with(major=9), "name with a NUL": hello_with(name=b"legacy.example.com\0.evil.com"),
    "name with a slash": hello_with(name=b"../legacy.example.com"), "name of 255": hello_with(name=b"a" * 255),
    "name that is no text": hello_with(name=bytes(range(128, 160))), "20 KiB": hello_with(pad=20480),
    "64 KiB": hello_with(pad=60000), "HTTP": b"GET / HTTP/1.1\r\nHost: legacy.example.com\r\n\r\n",
    "zeros": b"\0" * 4096,
    "SSLv2": bytes.fromhex("802e0100020015000000100100800300800700c0060040020080040080") + b"r" * 16,
    "empty records": b"\x16\x03\x01\x00\x00" * 2000, "one-byte records": b"\x16\x03\x01\x00\x01\x01" * 3000,
    "a lone record header": b"\x16\x03\x01\x02\x00",
}


def test_hostile(lab, p):
    """None of it gets to the server behind as a name that was not sent, and each ends in time."""
    rng, since = random.Random(7), p.gh.mark()
    cases = dict(HOSTILE)
    good = Hello(lab, "legacy.example.com").first
    for n in range(200):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        cases[f"bent {n}"] = bytes(data[:rng.randrange(1, len(data))] if n % 4 == 0 else data)
    for n in range(50):
        cases[f"garbage {n}"] = rng.randbytes(rng.randrange(1, 3000))
    open_ones = {}
    for label, data in cases.items():
        open_ones[label] = s = lab.client.connect(SERVER4, 443, 10)
        with contextlib.suppress(ConnectionError):
            s.sendall(data)
    check(p.call.ping(INSIDE4), "the call stopped amid hostile ClientHellos")
    began = time.monotonic()
    for label, s in open_ones.items():
        got = ended(s, max(1, began + 2 * TIMEOUT + 3 - time.monotonic()))  # where the hello was good, nginx waits
        check(not got or got[0] in (0x15, 0x16), f"{label}: {got[:60]!r}")
        s.close()
    for label in ("20 KiB", "64 KiB"):
        check(p.gh.events("refused", since, cause="client-hello"), f"{label} was not refused as what it is")
    names = {e["name"] for e in p.gh.events("passthrough", since)}
    check(names <= {"legacy.example.com"}, f"passed through by name: {names}")
    check(not p.gh.events(None), f"lines that are no events: {p.gh.events(None)[:3]}")
    well(lab, p)


def test_many(lab, p):
    """Forty downloads through the passage at once: the bytes are right, and the call passes data."""
    data = os.urandom(4 << 20)
    fronts.put(os.path.join(p.nginx.docs, "four"), data)
    digest, bad = hashlib.sha256(data).digest(), []

    def one(n):
        try:
            with lab.tls().wrap_socket(lab.client.connect((SERVER4, SERVER6)[n % 2], 443, 60),
                                       server_hostname="legacy.example.com") as s:
                s.sendall(b"GET /four HTTP/1.0\r\nHost: legacy.example.com\r\n\r\n")
                got = b"".join(iter(lambda: s.recv(1 << 16), b"")).partition(b"\r\n\r\n")[2]
                if hashlib.sha256(got).digest() != digest:
                    bad.append(f"{len(got)} bytes, not those")
        except (OSError, Protocol) as e:
            bad.append(str(e))
    threads = [threading.Thread(target=one, args=(n,)) for n in range(40)]
    for t in threads:
        t.start()
    check(p.call.ping(INSIDE4), "no data in the call during downloads")
    for t in threads:
        t.join(60)
    check(not bad, f"{len(bad)} of 40 downloads: {bad[:3]}")
    well(lab, p)
