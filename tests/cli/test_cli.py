#!/usr/bin/env python3
"""Help, check, user, cert, serve --print-config; and what the commands of control say to a socket. Usage: test_cli.py PROGRAM"""
import json
import os
import pty
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

PROGRAM = os.path.abspath(sys.argv.pop(1))
HELLO_NT = "066ddfd4ef0e9cd7c256fe77191ef43c"  # NT hash of "hello"


class Cli(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="gatehouse-cli-")
        self.addCleanup(self.folder.cleanup)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as f:
            f.write(text)
        return self.path(name)

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as f:
            return f.read()

    def run_it(self, *args, status=0, stdin=""):
        p = subprocess.run([PROGRAM, *args], input=stdin, capture_output=True, text=True, cwd=self.folder.name, timeout=60)
        self.assertEqual(p.returncode, status, f"{args}: {p.stdout}{p.stderr}")
        return p.stdout, p.stderr

    def configure(self, extra=""):
        self.run_it("cert", "new", "vpn.example.com", "--out-cert", "c.pem", "--out-key", "c.key", "--force")
        return self.write("g.conf", 'certificates: ( { chain = "c.pem"; key = "c.key"; } );\n'
                          'vpn: { network = [ "10.77.0.0/16" ]; users = "users"; forward = true; };\n'
                          'worker: { user = "nobody"; };\ncontrol: { socket = "control"; };\n' + extra)


class Help(Cli):
    def test_help_fits_a_screen(self):
        out, _ = self.run_it("--help")
        self.assertLessEqual(out.count("\n"), 24)
        for command in "serve check explain status sessions disconnect reload drain user cert".split():
            self.assertIn(f"\n  {command} ", out)
            text, _ = self.run_it(command, "--help")
            self.assertLessEqual(text.count("\n"), 24)
            self.assertIn(f"gatehouse {command} ", text)

    def test_version(self):
        self.assertRegex(self.run_it("--version")[0], r"^gatehouse \d+\.\d+")

    def test_unknown(self):
        self.assertIn('did you mean "check"', self.run_it("chekc", status=2)[1])
        self.assertIn("gatehouse --help", self.run_it("frobnicate", status=2)[1])
        self.run_it("check", "--nonsense", status=2)
        self.run_it(status=2)


