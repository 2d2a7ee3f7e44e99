"""What is measured: each peer brings a tunnel from the client's namespace to the server's, in a lab of its own."""

import json
import os
import pwd
import subprocess

import lab
from lab import Lab, MTU, SERVER

PLAIN = ("second", "flood", "setup")  # rows of all that is dialled with a client as it is installed


class Peer:
    """server is the process whose CPU time counts, client the one at the other end. rows: where it takes part; often: a
    bar speaks of it, so it has more runs; needs: the programs that must be installed; is_up: what its client says then.
    pair: two calls of two clients."""

    rows, often, needs = ("tcp",), False, ()
    same_worker = False  # of a pair: whether one process or thread of the server moves the packets of both
    sink = None

    def __init__(self, work, build, certs, congestion=None, slow=False, pair=False):
        self.build, self.certs = build, certs
        self.lab = Lab(self.key, work, congestion, pair, slow)
        self.server = self.client = None
        try:
            self.up()
            self.answers(self.lab.c)
            if pair:
                self.second()
                self.answers(self.lab.c2)
            self.lab.choose_congestion()  # of the tunnel's own routes
        except BaseException:
            self.close()
            raise

    def up(self):
        self.serve()
        self.client = self.dial(self.lab.c)

    def second(self):
        self.client2 = self.dial(self.lab.c2)

    def dial(self, ns):
        """A call of the client from this namespace, its device tun0; took: the seconds until it was up."""
        client = self.call(ns)
        client.took = client.wait_for(self.is_up, 20)
        return client

    def many(self, n):
        """So many calls more that only idle: a client each, without a device."""
        for client in [self.call(self.lab.c, device=False) for _ in range(n)]:
            client.wait_for(self.is_up, 60)

    def answers(self, ns):
        """Until the first packet has come back, nothing is measured."""
        self.lab.run(ns, "ping", "-c", "3", "-i", "0.1", "-W", "2", lab.INSIDE)

    def close(self):
        self.lab.close()

    def route(self, dev):
        self.lab.run(self.lab.c, "ip", "route", "add", lab.INSIDE_NET, "dev", dev)

    def address(self, ns=None):
        """The client's inside the tunnel."""
        links = json.loads(self.lab.run(ns or self.lab.c, "ip", "-j", "-4", "addr", "show", "tun0"))
        return links[0]["addr_info"][0]["local"]

    def file(self, name, text, mode=0o644):
        path = os.path.join(self.lab.work, name)
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, mode)
        return path


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


class LimitGso(Limit):
    key, title, mode = "limit-gso", "limit gso", "gso"
    rows, often = ("tcp", "latency"), True


class OpenVpn(Peer):
    """Its data channel in user space: nobody has the kernel module without asking for it."""

    needs, is_up = ("openvpn",), "Initialization Sequence Completed"
    same_worker = True
    device = ("--dev", "tun0", "--dev-type", "tun")
    no_device = ("--dev", "null", "--ifconfig-noexec", "--route-noexec")

    def start(self, ns, *args):
        return self.lab.start(ns, "openvpn", "--disable-dco", "--tun-mtu", str(MTU), "--mssfix", "0", "--data-ciphers",
                              "AES-128-GCM", "--ca", f"{self.certs}/ca.pem", "--verb", "3", "--sndbuf", "0", "--rcvbuf",
                              "0", *args)

    def serve(self):
        self.server = self.start(
            self.lab.s, *self.device, *self.serves, "--local", SERVER, "--port", "1194", "--server", "10.77.0.0",
            "255.255.0.0", "--topology", "subnet", "--dh", "none", "--cert", f"{self.certs}/server.pem", "--key",
            f"{self.certs}/server.key", "--duplicate-cn", "--push", "route 10.10.2.0 255.255.255.0")
        self.server.wait_for(self.is_up, 10)

    def call(self, ns, device=True):
        return self.start(
            ns, *(self.device if device else self.no_device), "--client", *self.dials, "--remote", SERVER, "1194",
            "--nobind", "--cert", f"{self.certs}/client.pem", "--key", f"{self.certs}/client.key",
            "--remote-cert-tls", "server")


class OpenVpnTcp(OpenVpn):
    key, title = "openvpn", "OpenVPN 2.6 TCP"
    rows, often = ("tcp", "latency", "bottleneck", "idle", *PLAIN), True
    serves, dials = ("--proto", "tcp-server", "--tcp-nodelay"), ("--proto", "tcp-client")


