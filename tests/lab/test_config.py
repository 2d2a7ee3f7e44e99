"""A server that cannot start says why on one line, with the place and what to do, and leaves nothing behind.

Status 2: the configuration or what it names is wrong. Status 1: the environment.
"""

import contextlib
import os
import re
import socket

from lablib import SERVER4, Gatehouse, check, conf_text, gatehouse_path, merge, wait_for
from sstpclient import Client


def base(lab, **changes):
    """A good configuration as text."""
    return conf_text(merge(lab.conf(control={"socket": os.path.join(lab.run_dir, "config-test.control")}), changes))


def refuses(lab, text, status, pattern, place=True, prefix=(), beside=0):
    """
    Starts with this configuration; it must end by itself. A line marked with `# HERE` is the one that must be named.
    """
    gh = Gatehouse(lab, text, "refused")
    gh.prefix = list(prefix)
    gh.spawn()
    try:
        got = gh.proc.wait(15)
        lines = [e for e in gh.log() if e.get("level") in ("warn", "error") or e["event"] is None]
        check(got == status, f"status {got} instead of {status}: {gh.tail()}")
        check(len(lines) == 1, f"{len(lines)} lines instead of one: {[e['text'] for e in lines]}")
        e = lines[0]
        check(e["event"] == "start-failed", f"event {e['event']}: {e['text']}")
        check(re.search(pattern, e["msg"], re.I), f"{e['msg']!r} does not match {pattern!r}")
        if place:
            where = re.match(re.escape(gh.conf_path) + r":(\d+): .+: .+", e["msg"])
            check(where, f"no `FILE:LINE: cause: remedy` in {e['msg']!r}")
            marked = [n for n, x in enumerate(text.split("\n"), 1) if "# HERE" in x]
            check(not marked or int(where.group(1)) in marked, f"line {marked} is wrong, {e['msg']!r} names another")
        else:
            check(": " in e["msg"], f"no remedy in {e['msg']!r}")
        check(not gh.events("ready"), "it was ready before it failed")
        gh.check_nothing_left()
        wait_for(lambda: len(ours(lab)) == beside, 3, lambda: f"the end of its processes: {ours(lab)}")
    finally:
        gh.close()
    return e


