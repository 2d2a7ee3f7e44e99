"""Namespaces, processes and their CPU time, for the benchmark. Standard library only."""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import time

CLIENT, SERVER, INSIDE = "10.10.1.2", "10.10.1.1", "10.10.2.2"
INSIDE_NET = "10.10.2.0/24"
CLIENT_NET, CLIENT2, SERVER2 = "10.10.1.0/24", "10.10.3.2", "10.10.3.1"
MTU = 1400


class Failed(Exception):
    pass


left_out = {}  # "PEER in ROW": why


@contextlib.contextmanager
def may_fail(peer, row):
    """A peer that fails here is left out: that costs its own numbers, not the row."""
    try:
        yield
    except (Failed, OSError, ValueError, KeyError) as e:
        if peer.key.startswith("gatehouse"):
            raise
        left_out[f"{peer.key} in {row}"] = f"{type(e).__name__}: {e}"


def sh(*cmd, check=True):
    r = subprocess.run(cmd, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if check and r.returncode:
        raise Failed(f"{' '.join(cmd)}: {r.stderr.strip() or r.stdout.strip()}")
    return r.stdout


class Proc:
    """A process of ours in a namespace, its output in a file; ended by its pid."""

    def __init__(self, ns, cmd, log, stdin=subprocess.DEVNULL):
        self.log_path, self.cmd = log, cmd
        self.log, self.started = open(log, "wb"), time.monotonic()
        self.p = subprocess.Popen(["ip", "netns", "exec", ns, *cmd], stdin=stdin, stdout=self.log,
                                  stderr=subprocess.STDOUT, start_new_session=True)
        self.pid = self.p.pid

    def text(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def wait_for(self, text, seconds):
        """Until the output has it; the seconds since the process was started."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if text in self.text():
                return time.monotonic() - self.started
            if self.p.poll() is not None:
                break
            time.sleep(0.002)
        raise Failed(f"{os.path.basename(self.cmd[0])} did not say '{text}': {self.text()[-800:]}")

    def wait_lines(self, n, seconds):
        """The output's lines, once there are n."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            lines = self.text().splitlines()
            if len(lines) >= n:
                return lines
            time.sleep(0.02)
        raise Failed(f"{os.path.basename(self.cmd[0])}: no answer")

    def stop(self):
        if self.p.poll() is None:
            self.p.terminate()
            try:
                self.p.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(self.p.pid, signal.SIGKILL)
                self.p.wait()
        self.log.close()


def family(pid):
    """The process and all that descend from it."""
    children = {}
    for d in os.listdir("/proc"):
        if d.isdigit():
            try:
                with open(f"/proc/{d}/stat") as f:
                    parent = int(f.read().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(d))
    found, todo = [], [pid]
    while todo:
        p = todo.pop()
        found.append(p)
        todo += children.get(p, [])
    return found


def cpu_seconds(pid):
    """CPU time so far of a process and its descendants: the scheduler's nanoseconds, or clock ticks; of those that have
    ended, clock ticks."""
    total, tick = 0.0, os.sysconf("SC_CLK_TCK")
    for p in family(pid):
        try:
            with open(f"/proc/{p}/stat") as f:
                user, system, ended_user, ended_system = map(int, f.read().rsplit(")", 1)[1].split()[11:15])
        except OSError:
            continue  # gone meanwhile
        total += (ended_user + ended_system) / tick
        try:
            ns = 0
            for t in os.listdir(f"/proc/{p}/task"):
                with open(f"/proc/{p}/task/{t}/schedstat") as f:
                    ns += int(f.read().split()[0])
            total += ns / 1e9
        except OSError:
            total += (user + system) / tick
    return total


def memory_kib(pid):
    """KiB of a process and its descendants, from smaps_rollup: Pss, and what of it is of no file. A file's share falls
    when others map it, too: a client with the same libraries."""
    pss = anonymous = 0
    for p in family(pid):
        try:
            with open(f"/proc/{p}/smaps_rollup") as f:
                lines = f.read().splitlines()
        except OSError:
            continue  # gone meanwhile
        for line in lines:
            k, v = line.split()[:2] if ":" in line.split()[0] else ("", 0)
            if k == "Pss:":
                pss += int(v)
            elif k in ("Pss_Anon:", "Pss_Shmem:"):
                anonymous += int(v)
    return pss, anonymous


class Lab:
    """client -- server -- inside, namespaces of its own, and a second client where one is wanted; everything ends with
    close(). congestion: that of all TCP in it; None: as the machine has it. slow: between client and server is a switch,
    which bottleneck() makes slow."""

    def __init__(self, name, work, congestion=None, second=False, slow=False):
        name += f"-{congestion}" if congestion else ""
        self.name, self.work, self.congestion = name, os.path.join(work, name), congestion
        os.makedirs(self.work, exist_ok=True)
        self.procs, self.count = [], 0
        base = f"ghb{os.getpid()}-{name}"
        self.c, self.s, self.i = (f"{base}-{end}" for end in ("c", "s", "i"))
        self.c2 = f"{base}-c2" if second else None
        self.switch = f"{base}-w" if slow else None
        try:
            self.make()
        except Failed:
            self.close()
            raise

    def all(self):
        return [ns for ns in (self.c, self.s, self.i, self.c2, self.switch) if ns]

    def make(self):
        for ns in self.all():
            sh("ip", "netns", "add", ns)
            sh("ip", "-n", ns, "link", "set", "lo", "up")
        links = [(self.s, "eth1", "10.10.2.1", self.i, "eth0", INSIDE)]
        if self.switch:
            links += [(self.c, "eth0", CLIENT, self.switch, "to-c", None),
                      (self.s, "eth0", SERVER, self.switch, "to-s", None)]
        else:
            links.append((self.c, "eth0", CLIENT, self.s, "eth0", SERVER))
        if self.c2:
            links.append((self.c2, "eth0", CLIENT2, self.s, "eth2", SERVER2))
        for a, da, aa, b, db, ab in links:
            sh("ip", "-n", a, "link", "add", da, "type", "veth", "peer", "name", db, "netns", b)
            for ns, dev, addr in ((a, da, aa), (b, db, ab)):
                if addr:
                    sh("ip", "-n", ns, "addr", "add", f"{addr}/24", "dev", dev)
                sh("ip", "-n", ns, "link", "set", dev, "up")
        if self.switch:
            sh("ip", "-n", self.switch, "link", "add", "br0", "up", "type", "bridge")
            for dev in ("to-c", "to-s"):
                sh("ip", "-n", self.switch, "link", "set", dev, "master", "br0")
        sh("ip", "-n", self.i, "route", "add", "default", "via", "10.10.2.1")
        if self.c2:
            sh("ip", "-n", self.c2, "route", "add", CLIENT_NET, "via", SERVER2)
        self.run(self.s, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        self.choose_congestion()

    def choose_congestion(self):
        """By the routes, for connections from now on: a namespace's own default may only be what the host allows to
        everybody."""
        for ns in self.all() if self.congestion else ():
            for route in sh("ip", "-n", ns, "route", "show").splitlines():
                words = [w for w in route.split() if w != "linkdown"]
                sh("ip", "-n", ns, "route", "replace", *words, "congctl", self.congestion)

    def bottleneck(self, direction, rate):
        """A slow link in the switch, for what goes in one direction; rate None: as before. Not on the sender's own
        device: there TCP itself sees what waits, and keeps it short."""
        for dev in ("to-c", "to-s"):
            sh("tc", "-n", self.switch, "qdisc", "del", "dev", dev, "root", check=False)
        if rate:
            sh("tc", "-n", self.switch, "qdisc", "add", "dev", "to-s" if direction == "up" else "to-c", "root", "tbf",
               "rate", rate, "burst", "32k", "latency", "100ms")

    def run(self, ns, *cmd, check=True):
        return sh("ip", "netns", "exec", ns, *cmd, check=check)

    def start(self, ns, *cmd, stdin=subprocess.DEVNULL):
        self.count += 1
        log = os.path.join(self.work, f"{self.count}-{os.path.basename(cmd[0])}.log")
        p = Proc(ns, list(cmd), log, stdin)
        self.procs.append(p)
        return p

    def listens(self, proc, host, port, seconds=10):
        """Waits until something in the server's namespace does."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and proc.p.poll() is None:
            if self.run(self.s, "ss", "-Hltn", f"src {host}:{port}").strip():
                return
            time.sleep(0.02)
        raise Failed(f"{os.path.basename(proc.cmd[0])} does not listen on port {port}: {proc.text()[-800:]}")

    def close(self):
        for p in reversed(self.procs):
            p.stop()
        for ns in self.all():
            sh("ip", "netns", "del", ns, check=False)


def certificates(d):
    """A CA, and certificates of a server and a client signed by it: P-256, and RSA-2048 for the server, too."""
    os.makedirs(d, exist_ok=True)

    def path(f):
        return os.path.join(d, f)

    ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    sh("openssl", "req", "-x509", *ec, "-keyout", path("ca.key"), "-out", path("ca.pem"), "-days", "30", "-subj",
       "/CN=bench CA", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    rsa = ["-newkey", "rsa:2048", "-nodes"]
    for name, usage, key in (("server", "serverAuth", ec), ("server-rsa", "serverAuth", rsa),
                             ("client", "clientAuth", ec)):
        sh("openssl", "req", *key, "-keyout", path(name + ".key"), "-out", path(name + ".csr"), "-subj", f"/CN={name}")
        with open(path(name + ".ext"), "w") as f:
            f.write(f"extendedKeyUsage={usage}\nkeyUsage=critical,digitalSignature\n"
                    f"subjectAltName=DNS:{name},IP:{SERVER}\nbasicConstraints=CA:FALSE\n")
        sh("openssl", "x509", "-req", "-in", path(name + ".csr"), "-CA", path("ca.pem"), "-CAkey", path("ca.key"),
           "-CAcreateserial", "-days", "30", "-extfile", path(name + ".ext"), "-out", path(name + ".pem"))
    return d


def have(program):
    return shutil.which(program) is not None


def read_json_line(stream, seconds):
    """One line of JSON from a pipe, or Failed."""
    ready, _, _ = select.select([stream], [], [], seconds)
    line = stream.readline() if ready else b""
    if not line:
        raise Failed("no answer from the load client")
    return json.loads(line)
