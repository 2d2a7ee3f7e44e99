"""Everything that is not SSTP: real web servers behind the door, real clients in front, byte for byte, while a call is
up. After each test that call still passes data.
"""

import contextlib
import functools
import hashlib
import os
import re
import ssl
import struct
import types

from lablib import CLIENT4, CLIENT6, INSIDE4, POOL_SERVER, SERVER4, SERVER6, check, need, sh, wait_for
from sstpclient import URI, Client
import webservers as ws

BIG = 200 << 20
PORTS = {"ws": 8086, "half": 8087, "sink": ws.SINK, "down": 8089}


@contextlib.contextmanager
def fixture(lab):
    """One door, a web server for each name."""
    need("curl")
    nginx, apache = ws.Nginx(lab), ws.Apache(lab)
    services = [ws.TcpService(lab.server, PORTS["ws"], ws.websocket_echo),
                ws.TcpService(lab.server, PORTS["half"], ws.half_close_sink),
                ws.TcpService(lab.server, PORTS["sink"], ws.body_sink)]
    root = lab.fresh_dir("root")
    os.makedirs(os.path.join(root, "sub"))
    for name, text in (("index.html", "<title>root</title>the root folder\n"), ("sub/page.txt", "a page below\n"),
                       (".secret", "no\n")):
        with open(os.path.join(root, name), "w", encoding="ascii") as f:
            f.write(text)
    os.symlink("/etc/passwd", os.path.join(root, "passwd"))

    def site(name, port, **more):
        return {"name": f"{name}.example.com", "upstream": f"127.0.0.1:{port}", **more}
    web = [
        {"upstream": f"127.0.0.1:{ws.NGINX_PLAIN}", "upstream-h2": f"127.0.0.1:{ws.NGINX_H2}"},
        site("v1", ws.NGINX_PROXY, **{"upstream-h2": f"127.0.0.1:{ws.NGINX_PROXY_H2}", "proxy-protocol": "v1"}),
        site("v2", ws.NGINX_PROXY, **{"upstream-h2": f"127.0.0.1:{ws.NGINX_PROXY_H2}", "proxy-protocol": "v2"}),
        {"name": "unix.example.com", "upstream": f"unix:{nginx.unix}"},
        {"name": "six.example.com", "upstream": f"[::1]:{ws.NGINX_PLAIN}"},
        site("apache", ws.APACHE_PLAIN, **{"upstream-h2": f"127.0.0.1:{ws.APACHE_PLAIN}"}),
        site("apache2", ws.APACHE_PROXY, **{"upstream-h2": f"127.0.0.1:{ws.APACHE_PROXY}", "proxy-protocol": "v2"}),
        site("ws", PORTS["ws"]), site("half", PORTS["half"]), site("sink", PORTS["sink"]), site("down", PORTS["down"]),
        {"name": "root.example.com", "root": root}, {"name": "welcome.example.com"},
    ]
    try:
        with lab.gatehouse(web=web) as gh, Client(lab.client, SERVER4, ca=lab.ca.cert) as call:
            call.call("erin", "secret")
            yield types.SimpleNamespace(gh=gh, nginx=nginx, apache=apache, root=root, call=call)
            call.hang_up()
    finally:
        for s in services:
            s.close()
        nginx.stop()
        apache.stop()


def beside_a_call(test):
    """The call that was up before is up afterwards, and passes data."""
    @functools.wraps(test)
    def run(lab, web):
        test(lab, web)
        check(web.call.ping(INSIDE4), "the call no longer passes data")
    return run


def curl(lab, url, *argv, host=SERVER4, ok=(0,)):
    name = url.split("/")[2]
    addr = f"[{host}]" if ":" in host else host
    return lab.client.sh("curl", "-sS", "--max-time", "60", "--cacert", lab.ca.cert, "--resolve", f"{name}:443:{addr}",
                         *argv, url, ok=ok, timeout=90)


def tls(lab, name, host=SERVER4, **kw):
    """A TLS connection as a plain socket-like object."""
    ctx = lab.tls(**kw)
    s = ctx.wrap_socket(lab.client.connect(host, 443, 15), server_hostname=f"{name}.example.com")
    s.settimeout(15)
    return s


