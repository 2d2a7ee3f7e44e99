"""What is measured: each peer brings a tunnel from the client's namespace to the server's, in a lab of its own."""

import os
import pwd
import subprocess

import lab
from lab import Lab, MTU, SERVER


class Peer:
    """server is the process whose CPU time counts, client the one at the other end; compared: a bar speaks of it, so it
    is in every row."""

    compared = False

    def __init__(self, work, build, certs):
        self.build, self.certs = build, certs
        self.lab = Lab(self.key, work)
        self.server = self.client = None
        try:
            self.up()
            # Until the first packet has come back, nothing is measured.
            self.lab.run(self.lab.c, "ping", "-c", "3", "-i", "0.1", "-W", "2", lab.INSIDE)
        except BaseException:
            self.close()
            raise

    def close(self):
        self.lab.close()

    def route(self, dev):
        self.lab.run(self.lab.c, "ip", "route", "add", lab.INSIDE_NET, "dev", dev)


class Direct(Peer):
    """No tunnel: what the machine itself gives."""

    key, title = "direct", "veth, no tunnel"

    def up(self):
        self.lab.run(self.lab.c, "ip", "route", "add", lab.INSIDE_NET, "via", SERVER)


class Limit(Peer):
    def up(self):
        tool = os.path.join(self.build, "bench", "limit")
        at = f"{SERVER}:4443"
        self.server = self.lab.start(self.lab.s, tool, "server", "--mode", self.mode, "--tun", "tun0", "--listen", at,
                                     "--cert", f"{self.certs}/server.pem", "--key", f"{self.certs}/server.key")
        self.server.wait_for("listening", 5)
        client = self.lab.start(self.lab.c, tool, "client", "--mode", self.mode, "--tun", "tun0", "--connect", at)
        client.wait_for("up", 5)
        self.server.wait_for("up", 5)
        for ns, mine, other in ((self.lab.s, "10.77.0.1", "10.77.0.2"), (self.lab.c, "10.77.0.2", "10.77.0.1")):
            self.lab.run(ns, "ip", "addr", "add", mine, "peer", other, "dev", "tun0")
            self.lab.run(ns, "ip", "link", "set", "tun0", "mtu", str(MTU), "up")
        self.route("tun0")


class LimitPlain(Limit):
    key, title, mode = "limit-plain", "limit plain", "plain"


class LimitPacked(Limit):
    key, title, mode = "limit-packed", "limit packed", "packed"
    compared = True


class LimitGso(Limit):
    key, title, mode = "limit-gso", "limit gso", "gso"


class OpenVpn(Peer):
    key, title = "openvpn", "OpenVPN 2.6 TCP"
    compared = True

    def up(self):
        common = ["--dev", "tun0", "--dev-type", "tun", "--disable-dco", "--tun-mtu", str(MTU), "--mssfix", "0",
                  "--data-ciphers", "AES-128-GCM", "--ca", f"{self.certs}/ca.pem", "--verb", "3", "--sndbuf", "0",
                  "--rcvbuf", "0"]
        self.server = self.lab.start(
            self.lab.s, "openvpn", *common, "--proto", "tcp-server", "--local", SERVER, "--port", "1194", "--server",
            "10.77.0.0", "255.255.0.0", "--topology", "subnet", "--dh", "none", "--cert", f"{self.certs}/server.pem",
            "--key", f"{self.certs}/server.key", "--tcp-nodelay", "--push", "route 10.10.2.0 255.255.255.0")
        self.server.wait_for("Initialization Sequence Completed", 10)
        client = self.lab.start(
            self.lab.c, "openvpn", *common, "--client", "--proto", "tcp-client", "--remote", SERVER, "1194", "--nobind",
            "--cert", f"{self.certs}/client.pem", "--key", f"{self.certs}/client.key", "--remote-cert-tls", "server")
        client.wait_for("Initialization Sequence Completed", 20)


