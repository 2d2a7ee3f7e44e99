"""What tests of `gatehouse connect` against our own server share: clients side by side, servers beside each other, a
web proxy of ours, a client at a terminal.
"""

import concurrent.futures
import contextlib
import itertools
import json
import os
import pty
import re
import select
import signal
import subprocess
import threading

import webservers as ws
from connectlib import Connect, network
from lablib import POOL_SERVER, SERVER4, Gatehouse, check, conf_text, engine_user, gatehouse_path, merge, wait_for

AT_ONCE = 6
_numbers = itertools.count(1)


def side_by_side(jobs):
    """Runs {name: function} at the same time, a few at once; one fault that names all that failed."""
    faults = []

    def one(name, job):
        try:
            job()
        except Exception as e:  # whatever it is: the others go on
            faults.append(f"{name}: {'' if isinstance(e, AssertionError) else type(e).__name__ + ': '}{e}")

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda item: one(*item), jobs.items()))
    check(not faults, " | ".join(faults))


@contextlib.contextmanager
def nothing_left(ns):
    """The namespace's links, routes and rules are afterwards as they were."""
    before = network(ns)
    yield
    after = network(ns)
    for k, v in before.items():
        check(after[k] == v, f"left behind: {k}: {v!r} before, {after[k]!r} after")


def dial(lab, host="vpn.example.com", *, conf=None, alone=False, ns=None, **kw):
    """A client with an interface of its own, so that several run side by side."""
    number = next(_numbers)
    mine = {"interface": f"ghc{number}"}
    conf = {**(conf or {}), "tunnel": {**mine, **(conf or {}).get("tunnel", {})}}
    c = Connect(lab, host if "://" in host else f"https://{host}/", ns=ns, conf=conf, alone=alone,
                label=f"connect-{number}", **kw)
    c.interface = conf["tunnel"]["interface"]
    return c


def ping_by(c, host=POOL_SERVER, size=56, ok=True):
    """Through this client's interface, whatever the routes; a packet is not cut into pieces."""
    out = c.ns.sh("ping", "-I", c.interface, "-M", "do", "-c", 2, "-i", "0.2", "-W", 3, "-s", size, host,
                  ok=(0,) if ok else (1, 2))
    check(ok or "message too long" in out or ", 0 received" in out, f"ping of {size}: {out}")


def goes_up(c, ping=True, **want):
    """Starts, comes up with these fields, passes data, hangs up. Returns the event."""
    with c:
        up = c.wait_up()
        for k, v in want.items():
            check(up[k] == v, f"{k} is {up[k]!r}, not {v!r}")
        if ping:
            ping_by(c)
    return up


def refused(c, causes, *texts, windows=None):
    """A dial that must fail so, and say these words."""
    c.conf["reconnect"]["once"] = True
    e = c.start().fails(causes, event="failed")
    said = f"{e['what']} {e['text']} {e['remedy']}"
    for text in texts:
        check(text in said, f"no {text!r} in {said!r}")
    check(e["remedy"] or e["cause"] == "local", f"no remedy: {e}")  # that has it in its text
    check(windows is None or e["windows"] == windows, f"for Windows it is {e['windows']!r}")
    check(not c.events("up"), "it was up")
    return e


def status(c, *argv, ok=(0,), as_json=True):
    """What `gatehouse status` says of it; argv: more words, instead of its configuration."""
    out = c.ns.sh(gatehouse_path(), "status", "--connect", *(["--json"] if as_json else []),
                  *(argv or ["-c", c.conf_path]), ok=ok)
    return json.loads(out) if as_json and out.strip() else out