def read_to_end(s):
    out = b""
    with contextlib.suppress(ConnectionError):
        while part := s.recv(65536):
            out += part
    return out


# ---- curl ----------------------------------------------------------------------------------------------------------

@beside_a_call
def test_h1_and_h2(lab, _web):
    for name, text in (("www", "hello from nginx"), ("v1", "hello from nginx"), ("v2", "hello from nginx"),
                       ("apache", "hello from apache"), ("apache2", "hello from apache")):
        for host in (SERVER4, SERVER6):
            for flag, version in (("--http1.1", "1.1"), ("--http2", "2")):
                out = curl(lab, f"https://{name}.example.com/", flag, "-w", "version=%{http_version}", host=host)
                check(text in out and f"version={version}" in out, f"{name} {flag} over {host}: {out!r}")
    out = curl(lab, "https://unix.example.com/", "--http2", "-w", "version=%{http_version}")
    check("version=1.1" in out, f"h2 was chosen without an upstream for it: {out!r}")


@beside_a_call
def test_keep_alive(lab, web):
    """Twenty requests on one connection, at both ends."""
    for name, path, server, count in (("www", "/echo", web.nginx, 20), ("apache", "/", web.apache, 19)):
        urls = [f"https://{name}.example.com{path}?keep{n}" for n in range(20)]
        out = curl(lab, urls[0], "--http1.1", *(["-o", "/dev/null"] * len(urls)), "-w", "%{num_connects}\n", *urls[1:])
        check(out.split() == ["1"] + ["0"] * 19, f"{name}: connections per request: {out.split()}")
        line = server.last_access(f"{path}?keep0 ")  # curl takes its own first URL last
        check(line.endswith(f" {count}"), f"{name} saw another number of requests on its connection: {line}")


@beside_a_call
def test_upload(lab, _web):
    """Chunked and counted bodies and Expect: 100-continue arrive whole."""
    data = os.urandom(3 << 20)
    path = os.path.join(lab.test_dir, "data")
    with open(path, "wb") as f:
        f.write(data)
    want = f"{len(data)} {hashlib.sha256(data).hexdigest()}"
    for header in ("Transfer-Encoding: chunked", "X-Nothing: 1", "Expect: 100-continue"):
        for name, where in (("sink", "/"), ("www", "/sink"), ("apache", "/sink")):
            out = curl(lab, f"https://{name}.example.com{where}", "--http1.1", "-T", path, "-H", header)
            check(out.strip() == want, f"{name}, {header}: {out!r}")
    for url in ("https://sink.example.com/", "https://apache.example.com/sink"):
        out = curl(lab, url, "--http1.1", "-v", "-T", path, "-H", "Expect: 100-continue", "--stderr", "-")
        check("100 Continue" in out and want in out, f"{url}: no 100 Continue came through")


@beside_a_call
def test_websocket(lab, _web):
    """Frames of all sizes, both ways."""
    with tls(lab, "ws") as s:
        ws.ws_open(s, "ws.example.com")
        for size in (0, 1, 125, 126, 65535, 65536, 300000):
            data = os.urandom(size)
            s.sendall(ws.ws_frame(2, data))
            check(ws.ws_recv(s) == (2, data), f"echo of {size} bytes")
        s.sendall(ws.ws_frame(8, b""))
        check(ws.ws_recv(s)[0] == 8, "close frame")


