"""A real browser in front of a real web server, through the door, while a call is up."""

import contextlib
import hashlib
import os
import re
import shutil
import threading
import types

import webservers as ws
from lablib import SERVER4, check, need, sh
from sstpclient import Client

WS_PORT = 8086
MORE = 20

PAGE = """<!DOCTYPE html><title>browser</title><p id="hello">served by nginx</p><p id="result">unfinished</p>
<script>
const hex = b => Array.from(new Uint8Array(b), x => x.toString(16).padStart(2, "0")).join("");
async function one(n) {
    const r = await fetch("/part-" + n + ".bin", {cache: "no-store"});
    return hex(await crypto.subtle.digest("SHA-256", await r.arrayBuffer()));
}
function echo() {
    return new Promise((good, bad) => {
        const s = new WebSocket("wss://ws.example.com/ws");
        s.onopen = () => s.send("hello through the door");
        s.onmessage = e => { good(e.data); s.close(); };
        s.onerror = () => bad(new Error("WebSocket"));
    });
}
(async () => {
    const sums = await Promise.all(Array.from({length: %d}, (_, n) => one(n)));
    const protocols = new Set(performance.getEntriesByType("resource").map(e => e.nextHopProtocol));
    protocols.add(performance.getEntriesByType("navigation")[0].nextHopProtocol);
    return [sums.join(" "), Array.from(protocols).join(" "), await echo()];
})().catch(e => ["failed: " + e]).then(r => {
    document.getElementById("result").textContent = r.join("|");
    fetch("/sink/done");
});
</script>
<img src="/sink/wait">
""" % MORE


class Hold:
    """Answers the page's image only when its script is done: so the page counts as loaded then, and not before."""

    def __init__(self, ns):
        self.done = threading.Event()
        self.service = ws.TcpService(ns, ws.SINK, self._handle)

    def _handle(self, s):
        while True:
            if ws.read_head(s).startswith(b"GET /sink/done"):
                self.done.set()
            else:
                self.done.wait(25)
            s.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    def close(self):
        self.done.set()
        self.service.close()


@contextlib.contextmanager
def fixture(lab):
    need("chromium", "nginx")
    nginx = ws.Nginx(lab)
    echo, hold = ws.TcpService(lab.server, WS_PORT, ws.websocket_echo), Hold(lab.server)
    with open(os.path.join(nginx.docs, "page.html"), "w", encoding="ascii") as f:
        f.write(PAGE)
    sums = []
    for n in range(MORE):
        data = os.urandom(1 + n * 7919)
        sums.append(hashlib.sha256(data).hexdigest())
        with open(os.path.join(nginx.docs, f"part-{n}.bin"), "wb") as f:
            f.write(data)
    web = [{"upstream": f"127.0.0.1:{ws.NGINX_PLAIN}", "upstream-h2": f"127.0.0.1:{ws.NGINX_H2}"},
           {"name": "one.example.com", "upstream": f"127.0.0.1:{ws.NGINX_PLAIN}"},
           {"name": "ws.example.com", "upstream": f"127.0.0.1:{WS_PORT}"}]
    try:
        with lab.gatehouse(web=web) as gh, Client(lab.client, SERVER4, ca=lab.ca.cert) as call:
            call.call("alice", "wonderland")
            yield types.SimpleNamespace(gh=gh, nginx=nginx, call=call, hold=hold, sums=sums)
            call.hang_up()
    finally:
        echo.close()
        hold.close()
        nginx.stop()


def pinned(chain):
    """The hash of the certificate's public key, by which Chromium takes it without its authority being installed."""
    key = sh(["openssl", "x509", "-in", chain, "-noout", "-pubkey"])
    der = sh(["sh", "-c", "openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64"],
             stdin=key.encode())
    return der.strip()


def browse(lab, name):
    """The page as the browser has it once its script is done."""
    home = lab.fresh_dir("chromium")
    try:
        return lab.client.sh(
            "env", f"HOME={home}", f"XDG_CONFIG_HOME={home}", f"XDG_CACHE_HOME={home}",
            "timeout", "-k", "5", "50", "chromium", "--headless", "--no-sandbox", "--disable-gpu",
            "--disable-dev-shm-usage", "--disable-quic", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--disable-extensions", "--disable-breakpad",
            f"--user-data-dir={home}/data", f"--host-resolver-rules=MAP *.example.com {SERVER4}",
            f"--ignore-certificate-errors-spki-list={pinned(lab.www[0])}",
            "--dump-dom", f"https://{name}.example.com/page.html", timeout=60)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def loads(lab, shared, name, protocol):
    shared.hold.done.clear()
    dom = browse(lab, name)
    with open(os.path.join(lab.test_dir, "dom.html"), "w", encoding="utf-8") as f:
        f.write(dom)
    check("served by nginx" in dom, f"not the page: {dom[:300]!r}")
    found = re.search(r'id="result">([^<]*)<', dom)
    check(found, f"no result: {dom[-300:]!r}")
    parts = found[1].split("|")
    check(len(parts) == 3, f"the script says {found[1][:200]!r}")
    check(parts[0].split() == shared.sums, "a resource came out different")
    check(parts[1] == protocol, f"the browser spoke {parts[1]}")
    check(parts[2] == "hello through the door", f"the WebSocket said {parts[2]!r}")
    check(shared.call.ping("10.77.0.1"), "the call suffered")


def test_http2(lab, shared):
    """A page, twenty resources that its script fetches, and a WebSocket."""
    loads(lab, shared, "www", "h2")


def test_http1(lab, shared):
    loads(lab, shared, "one", "http/1.1")
