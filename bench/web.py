"""The door as a web server: TLS handshakes, and what passes through it to nginx, beside nginx and HAProxy.

All that is compared stands in one lab, each on its own port of the server's namespace, with the same certificates and
the same TLS parameters. They take turns. Servers have one half of the CPUs, the load client has the other, and each
server has as many workers as CPUs: the client's work is then no part of what is measured.
"""

import json
import os
import statistics

import lab
import rows
from lab import Failed, Lab, SERVER, cpu_seconds
from peers import service_user

BIG, SMALL = 10 * 1024 * 1024, 1024
UPSTREAM, UPSTREAM_TLS = 8080, 8444  # on the loopback interface
SUITE, CURVES = "TLS_AES_128_GCM_SHA256", "X25519:P-256"
KEYS = {"ecdsa": ("ECDSA P-256", "ECDSA+SHA256"), "rsa": ("RSA-2048", "RSA-PSS+SHA256")}
LEGACY = "legacy.example.com"  # passed on with TLS as it is

REPORT = """
done = function(s, l)
  local e = s.errors
  print(string.format('{"requests": %d, "us": %d, "p50_us": %d, "p99_us": %d, "errors": %d}', s.requests, s.duration,
    l:percentile(50), l:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
"""

NGINX = """daemon off;
{modules}
worker_processes {workers};
worker_rlimit_nofile 65536;
user {user} {group};
pid {dir}/nginx.pid;
error_log {dir}/error.log error;
events {{ worker_connections 8192; }}
"""

NGINX_HTTP = NGINX + """
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 100000000;
  open_file_cache max=16;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  {tls}
  server {{
    {listen}
    root {docs};
    location = /small {{ sendfile off; }}  # head and body in one system call
    location = /sink {{ client_max_body_size 0; return 200 ok; }}  # reads a body and drops it; the next request waits
  }}
}}
"""

NGINX_TLS = """
  ssl_certificate {certs}/server.pem; ssl_certificate_key {certs}/server.key;
  ssl_certificate {certs}/server-rsa.pem; ssl_certificate_key {certs}/server-rsa.key;
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_conf_command Ciphersuites {suite};
  ssl_ecdh_curve {curves};
"""

NGINX_STREAM = NGINX + """
stream {{
  map $ssl_preread_server_name $where {{ {name} 127.0.0.1:{upstream}; default 127.0.0.1:1; }}
  server {{
    listen {server}:{at} reuseport;
    tcp_nodelay on;
    ssl_preread on;
    proxy_pass $where;
  }}
}}
"""

HAPROXY = """
global
  nbthread {workers}
  maxconn 8192
  ssl-default-bind-options ssl-min-ver TLSv1.2
  ssl-default-bind-ciphersuites {suite}
  ssl-default-bind-curves {curves}
defaults
  timeout connect 10s
  timeout client 60s
  timeout server 60s
frontend http_in
  mode http
  bind {server}:{http} ssl crt {dir}/both
  default_backend http_out
backend http_out
  mode http
  http-reuse always
  server nginx 127.0.0.1:{upstream}
frontend tcp_in
  mode tcp
  bind {server}:{tcp} ssl crt {dir}/both
  default_backend tcp_out
backend tcp_out
  mode tcp
  server nginx 127.0.0.1:{upstream}
"""

GATEHOUSE = """
listen: {{ address = [ "{server}:443" ]; }};
certificates: (
  {{ name = "ecdsa"; chain = "{certs}/server.pem"; key = "{certs}/server.key"; for = [ "default" ]; }},
  {{ name = "rsa"; chain = "{certs}/server-rsa.pem"; key = "{certs}/server-rsa.key"; for = [ "default" ]; }}
);
tls: {{ ciphersuites = "{suite}"; }};
web: ( {{ upstream = "127.0.0.1:{upstream}"; }} );
passthrough: ( {{ name = "{name}"; upstream = "127.0.0.1:{upstream_tls}"; proxy-protocol = "off"; }} );
control: {{ socket = "{dir}/control"; }};
worker: {{ user = "{user}"; threads = {workers}; }};
limits: {{ unauthenticated-per-source = 4096; web-per-source = 4096; }};
"""


def pinned(cpus, cmd):
    return ("taskset", "-c", ",".join(map(str, cpus)), *cmd)


class Way:
    """One way to the web server: its port, and the processes in front of the web server."""

    def __init__(self, key, title, port, *procs):
        self.key, self.title, self.port, self.procs = key, title, port, procs