class Users(Cli):
    def test_life_of_a_user(self):
        self.configure()
        out, _ = self.run_it("user", "add", "alice", "-c", "g.conf", stdin="hello\n")
        self.assertIn("next start or reload", out)
        self.assertEqual(self.read("users"), f"alice nt:{HELLO_NT}\n")
        self.assertEqual(os.stat(self.path("users")).st_mode & 0o777, 0o600)
        self.run_it("user", "add", "ALICE", "-c", "g.conf", status=1, stdin="hello\n")
        self.run_it("user", "passwd", "alice", "--plain", "-c", "g.conf", stdin='a"b\\c\n')
        self.assertEqual(self.read("users"), 'alice plain:"a\\"b\\\\c"\n')
        out, _ = self.run_it("user", "list", "--json", "-c", "g.conf")
        self.assertEqual(json.loads(out), {"users": [{"name": "alice", "secret": "plain", "ip": None, "state": "ok", "groups": None,
                                                    "up_bps": None, "down_bps": None}]})
        self.assertNotIn("b", self.run_it("user", "list", "-u", "users")[0].split("alice")[1])
        self.run_it("user", "remove", "alice", "-c", "g.conf")
        self.assertEqual(self.read("users"), "")
        self.run_it("user", "remove", "alice", "-c", "g.conf", status=1)
        self.run_it("user", "passwd", "alice", "-c", "g.conf", status=1, stdin="x\n")

    def test_rest_of_the_file_and_mode_stay(self):
        text = "# staff\nalice nt:%s ip=10.77.0.9 groups=a,b # x\n\nbob nt:%s disabled\n" % (HELLO_NT, HELLO_NT)
        text = text.replace(" # x", "")
        self.write("users", text)
        os.chmod(self.path("users"), 0o640)
        self.run_it("user", "passwd", "alice", "-u", "users", stdin="other\n")
        after = self.read("users").split("\n")
        self.assertNotIn(HELLO_NT, after[1])
        self.assertTrue(after[1].endswith(" ip=10.77.0.9 groups=a,b"))
        self.assertEqual([after[0], *after[2:]], ["# staff", "", f"bob nt:{HELLO_NT} disabled", ""])
        self.assertEqual(os.stat(self.path("users")).st_mode & 0o777, 0o640)
        self.assertIn("disabled", self.run_it("user", "list", "-u", "users")[0])

    def test_limits(self):
        listed = lambda: json.loads(self.run_it("user", "list", "--json", "-u", "users")[0])["users"][0]
        self.run_it("user", "add", "bob", "--up", "10M", "--down=50M", "--ip", "10.77.0.5", "-u", "users", stdin="hello\n")
        self.assertEqual(self.read("users"), f"bob nt:{HELLO_NT} up=10M down=50M ip=10.77.0.5\n")
        self.assertEqual((listed()["up_bps"], listed()["down_bps"]), (10_000_000, 50_000_000))
        out, _ = self.run_it("user", "list", "-u", "users")
        self.assertRegex(out, r"NAME +SECRET +ADDRESS +STATE +UP +DOWN +GROUPS\nbob +nt +10\.77\.0\.5 +ok +10M +50M +-\n")
        out, _ = self.run_it("user", "set", "BOB", "--down", "1500k", "--up", "0", "--expires", "2000-01-31", "-u", "users")
        self.assertIn('"BOB" is changed', out)
        self.assertEqual(self.read("users"), f"bob nt:{HELLO_NT} down=1500k ip=10.77.0.5 expires=2000-01-31\n")
        self.assertEqual((listed()["up_bps"], listed()["down_bps"], listed()["state"]), (None, 1_500_000, "expired"))
        self.run_it("user", "set", "bob", "--up", "1M", "--up", "2M", "--ip", "none", "--expires", "none", "-u", "users")
        self.assertEqual(self.read("users"), f"bob nt:{HELLO_NT} down=1500k up=2M\n")
        self.run_it("user", "passwd", "bob", "-u", "users", stdin="other\n")
        self.assertTrue(self.read("users").endswith(" down=1500k up=2M\n"))

    def test_limits_refused(self):
        self.write("users", f"al nt:{HELLO_NT} ip=10.77.0.5\nbob nt:{HELLO_NT}\n")
        before = self.read("users")
        for args, status, said in (
                (("set", "bob", "--up", "10MB"), 1, "bad up=: expected bits a second as 800k, 10M or 1G, from 64k to 1000G; nothing was"),
                (("set", "bob", "--down", "1k"), 1, "bad down="),
                (("set", "bob", "--up", "1M disabled"), 1, "up= is no single word; nothing was changed"),
                (("set", "bob", "--up", "1M\neve nt:" + HELLO_NT), 1, "no single word"),
                (("set", "bob", "--up", ""), 1, "no single word"),
                (("set", "bob", "--ip", "10.77.0.5"), 1, "already used in line 1; nothing was changed"),
                (("set", "bob", "--expires", "tomorrow"), 1, "YYYY-MM-DD"),
                (("set", "eve", "--up", "1M"), 1, "no user"),
                (("add", "eve", "--up", "nonsense"), 1, "bad up="),
                (("set", "bob"), 2, "nothing to set"),
                (("set", "--up", "1M"), 2, "usage"),
                (("passwd", "bob", "--up", "1M"), 2, "user set NAME"),
                (("remove", "bob", "--down", "1M"), 2, "user set NAME"),
                (("list", "--down", "1M"), 2, "user set NAME")):
            self.assertIn(said, self.run_it("user", *args, "-u", "users", status=status, stdin="hello\n")[1], args)
        self.assertEqual(self.read("users"), before)
        self.assertEqual(os.listdir(self.folder.name), ["users"])

    def test_refused(self):
        self.run_it("user", "add", "x", "-u", "users", status=1, stdin="")
        self.run_it("user", "add", "x", "-u", "users", status=1, stdin="\n")
        self.run_it("user", "add", "x", "-u", "users", status=1, stdin="y" * 2000 + "\n")
        self.run_it("user", "add", "", "-u", "users", status=1, stdin="y\n")
        self.run_it("user", "add", "a\nb", "-u", "users", status=1, stdin="y\n")
        self.assertIn("never an argument", self.run_it("user", "add", "x", "password", "-u", "users", status=2)[1])
        self.run_it("user", "list", status=1, *("-u", "users"))
        self.run_it("user", status=2)
        self.assertEqual(os.listdir(self.folder.name), [])

    def test_a_broken_file_is_left_alone(self):
        self.write("users", "alice nonsense\n")
        self.assertIn("users:1:", self.run_it("user", "add", "bob", "-u", "users", status=1, stdin="x\n")[1])
        self.assertEqual(self.read("users"), "alice nonsense\n")

    def test_edits_at_once(self):
        names = [f"user{i}" for i in range(12)]
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda n: self.run_it("user", "add", n, "-u", "users", stdin="hello\n"), names))
        self.assertEqual(sorted(l.split()[0] for l in self.read("users").splitlines()), sorted(names))
        self.assertEqual(os.listdir(self.folder.name), ["users"])

    def at_terminal(self, typed):
        pid, fd = pty.fork()
        if pid == 0:
            os.execv(PROGRAM, [PROGRAM, "user", "add", "tty", "-u", self.path("users")])
        seen = b""
        for prompt, line in zip((b"Password: ", b"Again: "), typed):
            deadline = time.monotonic() + 20
            while prompt not in seen and time.monotonic() < deadline:
                seen += os.read(fd, 1024)
            os.write(fd, line)
        try:
            while chunk := os.read(fd, 1024):
                seen += chunk
        except OSError:
            pass
        os.close(fd)
        return seen.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def test_terminal(self):
        seen, status = self.at_terminal([b"hello\n", b"hello\n"])
        self.assertEqual(status, 0, seen)
        self.assertNotIn("hello", seen)
        self.assertIn(HELLO_NT, self.read("users"))

    def test_terminal_differs(self):
        seen, status = self.at_terminal([b"hello\n", b"hallo\n"])
        self.assertEqual(status, 1)
        self.assertIn("differ", seen)
        self.assertFalse(os.path.exists(self.path("users")))

    def test_terminal_interrupt(self):
        seen, status = self.at_terminal([b"\x03"])
        self.assertEqual(status, 1)
        self.assertIn("interrupted", seen)