class OwnServer(Gatehouse):
    """A server beside others in the same namespace: a port, an interface and a pool of its own."""

    def __init__(self, lab, number, label="own", **changes):
        self.port, self.net = 8440 + number, f"10.78.{number}"
        users = os.path.join(lab.test_dir, f"users-{number}")
        with open(lab.users, encoding="utf-8") as f:
            text = "".join(line for line in f if not line.startswith("erin "))  # her address is another pool's
        with open(users, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(users, 0o600)
        vpn = merge({"vpn": {"network": [f"{self.net}.0/24"], "dns": [f"{self.net}.1"], "interface": f"gh{number}",
                             "users": users}}, {"vpn": changes.pop("vpn", {})})["vpn"]
        super().__init__(lab, lab.conf(listen={"address": [f"0.0.0.0:{self.port}", f"[::]:{self.port}"]}, vpn=vpn,
                                       **changes), f"{label}-{number}")
        self.address = f"{self.net}.1"

    def url(self, host="vpn.example.com"):
        return f"https://{host}:{self.port}/"

    def check_nothing_left(self):
        """The others' interfaces and ports come and go: it cannot be told here."""


class Recorder:
    """A small web proxy of ours in a namespace: passes CONNECT on to the server, keeps the heads that it was sent."""

    def __init__(self, lab, port, ns=None, to=(SERVER4, 443), at="127.0.0.1"):
        self.heads, self.to, self.streams, self.ns, self.at = [], to, [], ns or lab.client, at
        self.service = ws.TcpService(self, port, self._handle)
        self.url = f"http://{at}:{port}"

    def listen(self, _host, port):
        return self.ns.listen(self.at, port)

    def _handle(self, s):
        self.heads.append(ws.read_head(s).decode("latin-1"))
        with contextlib.closing(self.ns.connect(*self.to)) as out:
            self.streams += [s, out]
            s.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            s.settimeout(None)
            out.settimeout(None)
            back = threading.Thread(target=_copy, args=(out, s), daemon=True)
            back.start()
            _copy(s, out)
            back.join(5)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
        return False

    def close(self):
        self.service.close()
        for s in self.streams:
            with contextlib.suppress(OSError):
                s.shutdown(2)


def _copy(a, b):
    with contextlib.suppress(OSError):
        while part := a.recv(65536):
            b.sendall(part)
    with contextlib.suppress(OSError):
        b.shutdown(1)


def plain_conf(lab, n, **changes):
    """A configuration of its own for a client that Connect does not start; resolv.conf is not touched."""
    folder = lab.fresh_dir(f"plain-{n}")
    path = os.path.join(folder, "connect.conf")
    conf = merge({"server": {"url": f"https://{SERVER4}/", "ca": lab.ca.cert}, "login": {"user": "zoe"},
                  "tunnel": {"interface": f"ghp{n}", "dns": "off"}, "worker": {"user": engine_user()},
                  "control": {"folder": os.path.join(lab.run_dir, f"plain-{n}")}}, changes)
    with open(path, "w", encoding="utf-8") as f:
        f.write(conf_text(conf))
    return path


def secret_file(lab, name, text):
    path = os.path.join(lab.test_dir, f"{name}.password")
    with open(path, "w", encoding="ascii") as f:
        f.write(text + "\n")
    os.chmod(path, 0o600)
    return path


class Terminal:
    """`gatehouse connect` at a terminal, or with a plain standard error (tty=False)."""

    def __init__(self, lab, *argv, tty=True, env=None, ns=None):
        self.main, side = pty.openpty()
        self.text, self.err = "", subprocess.PIPE
        self.p = subprocess.Popen((ns or lab.client).argv([gatehouse_path(), "connect", *argv]),
                                  stdin=side if tty else subprocess.DEVNULL, stdout=side, stderr=side, cwd="/",
                                  start_new_session=True, env={**os.environ, **(env or {})})
        os.close(side)

    def read(self, wait=0.0):
        while select.select([self.main], [], [], wait)[0]:
            try:
                part = os.read(self.main, 65536)
            except OSError:  # nobody has the other end any more
                break
            if not part:
                break
            self.text += part.decode(errors="replace").replace("\r\n", "\n")
        return self.text

    def until(self, pattern, timeout=10):
        return wait_for(lambda: re.search(pattern, self.read(), re.M), timeout,
                        lambda: f"{pattern!r} at the terminal: {self.text!r}")

    def type(self, text):
        os.write(self.main, text.encode())

    def end(self, num=None, timeout=10):
        if num:
            self.p.send_signal(num)
        wait_for(lambda: self.read() is not None and self.p.poll() is not None, timeout,
                 lambda: f"its end: {self.text!r}")
        self.read(0.05)
        return self.p.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.p.poll() is None:
            self.p.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.p.wait(8)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.p.pid, signal.SIGKILL)
        self.p.wait(5)
        os.close(self.main)
        return False