class Door:
    """The web server, and all that stand in front of it or beside it."""

    def __init__(self, work, build, certs):
        self.build, self.certs = build, certs
        cpus = sorted(os.sched_getaffinity(0))
        self.workers = max(1, len(cpus) // 2)
        self.server_cpus, self.load_cpus = cpus[:self.workers], cpus[self.workers:] or cpus
        self.lab = Lab("web", work)
        self.dir = self.lab.work
        try:
            self.up()
        except BaseException:
            self.close()
            raise

    def close(self):
        self.lab.close()

    def conf(self, what, text, **more):
        folder = os.path.join(self.dir, what)
        os.makedirs(folder, exist_ok=True)
        os.chmod(folder, 0o755)
        path = os.path.join(folder, "conf")
        with open(path, "w") as f:
            f.write(text.format(dir=folder, certs=self.certs, server=SERVER, workers=self.workers, suite=SUITE,
                                curves=CURVES, user=service_user(), group="nogroup", docs=self.docs, **more))
        return path

    def start(self, port, *cmd):
        """A server, once its port answers."""
        host = SERVER if port not in (UPSTREAM, UPSTREAM_TLS) else "127.0.0.1"
        p = self.lab.start(self.lab.s, *pinned(self.server_cpus, cmd))
        self.lab.listens(p, host, port)
        return p

    def nginx(self, folder, text, port, **more):
        conf = self.conf(folder, text, **{"modules": "", **more})
        here = os.path.dirname(conf)
        return self.start(port, "nginx", "-e", f"{here}/error.log", "-p", here, "-c", conf)

    def up(self):
        self.docs = os.path.join(self.dir, "docs")
        os.makedirs(self.docs)
        for name, size in (("big", BIG), ("small", SMALL)):
            with open(os.path.join(self.docs, name), "wb") as f:
                f.write(os.urandom(size))
        with open(os.path.join(self.dir, "report.lua"), "w") as f:
            f.write(REPORT)
        # A port of the client's is free again a second after its use: a run makes more connections than there are.
        self.lab.run(self.lab.c, "sysctl", "-qw", "net.ipv4.tcp_tw_reuse=1", "net.ipv4.ip_local_port_range=1024 65535")
        self.lab.run(self.lab.s, "sysctl", "-qw", "net.ipv4.tcp_tw_reuse=1", "net.ipv4.ip_local_port_range=10240 65535")
        tls = NGINX_TLS.format(certs=self.certs, suite=SUITE, curves=CURVES)
        self.web = self.nginx("upstream", NGINX_HTTP, UPSTREAM, listen=f"listen 127.0.0.1:{UPSTREAM} reuseport;",
                              tls=tls)
        nginx = self.nginx("nginx-tls", NGINX_HTTP, 8443, tls=tls,
                           listen=f"listen {SERVER}:8443 ssl reuseport; listen 127.0.0.1:{UPSTREAM_TLS} ssl reuseport;")
        gate = self.gatehouse()
        self.ways = {"gatehouse": Way("gatehouse", "gatehouse, nginx behind it", 443, gate),
                     "nginx": Way("nginx", "nginx ending TLS itself", 8443, nginx)}
        self.tls_web = nginx
        if lab.have("haproxy"):
            self.haproxy()

    def gatehouse(self):
        conf = self.conf("gatehouse", GATEHOUSE, upstream=UPSTREAM, name=LEGACY, upstream_tls=UPSTREAM_TLS)
        return self.start(443, os.path.join(self.build, "gatehouse"), "serve", "-c", conf)

    def haproxy(self):
        both = os.path.join(self.dir, "haproxy", "both")
        os.makedirs(both)
        for end, name in (("ecdsa", "server"), ("rsa", "server-rsa")):
            with open(os.path.join(both, f"web.pem.{end}"), "w") as f:
                for part in ("pem", "key"):
                    with open(os.path.join(self.certs, f"{name}.{part}")) as g:
                        f.write(g.read())
        conf = self.conf("haproxy", HAPROXY, http=9443, tcp=9444, upstream=UPSTREAM)
        proxy = self.start(9444, "haproxy", "-db", "-f", conf)
        self.ways["haproxy-http"] = Way("haproxy-http", "HAProxy mode http, nginx behind it", 9443, proxy)
        self.ways["haproxy-tcp"] = Way("haproxy-tcp", "HAProxy mode tcp, nginx behind it", 9444, proxy)

    def stream(self):
        """nginx as a pass-through by the name in the ClientHello."""
        modules = "load_module /usr/lib/nginx/modules/ngx_stream_module.so;"
        return self.nginx("stream", NGINX_STREAM, 8445, modules=modules, name=LEGACY, upstream=UPSTREAM_TLS, at=8445)

    def load(self, way, mode, *args):
        tool = os.path.join(self.build, "bench", "gatehouse-load")
        return json.loads(self.lab.run(self.lab.c, *pinned(self.load_cpus, (
            tool, mode, "--server", f"{SERVER}:{way.port}", "--json", *args))))

    def wrk(self, way, path, connections, seconds):
        out = self.lab.run(self.lab.c, *pinned(self.load_cpus, (
            "wrk", f"-t{len(self.load_cpus)}", f"-c{connections}", f"-d{seconds}s", "-s", f"{self.dir}/report.lua",
            f"https://{SERVER}:{way.port}{path}")))
        r = json.loads(out.splitlines()[-1])
        if r["errors"] or not r["requests"]:
            raise Failed(f"{way.key}: {r['errors']} errors, {r['requests']} requests")
        return r

    def cpu(self, procs):
        return sum(cpu_seconds(p.pid) for p in procs)


def turns(ways, runs, once):
    """once(way) as often as wanted, each way in its turn: {key: [result of each turn]}."""
    out = {w.key: [] for w in ways}
    for _ in range(runs):
        for w in ways:
            out[w.key].append(once(w))
    return out


def medians(found):
    """The median of each number of the turns; those of `runs` stay as they are."""
    keys = found[0].keys()
    return {k: statistics.median([f[k] for f in found]) for k in keys}


def summed(found, runs):
    return {key: {**medians(turn), "runs": {k: [f[k] for f in turn] for k in runs}} for key, turn in found.items()}


def neighbours(row, a, b, value):
    """The median ratio of a to b over runs that were neighbours, so that what else the machine did hit both."""
    if a not in row or b not in row:
        return None
    return rows.median([x / y for x, y in zip(row[a]["runs"][value], row[b]["runs"][value]) if y])


def handshakes(door, quick):
    """Full TLS 1.3 handshakes, no resumption: how many in a second, and in a second of the server's CPU time."""
    out = {}
    ways = [door.ways["gatehouse"], door.ways["nginx"]]
    for key, (_, sigalgs) in KEYS.items():
        total = 1000 if quick else 4000

        def once(way, sigalgs=sigalgs, total=total):
            before = door.cpu(way.procs)
            r = door.load(way, "handshake", "--total", str(total), "--concurrency", "32", "--sigalgs", sigalgs)
            cpu = door.cpu(way.procs) - before
            return {"handshakes_s": r["handshakes_s"], "p50_ms": r["p50_ms"], "p99_ms": r["p99_ms"],
                    "server_cpu_ms": cpu * 1000 / total, "per_cpu_s": total / cpu}

        out[key] = summed(turns(ways, 3 if quick else 5, once), ("handshakes_s", "per_cpu_s"))
    return out


def transfer(door, ways, quick, mode, *args):
    """10 MiB over and over on 8 connections. CPU is that of the front, and with that of the web server behind it."""
    def once(way):
        front, all_ = door.cpu(way.procs), door.cpu({*way.procs, door.web, door.tls_web})
        r = door.load(way, mode, "--concurrency", "8", "--ms", "1000" if quick else "2000", *args)
        if not r["answers"]:
            raise Failed(f"{way.key}: {mode}: no whole object in {r['seconds']} s")
        gbit = r["gbit_s"] * (r["seconds"] + 0.2)  # with the time until the count begins
        return {"gbit_s": r["gbit_s"], "front_cpu_s_per_gbit": (door.cpu(way.procs) - front) / gbit,
                "cpu_s_per_gbit": (door.cpu({*way.procs, door.web, door.tls_web}) - all_) / gbit}
    return summed(turns(ways, 3 if quick else 5, once), ("gbit_s", "cpu_s_per_gbit"))


def requests(door, quick):
    """A small object over and over on 32 connections that are kept."""
    def once(way):
        front, all_ = door.cpu(way.procs), door.cpu({*way.procs, door.web})
        r = door.wrk(way, "/small", 32, 1 if quick else 2)
        return {"requests_s": r["requests"] * 1e6 / r["us"], "p50_ms": r["p50_us"] / 1000, "p99_ms": r["p99_us"] / 1000,
                "front_cpu_us": (door.cpu(way.procs) - front) * 1e6 / r["requests"],
                "cpu_us": (door.cpu({*way.procs, door.web}) - all_) * 1e6 / r["requests"]}
    return summed(turns(list(door.ways.values()), 3 if quick else 5, once), ("requests_s", "cpu_us"))


def web(door, quick):
    return {"download": transfer(door, list(door.ways.values()), quick, "download", "--path", "/big"),
            "requests": requests(door, quick)}


def passthrough(door, quick):
    """Connections passed on by the name in the ClientHello, TLS untouched: 10 MiB either way, and connections."""
    ways = [Way("gatehouse", "gatehouse passthrough", 443, *door.ways["gatehouse"].procs),
            Way("nginx-stream", "nginx stream, ssl_preread", 8445, door.stream())]
    total = 1000 if quick else 4000

    def connect(way):
        before = door.cpu(way.procs)
        r = door.load(way, "handshake", "--total", str(total), "--concurrency", "32", "--sni", LEGACY, "--sigalgs",
                      KEYS["ecdsa"][1])
        return {"connections_s": r["handshakes_s"], "front_cpu_ms": (door.cpu(way.procs) - before) * 1000 / total}

    return {"download": transfer(door, ways, quick, "download", "--path", "/big", "--sni", LEGACY),
            "upload": transfer(door, ways, quick, "upload", "--path", "/sink", "--bytes", str(BIG), "--sni", LEGACY),
            "connections": summed(turns(ways, 3 if quick else 5, connect), ("connections_s", "front_cpu_ms"))}


def bars(rows_found, bar):
    """What the project promises of these rows; the better one of HAProxy's modes is its measure."""
    for key, (title, _) in KEYS.items():
        row = rows_found.get("handshake", {}).get(key)
        if row:
            # A client's handshake costs more than a server's: what comes about in a second is the client's doing.
            bar(f"handshakes per CPU second, {title} / nginx", neighbours(row, "gatehouse", "nginx", "per_cpu_s"), ">=",
                1.0)
    for part, value, title in (("download", "gbit_s", "web download"), ("requests", "requests_s", "web requests/s")):
        row = rows_found.get("web", {}).get(part)
        peers = [k for k in row or () if k.startswith("haproxy")]
        if peers:
            best = max(peers, key=lambda k, row=row, value=value: row[k][value])
            bar(f"{title} / {best}", neighbours(row, "gatehouse", best, value), ">=", 1.2)


def show(found, table, num):
    titles = {"gatehouse": "gatehouse", "nginx": "nginx ending TLS itself", "haproxy-http": "HAProxy mode http",
              "haproxy-tcp": "HAProxy mode tcp", "nginx-stream": "nginx stream, ssl_preread"}
    for key, row in found.get("handshake", {}).items():
        table([f"full handshakes, {KEYS[key][0]}", "per second", "server CPU ms each", "per CPU second", "ms p50/p99"],
              [[titles[k], num(v["handshakes_s"], 0), num(v["server_cpu_ms"], 3), num(v["per_cpu_s"], 0),
                f"{num(v['p50_ms'], 1)}/{num(v['p99_ms'], 1)}"] for k, v in row.items()])
    w = found.get("web")
    if w:
        table(["10 MiB on 8 connections, nginx behind", "Gbit/s", "front CPU-s/Gbit", "with nginx"],
              [[titles[k], num(v["gbit_s"]), num(v["front_cpu_s_per_gbit"], 3), num(v["cpu_s_per_gbit"], 3)]
               for k, v in w["download"].items()])
        table(["1 KiB on 32 connections, nginx behind", "requests/s", "front CPU us each", "with nginx", "ms p50/p99"],
              [[titles[k], num(v["requests_s"], 0), num(v["front_cpu_us"], 1), num(v["cpu_us"], 1),
                f"{num(v['p50_ms'])}/{num(v['p99_ms'])}"] for k, v in w["requests"].items()])
    p = found.get("passthrough")
    if p:
        table(["passthrough, 10 MiB either way", "down Gbit/s", "up Gbit/s", "front CPU-s/Gbit down", "up",
               "connections/s", "front CPU ms each"],
              [[titles[k], *(num(p[d][k]["gbit_s"]) for d in ("download", "upload")),
                *(num(p[d][k]["front_cpu_s_per_gbit"], 3) for d in ("download", "upload")),
                num(c["connections_s"], 0), num(c["front_cpu_ms"], 3)] for k, c in p["connections"].items()])