class Certs(Cli):
    def show(self, name, status=0):
        return json.loads(self.run_it("cert", "show", "--json", name, status=status)[0])

    def test_new(self):
        self.run_it("cert", "new", "a.example.com", "*.b.example.com", "192.0.2.1", "2001:db8::1", "--days", "90")
        c = self.show("gatehouse.pem")
        self.assertEqual(c["names"], ["a.example.com", "*.b.example.com", "192.0.2.1", "2001:db8::1"])
        self.assertEqual((c["key_type"], c["usage"], c["sstp_fit"]), ("EC P-256", "serverAuth", True))
        self.assertIn(c["days_left"], (89, 90))  # a second later there are 89 whole ones left
        self.assertEqual([f["code"] for f in c["findings"]], ["cert-self-signed"])
        self.assertEqual(os.stat(self.path("gatehouse.key")).st_mode & 0o777, 0o600)
        for algorithm in ("sha256", "sha1"):
            out = subprocess.run(["openssl", "x509", "-in", self.path("gatehouse.pem"), "-noout", "-fingerprint", "-" + algorithm],
                                 capture_output=True, text=True, check=True).stdout
            self.assertEqual(out.split("=")[1].strip().replace(":", "").lower(), c[algorithm])
        subprocess.run(["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "x.b.example.com",
                        "-CAfile", self.path("gatehouse.pem"), self.path("gatehouse.pem")], check=True, capture_output=True)

    def test_overwrite_only_with_force(self):
        self.run_it("cert", "new", "a.b")
        before = self.read("gatehouse.key")
        self.assertIn("--force", self.run_it("cert", "new", "a.b", status=2)[1])
        os.remove(self.path("gatehouse.pem"))
        self.run_it("cert", "new", "a.b", status=2)  # the key alone is there
        self.assertEqual((os.listdir(self.folder.name), self.read("gatehouse.key")), (["gatehouse.key"], before))
        os.chmod(self.path("gatehouse.key"), 0o644)
        self.run_it("cert", "new", "a.b", "--force", "--key", "rsa")
        self.assertEqual(os.stat(self.path("gatehouse.key")).st_mode & 0o777, 0o600)
        self.assertEqual(self.show("gatehouse.pem")["key_bits"], 2048)

    def test_request(self):
        self.run_it("cert", "new", "--csr", "a.example.com", "192.0.2.1")
        out = subprocess.run(["openssl", "req", "-in", self.path("gatehouse.csr"), "-noout", "-text", "-verify"],
                             capture_output=True, text=True, check=True).stdout
        self.assertIn("DNS:a.example.com, IP Address:192.0.2.1", out)

    def test_refused(self):
        for bad in (["new"], ["new", "a b"], ["new", ""], ["new", "--days", "0", "a.b"], ["new", "--key", "dsa", "a.b"], ["show"], []):
            self.run_it("cert", *bad, status=2)
        self.run_it("cert", "show", "nothing", status=2)
        self.write("text", "not PEM\n")
        self.run_it("cert", "show", "text", status=1)
        self.assertEqual(os.listdir(self.folder.name), ["text"])

    def openssl(self, *ext, days="60"):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x.y",
                        "-days", days, "-keyout", self.path("k"), "-out", self.path("c"), *ext], check=True, capture_output=True)

    def test_fitness(self):
        self.openssl("-addext", "extendedKeyUsage=clientAuth", "-addext", "subjectAltName=DNS:x.y")
        self.assertEqual([f["code"] for f in self.show("c", 1)["findings"]], ["cert-usage", "cert-self-signed"])
        self.openssl("-addext", "extendedKeyUsage=anyExtendedKeyUsage")
        self.assertEqual([f["code"] for f in self.show("c")["findings"]], ["cert-no-san", "cert-self-signed"])
        self.openssl("-addext", "subjectAltName=DNS:x.y", days="5")
        self.assertEqual([f["code"] for f in self.show("c")["findings"]], ["cert-expires-soon", "cert-usage-absent", "cert-self-signed"])


