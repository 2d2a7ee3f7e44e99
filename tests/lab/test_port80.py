"""The companion on port 80: everything is sent to https, ACME challenges are files, and nothing that happens
there reaches the engine.
"""

import contextlib
import os
import random
import re
import signal
import time
import types

import fronts
from lablib import SERVER4, SERVER6, check, engine_user, need, sh, wait_for
from sstpclient import CCR_BYTES, URI, Client

LIFE = 10        # seconds of a connection, in redirect.h
PER_SOURCE = 32  # connections of one source at once
CHALLENGES = ".well-known/acme-challenge"


@contextlib.contextmanager
def fixture(lab):
    need("curl")
    webroot = lab.fresh_dir("acme")
    os.makedirs(os.path.join(webroot, CHALLENGES, "folder"))
    fronts.put(os.path.join(webroot, "secret"), b"not below the challenges\n")
    with lab.gatehouse(listen={"address": ["0.0.0.0:443", "[::]:443"], "redirect": ["0.0.0.0:80", "[::]:80"],
                               "acme-webroot": webroot}, worker={"threads": 1}) as gh:
        yield types.SimpleNamespace(gh=gh, webroot=webroot)


def put_token(f, name, data):
    return fronts.put(os.path.join(f.webroot, CHALLENGES, name), data)


def pid_of(gh):
    """The redirect process."""
    kids = sh(["ps", "-o", "pid=,args=", "--ppid", str(gh.monitor_pid())], ok=(0, 1)).split("\n")
    found = [int(k.split()[0]) for k in kids if "gatehouse: redirect" in k]
    return found[0] if found else None


def ask(lab, data, host=SERVER4, timeout=5):
    """Raw bytes to port 80; returns all that comes back."""
    with contextlib.closing(lab.client.connect(host, 80, timeout)) as s:
        got = b""
        with contextlib.suppress(ConnectionError):
            s.sendall(data)
            while part := s.recv(65536):
                got += part
    return got


def answer(lab, target, method="GET", host="www.example.com", to=SERVER4, more=""):
    """(status, Location or None, body)"""
    line = f"{method} {target} HTTP/1.1\r\n" + (f"Host: {host}\r\n" if host is not None else "") + more + "\r\n"
    head, _, body = ask(lab, line.encode("latin-1"), to).partition(b"\r\n\r\n")
    check(head.startswith(b"HTTP/1.1 "), f"{method} {target}: {head[:100]!r}")
    location = re.search(rb"\r\nLocation: ([^\r]*)", head)
    return int(head[9:12]), location and location.group(1).decode(), body


def test_redirect(lab, _f):
    """Same name, path and query; GET and HEAD by 301, the others by 308; IPv4 and IPv6; a browser arrives."""
    for target in ("/", "/a/b.html?c=d&e=%20f", "/%7Euser/;v=1", "/?", "/a//b/../c", "/" + "x" * 2000, "/%0d%0aX:%20y"):
        for to in (SERVER4, SERVER6):
            got = answer(lab, target, to=to)
            check(got == (301, f"https://www.example.com{target}", b""), f"{target}: {got}")
    for method, status in (("HEAD", 301), ("POST", 308), ("PUT", 308), ("DELETE", 308), ("OPTIONS", 308),
                           ("BREW", 308)):
        got = answer(lab, "/x?y", method, more="Content-Length: 0\r\n")
        check(got == (status, "https://www.example.com/x?y", b""), f"{method}: {got}")
    out = lab.client.sh("curl", "-sSL", "--max-time", "10", "--cacert", lab.ca.cert, "--resolve",
                        f"www.example.com:80:{SERVER4}", "--resolve", f"www.example.com:443:{SERVER4}", "-w",
                        "%{url_effective} %{http_code}", "http://www.example.com/")
    check(out.endswith("https://www.example.com/ 200"), f"curl arrived at {out[-80:]!r}")
    out = lab.client.sh("curl", "-sS", "--max-time", "10", "-X", "POST", "--data-binary", "@-", "-o", "/dev/null", "-w",
                        "%{http_code}", f"http://{SERVER4}/form", stdin=os.urandom(300000))
    check(out == "308", f"a POST with a body: {out}")