def cmdline(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as f:
        return f.read()
    return b""


def ours(lab):
    """Processes of the daemon that still run in the server's namespace."""
    return [p for p in lab.server.pids() if b"gatehouse: " in cmdline(p) or b"gatehouse\0serve" in cmdline(p)]


def with_line(text, old, new):
    check(text.count(old) == 1, f"the test's own text has {text.count(old)} times {old!r}")
    return text.replace(old, new)


# ---- the file itself -----------------------------------------------------------------------------------------------

def test_bad_values(lab):
    """One wrong thing at a time; the message names its line."""
    good = base(lab)
    for old, new, pattern in (
            ("  mtu = 1400;\n", "  mtu = 99; # HERE\n", r"mtu.*1280.*4087"),
            ("  mtu = 1400;\n", '  mtu = "1400"; # HERE\n', r"mtu.*whole number"),
            ("  mtu = 1400;\n", "  mtv = 1400; # HERE\n", r"mtv"),
            ("  mtu = 1400;\n", "  mtu = 1400;\n  mtu = 1300; # HERE\n", r"mtu|duplicate"),
            ("  mtu = 1400;\n", "  mtu = ; # HERE\n", r"syntax"),
            ('  level = "debug";\n', '  level = "loud"; # HERE\n', r"level.*(error|warn|notice)"),
            ('  auth = [ "mschapv2" ];\n', '  auth = [ "eap" ]; # HERE\n', r"auth.*mschapv2"),
            ('  network = [ "10.77.0.0/24" ];\n', '  network = [ "10.77.0.5/24" ]; # HERE\n', r"10\.77\.0\.0/24"),
            ('  network = [ "10.77.0.0/24" ];\n', '  network = [ "10.77.0.0/31" ]; # HERE\n', r"/30"),
            ('  network = [ "10.77.0.0/24" ];\n', '  network = [ "nonsense" ]; # HERE\n', r"network"),
            ('  network = [ "10.77.0.0/24" ];\n', '  network = [ "10.0.0.0/8" ]; # HERE\n', r"/12"),
            ('"0.0.0.0:443", "[::]:443" ];\n', '"0.0.0.0:443", "0.0.0.0:443" ]; # HERE\n', r"0\.0\.0\.0:443 is listened on already"),
            ('"0.0.0.0:443", "[::]:443" ];\n', '"localhost:443" ]; # HERE\n', r"address"),
            ('"0.0.0.0:443", "[::]:443" ];\n', '"0.0.0.0:70000" ]; # HERE\n', r"address"),
            ("listen: {\n", "lisen: { # HERE\n", r"lisen")):
        refuses(lab, with_line(good, old, new), 2, pattern)


def test_missing_files(lab):
    refuses(lab, with_line(base(lab), lab.users + '";', '/none"; # HERE\n'), 2, r"/none.*gatehouse user")
    refuses(lab, with_line(base(lab), lab.vpn[1] + '";', '/none.key"; # HERE\n'), 2, r"/none\.key")
    refuses(lab, with_line(base(lab), lab.vpn[0] + '";', '/none.pem"; # HERE\n'), 2, r"/none\.pem")
    refuses(lab, with_line(base(lab), f'  users = "{lab.users}";\n', ""), 2, r"users")


def test_no_configuration(lab):
    out = lab.server.sh(gatehouse_path(), "serve", "-c", "/none.conf", ok=(2,))
    check(out == "", f"standard output: {out}")


def test_certificate_rules(lab):
    cert = lab.conf()["certificates"]
    other = lab.ca.issue("again", ["www.example.com"], key="P-384")
    same = {"name": "again", "chain": other[0], "key": other[1], "for": ["www.example.com"]}
    refuses(lab, base(lab, certificates=[cert[0], same]), 2, r"www\.example\.com")
    third = {**cert[1], "name": "third", "for": ["www.example.com"]}
    refuses(lab, base(lab, certificates=[cert[0], same, third]), 2, r"www\.example\.com")
    refuses(lab, base(lab, certificates=None), 2, r"gatehouse cert new")


# ---- what the file names -------------------------------------------------------------------------------------------

def test_key_of_another_certificate(lab):
    cert = lab.conf()["certificates"]
    refuses(lab, base(lab, certificates=[{**cert[0], "key": lab.vpn[1]}]), 2, r"key.*(match|belong|fit)")


def test_unreadable_key(lab):
    cert, path = lab.conf()["certificates"], os.path.join(lab.test_dir, "bad.key")
    for content in (b"", b"this is no key\n", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
                    b"\0" * 100):
        with open(path, "wb") as f:
            f.write(content)
        refuses(lab, base(lab, certificates=[{**cert[0], "key": path}]), 2, r"bad\.key")
    with open(path, "wb") as f:
        f.write(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    refuses(lab, base(lab, certificates=[{**cert[0], "chain": path}]), 2, r"bad\.key")


def test_bad_users_file(lab):
    path = os.path.join(lab.test_dir, "users")
    for line, pattern in (("alice", r"users:2: "), ("alice nt:123", r"users:2: "), ("alice md5:123", r"users:2: "),
                          ('bob plain:"x" ip=300.1.1.1', r"users:2: "), ('bob plain:"x" nonsense=1', r"users:2: ")):
        with open(path, "w", encoding="ascii") as f:
            f.write(f"# a comment\n{line}\n")
        os.chmod(path, 0o600)
        e = refuses(lab, base(lab, vpn={"users": path}), 2, pattern, place=False)
        check("123" not in e["msg"] or "md5" in e["msg"], f"the secret is in the log: {e['msg']}")


def test_no_such_account(lab):
    refuses(lab, base(lab, worker={"user": "nobody-here"}), 2, r"nobody-here.*useradd", place=False)
    refuses(lab, base(lab, worker={"user": "root"}), 2, r"root", place=False)


# ---- the environment -----------------------------------------------------------------------------------------------

def test_busy_port(lab):
    for addr in ("0.0.0.0", SERVER4):
        with contextlib.closing(lab.server.listen(addr, 443)):
            refuses(lab, base(lab), 1, r"0\.0\.0\.0:443.*ss -ltnp")
    with contextlib.closing(lab.server.sock(socket.AF_INET6)) as s:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of tests before may not be over
        s.bind(("::", 443))
        s.listen()
        refuses(lab, base(lab), 1, r"\[::\]:443")


def test_address_of_another_host(lab):
    refuses(lab, base(lab, listen={"address": ["192.0.2.99:443"]}), 1,
            r"listen\.address 192\.0\.2\.99:443: .*does not have that address")


def test_second_daemon(lab):
    with lab.gatehouse() as gh:
        refuses(lab, base(lab), 1, r"0\.0\.0\.0:443", place=False, beside=len(ours(lab)))
        gh.cli("status")
        with Client(lab.client, SERVER4, ca=lab.ca.cert) as c:
            c.call("alice", "wonderland")
            check(c.ping("10.77.0.1"), "the first daemon suffered")
            c.hang_up()


def test_no_tun(lab):
    """/dev/net is hidden in a mount namespace of its own."""
    refuses(lab, base(lab), 1, r"/dev/net/tun", place=False,
            prefix=["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /dev/net && exec "$@"', "sh"])


def test_interface_exists(lab):
    lab.server.ip("link", "add", "gh0", "type", "veth", "peer", "name", "gh0peer")
    try:
        refuses(lab, base(lab), 1, r"gh0", place=False)
    finally:
        lab.server.ip("link", "del", "gh0")


def test_pool_overlaps_a_local_network(lab):
    for net in ("192.0.2.0/24", "192.0.0.0/16", "198.51.100.128/25"):
        refuses(lab, base(lab, vpn={"network": [net], "dns": None}), 1, r"overlap.*(out0|in0).*another network")


def test_without_root(lab):
    refuses(lab, base(lab), 1, r"root|permission denied", place=False,
            prefix=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])


def test_killed(lab):
    """After kill -9 of the monitor nothing runs on, and the next start cleans up what was left."""
    gh = lab.gatehouse("killed").start()
    pid = gh.monitor_pid()
    os.kill(pid, 9)
    gh.proc.wait(5)
    wait_for(lambda: not ours(lab), 9, "the end of its processes")
    before = gh.before
    gh.proc.close()
    with lab.gatehouse("after") as again:
        # forwarding was switched on by the one that was killed: nobody can know any more that it was off
        again.before = {**before, "forward": again.before["forward"]}
        again.cli("status")
    lab.server.sysctl("net.ipv4.ip_forward", before["forward"][0])