class Check(Cli):
    def codes(self, status, *severities):
        out = json.loads(self.run_it("check", "--json", "-c", "g.conf", status=status)[0])
        self.assertEqual(out["good"], status == 0)
        for f in out["findings"]:
            self.assertEqual(sorted(f), ["code", "file", "line", "remedy", "severity", "text"])
        return [f["code"] for f in out["findings"] if f["severity"] in (severities or ("error", "warning", "note"))
                and f["code"] != "cert-self-signed"]  # as all of them are here

    def test_good(self):
        self.configure()
        self.run_it("user", "add", "alice", "-c", "g.conf", stdin="hello\n")
        self.assertEqual(self.codes(0), [])
        self.assertIn("is good", self.run_it("check", "-c", "g.conf")[0])

    def test_every_parser_error_is_told(self):
        self.configure("lissen: { };\nlog: { level = \"loud\"; };\n")
        self.assertEqual(self.codes(1), ["config-unknown-section", "config-file-missing", "config-bad-value"])

    def test_unreadable(self):
        self.assertIn("serve --demo", self.run_it("check", "-c", "g.conf", status=2)[0])
        self.run_it("check", "g.conf", status=2)

    def test_certificates(self):
        self.configure('tls: { ciphers = "nonsense"; };\n')
        self.run_it("user", "add", "alice", "-c", "g.conf", stdin="hello\n")
        self.run_it("cert", "new", "other.example.com", "--out-cert", "x.pem", "--out-key", "c.key", "--force")
        os.chmod(self.path("c.key"), 0o600)
        self.assertEqual(self.codes(1), ["key-mismatch", "tls-ciphers"])
        self.write("c.pem", "nothing\n")
        self.assertEqual(self.codes(1), ["cert-unreadable", "tls-ciphers"])

    def test_names(self):
        self.configure()
        self.write("g.conf", self.read("g.conf").replace('"c.key";', '"c.key"; for = [ "vpn.example.com", "www.example.com" ];'))
        self.write("users", "")
        os.chmod(self.path("users"), 0o600)
        self.assertEqual(self.codes(0, "warning"), ["cert-wrong-name", "cert-no-default", "users-none"])

    def two_certificates(self, *keys):
        self.configure()
        self.run_it("user", "add", "alice", "-c", "g.conf", stdin="hello\n")
        pairs = ""
        for i, key in enumerate(keys):
            self.run_it("cert", "new", "vpn.example.com", "--key", key, "--out-cert", f"{i}.pem", "--out-key", f"{i}.key")
            pairs += f'\n  {{ chain = "{i}.pem"; key = "{i}.key"; }},'
        self.write("g.conf", self.read("g.conf").replace('{ chain = "c.pem"; key = "c.key"; }', pairs.rstrip(",")))

    def test_one_certificate_of_each_key_type(self):
        self.two_certificates("ec", "rsa")
        self.assertEqual(self.codes(0), [])

    def test_two_certificates_of_one_key_type(self):
        for key in ("ec", "rsa"):
            self.two_certificates(key, key)
            self.assertEqual(self.codes(1), ["cert-same-key-type"])
            finding = json.loads(self.run_it("check", "--json", "-c", "g.conf", status=1)[0])["findings"][-1]
            self.assertEqual((os.path.basename(finding["file"]), finding["line"]), ("g.conf", 3))  # the later one
            self.assertTrue(finding["remedy"])
            os.remove(self.path("users"))
            for name in ("0.pem", "0.key", "1.pem", "1.key"):
                os.remove(self.path(name))

    def test_users(self):
        self.configure()
        self.write("users", f"a nt:{HELLO_NT} ip=10.99.0.1\n")
        os.chmod(self.path("users"), 0o644)
        self.assertEqual(self.codes(1), ["users-address", "users-exposed"])
        self.write("users", "a nonsense\n")
        self.assertEqual(self.codes(1, "error"), ["users-syntax"])