def test_odd_hosts(lab, _f):
    """Ports are taken off, addresses stay; what could lead somewhere else is refused."""
    for host, want in (("www.example.com:80", "www.example.com"), ("WWW.example.com", None), ("192.0.2.2", "192.0.2.2"),
                       ("192.0.2.2:80", "192.0.2.2"), ("[2001:db8:1::2]:80", "[2001:db8:1::2]"),
                       ("[2001:db8:1::2]", "[2001:db8:1::2]"), ("localhost", "localhost"), ("a_b.example.com", None)):
        status, where, _ = answer(lab, "/p", host=host)
        check(status == 301 and where.lower() == f"https://{(want or host).lower()}/p", f"{host}: {status} {where}")
    for host in (None, "", "a b", "user@www.example.com", "www.example.com/evil", "evil.com\\www", "evil.com?",
                 "evil.com#", "<script>", "a\"b", "[::1", "[zz]", "www.example.com:80:80", "www.example.com:port",
                 "a" * 300, "%65vil.com", "\xe4.example.com"):
        status, where, body = answer(lab, "/p", host=host)
        check(status == 400 and where is None and (not host or host.encode("latin-1") not in body),
              f"{host!r}: {status} {where}")
    two = ask(lab, b"GET / HTTP/1.1\r\nHost: a.example.com\r\nHost: b.example.com\r\n\r\n")
    check(two.startswith(b"HTTP/1.1 400 "), f"two hosts: {two[:60]!r}")
    for target in ("http://evil.com/x", "https://evil.com/x"):  # RFC 9112 3.2: the authority of the target
        status, where, _ = answer(lab, target)
        check(status in (301, 400) and (where is None or where == "https://www.example.com/x"), f"{target}: {where}")
    for target in ("//evil.com/x", "/\\evil.com"):
        status, where, _ = answer(lab, target)
        check(status == 400 or where == f"https://www.example.com{target}", f"{target}: {where}")
    check(answer(lab, "/" + "x" * 5000)[0] in (414, 431), "a path of 5000")


