"""gatehouse serve --demo DIR: what a first try meets."""

import contextlib
import hashlib
import os
import re

from lablib import SERVER4, SERVER6, Gatehouse, check, gatehouse_path, sh
from sstpclient import Client, Protocol

KEPT = ("certificate.pem", "certificate.key", "users", "gatehouse.conf")


class Demo(Gatehouse):
    """The demonstration in place of a configured server; its folder is made by the first run."""

    def __init__(self, lab, folder, label):
        super().__init__(lab, {}, label)
        self.folder = folder
        self.conf_path = os.path.join(folder, "gatehouse.conf")

    def socket_path(self):
        return os.path.join(self.folder, "control")

    def spawn(self):
        self.before = self.leavings()
        self.proc = self.ns.start([gatehouse_path(), "serve", "--demo", self.folder], self.log_path, cwd="/")
        self.lab.servers.append(self)
        return self.proc

    def printed(self):
        with open(self.log_path, encoding="utf-8") as f:
            return f.read()

    def kept(self):
        """Hash of each file that a later run must keep."""
        out = {}
        for name in KEPT:
            with open(os.path.join(self.folder, name), "rb") as f:
                out[name] = hashlib.sha256(f.read()).hexdigest()
        return out


def try_out(lab, demo, password):
    """What the demonstration invites to: the page and a call, with its certificate as the only trust."""
    ca = os.path.join(demo.folder, "certificate.pem")
    for host in (SERVER4, SERVER6):
        with Client(lab.client, host, ca=ca, sni=host) as c:
            c.send(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            page = c.read_all()
            check(page.startswith(b"HTTP/1.1 200") and b"Gatehouse" in page, f"the page is {page[:200]!r}")
        with Client(lab.client, host, ca=ca, sni=host) as c:
            c.call("demo", password)
            check(c.address.startswith("10.77.0."), f"address {c.address}")
            check(c.ping("10.77.0.1"), "no ping to the server")
            c.hang_up()
    with Client(lab.client, SERVER4, ca=ca, sni=SERVER4) as c:
        with contextlib.suppress(Protocol):
            c.http()
            c.connect_request()
            check(not c.login("demo", password + "x", "mschapv2"), "any password will do")


def test_first_and_second_run(lab):
    """Page and call work with what is printed; SIGTERM leaves nothing; a second run keeps all and tells no password."""
    folder = os.path.join(lab.test_dir, "demo")
    with Demo(lab, folder, "first") as demo:
        text = demo.printed()
        found = re.findall(r"^ *password +(\S{16}) ", text, re.M)
        check(len(found) == 1, f"the password in {text}")
        password = found[0]
        check(f"rasdial Gatehouse demo {password}" in text, "the Windows command lacks the password")
        for command in (f"sudo gatehouse connect https://{SERVER4} --user demo --ca certificate.pem",
                        f"gatehouse probe https://{SERVER4} --ca certificate.pem"):
            check(f"\n  {command}\n" in text, f"the command '{command}' is not told")
        check(SERVER4 in text, "no address is told")
        kept = demo.kept()
        check(os.stat(folder).st_mode & 0o077 == 0, f"mode of the folder: {os.stat(folder).st_mode:o}")
        for name in ("certificate.key", "users"):
            mode = os.stat(os.path.join(folder, name)).st_mode
            check(mode & 0o077 == 0, f"mode of {name}: {mode:o}")
        with open(os.path.join(folder, "users"), encoding="ascii") as f:
            check(password not in f.read(), "the password itself is stored")
        try_out(lab, demo, password)
    check(not [e for e in demo.log() if e["event"] and password in e["text"]], "the log has the password")
    check(not os.path.exists(demo.socket_path()), "the control socket stayed")

    with Demo(lab, folder, "second") as demo:
        check(demo.kept() == kept, "certificate, user or configuration was made anew")
        text = demo.printed()
        check(password not in text and not re.search(r"^ *password +\S{16} ", text, re.M), f"a password in {text}")
        check("gatehouse user passwd demo" in text, "it does not say how to get a new password")
        try_out(lab, demo, password)
        demo.cli("status")


def test_configuration_is_good(lab):
    """The daemon's own judge finds nothing wrong with the demonstration, and the new password it proposes works."""
    folder = os.path.join(lab.test_dir, "demo")
    with Demo(lab, folder, "demo") as demo:
        lab.server.sh(gatehouse_path(), "check", "-c", demo.conf_path)
        sh([gatehouse_path(), "user", "passwd", "demo", "-c", demo.conf_path], stdin=b"another one\n")
        demo.cli("reload")
        try_out(lab, demo, "another one")


def test_folder_of_another(lab):
    """A folder that others can write to is not used."""
    folder = os.path.join(lab.test_dir, "open")
    os.makedirs(folder)
    os.chmod(folder, 0o777)
    lab.server.sh(gatehouse_path(), "serve", "--demo", folder, ok=(1,))
    check(not os.listdir(folder), f"it made {os.listdir(folder)}")