GATEHOUSE_CONF = """
listen: {{ address = [ "{server}:443" ]; }};
certificates: ( {{ name = "bench"; chain = "{certs}/server.pem"; key = "{certs}/server.key"; for = [ "default" ]; }} );
vpn: {{
  network = [ "10.77.0.0/16" ];
  users = "users";
  forward = true;
  interface = "gh0";
  mtu = {mtu};
}};
control: {{ socket = "{work}/control"; }};
worker: {{ user = "{user}"; }};
limits: {{ unauthenticated-per-source = 4096; }};
"""


def service_user():
    """The daemon's own user where it is installed, else nobody."""
    try:
        return pwd.getpwnam("gatehouse").pw_name
    except KeyError:
        return "nobody"


class GatehouseServer(Peer):
    """The daemon alone, for what is measured without a tunnel device at the client."""

    key, title = "gatehouse-calls", "gatehouse"

    def __init__(self, work, build, certs):
        self.build, self.certs = build, certs
        self.lab = Lab(self.key, work)
        try:
            self.serve()
        except BaseException:
            self.close()
            raise

    def serve(self):
        d = self.lab.work
        with open(os.path.join(d, "users"), "w") as f:
            f.write('bench plain:"bench-password"\n')
        os.chmod(os.path.join(d, "users"), 0o600)
        with open(os.path.join(d, "gatehouse.conf"), "w") as f:
            f.write(GATEHOUSE_CONF.format(server=SERVER, certs=self.certs, work=d, mtu=MTU, user=service_user()))
        self.server = self.lab.start(self.lab.s, os.path.join(self.build, "gatehouse"), "serve", "-c",
                                     os.path.join(d, "gatehouse.conf"))
        self.server.wait_for("event=ready", 10)

    def load_args(self, *args):
        return [os.path.join(self.build, "bench", "gatehouse-load"), *args, "--server", f"{SERVER}:443",
                "--user", "bench", "--password", "bench-password", "--json"]

    def load(self, *args):
        """A load client that reports on its standard output; its standard input ends a `hold`."""
        return subprocess.Popen(["ip", "netns", "exec", self.lab.c, *self.load_args(*args)], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE)


class Gatehouse(GatehouseServer):
    key, title = "gatehouse", "gatehouse"
    compared = True

    def __init__(self, work, build, certs):
        Peer.__init__(self, work, build, certs)

    def up(self):
        self.serve()
        self.dial()

    def dial(self):
        self.client = self.lab.start(self.lab.c, *self.load_args("tunnel", "--tun", "tun0"))
        self.client.wait_for('"up"', 10)
        self.route("tun0")


CONNECT_CONF = """
server: {{ url = "https://{server}"; ca = "{certs}/ca.pem"; }};
login: {{ user = "bench"; password-file = "{work}/password"; }};
tunnel: {{ interface = "tun0"; mtu = {mtu}; routes = [ "{inside}" ]; dns = "off"; }};
reconnect: {{ once = true; }};
control: {{ folder = "{work}/connect"; }};
worker: {{ user = "{user}"; }};
"""


class GatehouseConnect(Gatehouse):
    """Both ends ours."""

    key, title = "gatehouse-connect", "gatehouse connect"

    def dial(self):
        d = self.lab.work
        with open(os.path.join(d, "password"), "w") as f:
            f.write("bench-password\n")
        os.chmod(os.path.join(d, "password"), 0o600)
        with open(os.path.join(d, "connect.conf"), "w") as f:
            f.write(CONNECT_CONF.format(server=SERVER, certs=self.certs, work=d, mtu=MTU, inside=lab.INSIDE_NET,
                                        user=service_user()))
        self.client = self.lab.start(self.lab.c, os.path.join(self.build, "gatehouse"), "connect", "-c",
                                     os.path.join(d, "connect.conf"), "--json")
        self.client.wait_for('"event":"up"', 20)


# In the order of their turns: what is compared is measured side by side.
TUNNELS = [Gatehouse, LimitPacked, OpenVpn, LimitGso, LimitPlain, Direct]
# The same server, with the bench client and with ours.
CLIENTS = [Gatehouse, GatehouseConnect]