def test_challenges(lab, f):
    """Files below the folder, as they are; nothing else, however it is spelled."""
    put_token(f, "tok_EN-1", b"tok_EN-1.thumb")
    for to in (SERVER4, SERVER6):
        for target in (f"/{CHALLENGES}/tok_EN-1", f"/{CHALLENGES}/tok_EN-1?x=y"):
            got = answer(lab, target, to=to)
            check(got == (200, None, b"tok_EN-1.thumb"), f"{target}: {got}")
    check(answer(lab, f"/{CHALLENGES}/tok_EN-1", host="other.example.com")[0] == 200, "by another name")
    head = ask(lab, f"HEAD /{CHALLENGES}/tok_EN-1 HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    check(head.startswith(b"HTTP/1.1 200 ") and head.endswith(b"\r\n\r\n") and b"text/plain" in head, f"HEAD: {head!r}")
    check(answer(lab, f"/{CHALLENGES}/tok_EN-1", "POST", more="Content-Length: 0\r\n")[0] == 308, "POST")
    os.symlink("/etc/passwd", os.path.join(f.webroot, CHALLENGES, "link"))
    os.symlink("../../secret", os.path.join(f.webroot, CHALLENGES, "near"))
    os.mkfifo(os.path.join(f.webroot, CHALLENGES, "pipe"))
    put_token(f, "large", b"x" * 5000)
    for name in ("none", "folder", "link", "near", "pipe", "large", "x" * 128):
        began = time.monotonic()
        check(answer(lab, f"/{CHALLENGES}/{name}")[0] == 404, f"{name} is answered")
        check(time.monotonic() - began < 1, f"{name} takes its time")
    for target in (f"/{CHALLENGES}/../../secret", f"/{CHALLENGES}/..%2f..%2fsecret",
                   f"/{CHALLENGES}/%2e%2e/%2e%2e/secret",
                   f"/{CHALLENGES}/folder/../../../secret", f"//{CHALLENGES}/tok_EN-1", f"/{CHALLENGES}//tok_EN-1",
                   f"/{CHALLENGES}/tok_EN-1/", f"/{CHALLENGES}/", f"/{CHALLENGES}", f"/{CHALLENGES}/tok%5fEN-1",
                   "/secret",
                   f"/{CHALLENGES}/{'x' * 129}", f"/{CHALLENGES}/a.b", f"/x/../{CHALLENGES}/tok_EN-1"):
        status, where, body = answer(lab, target)
        check(status in (301, 400, 404) and b"not below" not in body and b"thumb" not in body,
              f"{target}: {status} {body}")
        check(where is None or where.startswith("https://www.example.com/"), f"{target}: {where}")
    os.unlink(os.path.join(f.webroot, CHALLENGES, "tok_EN-1"))
    check(answer(lab, f"/{CHALLENGES}/tok_EN-1")[0] == 404, "a file that was removed")


def test_no_vpn_here(lab, f):
    """The SSTP URI is an address like any other: redirected, never answered, and the connection ends."""
    since = f.gh.mark()
    for method in ("SSTP_DUPLEX_POST", "GET", "POST"):
        request = Client.request(method=method, extra="Connection: keep-alive\r\n")
        got = ask(lab, request + CCR_BYTES, timeout=LIFE + 3)
        check(re.match(rb"HTTP/1\.1 (301|308|400|413) ", got), f"{method}: {got[:60]!r}")
        check(URI.encode() in got or b" 4" in got[:12], f"{method}: sent somewhere else: {got!r}")
        check(not got.split(b"\r\n\r\n", 1)[1].startswith(b"\x10"), f"{method}: SSTP came back")
    check(not [e for e in f.gh.log()[since:] if e.get("conn")], "the engine saw a connection")


def test_garbage(lab, f):
    rng = random.Random(5)
    cases = [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"r" * 500, b"\0" * 1000, b"GET\r\n\r\n", b"\r\n" * 3000,
             b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 5000 + b"\r\n",
             b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 40000 + b"\r\n\r\n", fronts.v2(), fronts.v1(),
             b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
             b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
             b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
             b"CONNECT evil.com:443 HTTP/1.1\r\nHost: evil.com\r\n\r\n",
             b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"]
    cases += [rng.randbytes(rng.randrange(1, 2000)) for _ in range(40)]
    before, memory = pid_of(f.gh), rss(pid_of(f.gh))
    for data in cases:
        with contextlib.closing(lab.client.connect(SERVER4, 80, 5)) as s, contextlib.suppress(ConnectionError):
            s.sendall(data)
            with contextlib.suppress(OSError):
                s.shutdown(1)
            s.settimeout(0.3)
            with contextlib.suppress(TimeoutError):  # a line that may go on: see test_slow
                got = s.recv(4096)
                check(not got or re.match(rb"HTTP/1\.[01] (30[18]|4\d\d|5\d\d) ", got), f"{data[:40]}: {got[:60]!r}")
    check(answer(lab, "/")[0] == 301 and pid_of(f.gh) == before, "the process did not survive")
    check(rss(before) < memory + 4096, f"it grew from {memory} to {rss(before)} KiB")


def rss(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))


def test_slow(lab, f):
    """Many that never finish: one source has so many at most, others are served meanwhile, and each ends in time."""
    began, slow = time.monotonic(), []
    try:
        for n in range(PER_SOURCE + 20):
            s = lab.client.connect(SERVER6, 80, 5)
            with contextlib.suppress(ConnectionError):
                s.sendall((b"GET / HTTP/1.1\r\nHost: a\r\n", b"", b"G",
                           b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n")[n % 4])
            slow.append(s)
        time.sleep(0.3)
        check(answer(lab, "/")[0] == 301, "another source is not served")
        closed = 0
        for s in slow:
            s.setblocking(False)
            try:
                closed += s.recv(10) == b""
            except BlockingIOError:
                pass
            except ConnectionError:
                closed += 1
        check(20 <= closed <= 21, f"{closed} of {len(slow)} connections were refused")
        memory = rss(pid_of(f.gh))
        check(memory < 40000, f"{memory} KiB with {PER_SOURCE} slow clients")
        while time.monotonic() < began + LIFE - 1:  # they are busy: a byte now and then
            time.sleep(0.5)
            for s in slow:
                with contextlib.suppress(OSError):
                    s.send(b"x")
        wait_for(lambda: answer_or_none(lab) == 301, 4, "the end of slow connections")
        check(time.monotonic() - began < LIFE + 3, "a slow connection outlives its time")
    finally:
        for s in slow:
            s.close()


def answer_or_none(lab):
    try:
        return answer(lab, "/", to=SERVER6)[0]
    except Exception:  # refused meanwhile  pylint: disable=broad-exception-caught
        return None


def proc_status(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return dict(line.split(":\t", 1) for line in f.read().splitlines() if ":\t" in line)


def test_apart(lab, f):
    """Its own process without rights or keys; it works while the engine stands still, and the other way round."""
    pid, (engine,) = pid_of(f.gh), f.gh.engine_pids()
    status = proc_status(pid)
    check(status["Uid"].split()[0] != "0" and int(status["CapEff"], 16) == 0 and int(status["CapPrm"], 16) == 0,
          f"it has rights: {status['Uid']} {status['CapEff']}")
    check(status["NoNewPrivs"] == "1" and status["Seccomp"] == proc_status(engine)["Seccomp"], "it has no sandbox")
    names = [os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd")]
    check(not [n for n in names if n.endswith((".pem", ".key", "tun"))], f"descriptors: {names}")
    check(engine_user() in sh(["ps", "-o", "user=", "-p", str(pid)]), "another account")
    os.kill(engine, signal.SIGSTOP)
    try:
        check(answer(lab, "/")[0] == 301, "no redirect without the engine")
    finally:
        os.kill(engine, signal.SIGCONT)
    before = f.gh.cli("status")
    for _ in range(20):
        answer(lab, "/")
    check(f.gh.cli("status")["totals"]["accepted"] == before["totals"]["accepted"], "the engine counts it")
    with Client(lab.client, SERVER4, ca=lab.ca.cert) as call:
        call.call("alice", "wonderland")
        since = f.gh.mark()
        os.kill(pid, signal.SIGKILL)
        f.gh.wait_event("redirect-died", since=since)
        wait_for(lambda: pid_of(f.gh) not in (None, pid), 5, "a new process")
        check(answer(lab, "/")[0] == 301, "no redirect after its process was killed")
        check(call.ping("10.77.0.1"), "the call suffered")
        call.hang_up()


def test_without_a_folder(lab):
    """No acme-webroot: challenges are redirected like everything; another port of https is in the URL."""
    with lab.gatehouse(listen={"address": [f"{SERVER4}:8443"], "redirect": [f"{SERVER4}:80"]}, worker={"threads": 1}):
        got = answer(lab, f"/{CHALLENGES}/x")
        check(got == (301, f"https://www.example.com:8443/{CHALLENGES}/x", b""), f"{got}")