class PrintConfig(Cli):
    def setUp(self):
        super().setUp()
        self.configure('web: ( { name = "a.example.com"; }, { name = "b.example.com"; upstream = "127.0.0.1:8080"; } );\n')
        self.write("users", "")

    def show(self, name, *args):
        return self.run_it("serve", "--print-config", *args, "-c", name)[0]

    def test_text_loads_again(self):
        text = self.show("g.conf")
        for line in ('socket = ".*control"', "echo-interval = 25", "echo-timeout = 60", "mtu = 1400"):
            self.assertRegex(text, line)
        self.write("again.conf", text)
        self.assertEqual(self.show("again.conf"), text)
        self.assertEqual(self.show("again.conf", "--json"), self.show("g.conf", "--json"))

    def test_a_changed_value_is_printed(self):
        self.write("g.conf", self.read("g.conf").replace("forward = true;", "forward = true; mtu = 1300; echo-interval = 30;"))
        for text in (self.show("g.conf"), self.show("g.conf", "--json")):
            self.assertIn("1300", text)
        self.assertEqual(json.loads(self.show("g.conf", "--json"))["vpn"]["echo-interval"], 30)

    def test_json(self):
        j = json.loads(self.show("g.conf", "--json"))
        self.assertEqual((j["vpn"]["mtu"], j["vpn"]["network"], len(j["certificates"])), (1400, ["10.77.0.0/16"], 1))
        self.assertIn("b.example.com", json.dumps(j["web"]))

    def test_bad_file(self):
        for text, line in (("vpn: {\n  mtu = ;\n};\n", 2), ("\n\nlissen: { };\n", 3), ('vpn: { mtu = "x"; };\n', 1)):
            self.write("bad.conf", text)
            out, err = self.run_it("serve", "--print-config", "-c", "bad.conf", status=2)
            self.assertEqual((out, err.count("\n")), ("", 1))
            self.assertTrue(err.startswith(f"gatehouse: bad.conf:{line}: "), err)

    def test_no_file(self):
        """One line, with what to do about it, from each command that cannot go on without."""
        for args in (["serve"], ["serve", "--print-config"], ["user", "list"]):
            out, err = self.run_it(*args, "-c", "nothing.conf", status=2)
            self.assertEqual((out, err.count("\n")), ("", 1))
            self.assertIn("nothing.conf", err)
            self.assertIn("-c FILE", err)
            self.assertIn("serve --demo DIR", err)


