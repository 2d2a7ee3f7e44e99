"""The laboratory itself: its topology, and its own client against published and recomputed vectors."""

import hashlib
import json
import os

import sstpclient
from lablib import CLIENT4, INSIDE4, SERVER4, SERVER6, SERVER_IN4, VECTORS, check


def vectors(name):
    with open(os.path.join(VECTORS, name), encoding="utf-8") as f:
        return json.load(f)


def test_topology(lab):
    lab.client.sh("ping", "-c1", "-W2", SERVER4)
    lab.client.sh("ping", "-c1", "-W2", SERVER6)
    lab.server.sh("ping", "-c1", "-W2", INSIDE4)
    lab.inside.sh("ping", "-c1", "-W2", SERVER_IN4)
    lab.inside.sh("ping", "-c1", "-W1", CLIENT4, ok=(1, 2))


def test_client_binding_vectors(_lab):
    done = 0
    for v in vectors("sstp-crypto-binding.json")["positive"]:
        der = v.get("cert_der")
        if not der:
            continue
        made = sstpclient.call_connected(bytes.fromhex(v["nonce"]), bytes.fromhex(der), bytes.fromhex(v["hlak"]),
                                         v["hash_name"])
        check(made.hex() == v["call_connected_112"], f"{v['id']}: {made.hex()}")
        done += 1
    check(done >= 4, f"only {done} vectors have a certificate")


def test_client_mschapv2_vector(_lab):
    """RFC 2759 9.2, RFC 3079 3.5."""
    m = sstpclient.MsChapV2("User", "clientPass", bytes.fromhex("5b5d7c7d7b3f2f3e3c2c602132262628"),
                            bytes.fromhex("21402324255e262a28295f2b3a337c7e"))
    check(m.response.hex() == "82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df", "NT-Response")
    check(m.authenticator == "S=407A5589115FD0D6209F510FE9C04566932CDA56", "authenticator response")
    check(m.hlak.hex() == "d5f0e9521e3ea9589645e86051c822268b7cdc149b993a1ba118cb153f56dccb", "HLAK")


def test_guest(lab):
    """User Mode Linux boots, has PPP, and reaches the server's namespace over both families."""
    uml = lab.uml()
    print(f"# User Mode Linux booted in {uml.boot_s:.1f} s")
    uml.sh("test -c /dev/ppp && command -v pppd sstpc curl && grep -qw ppp_async /proc/modules")
    uml.sh(f"ping -c1 -W2 {SERVER4} && ping -c1 -W2 {SERVER6}")
    # The host's files are safe: read-only, or (a checkout below /tmp) out of sight behind the guest's own.
    trace = os.path.join(os.path.dirname(os.path.abspath(__file__)), "written-by-the-guest")
    uml.sh(f"touch {trace}", ok=(0, 1))
    check(not os.path.exists(trace), f"the guest wrote {trace} on the host")


def test_inside_web(lab):
    lab.inside_http.blobs["/blob"] = data = os.urandom(100000)
    path = os.path.join(lab.test_dir, "blob")
    with open(path, "wb") as f:
        f.write(data)
    digest = hashlib.sha256(data).hexdigest()
    check(lab.server.sh("curl", "-sS", "-T", path, f"http://{INSIDE4}/put").strip() == digest, "PUT")
    got = lab.server.sh("sh", "-c", f"curl -sS http://{INSIDE4}/blob | sha256sum").split()[0]
    check(got == digest, "GET")