class OpenVpnUdp(OpenVpn):
    key, title = "openvpn-udp", "OpenVPN 2.6 UDP"
    rows = ("tcp", "udp", "latency", "bottleneck", *PLAIN)
    serves, dials = ("--proto", "udp"), ("--proto", "udp")


OCSERV_CONF = """
auth = "plain[passwd={dir}/passwd]"
tcp-port = 443
{udp}
listen-host = {server}
run-as-user = nobody
run-as-group = nogroup
socket-file = {dir}/socket
server-cert = {certs}/server.pem
server-key = {certs}/server.key
isolate-workers = false
max-clients = 1024
max-same-clients = 1024
max-ban-score = 0
keepalive = 3600
dpd = 3600
mobile-dpd = 3600
try-mtu-discovery = false
mtu = 1500
tls-priorities = "NORMAL:%SERVER_PRECEDENCE:-CIPHER-ALL:+AES-128-GCM:-VERS-ALL:+VERS-TLS1.2:+VERS-DTLS1.2"
auth-timeout = 60
cookie-timeout = 300
rekey-time = 172800
use-occtl = false
pid-file = {dir}/pid
device = vpns
predictable-ips = true
ipv4-network = 10.77.0.0
ipv4-netmask = 255.255.0.0
route = 10.10.2.0/255.255.255.0
cisco-client-compat = false
dtls-legacy = true
compression = false
"""

# What openconnect has set up for it: no more than an address and a route.
OCSERV_SCRIPT = """#!/bin/sh
[ "$reason" = connect ] || exit 0
ip addr add "$INTERNAL_IP4_ADDRESS/32" dev "$TUNDEV"
ip link set "$TUNDEV" mtu {mtu} up
ip route add {inside} dev "$TUNDEV"
"""


class Ocserv(Peer):
    needs, is_up = ("ocserv", "ocpasswd", "openconnect"), "Configured as"

    def serve(self):
        d = self.lab.work
        conf = self.file("ocserv.conf", OCSERV_CONF.format(
            dir=d, certs=self.certs, server=SERVER, udp="udp-port = 443" if self.dtls else ""))
        self.script = self.file("script", OCSERV_SCRIPT.format(mtu=MTU, inside=lab.INSIDE_NET), 0o755)
        self.password = self.file("password", "bench-password\n", 0o600)
        subprocess.run(["ocpasswd", "-c", os.path.join(d, "passwd"), "bench"], input="bench-password\n" * 2, text=True,
                       check=True, capture_output=True)
        os.chmod(os.path.join(d, "passwd"), 0o644)
        self.server = self.lab.start(self.lab.s, "ocserv", "-f", "-c", conf)
        self.lab.listens(self.server, SERVER, 443)

    def call(self, ns, device=True):
        device = ["--interface=tun0", f"--script={self.script}"] if device else ["--script-tun", "--script=sleep 600"]
        with open(self.password) as f:
            return self.lab.start(
                ns, "openconnect", "--protocol=anyconnect", "--non-inter", "--user=bench", "--passwd-on-stdin",
                f"--cafile={self.certs}/ca.pem", *device, "--no-system-trust",
                *([] if self.dtls else ["--no-dtls"]), f"https://{SERVER}/", stdin=f)

    def dial(self, ns):
        client = super().dial(ns)
        if self.dtls:
            client.wait_for("Established DTLS connection", 15)
        for _ in range(250):  # its script runs beside it
            if self.lab.run(ns, "ip", "route", "show", lab.INSIDE_NET).strip():
                break
            lab.time.sleep(0.02)
        for dev in json.loads(self.lab.run(self.lab.s, "ip", "-j", "link")):
            if dev["ifname"].startswith("vpns"):
                self.lab.run(self.lab.s, "ip", "link", "set", dev["ifname"], "mtu", str(MTU))
        return client


class OcservTls(Ocserv):
    key, title, dtls = "ocserv-tls", "ocserv TLS", False
    rows = ("tcp", "idle", *PLAIN)


class OcservDtls(Ocserv):
    key, title, dtls = "ocserv-dtls", "ocserv DTLS", True
    rows = ("tcp", "udp")


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