class FakeDaemon(threading.Thread):
    """Listens on a control socket and gives one answer; keeps what it was asked."""

    def __init__(self, path, answer):
        super().__init__(daemon=True)
        self.asked = []
        self.answer = json.dumps(answer)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.start()

    def run(self):
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            with conn, conn.makefile("rb") as request:
                head = b"".join(iter(request.readline, b"\r\n")).decode()
                request.read(int(head.split("Content-Length: ")[1].split("\r\n")[0]))
                self.asked.append(head.split(" HTTP/1.1")[0])
                conn.sendall(f"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{self.answer}".encode())

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.join(10)


class Control(Cli):
    ANSWER = {"generation": 7, "sessions": [], "disconnected": 2, "calls": 3, "version": "9.9"}
    COMMANDS = {("status",): "GET /v1/status", ("sessions",): "GET /v1/sessions", ("reload",): "POST /v1/reload",
                ("drain",): "POST /v1/drain", ("disconnect", "5"): "POST /v1/disconnect"}

    def daemon(self, name):
        daemon = FakeDaemon(self.path(name), self.ANSWER)
        self.addCleanup(daemon.stop)
        return daemon

    def test_with_a_good_file(self):
        self.configure()
        self.write("users", "")
        daemon = self.daemon("control")
        for args in self.COMMANDS:
            self.assertEqual(json.loads(self.run_it(*args, "--json", "-c", "g.conf")[0]), self.ANSWER)
        self.assertEqual(daemon.asked, list(self.COMMANDS.values()))

    def test_with_a_broken_file(self):
        """While the file is broken the daemon runs on with the one before: the socket is read from the text."""
        daemon = self.daemon("other")
        for socket_line in ('socket = "other"', f'socket="{self.path("other")}"', 'socket : "other"',
                            '# the socket of ours\n  socket\t= "other"', '# socket = "old"\n  socket = "other"'):
            text = f"vpn: {{ mtu = ; }};\ncontrol: {{ {socket_line}; }};\n"
            config = self.write("broken.conf", text)
            self.run_it("serve", "--print-config", "-c", "broken.conf", status=2)  # it is broken
            for args in self.COMMANDS:
                out, err = self.run_it(*args, "--json", "-c", config)
                self.assertEqual((json.loads(out), err), (self.ANSWER, ""))
        self.assertEqual(daemon.asked, 5 * list(self.COMMANDS.values()))

    def test_with_a_broken_file_and_no_daemon(self):
        self.write("broken.conf", 'vpn: { mtu = ; };\ncontrol: { socket = "other"; };\n')
        out, err = self.run_it("status", "-c", "broken.conf", status=3)
        self.assertEqual(out, "")
        self.assertRegex(err, r"broken\.conf:1: ")
        self.assertRegex(err, r"other: .*'gatehouse serve' running")

    def test_socket_option_wins(self):
        self.configure()
        daemon = self.daemon("other")
        for config in ("g.conf", "nothing.conf"):
            self.run_it("reload", "-s", "other", "-c", config)
        self.assertEqual(daemon.asked, 2 * ["POST /v1/reload"])


if __name__ == "__main__":
    unittest.main()