@beside_a_call
def test_big_download(lab, web):
    """200 MiB from either server, byte for byte, beside a call; also with a slow reader in between."""
    path, h = os.path.join(web.nginx.docs, "big"), hashlib.sha256()
    other = os.path.join(web.apache.docs, "big")
    block = os.urandom(1 << 20)
    with open(path, "wb") as f:
        for n in range(BIG >> 20):
            part = struct.pack("!Q", n) + block[8:]
            f.write(part)
            h.update(part)
    os.link(path, other)
    try:
        for name in ("www", "apache"):
            for flag in ("--http1.1", "--http2"):
                host, log = f"{name}.example.com", os.path.join(lab.test_dir, f"{name}{flag}.sum")
                p = lab.client.start(["sh", "-c", f"curl -sS --max-time 60 --cacert {lab.ca.cert} {flag} --resolve "
                                      f"{host}:443:{SERVER4} https://{host}/big | sha256sum"], log)
                check(web.call.ping(INSIDE4), "no data in the call during a download")
                p.wait(70)
                check(p.log().split()[0] == h.hexdigest(), f"{name} {flag}: what came differs: {p.log()}")
                p.close()
        rss = web.gh.engine_rss_kib()
        with tls(lab, "www") as s:  # a reader that does not read: the server must not take it all in
            s.sendall(b"GET /big HTTP/1.1\r\nHost: www.example.com\r\n\r\n")
            s.recv(1000)
            curl(lab, "https://www.example.com/")
            check(web.gh.engine_rss_kib() < rss + 8192, "the engine buffers for a client that does not read")
    finally:
        os.unlink(path)
        os.unlink(other)


# ---- byte for byte -------------------------------------------------------------------------------------------------

RAW = {
    "simple": b"GET / HTTP/1.1\r\nHost: www.example.com\r\nConnection: close\r\n\r\n",
    "http/1.0": b"GET / HTTP/1.0\r\n\r\n",
    "head": b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "pipelined": b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /none HTTP/1.1\r\nHost: a\r\n\r\nHEAD / HTTP/1.1\r\nHost: a\r\n"
                 b"Connection: close\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "garbage": b"\0\1\2\3 this is no HTTP\r\n\r\n",
    "bare line feeds": b"GET / HTTP/1.1\nHost: a\nConnection: close\n\n",
    "odd method": b"BREW /pot HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "smuggling": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "long line": b"GET /?" + b"a" * 20000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "nearly the SSTP URI": b"GET " + URI[:-4].encode() + b"/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "absolute form": b"GET http://a/echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "chunked with trailer": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n"
                            b"Connection: close\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
    "SSTP URI later": b"GET / HTTP/1.1\r\nHost: a\r\n\r\nSSTP_DUPLEX_POST " + URI.encode() +
                      b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
}


def undated(data):
    data = re.sub(rb"\r\nDate: [^\r]*", b"\r\nDate: x", data)
    return data


def exchange(s, request, piece):
    """Sends a request, whole or byte by byte; returns everything that comes back."""
    with contextlib.suppress(ConnectionError):
        for i in range(0, len(request), piece):
            s.sendall(request[i:i + piece])
    return undated(read_to_end(s))


@beside_a_call
def test_raw_requests(lab, _web):
    """Whatever is sent, the answer is the one that the web server gives when it is asked without us."""
    for name, port in (("www", ws.NGINX_PLAIN), ("apache", ws.APACHE_PLAIN)):
        for label, request in RAW.items():
            with contextlib.closing(lab.server.connect("127.0.0.1", port)) as s:
                want = exchange(s, request, len(request))
            for piece in (len(request), 1):
                if piece == 1 and len(request) > 1000:
                    continue
                with tls(lab, name) as s:
                    got = exchange(s, request, piece)
                check(got == want, f"{name}, {label}, pieces of {piece}: {got[:200]!r} instead of {want[:200]!r}")


@beside_a_call
def test_openssl_s_client(lab, web):
    """A raw request by a client that knows nothing of us: the same bytes as from the web server itself."""
    data = os.urandom(100000)
    request = b"GET /some.bin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    for name, server, port in (("www", web.nginx, ws.NGINX_PLAIN), ("apache", web.apache, ws.APACHE_PLAIN)):
        with open(os.path.join(server.docs, "some.bin"), "wb") as f:
            f.write(data)
        with contextlib.closing(lab.server.connect("127.0.0.1", port)) as s:
            want = exchange(s, request, len(request))
        got = os.path.join(lab.test_dir, f"{name}.answer")
        lab.client.sh("sh", "-c", f"openssl s_client -quiet -verify_return_error -CAfile {lab.ca.cert} -connect "
                      f"{SERVER4}:443 -servername {name}.example.com >{got}", stdin=request)
        with open(got, "rb") as f:
            answer = f.read()
        check(answer.endswith(data) and undated(answer) == want, f"{name}: {answer[:300]!r} instead of {want[:300]!r}")


