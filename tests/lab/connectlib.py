"""One `gatehouse connect --json` in a namespace: started, watched by its events, hung up, and what it must not leave.

    with Connect(lab, "https://vpn.example.com/") as c:     # starts
        up = c.wait_up()
        c.ping(POOL_SERVER)
                                                            # hangs up: exit 0, the namespace as before
    Connect(lab, url, once=True).start().fails("login")     # a dial that must fail so

Names are looked up in a hosts file of its own (lab.hosts); resolv.conf is a file of its own (Connect.resolv_conf).
"""

import contextlib
import json
import os
import re
import threading
import time
from signal import SIGTERM

from lablib import Proc, check, conf_text, engine_user, gatehouse_path, merge, parse_log, wait_for

ENGINE = "gatehouse: connect"  # title of the process that talks to the network
INTERFACE = "ghc0"
RESOLV_CONF = "# of the laboratory\nnameserver 192.0.2.53\n"

# Exit status of each cause (docs/client.md).
EXIT = {"ok": 0, "internal": 1, **dict.fromkeys(("resolve", "unreachable"), 4),
        **dict.fromkeys(("proxy-unreachable", "proxy-refused", "proxy-login"), 5),
        **dict.fromkeys(("tls", "certificate"), 6),
        **dict.fromkeys(("http", "busy", "http-timeout", "sstp-refused", "sstp"), 7),
        **dict.fromkeys(("no-method", "login", "server-proof"), 8),
        **dict.fromkeys(("timeout", "binding", "ppp", "no-address"), 9), "local": 10, "configuration": 2,
        **dict.fromkeys(("lost", "silent", "hung-up", "network-changed"), 11)}