CONNECT_CONF = """
server: {{ url = "https://{server}"; ca = "{certs}/ca.pem"; }};
login: {{ user = "bench"; password-file = "{dir}/password"; }};
tunnel: {{ interface = "tun0"; mtu = {mtu}; routes = [ "{inside}" ]; dns = "off"; }};
reconnect: {{ once = true; }};
control: {{ folder = "{dir}/connect"; }};
worker: {{ user = "{user}"; }};
"""


def service_user():
    """The daemon's own user where it is installed, else nobody."""
    try:
        return pwd.getpwnam("gatehouse").pw_name
    except KeyError:
        return "nobody"


class Gatehouse(Peer):
    """Both ends ours, as they are installed."""

    key, title = "gatehouse", "Gatehouse"
    rows, often, is_up = ("tcp", "udp", "latency", "bottleneck", *PLAIN), True, '"event":"up"'
    tries = 12

    def serve(self):
        d = self.lab.work
        self.file("users", 'bench plain:"bench-password"\n', 0o600)
        self.conf = self.file("gatehouse.conf", GATEHOUSE_CONF.format(
            server=SERVER, certs=self.certs, work=d, mtu=MTU, user=service_user()))
        self.server = self.lab.start(self.lab.s, self.program, "serve", "-c", self.conf)
        self.server.wait_for("event=ready", 10)

    @property
    def program(self):
        return os.path.join(self.build, "gatehouse")

    def call(self, ns):
        folder = os.path.join(self.lab.work, os.path.basename(ns))
        os.makedirs(folder, exist_ok=True)
        here = os.path.relpath(folder, self.lab.work)
        self.file(f"{here}/password", "bench-password\n", 0o600)
        conf = self.file(f"{here}/connect.conf", CONNECT_CONF.format(
            server=SERVER, certs=self.certs, dir=folder, mtu=MTU, inside=lab.INSIDE_NET, user=service_user()))
        return self.lab.start(ns, self.program, "connect", "-c", conf, "--json")

    def second(self):
        """Of the first call's worker where the server has more than one: there they share most."""
        for _ in range(self.tries):
            super().second()
            self.same_worker = len({s["worker"] for s in self.sessions()}) == 1
            if self.same_worker:
                return
            self.client2.stop()
        super().second()

    def sessions(self):
        """What the server tells of its calls."""
        found = json.loads(self.lab.run(self.lab.s, self.program, "sessions", "--json", "-c", self.conf))
        return found if isinstance(found, list) else found["sessions"]


class GatehouseServer(Gatehouse):
    """The daemon alone, for what is measured with the load client."""

    key = "gatehouse-server"
    rows = ()
    sources = 16  # further addresses of the client's

    def __init__(self, work, build, certs, congestion=None):
        self.build, self.certs = build, certs
        self.lab = Lab(self.key, work, congestion)
        self.client = None
        try:
            for i in range(self.sources):
                self.lab.run(self.lab.c, "ip", "addr", "add", f"10.10.1.{100 + i}/24", "dev", "eth0")
            self.serve()
        except BaseException:
            self.close()
            raise

    def load_args(self, *args):
        return [os.path.join(self.build, "bench", "gatehouse-load"), *args, "--server", f"{SERVER}:443", "--source",
                "10.10.1.100", "--sources", str(self.sources), "--user", "bench", "--password", "bench-password",
                "--json"]

    def load(self, *args):
        """A load client that reports on its standard output; its standard input directs a `hold`."""
        return subprocess.Popen(["ip", "netns", "exec", self.lab.c, *self.load_args(*args)], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE)

    def tunnel(self, calls):
        """So many calls on one device of the load client; their addresses."""
        self.client = self.lab.start(self.lab.c, *self.load_args("tunnel", "--tun", "tun0", "--calls", str(calls)))
        self.client.wait_for('"up"', 30)
        self.lab.run(self.lab.c, "ip", "route", "replace", lab.INSIDE_NET, "dev", "tun0")
        self.lab.choose_congestion()
        return json.loads(self.client.text().splitlines()[0])["ips"]

    def hang_up(self):
        self.client.stop()


# In the order of their turns: what is compared is measured side by side.
TUNNELS = [LimitGso, Gatehouse, OpenVpnTcp, OpenVpnUdp, OcservTls, OcservDtls, LimitPacked, LimitPlain, Direct]
