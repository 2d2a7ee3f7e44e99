"""An independent decoder, tshark, reads a recorded call with the TLS secrets and finds nothing wrong with it."""

import collections
import os
import signal

from lablib import INSIDE4, POOL_SERVER, SERVER4, check, need, sh, wait_for
from sstpclient import Client


def record(lab, path):
    """Starts a capture of port 443 in the server's namespace."""
    p = lab.server.start(["tcpdump", "--immediate-mode", "-i", "out0", "-s0", "-U", "-w", path, "tcp", "port", "443"],
                         path + ".log")
    wait_for(lambda: "listening on" in p.log(), 10, lambda: f"tcpdump: {p.log()}")
    return p


def tshark(path, keys, *argv):
    return sh(["tshark", "-r", path, "-o", f"tls.keylog_file:{keys}",
               "-o", "tls.desegment_ssl_records:TRUE", *argv], timeout=60)


def one_call(lab, method, user, password):
    need("tshark", "tcpdump")
    pcap, keys = os.path.join(lab.test_dir, f"{method}.pcap"), os.path.join(lab.test_dir, f"{method}.keys")
    capture = record(lab, pcap)
    with Client(lab.client, SERVER4, ca=lab.ca.cert, keylog=keys) as c:
        c.call(user, password, method)
        for i in range(5):
            check(c.ping(POOL_SERVER, seq=i) and c.ping(INSIDE4, seq=i, data=os.urandom(1000)), "no ping")
        c.hang_up()
    wait_for(lambda: os.path.getsize(pcap) > 12000, 5, "the capture's end")
    capture.signal(signal.SIGINT)
    capture.wait(5)
    text = tshark(pcap, keys, "-V")
    with open(os.path.join(lab.test_dir, f"{method}.txt"), "w", encoding="utf-8") as f:
        f.write(text)

    seen = collections.Counter()
    for line in tshark(pcap, keys, "-T", "fields", "-e", "frame.protocols").splitlines():
        seen.update(set(line.split(":")))
    auth = {"pap": "pap", "chap": "chap", "mschapv2": "chap"}[method]
    for p in ("sstp", "ppp", "lcp", auth, "ipcp", "icmp"):
        check(seen[p], f"tshark found no {p}: {dict(seen)}")
    for kind in ("SSTP_MSG_CALL_CONNECT_REQUEST", "SSTP_MSG_CALL_CONNECT_ACK", "SSTP_MSG_CALL_CONNECTED"):
        check(kind in text, f"tshark found no {kind}")
    for bad in ("_ws.malformed", "_ws.expert.severity == error", "icmp.checksum.status == 0",
                "tls.alert_message.level == 2"):
        found = tshark(pcap, keys, "-Y", bad)
        check(not found.strip(), f"tshark: {bad}: {found[:300]}")


def test_decode(lab):
    with lab.gatehouse(vpn={"auth": ["mschapv2", "pap"]}):
        one_call(lab, "pap", "alice", "wonderland")
        one_call(lab, "mschapv2", "alice", "wonderland")