class Connect:
    """
    conf: sections laid over the usual configuration (server, login, tunnel, proxy, reconnect, ...). args: more words of
    the command line. user None: none is given. hosts: more (address, name) pairs. env: more of the environment. alone:
    nothing else changes the namespace meanwhile, so that whatever is left there is this program's.
    """

    def __init__(self, lab, url, *, ns=None, user="alice", password="wonderland", ca=None, once=False, conf=None,
                 args=(), env=None, hosts=(), label="connect", alone=True):
        self.lab, self.ns, self.url = lab, ns or lab.client, url
        self.args, self.env, self.alone = list(args), env or {}, alone
        self.dir = lab.fresh_dir(label)
        self.out_path, self.err_path, self.conf_path, self.hosts_path, self.resolv_conf, self.password_path = (
            os.path.join(self.dir, n)
            for n in ("events", "stderr", "connect.conf", "hosts", "resolv.conf", "password"))
        self.folder = os.path.join(lab.run_dir, os.path.basename(self.dir)[-30:])  # a socket's path is short
        login = {"user": user, "password-file": self.password_path} if user is not None else {}
        self.conf = merge({
            "server": {"url": url, "ca": ca or lab.ca.cert}, "login": login,
            "tunnel": {"interface": INTERFACE, "resolv-conf": self.resolv_conf, "dns": "resolv.conf"},
            "reconnect": {"once": once, "first": 1, "max": 4},
            "control": {"folder": self.folder}, "log": {"level": "debug"}, "worker": {"user": engine_user()},
        }, conf or {})
        for path, text in ((self.password_path, password + "\n"), (self.resolv_conf, RESOLV_CONF),
                           (self.hosts_path, "127.0.0.1 localhost\n" + "".join(
                               f"{a} {n}\n" for n, a in [*lab.hosts, *((n, a) for a, n in hosts)]))):
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
        os.chmod(self.password_path, 0o600)
        self.proc, self.before = None, None
        self._peaks = {}  # KiB that the engine had at most, by pid

    def __str__(self):
        return f"gatehouse connect {self.url} in {self.dir}"

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        if kind is None:
            self.stop()
        else:
            self.close()
        return False

    # -- the program
    def start(self):
        with open(self.conf_path, "w", encoding="utf-8") as f:
            f.write(conf_text(self.conf))
        open(self.out_path, "ab").close()
        if self.before is None:
            self.before = self.leavings()
        # `ip netns exec` has a mount namespace of its own, so the hosts file is seen by this program alone.
        script = 'mount --bind "$1" /etc/hosts && out=$2 && shift 2 && exec "$@" >>"$out"'
        self.proc = Proc(self.ns.argv(["sh", "-c", script, "sh", self.hosts_path, self.out_path, gatehouse_path(),
                                       "connect", "-c", self.conf_path, "--json", *self.args]),
                         self.err_path, cwd="/", env=self.env)
        threading.Thread(target=self._watch_memory, args=(self.proc,), daemon=True).start()
        return self

    def alive(self):
        return self.proc is not None and self.proc.alive()

    @property
    def returncode(self):
        """None while it runs."""
        return self.proc.p.poll()

    def wait(self, timeout=20):
        """Its end by itself; returns the exit status."""
        wait_for(lambda: not self.alive(), timeout, lambda: f"the end of {self}: {self.tail()}")
        self.proc.close()
        return self.returncode

    def signal(self, num):
        self.proc.signal(num)

    def stop(self, timeout=12, num=SIGTERM):
        """Hangs up: status 0, a last event that says so, and the namespace as it was."""
        if not self.proc:
            return
        check(self.alive(), f"connect ended by itself with {self.returncode}: {self.tail()}")
        self.signal(num)
        status = self.wait(timeout)
        check(status == 0, f"connect ended with {status} after a signal: {self.tail()}")
        last = (self.events() or [{}])[-1]
        check(last == {"event": "end", "cause": "ok", "exit": 0}, f"the last event is {last}")
        if self.alone:
            self.check_nothing_left()

    def close(self):
        """At once, whatever happens."""
        if self.proc:
            self.signal(SIGTERM)
            with contextlib.suppress(Exception):
                self.proc.p.wait(6)
            self.proc.close()

    # -- events
    def events(self, name=None, since=0, **match):
        """What was written to standard output; any line that is no JSON object with "event" is a fault."""
        with open(self.out_path, encoding="utf-8") as f:
            text = f.read()
        out = []
        for line in text[:text.rfind("\n") + 1].splitlines():
            try:
                e = json.loads(line)
                e["event"]
            except (ValueError, KeyError, TypeError):
                check(False, f"standard output has the line {line!r}")
            out.append(e)
        return [e for e in out[since:] if name in (None, e["event"])
                and all(str(e.get(k)) == str(v) for k, v in match.items())]

    def mark(self):
        """A place in the events, for `since`."""
        return len(self.events())

    def wait_event(self, name, timeout=15, since=0, **match):
        """The first such event. LabError with what was said when it does not come."""
        def look():
            gone = not self.alive()
            found = self.events(name, since, **match)
            check(found or not gone, f"connect ended with {self.returncode} before event {name}: {self.tail()}")
            return found
        return wait_for(look, timeout, lambda: f"event {name} {match or ''}; the last: {self.tail()}")[0]

    def wait_up(self, timeout=15, since=0):
        return self.wait_event("up", timeout, since)

    def fails(self, causes, timeout=20, event=None):
        """
        It ends by itself, for one of these causes (a name or several), with the status of that cause, and says so in one
        event: `failed` when a dial failed, `down` when a call that was up ended (None: either). Returns that event.
        """
        causes = {causes} if isinstance(causes, str) else set(causes)
        status = self.wait(timeout)
        said, last = self.events("failed") + self.events("down"), (self.events() or [{}])[-1]
        check(len(said) == 1, f"{len(said)} events instead of one: {self.tail()}")
        e = said[0]
        check(event in (None, e["event"]), f"event {e['event']} instead of {event}")
        check(e["cause"] in causes, f"cause {e['cause']}, expected {sorted(causes)}: {e['text']}")
        check(status == EXIT[e["cause"]], f"exit status {status} for {e['cause']}")
        check((last["event"], last.get("exit"), last.get("cause")) == ("end", status, e["cause"]),
              f"the last event is {last}")
        line = f"{e['what']} {e['text']} {e['remedy']} {e['windows']}"
        check(e["what"] and line.isprintable() and line.isascii(), f"no clear line: {e}")
        if self.alone:
            self.check_nothing_left()
        return e

    def log(self):
        """Events of standard error."""
        with open(self.err_path, encoding="utf-8", errors="replace") as f:
            return parse_log(f.read())

    def tail(self, n=3):
        with open(self.out_path, encoding="utf-8") as f:
            said = f.read().splitlines()[-n:]
        return " / ".join(said + [e["text"] for e in self.log()[-n:]]) or "(nothing was said)"

    # -- processes
    def pids(self, title=ENGINE):
        """Descendants whose command line begins so."""
        return [pid for pid in _descendants(self.proc.pid) if _title(pid).startswith(title)]

    def engine_pid(self):
        return wait_for(self.pids, 5, "the engine's process")[0]

    def _watch_memory(self, proc):
        while proc.p.returncode is None:
            for pid in _descendants(proc.pid):
                if _title(pid).startswith(ENGINE):
                    self._peaks[pid] = max(self._peaks.get(pid, 0), _kib(pid, "VmHWM"))
            time.sleep(0.02)

    def peak_kib(self):
        """The most memory that any engine of this program had at once."""
        return max(self._peaks.values(), default=0)

    # -- the network
    def ping(self, host, count=2, timeout=5):
        """LabError when an answer is missing."""
        self.ns.sh("ping", "-c", count, "-i", "0.2", "-W", timeout, host)

    def pings(self, host):
        with contextlib.suppress(Exception):
            self.ping(host, 1, 1)
            return True
        return False

    def leavings(self):
        """What a client could leave behind."""
        with open(self.resolv_conf, encoding="utf-8") as f:
            resolv = f.read()
        return {**network(self.ns), "resolv.conf": resolv,
                "files": sorted(os.listdir(self.folder)) if os.path.isdir(self.folder) else []}

    def check_nothing_left(self):
        after = self.leavings()
        for k, v in self.before.items():
            check(after[k] == v, f"connect left something behind: {k}: {v!r} before, {after[k]!r} after")


def network(ns):
    """Links, routes and rules of a namespace, to be compared."""
    return {"links": re.findall(r"^\d+: ([^:@]+)", ns.ip("-o", "link"), re.M),
            "routes": _routes(ns.ip("route", "show", "table", "all")),
            "routes of IPv6": _routes(ns.ip("-6", "route", "show", "table", "all")),
            "rules": ns.ip("rule") + ns.ip("-6", "rule")}


def _routes(text):
    """Without what the kernel changes by itself: counters, and neighbours' cached entries."""
    return sorted(re.sub(r" expires \d+sec", "", line).strip() for line in text.splitlines())


def _read(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError:  # it is gone
        return b""


def _descendants(pid):
    out, todo = [], [pid]
    while todo:
        p = todo.pop()
        for child in _read(f"/proc/{p}/task/{p}/children").split():
            out.append(int(child))
            todo.append(int(child))
    return out


def _title(pid):
    return _read(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode(errors="replace").strip()


def _kib(pid, what):
    m = re.search(rf"{what}:\s+(\d+)".encode(), _read(f"/proc/{pid}/status"))
    return int(m.group(1)) if m else 0