@beside_a_call
def test_decision(lab, _web):
    """A request is relayed when its path has ended, not when its head has; what is no request at all, at once."""
    with tls(lab, "sink") as s:
        s.sendall(b"POST /x?")
        s.sendall(b"y HTTP/1.1\r\nHost: sink.example.com\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        check(ws.read_head(s).startswith(b"HTTP/1.1 100"), "no 100 Continue")
        s.sendall(b"abc")
        check(ws.read_head(s).startswith(b"HTTP/1.1 200"), "no answer")
    def upstream():
        return lab.server.sh("ss", "-Htn", "state", "established", f"dport = :{PORTS['half']}").strip()
    for first in (b"GET /x?", b"GET /x HTTP/1.1\r\n", b"GET /x\n", b"\x16\x03\x01", b"CONNECT a:443 HTTP/1.1\n",
                  b"GET\r\n"):
        with tls(lab, "half") as s:
            s.sendall(first)
            wait_for(upstream, 5, lambda first=first: f"a connection to the web server after {first}")
        wait_for(lambda: not upstream(), 5, "the end of the connection to the web server")
    long = b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"
    with tls(lab, "www") as s:
        got = exchange(s, long, len(long))
        check(got.startswith(b"HTTP/1.1 414 ") and b"nginx" not in got, f"a path without end: {got[:200]!r}")


NAME = URI.strip("/")

# Whatever means the SSTP URI to some web server. The version is HTTP/1.1, but where the spelling has one of its own.
SPELLINGS = [x.replace("NAME", NAME) for x in (
    "/NAME/", "/NAME", "/NAME/?tenantid=x", "/NAME?a=/../x", "/NAME/#top", "/NAME/#/../x", "/NAME/#x?y",
    "//NAME/", "///NAME//", "/NAME//..", "/x//../NAME/", "//host/NAME/", "/./NAME/", "/NAME/.", "/../NAME/",
    "/../../NAME/", "/x/../NAME/", "/x/../NAME", "/NAME/x/..", "/NAME/x/../", "/NAME/x/y/../../",
    "/a/b/../../NAME/c/..",
    "/NAME/../NAME/", "/x/%2e%2e/NAME/", "/x/.%2E/NAME/", "/NAME/%2e", "/x%2f..%2fNAME/", "/x%2f%2e%2e/NAME%2F",
    "%2fNAME/", "/NAME%2f", "/%2e%2e%2fNAME/", "/NAME/%2e%2e/..", "/NAME/a%2fb/%2e%2e/", "/%/../NAME/", "/%zz/../NAME/",
    "\\NAME\\", "/NAME\\", "/x\\..\\NAME/", "/x%5c..%5cNAME%5C", "/x\\y/../NAME/",
    "/NAME;v=1", "/NAME;v=1/", "/..;/NAME/", "/x/..;a=b/NAME/", "/NAME/;x", "/NAME/..;/../", "/;/NAME/", "/NAME%3bv/",
    "https://www.example.com/NAME/", "HTTP://u:p@a:1/x/../NAME/", "x-y+z.1://h/NAME/", "https:///NAME/", "https:/NAME/",
    "https:NAME/", "https://a\\NAME/", "http://h//NAME/?q", "NAME/", "/NAME/%00", "/NAME%00.html",
)] + [URI.lower(), URI.upper(), URI.replace("{", "%7B").replace("}", "%7d"), "/%73ra_" + URI[5:],
     "/%u0073ra_" + URI[5:], "".join(f"%{b:02x}" for b in URI.encode())]

# Request lines that are odd around such a target; they may be refused in another way, but not passed on.
LINES = [x.replace("NAME", NAME).encode() for x in (
    "GET /NAME/", "GET /NAME/ ", "GET /x/../NAME/", "GET /NAME/ HTTP/0.9", "GET /NAME/ HTTP/2.0", "GET /NAME/ HTTP/3.7",
    "GET /NAME/ http/1.1", "GET /NAME/ HTTP/1.1 x", "GET /NAME/ x HTTP/1.1", "GET /x /../NAME/ HTTP/1.1",
    "GET /x\t/../NAME/ HTTP/1.1", "GET /NAME/ JUNK", "GET\t/NAME/\tHTTP/1.1", "GET  /NAME/  HTTP/1.1",
    "\r\nGET /NAME/ HTTP/1.1",
    "\n\nget /NAME/ HTTP/1.0", "CONNECT /NAME/ HTTP/1.1", "PRI /NAME/ HTTP/2.0", f"{'M' * 100} /NAME/ HTTP/1.1",
    "sstp_duplex_post /NAME/ HTTP/1.1", "SSTP_DUPLEX_POST /NAME HTTP/1.1", "SSTP_DUPLEX_POST /x/../NAME/ HTTP/1.0")]

# What comes close and means something else.
NOT_THE_URI = [x.replace("NAME", NAME) for x in (
    "/", "/NAME/x", "/x/NAME/", "/NAME/..", "/NAME/../", "/NAME/../x", "/xNAME/", "/NAMEx", "/NAME.",
    "/%2573" + NAME[1:] + "/",
    "/x/%252e%252e/NAME/", "/NAME/...", "/?/NAME/", "/x?/../NAME/", "/NAME%3f", "/x;/NAME/", "https://a/x/NAME/")]


def answer_to(lab, line, *heads):
    """What comes back for a request line of this kind; b"" if the connection just ends."""
    with tls(lab, "www") as s:
        with contextlib.suppress(ConnectionError):
            s.sendall(line + b"\r\n" + b"".join(heads) + b"\r\n")
        return read_to_end(s)


def refused(lab, server, want):
    """Every spelling is answered with this status by several methods; none reaches the web server."""
    before = os.path.getsize(server.access) if os.path.exists(server.access) else 0
    for n, uri in enumerate(SPELLINGS):
        for method in ("GET", "HEAD", "POST") if n < 3 else (("GET", "HEAD", "POST", "OPTIONS", "x-any")[n % 5],):
            got = answer_to(lab, f"{method} {uri} HTTP/1.1".encode(), b"Host: www.example.com\r\n")
            check(got.startswith(b"HTTP/1.1 %d " % want), f"{method} {uri}: {got[:100]!r}")
            check(b"nginx" not in got, f"{method} {uri}: nginx answered")
    for line in LINES:
        got = answer_to(lab, line, b"Host: www.example.com\r\n")
        check(re.match(rb"HTTP/1\.1 (400|401|404|503|505) ", got) and b"nginx" not in got, f"{line}: {got[:100]!r}")
    marker = f"/echo?after{want}{before}"
    curl(lab, f"https://www.example.com{marker}", "--http1.1")
    server.last_access(marker)
    with open(server.access, encoding="utf-8", errors="replace") as f:
        f.seek(before)
        lines = f.read().split("\n")
    check(len([x for x in lines if x]) == 1, f"nginx saw {lines}")


@beside_a_call
def test_reserved_uri(lab, web):
    """Other methods on the SSTP URI never reach the web server, in any spelling; what means something else does."""
    refused(lab, web.nginx, 401)
    for n, uri in enumerate(NOT_THE_URI):
        request = f"GET {uri} HTTP/1.1\r\nHost: a{n}\r\nConnection: close\r\n\r\n".encode()
        with contextlib.closing(lab.server.connect("127.0.0.1", ws.NGINX_PLAIN)) as s:
            want = exchange(s, request, len(request))
        with tls(lab, "www") as s:
            got = exchange(s, request, len(request))
        check(got == want and b"nginx" in got, f"{uri}: {got[:200]!r} instead of {want[:200]!r}")


@beside_a_call
def test_reserved_uri_draining(lab, web):
    """While draining the URI is 503, and everything else still goes to the web server."""
    web.gh.cli("drain")
    try:
        refused(lab, web.nginx, 503)
    finally:
        web.gh.cli("drain", "--off")


def test_reserved_uri_vpn_off(lab):
    """Without a VPN the URI is 400, and yet it never falls through."""
    nginx = ws.Nginx(lab)
    try:
        with lab.gatehouse(vpn=None, web=[{"upstream": f"127.0.0.1:{ws.NGINX_PLAIN}"}]):
            refused(lab, nginx, 400)
    finally:
        nginx.stop()


def test_probe_answers(lab):
    """probe-answer = "404" and "web": the latter lets other methods through, as they are, and calls come up beside it."""
    nginx = ws.Nginx(lab)
    web = [{"upstream": f"127.0.0.1:{ws.NGINX_PLAIN}"}]
    try:
        with lab.gatehouse(vpn={"probe-answer": "404"}, web=web):
            refused(lab, nginx, 404)
        with lab.gatehouse(vpn={"probe-answer": "web"}, web=web) as gh:
            for method, uri in (("GET", URI), ("HEAD", URI.lower()), ("POST", "/x/.." + URI + "?probe")):
                got = answer_to(lab, f"{method} {uri} HTTP/1.0".encode(), b"Host: www.example.com\r\n")
                check(b"\r\nServer: nginx" in got, f"{method} {uri} did not reach the web server: {got[:100]!r}")
                nginx.last_access(f"{method} {uri}")
            with Client(lab.client, SERVER4, ca=lab.ca.cert) as c:
                c.call("alice", "wonderland")
                check(c.ping(POOL_SERVER), "no ping")
                c.hang_up()
            got = answer_to(lab, f"SSTP_DUPLEX_POST {URI[:-1]} HTTP/1.1".encode(), b"Host: www.example.com\r\n")
            check(got.startswith(b"HTTP/1.1 404 ") and b"nginx" not in got, f"a call's method: {got[:100]!r}")
            gh.cli("drain")
            got = answer_to(lab, f"GET {URI} HTTP/1.1".encode(), b"Host: www.example.com\r\n")
            check(got.startswith(b"HTTP/1.1 503 ") and b"nginx" not in got, f"while draining: {got[:100]!r}")
    finally:
        nginx.stop()


@beside_a_call
def test_half_close(lab, _web):
    """A client's close_notify becomes a FIN, and the answer still comes back."""
    data = os.urandom(100000)
    data = b"\0" + data[1:]
    inbound, outbound = ssl.MemoryBIO(), ssl.MemoryBIO()
    obj = lab.tls().wrap_bio(inbound, outbound, server_hostname="half.example.com")
    with contextlib.closing(lab.client.connect(SERVER4, 443, 10)) as s:
        def step(call, *args):
            while True:
                try:
                    return call(*args)
                except ssl.SSLWantReadError:
                    s.sendall(outbound.read())
                    part = s.recv(65536)
                    inbound.write(part) if part else inbound.write_eof()
                finally:
                    s.sendall(outbound.read())
        step(obj.do_handshake)
        step(obj.write, data)
        with contextlib.suppress(ssl.SSLWantReadError):
            obj.unwrap()  # sends close_notify; the peer's is not here yet
        s.sendall(outbound.read())
        # obj reads no data after its own close_notify, so the answer is judged by its size on the wire
        total = 0
        while part := s.recv(65536):
            total += len(part)
        check(total > len(f"{len(data)} ") + 64, f"{total} bytes came back after the half-close")


# ---- who is asking -------------------------------------------------------------------------------------------------

@beside_a_call
def test_proxy_protocol(lab, web):
    for host, client in ((SERVER4, CLIENT4), (SERVER6, CLIENT6)):
        for name, flag in (("v1", "--http1.1"), ("v2", "--http1.1"), ("v2", "--http2")):
            mark = f"/echo?{name}{flag}{client}".replace(":", "_")
            curl(lab, f"https://{name}.example.com{mark}", flag, host=host)
            line = web.nginx.last_access(mark)
            check(line.split()[1] == client, f"{name} {flag}: nginx saw {line}, the client is {client}")
            check(line.split()[2].isdigit() and int(line.split()[2]) > 1023, f"source port in {line}")
        curl(lab, f"https://apache2.example.com/?{client}".replace("2001:", "x"), "--http1.1", host=host)
        line = web.apache.last_access(f"/?{client}".replace("2001:", "x"))
        check(line.split()[0] == client, f"Apache saw {line}")
    curl(lab, "https://www.example.com/echo?off", "--http1.1")
    check(web.nginx.last_access("/echo?off").split()[0] == "127.0.0.1", "a PROXY header where none was wanted")


@beside_a_call
def test_upstreams(lab, _web):
    for name in ("unix", "six"):
        out = curl(lab, f"https://{name}.example.com/")
        check("hello from nginx" in out, f"{name}: {out}")


@beside_a_call
def test_upstream_down(lab, web):
    """The browser gets a page that says so, the operator one line a connection that names the server."""
    for n in range(3):
        since = web.gh.mark()
        out = curl(lab, "https://down.example.com/", "-i", "-w", "%{http_code}")
        head, _, body = out.partition("\r\n\r\n")
        check(head.startswith("HTTP/1.1 502 ") and body.endswith("502"), f"answer {out!r}")
        check("The web server does not answer." in body, f"no page: {out!r}")
        e = web.gh.wait_event("upstream-down", since=since)
        check(e.get("upstream") == f"127.0.0.1:{PORTS['down']}", f"does not name the upstream: {e['text']}")
        check(e.get("level") == "warn" and e.get("reason") and e.get("remedy"), f"incomplete: {e['text']}")
        check(web.call.ping(INSIDE4, seq=n + 1), "the call suffered")
        wait_for(lambda: web.gh.cli("status")["web"] == 0, 5, lambda: f"no web connection: {web.gh.cli('status')}")
        check(len(web.gh.events("upstream-down", since)) == 1, f"more than one line: {web.gh.tail()}")


@beside_a_call
def test_restart_under_load(lab, web):
    """nginx restarts under load: its own connections go, a call and a WebSocket to another server stay."""
    path = os.path.join(web.nginx.docs, "load")
    with open(path, "wb") as f:
        f.truncate(64 << 20)
    with Client(lab.client, SERVER4, ca=lab.ca.cert) as call, tls(lab, "ws") as s:
        call.call("alice", "wonderland")
        ws.ws_open(s, "ws.example.com")
        loads = [lab.client.start(["curl", "-sS", "--limit-rate", "2M", "--cacert", lab.ca.cert, "--resolve",
                                   f"www.example.com:443:{SERVER4}", "-o", "/dev/null", "https://www.example.com/load"],
                                  os.path.join(lab.test_dir, f"curl-{n}.log")) for n in range(8)]
        wait_for(lambda: lab.server.sh("ss", "-Htn", "state", "established", f"dport = :{ws.NGINX_PLAIN}").count("\n") +
                 lab.server.sh("ss", "-Htn", "state", "established", f"dport = :{ws.NGINX_H2}").count("\n") >= 8, 10,
                 "eight downloads")
        web.nginx.stop()
        web.nginx.start()
        for p in loads:
            check(p.wait(10) != 0, "a download survived its server")
        s.sendall(ws.ws_frame(1, b"still here"))
        check(ws.ws_recv(s) == (1, b"still here"), "the WebSocket to another server broke")
        check(call.ping("10.77.0.1"), "the call broke")
        check("hello from nginx" in curl(lab, "https://www.example.com/"), "nginx is not reached again")
        call.hang_up()
    os.unlink(path)


# ---- the built-in site ---------------------------------------------------------------------------------------------

@beside_a_call
def test_built_in_site(lab, _web):
    out = curl(lab, "https://welcome.example.com/", "-i")
    check(out.startswith("HTTP/1.1 200") and "<" in out, f"welcome page: {out[:200]!r}")
    for path, want in (("/", "the root folder"), ("/index.html", "the root folder"), ("/sub/page.txt", "a page below")):
        out = curl(lab, f"https://root.example.com{path}", "-i")
        check(out.startswith("HTTP/1.1 200") and want in out, f"{path}: {out[:200]!r}")
        check("x-content-type-options: nosniff" in out.lower(), f"{path}: no nosniff")
    for path in ("/.secret", "/passwd", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/sub/../.secret", "/none",
                 "//etc/passwd", "/sub/%00"):
        out = curl(lab, f"https://root.example.com{path}", "-i", "--path-as-is")
        check(re.match(r"HTTP/1\.1 4\d\d ", out) and "root:" not in out and "no\n" not in out.split("\r\n\r\n")[-1],
              f"{path}: {out[:200]!r}")
    out = curl(lab, "https://root.example.com/sub/page.txt", "-r", "2-5", "-w", "%{http_code}")
    check(out == "page206", f"range: {out!r}")


# ---- TLS -----------------------------------------------------------------------------------------------------------

def s_client(lab, *argv, host=SERVER4):
    return sh(lab.client.argv(["openssl", "s_client", "-CAfile", lab.ca.cert, "-verify_return_error", "-connect",
                               f"[{host}]:443" if ":" in host else f"{host}:443", *argv]), ok=None, stdin=b"")


@beside_a_call
def test_tls_versions(lab, web):
    for host in (SERVER4, SERVER6):
        for flag, name in (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
            out = s_client(lab, flag, "-servername", "www.example.com", host=host)
            check(f"New, {name}, Cipher is " in out and "Verify return code: 0" in out, f"{flag}: {out[-500:]}")
            check(re.search(r"Cipher is \S*(GCM|CHACHA20)", out), f"{flag}: no AEAD: {out[-500:]}")
    since = web.gh.mark()
    for flag in ("-tls1_1", "-tls1"):
        out = s_client(lab, flag, "-cipher", "ALL:@SECLEVEL=0")
        check("Cipher is (NONE)" in out, f"{flag} was accepted")
    web.gh.wait_event("tls-failed", since=since)
    for bad in ("NULL", "aNULL", "RC4", "3DES", "EXPORT"):
        out = s_client(lab, "-tls1_2", "-cipher", f"{bad}:@SECLEVEL=0")
        check("Cipher is (NONE)" in out or not out.strip() or "Cipher is" not in out, f"{bad} was accepted")


@beside_a_call
def test_certificate_choice(lab, _web):
    for name, want in (("vpn.example.com", "CN = vpn.example.com"), ("VPN.example.COM", "CN = vpn.example.com"),
                       ("www.example.com", "CN = www.example.com"), ("else.example.com", "CN = www.example.com"),
                       (None, "CN = www.example.com")):
        out = s_client(lab, *(["-servername", name] if name else ["-noservername"]))
        check(f"subject={want}" in out, f"{name}: {re.findall('subject=.*', out)}")


@beside_a_call
def test_resumption(lab, _web):
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        ctx, session = lab.tls(minimum_version=version, maximum_version=version), None
        for n in range(3):
            with ctx.wrap_socket(lab.client.connect(SERVER4, 443), server_hostname="www.example.com",
                                 session=session) as s:
                s.sendall(RAW["simple"])
                check(b"hello from nginx" in read_to_end(s), "no page")
                check(s.session_reused == (n > 0), f"{version.name}, connection {n}: reused is {s.session_reused}")
                session = s.session


# ---- with a real call up -------------------------------------------------------------------------------------------

@beside_a_call
def test_web_beside_a_call(lab, web):
    """Browsing goes on while the stock client's call is up, on the same address and port, and the other way round."""
    with lab.uml().sstpc("alice", "wonderland", "vpn.example.com", ca=lab.ca.cert) as call:
        call.wait_up()
        for name, text in (("www", "nginx"), ("apache", "apache"), ("unix", "nginx"), ("root", "root folder")):
            check(text in curl(lab, f"https://{name}.example.com/"), f"{name} beside a call")
        test_websocket(lab, web)
        lab.uml().sh("ping -c2 -i0.2 -W3 10.77.0.1")
        check("hello from nginx" in curl(lab, "https://www.example.com/", "--interface", CLIENT4), "page")
        call.hang_up()
    wait_for(lambda: [x["user"] for x in web.gh.sessions()] == ["erin"], 8, lambda: f"sessions: {web.gh.sessions()}")
