#!/usr/bin/env python3
"""An SSTP server in user space for tests of clients, written from the specifications alone (MS-SSTP, RFC 1661, 1332,
1334, 1994, 2759, 3748, 5072). It shares no code with the programs under test.

One honest core; a Habit's switches make it a server of another make (HABITS) or a hostile one (HOSTILE). No TUN: it
answers ICMP echo to its own tunnel addresses and UDP to port 7, and sends bursts when asked. Every step of the client is
an event: a JSON line, or FakeServer.events() for a test in the same process.

    fakeserver.py --habit softether --listen 127.0.0.1:4443 --cert F --key F --user U --password P --log F
    fakeserver.py --hostile redirect-302 ...      fakeserver.py --at ack=close --quirk wrong-proof ...
    fakeserver.py --list

Events: listening, accepted, tls (version, cipher, sni, alpn), tls-failed, request (line, headers), answered (status),
message and frame (what came), auth (method, user, ok), cc (ok, hash, why), opened (a protocol), up, rejected (a
protocol, by the client), ended (the client's ABORT or DISCONNECT, or ours: by), closed (by, how), fault (an error of this
program: no test may see one).
"""

import argparse
import collections
import contextlib
import dataclasses
import hashlib
import hmac
import json
import os
import queue
import random
import re
import socket
import ssl
import struct
import sys
import threading
import time
import warnings

from sstpclient import (ABORT, AUTH_OPTION, CC_ACK, CC_NAK, CCP, CCR, CHAP, CODE_REJ, CONF_ACK, CONF_NAK, CONF_REJ,
                        CONF_REQ, CONNECTED, DISCONNECT, DISCONNECT_ACK, EAP, ECHO_REQUEST, ECHO_RESPONSE, IP, IPCP,
                        IPV6, IPV6CP, LCP, LCP_ECHO, LCP_ECHO_REPLY, MESSAGES, PAP, PROTO_REJ, TERM_ACK, TERM_REQ, URI,
                        MsChapV2, attribute, checksum, cp, ipv4, ipv6, message, option, options, packet, status_info,
                        udp)

HERE = os.path.dirname(os.path.abspath(__file__))
PROTOCOLS = {IP: "IP", IPV6: "IPV6", IPCP: "IPCP", IPV6CP: "IPV6CP", CCP: "CCP", LCP: "LCP", PAP: "PAP", CHAP: "CHAP",
             EAP: "EAP"}
METHODS = {"pap": PAP, "chap": CHAP, "mschapv2": CHAP, "eap": EAP, "mschapv1": CHAP, "none": None}
OPTION3 = dict(AUTH_OPTION, mschapv1=b"\xc2\x23\x80")
GUID = re.compile(r"\{[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\}")
CONTENT_LENGTH = "18446744073709551615"
STAGES = ("accept", "tls", "request", "http", "ccr", "ack", "lcp", "auth", "cc", "up")
HEAD_MAX = 8192

EAP_IDENTITY, EAP_NAK, EAP_MD5, EAP_MSCHAPV2 = 1, 3, 4, 26


# ---- habits --------------------------------------------------------------------------------------------------------

@dataclasses.dataclass(frozen=True)
class Habit:
    """What a server does; the defaults are the honest one's. at: {stage: deed} (see Call.deed). quirks: see HOSTILE."""
    # TLS and HTTP
    anonymous: bool = False          # no certificate at all
    alpn: tuple = ()                 # protocols that it takes
    tls: tuple = ("TLSv1_2", "TLSv1_3")  # lowest, highest version
    status: str = "HTTP/1.1 200 OK"  # the line of the good answer
    server: str = "Laboratory"
    probe_status: str = "404 Not Found"  # for GET and HEAD
    # SSTP
    bitmask: int = 3
    naks: int = 0               # CALL_CONNECT_NAKs before the ACK; -1: no end
    nak: str = "spec"           # or softether (no AttribValue), accel (AttribValue zero, two stray octets behind)
    bodies: str = "spec"        # of ABORT and DISCONNECT: spec, bare (no attribute), sorz (four octets; ID 0)
    check_cc: bool = True
    cc_fault: tuple = (3, 4)    # AttribID and status of the ABORT
    answer_echo: bool = True
    own_echo: tuple = (60, 60)  # seconds between ECHO_REQUESTs of ours, from .. to
    patience: float = 0         # seconds without any packet until we drop the call; 0: two echoes unanswered
    # PPP
    start: str = "at-once"      # or first-data: PPP begins when the client's first data packet is there
    resend: float = 3.0
    auth: tuple = ("mschapv2", "eap", "chap", "pap")  # offered first: the first; the others when a Nak asks for them
    mru: int = 1500
    lcp_more: tuple = ()        # further options of our LCP request: (type, value)
    lcp_takes: tuple = (1, 2, 5, 7, 8)  # options of the client's that are not rejected
    mru_max: int = 4091
    eap_first_id: int = -1      # -1: random
    eap_failure: str = "request"  # or at-once: EAP-Failure without the Failure request before it
    failure: str = ""           # not empty: every login fails with this message
    failure_form: str = "E=691 R=0 C={challenge} V=3 M=wrong"
    pap_stray: bytes = b""      # behind PAP's Ack, past its Length
    ip: str = "10.99.0.1"
    client_ip: str = "10.99.0.2"
    dns: tuple = ("10.99.0.53",)
    ipcp_silent_s: float = 0    # IPCP requests that come so early after authentication are dropped
    ipcp_request: bool = True
    ipv6cp: str = "accept"      # or reject (Protocol-Reject), silent
    ccp: bool = False           # asks for MPPE
    early_data: bool = False    # passes network data before CALL_CONNECTED
    # faults
    at: tuple = ()              # ((stage, deed), ...)
    quirks: frozenset = frozenset()


def _u16(n):
    return struct.pack("!H", n)


HABITS = {
    "honest": {},
    # ppp.md 2.5, ms-sstp.md 2.3 and 10
    "rras": {"status": "HTTP/1.1 200", "server": "Microsoft-HTTPAPI/2.0", "probe_status": "401 Unauthorized",
             "auth": ("eap", "mschapv2"), "mru": 4091, "eap_first_id": 0, "eap_failure": "at-once", "ccp": True,
             "lcp_more": ((7, b""), (8, b""), (13, b"\x06"), (17, _u16(1614)), (19, b"\x01" + bytes(range(20)))),
             "lcp_takes": (1, 5, 7, 8)},
    "routeros": {"server": "MikroTik-SSTP", "status": "HTTP/1.1 200", "auth": ("mschapv2", "pap"), "early_data": True,
                 "pap_stray": b"\0\0\0\0", "dns": (), "ipv6cp": "reject"},
    "softether": {"status": "HTTP/1.1 200", "server": "Microsoft-HTTPAPI/2.0", "bitmask": 2, "nak": "softether",
                  "bodies": "bare", "check_cc": False, "answer_echo": False, "own_echo": (2.5, 4.8), "patience": 20,
                  "start": "first-data", "auth": ("eap", "mschapv2", "pap"), "lcp_takes": (1,), "mru": 0,
                  "mru_max": 1500, "eap_first_id": 0, "ipv6cp": "silent"},
    "accel-ppp": {"server": "accel-ppp", "nak": "accel", "cc_fault": (2, 7), "ipcp_silent_s": 0.05,
                  "failure_form": "E=691 R=0 V=3", "auth": ("mschapv2", "chap", "pap"), "lcp_takes": (1, 5)},
    "sorz": {"bodies": "sorz", "check_cc": False, "auth": ("mschapv2", "pap"), "ipv6cp": "reject"},
}


def habit(name="honest", **changes):
    """A Habit by name, with more switches laid over it."""
    return Habit(**{**HABITS[name], **changes})


def _answer(status, *headers):
    return {"quirks": frozenset({"raw-answer"}), "status": status, "server": "\r\n".join(headers)}


def _at(stage, deed, **more):
    return {"at": ((stage, deed),), **more}


def _quirk(*names, **more):
    return {"quirks": frozenset(names), **more}


def _malformed():
    """{name: bytes} of the vectors that a client must not take, and lengths below a header."""
    with open(os.path.join(HERE, "..", "vectors", "sstp-messages.json"), encoding="utf-8") as f:
        out = {v["name"]: v["hex"] for v in json.load(f)["malformed"]}
    out |= {"length_1": "10010001", "length_2": "10010002", "data_length_3": "10000003",
            "version_0x11": "1101000800080000", "version_0": "0001000800080000", "control_length_4": "10010004",
            "ack_again": (message(CC_ACK, attribute(4, b"\0\0\0\3" + b"n" * 32))).hex(),
            "nak_late": (message(CC_NAK, status_info(1, 4))).hex(),
            "connected": (message(CONNECTED, attribute(3, bytes(100)))).hex(),
            "disconnect_ack": (message(DISCONNECT_ACK)).hex()}
    return out


HOSTILE = {
    # authentication: a server that does not know the password, or hides that it does not
    "wrong-proof": _quirk("wrong-proof"), "wrong-proof-eap": _quirk("wrong-proof", auth=("eap",)),
    "no-proof": _quirk("no-proof"), "no-proof-eap": _quirk("no-proof", auth=("eap",)),
    "success-at-once": _quirk("success-at-once"), "success-at-once-eap": _quirk("success-at-once", auth=("eap",)),
    "no-auth": {"auth": ("none",)}, "pap-only": {"auth": ("pap",)}, "chap-only": {"auth": ("chap",)},
    "mschapv1-only": {"auth": ("mschapv1",)}, "eap-md5-only": _quirk("eap-md5", auth=("eap",)),
    "eap-lies": _quirk("eap-lies", auth=("eap",)), "eap-lies-only": _quirk("eap-lies", "eap-mute", auth=("eap",)),
    "eap-endless-identity": _quirk("eap-endless-identity", auth=("eap",)),
    "eap-endless-notification": _quirk("eap-endless-notification", auth=("eap",)),
    "chap-endless": _quirk("chap-endless"),
    # negotiation without end
    "endless-nak": {"naks": -1}, "endless-lcp-nak": _quirk("lcp-nak"), "endless-lcp-reject": _quirk("lcp-reject"),
    "endless-lcp-request": _quirk("lcp-request"), "endless-ipcp-nak": _quirk("ipcp-nak", ipv6cp="reject"),
    "endless-ipcp-reject": _quirk("ipcp-reject", ipv6cp="reject"),
    # addresses that nobody can have
    **{f"address-{a}": {"client_ip": a, "ipv6cp": "reject"} for a in ("0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255")},
    "address-ours": {"client_ip": "10.99.0.1", "ipv6cp": "reject"}, "no-ipcp": _quirk("no-ipcp", ipv6cp="reject"),
    "ipv6-alone": _quirk("no-ipcp"), "dns-loopback": {"dns": ("127.0.0.1", "0.0.0.0")},
    # HTTP
    "head-drip": _quirk("head-drip"), "head-flood": _quirk("head-flood"), "head-lines": _quirk("head-lines"),
    "trailing-zeros": _quirk("trailing-zeros"), "trailing-text": _quirk("trailing-text"),
    "trailing-ack": _quirk("trailing-ack"),
    **{f"redirect-{n}": _answer(f"HTTP/1.1 {n} Moved", "Location: https://elsewhere.example.com/", "Content-Length: 0")
       for n in (301, 302, 307)},
    **{f"status-{n}": _answer(f"HTTP/1.1 {n} {t}", "Content-Length: 0") for n, t in (
        (100, "Continue"), (204, "No Content"), (400, "Bad Request"), (401, "Unauthorized"), (403, "Forbidden"),
        (404, "Not Found"), (407, "Proxy Authentication Required"), (500, "Internal Server Error"),
        (501, "Not Implemented"), (503, "Service Unavailable"))},
    "http10": _answer("HTTP/1.0 200 OK", f"Content-Length: {CONTENT_LENGTH}"),
    "http20": _answer("HTTP/2.0 200 OK", f"Content-Length: {CONTENT_LENGTH}"),
    "http-length": _answer("HTTP/1.1 200 OK", "Content-Length: 12"), "http-garbage": _answer("\x00\x01\x02 no HTTP"),
    "ssh-banner": _answer("SSH-2.0-OpenSSH_9.2p1", ""), "control-characters": _answer("HTTP/1.1 403 \x1b[2J\x07gone"),
    # TLS
    "tls-garbage": _at("accept", "garbage"), "tls-text": _at("accept", "text"), "anonymous": {"anonymous": True},
    # SSTP and PPP
    "bitmask-0": {"bitmask": 0}, "bitmask-4": {"bitmask": 4}, "ack-short": _quirk("ack-short"),
    "ack-no-attribute": _quirk("ack-no-attribute"), "early-data": {"early_data": True},
    "big-packets": _quirk("big-packets"), "compressed": _quirk("compressed"), "echo-flood": _quirk("echo-flood"),
    "one-byte-records": _quirk("one-byte-records"), "unknown-protocols": _quirk("unknown-protocols"),
    "bad-options": _quirk("bad-options"), "reserved-bits": _quirk("reserved-bits"), "no-lcp": _quirk("no-lcp"),
    **{f"{deed}@{stage}": _at(stage, deed) for stage in STAGES for deed in ("silence", "close", "cut", "reset")},
    **{f"{deed}@{stage}": _at(stage, deed) for stage in STAGES[3:] for deed in ("abort", "disconnect", "terminate")
       if deed != "terminate" or stage in STAGES[6:]},
    **{f"{name}@{stage}": _at(stage, "send " + data) for name, data in _malformed().items() for stage in STAGES[3:]},
}


def hostile(name, base="honest", **changes):
    return Habit(**{**HABITS[base], **HOSTILE[name], **changes})


# ---- a call --------------------------------------------------------------------------------------------------------

class Gone(Exception):
    """The connection is over; the text says how."""


class Cp:
    """The two halves of one protocol's configuration (RFC 1661), as far as a server of one client needs them."""

    def __init__(self, protocol, wanted):
        self.protocol, self.wanted = protocol, wanted  # wanted: [(type, value)] that we ask for
        self.ident, self.sent, self.due, self.tries = 0, None, None, 0
        self.ours = self.theirs = False  # acknowledged

    def open(self):
        return self.ours and self.theirs


class Call:
    """One connection, in a thread of its own."""

    def __init__(self, server, sock, peer, number):
        self.server, self.habit, self.sock, self.number = server, server.habit, sock, number
        self.peer, self.s, self.local = f"{peer[0]}:{peer[1]}", sock, sock.getsockname()[0]
        self.buffer = bytearray()
        self.do = queue.SimpleQueue()  # functions to be run in this call's thread
        self.cert = b""
        self.mute = self.deaf = False
        self.state = "ccr"             # ccr, ack, connected, ending
        self.naks = 0
        self.nonce = os.urandom(32)
        self.held = None               # a CALL_CONNECTED that came before authentication ended
        self.hlak = b"\0" * 32
        self.started = self.authed = self.is_up = False
        self.authed_at = self.end_at = None
        self.heard = time.monotonic()
        self.echo_due, self.echoes = None, 0
        self.auth = None
        self.method = self.habit.auth[0]
        self.iid = os.urandom(8)
        self.counts = collections.Counter()
        self.client_mru = 1500
        self.magic = os.urandom(4)
        self.cps = {LCP: Cp(LCP, self.lcp_options()), IPCP: Cp(IPCP, self.ipcp_options()),
                    IPV6CP: Cp(IPV6CP, [(1, self.iid)]), CCP: Cp(CCP, [(18, b"\x01\0\0\x40")])}
        self.done = set()              # stages that were reached

    # -- events
    def log(self, event, **fields):
        self.server.log(event, conn=self.number, **fields)

    def odd(self, name):
        return name in self.habit.quirks

    def at(self, stage):
        """A stage is reached: the deeds that the habit has for it are done, once."""
        if stage in self.done:
            return
        self.done.add(stage)
        for where, deed in self.habit.at:
            if where == stage:
                self.log("deed", stage=stage, deed=deed[:40])
                self.deed(deed)

    def deed(self, deed):
        """silence, close, cut, reset, garbage, text, abort, disconnect, terminate, "send HEX"."""
        word, _, rest = deed.partition(" ")
        if word == "silence":
            self.mute = True
            if "ccr" not in self.done and "http" not in self.done:
                self.listen_only()
        elif word == "close":
            with contextlib.suppress(OSError, ValueError):
                if isinstance(self.s, ssl.SSLSocket):
                    self.s.settimeout(2)
                    self.s.unwrap()
            raise Gone("closed by us")
        elif word == "cut":
            raise Gone("closed by us")
        elif word == "reset":
            self.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise Gone("reset by us")
        elif word in ("garbage", "text"):
            self.send(os.urandom(3000) if word == "garbage" else b"220 mail.example.com ESMTP\r\n" * 3)
            self.listen_only(5)
        elif word in ("abort", "disconnect"):
            self.end(ABORT if word == "abort" else DISCONNECT, 0, 0 if word == "disconnect" else 5)
        elif word == "terminate":
            self.send_ppp(LCP, cp(TERM_REQ, 77, b"\x1b[31mgo away\r\n"))
        elif word == "send":
            self.send(bytes.fromhex(rest))
        else:
            raise ValueError(f"deed {deed}")

    def listen_only(self, seconds=600):
        """Reads until the other side closes."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(TimeoutError):
                self.fill(0.5)
                self.buffer.clear()
        raise Gone("closed by us")

    # -- bytes
    def send(self, data):
        if self.mute:
            return
        if self.server.closed:
            raise Gone("closed by us")
        try:
            self.s.settimeout(30)
            step = 1 if self.odd("one-byte-records") else max(1, len(data))
            for i in range(0, len(data), step):
                self.s.sendall(data[i:i + step])
        except (OSError, ValueError) as e:
            raise Gone(f"broken: {e}") from e

    def fill(self, timeout):
        """Reads more; TimeoutError when nothing came."""
        if self.server.closed:
            raise Gone("closed by us")
        self.s.settimeout(max(0.001, timeout))
        try:
            part = self.s.recv(1 << 16)
        except (TimeoutError, ssl.SSLWantReadError):
            raise TimeoutError from None
        except ssl.SSLEOFError as e:
            raise Gone("end of stream without close_notify") from e
        except OSError as e:
            raise Gone(f"broken: {e}") from e
        if not part:
            raise Gone("end of stream")
        self.buffer += part

    def send_ppp(self, protocol, data):
        if self.odd("compressed") and protocol != LCP:
            head = bytes([protocol]) if protocol < 0x100 else _u16(protocol)
        else:
            head = b"\xff\x03" + _u16(protocol)
        self.send(packet(head + data, flags=0xFE if self.odd("reserved-bits") else None))

    def send_message(self, kind, *attributes):
        data = message(kind, *attributes)
        if self.odd("reserved-bits"):
            data = bytes([0x10, 0xFF, data[2] | 0xF0]) + data[3:]
        self.send(data)

    # -- life
    def run(self):
        how = "closed by us"
        try:
            self.at("accept")
            self.tls()
            self.at("tls")
            self.http()
            self.at("http")
            self.serve()
        except Gone as e:
            how = str(e)
        except Exception as e:  # pylint: disable=broad-except
            self.log("fault", text=f"{type(e).__name__}: {e}")
            raise
        finally:
            with contextlib.suppress(OSError):
                self.s.close()
            self.server.calls.discard(self)
            self.log("closed", how=how)

    def tls(self):
        ctx, self.cert = self.server.context(self.number, self.habit)
        shown = {}

        def named(obj, name, _ctx):
            shown["sni"] = name
            if self.server.choose and (pair := self.server.choose(self, name)):
                obj.context, self.cert = self.server.context_of(pair, self.habit)
        ctx.sni_callback = named
        self.sock.settimeout(20)
        try:
            self.s = ctx.wrap_socket(self.sock, server_side=True)
        except (OSError, ValueError) as e:
            self.log("tls-failed", text=str(e))
            raise Gone(f"TLS: {e}") from e
        self.log("tls", version=self.s.version(), cipher=self.s.cipher()[0], sni=shown.get("sni"),
                 alpn=self.s.selected_alpn_protocol())

    def http(self):
        deadline = time.monotonic() + 60
        while b"\r\n\r\n" not in self.buffer:
            if time.monotonic() > deadline or len(self.buffer) > HEAD_MAX:
                raise Gone("no request")
            with contextlib.suppress(TimeoutError):
                self.fill(1)
        head, _, rest = bytes(self.buffer).partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {k.strip().lower(): v.strip() for k, _, v in (x.partition(":") for x in lines[1:])}
        self.log("request", line=lines[0], headers=headers, early=len(rest))
        self.buffer = bytearray(rest)
        self.at("request")
        method, uri, version = (lines[0].split(" ") + ["", ""])[:3]
        if method != "SSTP_DUPLEX_POST" or uri.partition("?")[0] != URI:
            self.refuse(self.habit.probe_status if method in ("GET", "HEAD") else "404 Not Found")
        faults = [w for w, bad in (("version", version != "HTTP/1.1"), ("host", not headers.get("host")),
                                   ("length", headers.get("content-length") != CONTENT_LENGTH),
                                   ("correlation", not GUID.fullmatch(headers.get("sstpcorrelationid", "")))) if bad]
        if faults:
            self.log("bad-request", faults=faults)
            self.refuse("400 Bad Request")
        self.answer()

    def refuse(self, status):
        self.send(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nServer: {self.habit.server}\r\nConnection: close\r\n\r\n"
                  .encode())
        self.log("answered", status=status)
        self.deed("close")

    def answer(self):
        h = self.habit
        if self.odd("raw-answer"):
            self.send((h.status + "\r\n" + (h.server + "\r\n" if h.server else "") + "\r\n").encode("latin-1"))
            self.log("answered", status=h.status)
            self.listen_only(90)
        head = f"{h.status}\r\nContent-Length: {CONTENT_LENGTH}\r\nServer: {h.server}\r\n" \
               f"Date: {time.strftime('%a, %d %b %Y %H:%M:%S GMT', time.gmtime())}\r\n".encode()
        if self.odd("head-drip"):
            self.trickle(head, b"X-More: " + b"a" * 40 + b"\r\n", 1, 0.05)
        if self.odd("head-lines"):
            self.trickle(head, b"X: y\r\n" * 2000, 1 << 14, 0)
        if self.odd("head-flood"):
            self.trickle(head + b"X-Long: ", b"a" * (1 << 16), 1 << 16, 0)
        trailing = {"trailing-zeros": b"\0" * 64, "trailing-text": b"<html>welcome</html>",
                    "trailing-ack": message(CC_ACK, attribute(4, bytes([0, 0, 0, 3]) + self.nonce))}
        self.send(head + b"\r\n" + b"".join(v for k, v in trailing.items() if self.odd(k)))
        self.log("answered", status=h.status)

    def trickle(self, head, more, step, pause):
        """A head without end: until the other side has enough."""
        sent, data = 0, head
        while True:
            for i in range(0, len(data), step):
                try:
                    self.send(data[i:i + step])
                except Gone:
                    self.log("trickled", bytes=sent)
                    raise
                sent += step
                if pause:
                    time.sleep(pause)
            data = more

    # -- SSTP
    def serve(self):
        while True:
            self.timers()
            if not self.deaf:
                with contextlib.suppress(TimeoutError):
                    self.fill(0.05 if self.end_at is None else 0.01)
                self.packets()
            else:
                time.sleep(0.05)
            while not self.do.empty():
                self.do.get()()

    def packets(self):
        while len(self.buffer) >= 4:
            version, flags, length = struct.unpack("!BBH", self.buffer[:4])
            if version != 0x10 or not 4 <= length <= 4095 or flags > 1:
                self.log("bad-packet", hex=bytes(self.buffer[:16]).hex())
                raise Gone("framing lost")
            if len(self.buffer) < length:
                return
            raw = bytes(self.buffer[:length])
            del self.buffer[:length]
            self.heard, self.echoes = time.monotonic(), 0
            if flags:
                self.on_message(raw)
            elif self.state != "ending":
                self.on_frame(raw[4:])

    def on_message(self, raw):
        kind = struct.unpack("!H", raw[4:6])[0]
        self.log("message", type=MESSAGES[kind] if kind < len(MESSAGES) else kind, hex=raw.hex())
        if self.mute:
            return
        if kind == ABORT:
            if self.state != "ending":
                self.log("ended", by="client", what="ABORT", status=self.status_of(raw))
                self.say_end(ABORT, 0, 0)
            self.finish()
        elif kind == DISCONNECT:
            if self.state != "ending":
                self.log("ended", by="client", what="DISCONNECT")
            self.send_message(DISCONNECT_ACK)
            self.finish()
        elif self.state == "ending":
            if kind == DISCONNECT_ACK:
                self.finish()
        elif kind == CCR and self.state == "ccr":
            self.on_ccr(raw)
        elif kind == CONNECTED and self.state == "ack":
            self.on_connected(raw)
        elif kind == ECHO_REQUEST and self.state == "connected":
            if self.habit.answer_echo:
                self.send_message(ECHO_RESPONSE)
        elif kind == ECHO_RESPONSE and self.state == "connected":
            pass
        else:
            self.end(ABORT, 2, 5)

    @staticmethod
    def status_of(raw):
        return list(struct.unpack("!BI", raw[15:20])) if len(raw) >= 20 else None

    def finish(self):
        """The goodbye is said: the client closes, or we do so in a second."""
        self.state = "ending"
        if self.end_at is None or self.end_at > time.monotonic() + 1:
            self.end_at = time.monotonic() + 1

    def end(self, kind, attrib, status):
        """We end the call."""
        if self.state == "ending":
            return
        self.say_end(kind, attrib, status)
        self.log("ended", by="server", what=MESSAGES[kind], status=[attrib, status])
        self.state, self.end_at = "ending", time.monotonic() + (3 if kind == ABORT else 5)

    def say_end(self, kind, attrib, status):
        body = {"spec": [status_info(attrib, status)], "bare": [],
                "sorz": [attribute(2 if kind == ABORT else 0, struct.pack("!I", status))]}[self.habit.bodies]
        self.send_message(kind, *body)

    def on_ccr(self, raw):
        if raw != bytes.fromhex("1001000e00010001000100060001"):
            self.log("bad-ccr", hex=raw.hex())
            self.end(ABORT, 2, 7)
            return
        self.at("ccr")
        if self.state == "ending":
            return
        if self.habit.naks < 0 or self.naks < self.habit.naks:
            self.naks += 1
            stray = {"spec": (b"\0\1", b""), "softether": (b"", b""), "accel": (b"\0\0", b"\0\0")}[self.habit.nak]
            info = attribute(2, struct.pack("!3xBI", 1, 4) + stray[0])
            self.send(packet(struct.pack("!HH", CC_NAK, 1) + info + stray[1], control=True))
            return
        value = b"\0\0\0" + bytes([self.habit.bitmask]) + self.nonce
        attributes = [] if self.odd("ack-no-attribute") else [attribute(4, value[:20 if self.odd("ack-short") else 36])]
        self.state = "ack"
        self.send_message(CC_ACK, *attributes)
        self.at("ack")
        if self.habit.early_data:
            self.send_ppp(IP, udp(self.habit.ip, self.habit.client_ip, 9, 9, b"early"))
        if self.habit.start == "at-once":
            self.start_ppp()

    def on_connected(self, raw):
        if self.held is not None:
            self.end(ABORT, 2, 5)
            return
        if not self.authed:
            self.held = raw
            self.log("held")
            return
        why = self.judge_connected(raw)
        self.log("cc", ok=not why, why=why, hash={1: "sha1", 2: "sha256"}.get(raw[15] if len(raw) > 15 else 0),
                 ms_after_auth=round((time.monotonic() - self.authed_at) * 1000, 1))
        if why and self.habit.check_cc:
            self.end(ABORT, *self.habit.cc_fault)
            return
        self.state = "connected"
        self.echo_due = time.monotonic() + random.uniform(*self.habit.own_echo)
        self.at("cc")
        if self.odd("echo-flood"):
            self.echo_flood()
        self.look_up()

    def judge_connected(self, raw):
        """Why a CALL_CONNECTED is wrong (MS-SSTP 3.3.5.2.3), or "". """
        if raw[4:12].hex() != "0004000100030068" or len(raw) != 112 or raw[12:15] != b"\0\0\0":
            return "form"
        algorithm = {1: "sha1", 2: "sha256"}.get(raw[15])
        if not algorithm or not raw[15] & self.habit.bitmask:
            return "hash not offered"
        if self.habit.bitmask == 3 and algorithm != "sha256":
            return "the weaker hash"
        if raw[16:48] != self.nonce:
            return "nonce"
        if raw[48:80] != hashlib.new(algorithm, self.cert).digest().ljust(32, b"\0"):
            return "certificate"
        size = hashlib.new(algorithm).digest_size
        cmk = hmac.new(self.hlak, b"SSTP inner method derived CMK" + struct.pack("<HB", size, 1), algorithm).digest()
        mac = hmac.new(cmk, raw[:80] + bytes(32), algorithm).digest().ljust(32, b"\0")
        return "" if raw[80:] == mac else "mac"

    def echo_flood(self):
        """Asks without end and never reads: the answers must not pile up in the client."""
        self.deaf = True
        data, sent, end = message(ECHO_REQUEST) * 2000, 0, time.monotonic() + 6
        while time.monotonic() < end and not self.server.closed:
            try:
                self.s.settimeout(0.5)
                self.s.send(data)
                sent += 2000
            except TimeoutError:
                time.sleep(0.1)
            except (OSError, ValueError) as e:
                raise Gone(f"broken: {e}") from e
        self.log("flooded", requests=sent)
        raise Gone("closed by us")

    def timers(self):
        now = time.monotonic()
        if self.end_at is not None and now > self.end_at:
            raise Gone("closed by us")
        if self.state == "ending" or self.mute:
            return
        for c in self.cps.values():
            if c.due is not None and now > c.due:
                self.send_request(c)
        if self.state == "connected":
            if self.habit.patience and now > self.heard + self.habit.patience:
                self.log("ended", by="server", what="silence")
                raise Gone("closed by us")
            if now > self.echo_due:
                self.echoes += 1
                if self.echoes > 2 and not self.habit.patience:
                    self.log("ended", by="server", what="silence")
                    raise Gone("closed by us")
                self.echo_due = now + random.uniform(*self.habit.own_echo)
                self.send_message(ECHO_REQUEST)
                self.counts["echoes"] += 1

    # -- PPP
    def lcp_options(self):
        h, out = self.habit, []
        if h.mru:
            out.append((1, _u16(h.mru)))
        if self.method != "none":
            out.append((3, OPTION3[self.method]))
        if 5 in h.lcp_takes:
            out.append((5, self.magic))
        return out + list(h.lcp_more)

    def ipcp_options(self):
        return [(3, socket.inet_aton(self.habit.ip))]

    def start_ppp(self):
        if self.started or self.odd("no-lcp"):
            return
        self.started = True
        if self.odd("big-packets"):
            self.big_packets()
        if self.odd("bad-options"):
            self.bad_options(LCP)
        self.begin(self.cps[LCP])

    def begin(self, c):
        c.tries = 0
        self.send_request(c)

    def send_request(self, c):
        if c.tries >= 10:
            raise Gone("closed by us")
        c.tries += 1
        c.ident = (c.ident + 1) & 0xFF if c.sent is not None else 0
        c.sent = b"".join(option(k, v) for k, v in c.wanted)
        c.due = time.monotonic() + self.habit.resend
        self.send_ppp(c.protocol, cp(CONF_REQ, c.ident, c.sent))

    def on_frame(self, body):
        body = body[2:] if body[:2] == b"\xff\x03" else body
        if not body:
            return
        if body[0] & 1:
            protocol, info = body[0], body[1:]
        else:
            protocol, info = int.from_bytes(body[:2], "big"), body[2:]
        if protocol in (IP, IPV6):
            self.on_packet(protocol, info)
            return
        self.log("frame", protocol=PROTOCOLS.get(protocol, f"{protocol:04x}"), code=info[0] if info else None,
                 hex=info[:64].hex())
        if self.mute or len(info) < 4:
            return
        if self.habit.start == "first-data":
            self.start_ppp()
        code, ident, length = struct.unpack("!BBH", info[:4])
        data = info[4:length]
        if not self.started:
            return  # LCP of a server that has none
        if protocol == LCP:
            self.on_lcp(code, ident, data)
        elif not self.cps[LCP].open():
            pass
        elif protocol in (PAP, CHAP, EAP):
            if self.auth:
                self.auth.input(protocol, code, ident, data)
        elif not self.authed:
            pass
        elif protocol == IPCP and not self.odd("no-ipcp"):
            if time.monotonic() < self.authed_at + self.habit.ipcp_silent_s and code == CONF_REQ:
                self.log("dropped", protocol="IPCP")
                return
            self.on_cp(self.cps[IPCP], code, ident, data)
        elif protocol == IPV6CP and self.habit.ipv6cp == "accept":
            self.on_cp(self.cps[IPV6CP], code, ident, data)
        elif protocol == IPV6CP and self.habit.ipv6cp == "silent":
            pass
        else:
            self.send_ppp(LCP, cp(PROTO_REJ, 200, _u16(protocol) + info))

    def on_lcp(self, code, ident, data):
        if code in (CONF_REQ, CONF_ACK, CONF_NAK, CONF_REJ):
            self.on_cp(self.cps[LCP], code, ident, data)
        elif code == TERM_REQ:
            self.log("terminate", text=data.decode("latin-1"))
            self.send_ppp(LCP, cp(TERM_ACK, ident))
        elif code == LCP_ECHO and self.cps[LCP].open():
            self.send_ppp(LCP, cp(LCP_ECHO_REPLY, ident, self.magic + data[4:]))
        elif code == PROTO_REJ and len(data) >= 2:
            n = int.from_bytes(data[:2], "big")
            self.log("rejected", protocol=PROTOCOLS.get(n, f"{n:04x}"))
            if n in self.cps:
                self.cps[n].due = None
        elif code == CODE_REJ:
            self.log("code-rejected", hex=data.hex())

    def on_cp(self, c, code, ident, data):
        if code == CONF_REQ:
            self.on_conf_req(c, ident, data)
        elif code == TERM_REQ:
            self.send_ppp(c.protocol, cp(TERM_ACK, ident))
        elif ident != c.ident or c.sent is None:
            self.log("stale", protocol=PROTOCOLS[c.protocol], code=code)
        elif code == CONF_ACK:
            if data != c.sent:
                self.log("bad-ack", protocol=PROTOCOLS[c.protocol], sent=c.sent.hex(), got=data.hex())
                return
            c.ours, c.due = True, None
            self.opened(c)
        elif code in (CONF_NAK, CONF_REJ):
            self.on_refusal(c, code, options(data))

    def on_refusal(self, c, code, refused):
        if c.protocol == LCP and any(k == 3 for k, _ in refused):
            wish = dict(refused)[3]
            named = [m for m in self.habit.auth if OPTION3.get(m) == wish]
            self.log("auth-nak", wish=wish.hex(), taken=bool(named))
            self.counts["auth-nak"] += 1
            if code == CONF_REJ or self.counts["auth-nak"] > 6:
                self.give_up("no method")
                return
            if named:
                self.method = named[0]
        keep = []
        for kind, value in c.wanted:
            for k, v in refused:
                if k == kind:
                    value = None if code == CONF_REJ else (v if k != 3 else OPTION3.get(self.method))
            if value is not None:
                keep.append((kind, value))
        c.wanted = keep
        self.send_request(c)

    def give_up(self, text):
        self.log("gave-up", text=text)
        self.send_ppp(LCP, cp(TERM_REQ, 99, text.encode()))
        self.end(DISCONNECT, 0, 0)

    def on_conf_req(self, c, ident, data):
        self.counts["requests"] += 1
        asked = options(data)
        reject, nak = self.judge(c.protocol, asked)
        if reject or nak:
            c.theirs = False
            self.send_ppp(c.protocol, cp(CONF_REJ if reject else CONF_NAK, ident,
                                         b"".join(option(k, v) for k, v in reject or nak)))
        else:
            c.theirs = True
            self.send_ppp(c.protocol, cp(CONF_ACK, ident, data))
            if c.protocol == LCP:
                self.client_mru = int.from_bytes(dict(asked).get(1, b"\x05\xdc"), "big")
        if c.protocol != LCP and c.sent is None and (c.protocol != IPCP or self.habit.ipcp_request):
            self.begin(c)
        if c.protocol == IPCP and not self.habit.ipcp_request:
            c.ours = True
        self.opened(c)

    def judge(self, protocol, asked):
        """(options to reject, options to nak)"""
        h, reject, nak = self.habit, [], []
        if protocol == LCP:
            if self.odd("lcp-nak"):
                return [], [(1, _u16(random.randrange(600, 1400)))]
            if self.odd("lcp-reject"):
                return asked or [(99, b"")], []
            for kind, value in asked:
                if kind not in h.lcp_takes:
                    reject.append((kind, value))
                elif kind == 1 and int.from_bytes(value, "big") > h.mru_max:
                    nak.append((1, _u16(h.mru_max)))
            return reject, nak
        if protocol == IPV6CP:
            return [(k, v) for k, v in asked if k != 1], \
                [] if dict(asked).get(1) not in (None, self.iid, bytes(8)) else [(1, os.urandom(8))]
        good = {3: h.client_ip, **dict(zip((129, 131), h.dns))}
        if self.odd("ipcp-reject"):
            return asked or [(99, b"")], []
        if self.odd("ipcp-nak"):
            good[3] = f"10.99.0.{self.counts['requests'] % 200 + 3}"
        for kind, value in asked:
            if kind not in good:
                reject.append((kind, value))
            elif socket.inet_ntoa(value) != good[kind]:
                nak.append((kind, socket.inet_aton(good[kind])))
        if not any(k == 3 for k, _ in asked):
            nak.append((3, socket.inet_aton(good[3])))
        return reject, nak

    def opened(self, c):
        if not c.open():
            return
        self.log("opened", protocol=PROTOCOLS[c.protocol])
        if c.protocol != LCP:
            self.look_up()
        elif self.odd("lcp-request"):
            c.ours = False
            self.send_request(c)
            c.tries = 0
        elif self.auth is None:
            self.at("lcp")
            if self.odd("unknown-protocols"):
                self.unknown_protocols()
            if self.odd("big-packets"):
                self.big_packets()
            self.auth = Authentication(self, self.method)
            self.auth.start()

    def passed(self, hlak):
        """The client's login is good and it was told so."""
        self.hlak, self.authed, self.authed_at = hlak, True, time.monotonic()
        self.at("auth")
        if self.state == "ending":
            return
        if self.habit.early_data:
            self.send_ppp(IP, udp(self.habit.ip, self.habit.client_ip, 9, 9, b"early"))
        if self.odd("bad-options"):
            self.bad_options(IPCP)
        if self.habit.ccp:
            self.begin(self.cps[CCP])
        if self.habit.ipcp_request and not self.habit.ipcp_silent_s and not self.odd("no-ipcp"):
            self.begin(self.cps[IPCP])
        if self.held:
            held, self.held = self.held, None
            self.on_connected(held)

    def look_up(self):
        network = self.cps[IPV6CP if self.odd("no-ipcp") else IPCP]
        if self.state == "connected" and network.open() and not self.is_up:
            self.is_up = True
            self.log("up", ip=self.habit.client_ip, method=self.method, mru=self.client_mru,
                     ipv6=self.cps[IPV6CP].open())
            if self.odd("big-packets"):
                self.big_packets()
            self.at("up")

    # -- data
    def on_packet(self, protocol, p):
        self.counts["in"] += 1
        self.counts["bytes"] += len(p)
        ready = self.state == "connected" or self.habit.early_data
        if not ready:
            self.log("data-too-early", hex=p[:20].hex())
            return
        if protocol == IP and len(p) >= 28 and p[16:20] == socket.inet_aton(self.habit.ip):
            src, dst = socket.inet_ntoa(p[16:20]), socket.inet_ntoa(p[12:16])
            if src == self.habit.ip and dst != self.habit.client_ip:
                self.log("wrong-source", source=dst)
            if p[9] == 1 and p[20] == 8:
                body = p[24:]
                self.send_ppp(IP, ipv4(src, dst, 1, struct.pack("!BBH", 0, 0, checksum(b"\0\0\0\0" + body)) + body))
            elif p[9] == 17 and p[22:24] == b"\0\7":
                sport = struct.unpack("!H", p[20:22])[0]
                self.send_ppp(IP, udp(src, dst, 7, sport, p[28:]))
        elif protocol == IPV6 and len(p) >= 48 and p[6] == 58 and p[40] == 128 and \
                p[24:40] == b"\xfe\x80" + bytes(6) + self.iid:
            src, dst, body = p[24:40], p[8:24], p[44:]
            pseudo = src + dst + struct.pack("!II", len(p) - 40, 58)
            check = checksum(pseudo + b"\x81\0\0\0" + body)
            self.send_ppp(IPV6, ipv6(src, dst, 58, struct.pack("!BBH", 129, 0, check) + body))

    def burst(self, count, size, port):
        """UDP datagrams of `size` bytes of data to the client's tunnel address; their first 4 bytes count."""
        def work():
            for n in range(count):
                self.send_ppp(IP, udp(self.habit.ip, self.habit.client_ip, 7, port, struct.pack("!I", n).ljust(size,
                                                                                                              b"b")))
            self.log("burst", count=count)
        self.do.put(work)

    def ask(self, deed):
        """Has the call's thread do a deed."""
        self.do.put(lambda: self.deed(deed))

    # -- what no server should send
    def big_packets(self):
        """As large as SSTP allows: LCP's own, and network data once the call is up."""
        for _ in range(50):
            self.send(packet(b"\xff\x03" + _u16(LCP) + cp(11, 1, self.magic + b"x" * 4079)))
        if self.cps[LCP].open():
            for n in range(8):
                self.send(packet(b"\xff\x03" + _u16(LCP) + cp(LCP_ECHO, n, self.magic + b"x" * 4079)))
        if self.is_up:
            for _ in range(200):
                self.send_ppp(IP, udp(self.habit.ip, self.habit.client_ip, 9, 9, b"x" * (4087 - 28)))

    def unknown_protocols(self):
        for n in list(range(0x8001, 0x8101, 2)) * 2 + [0x00FD, 0xC025, 0xC029, 0x4021]:
            self.send_ppp(n, cp(CONF_REQ, 1, b"\x01\x04\x05\xdc"))

    def bad_options(self, protocol):
        """Options whose lengths lie."""
        for bad in (b"\x01", b"\x01\x00", b"\x01\x01", b"\x03\xff\xc2\x23\x81", b"\x01\x04\x05", b"\x05\x06\0\0\0",
                    b"\x03\x02", b"\x03\x03\xc2", b"\x01\x02", b"\x03\x05\0\0\0"):
            for code in (CONF_REQ, CONF_ACK, CONF_NAK, CONF_REJ):
                self.send_ppp(protocol, cp(code, 250, bad))
        for length in (0, 1, 3, 5, 0xFFFF):
            self.send_ppp(protocol, cp(CONF_REQ, 251, b"", length=length))
        self.send_ppp(protocol, b"")
        self.send(packet(b""))
        self.send(packet(b"\xff"))
        self.send(packet(b"\xff\x03"))
        self.send(packet(b"\xff\x03\xc0"))


class Authentication:
    """The server's side of PAP, CHAP-MD5, MS-CHAPv2 and EAP-MSCHAPv2."""

    def __init__(self, call, method):
        self.call, self.habit, self.method = call, call.habit, method
        self.ident = random.randrange(256) if self.habit.eap_first_id < 0 else self.habit.eap_first_id
        self.challenge = os.urandom(16)
        self.ms_id, self.step, self.user, self.proof = 0, "", "", None
        self.verdict = None  # the packet that a repeated Response gets again

    def start(self):
        c = self.call
        if self.method == "none":
            c.passed(b"\0" * 32)
        elif c.odd("success-at-once"):
            c.send_ppp(METHODS[self.method], cp(3, self.ident, b"" if self.method == "eap" else b"S=" + b"0" * 40))
            c.passed(b"\0" * 32)
        elif self.method in ("chap", "mschapv2", "mschapv1"):
            self.send_challenge()
        elif self.method == "eap":
            self.start_eap()

    def send_challenge(self):
        size = 8 if self.method == "mschapv1" else 16
        self.call.send_ppp(CHAP, cp(1, self.ident, bytes([size]) + self.challenge[:size] + b"lab"))

    def input(self, protocol, code, ident, data):
        if protocol == METHODS[self.method]:
            {PAP: self.on_pap, CHAP: self.on_chap, EAP: self.on_eap}[protocol](code, ident, data)
        else:
            self.call.log("wrong-auth", protocol=PROTOCOLS[protocol])

    def password(self, user):
        return self.call.server.users.get(user.rpartition("\\")[2])

    def tell(self, ok, why=""):
        self.call.log("auth", method=self.method, user=self.user, ok=ok, why=why)

    def on_pap(self, code, ident, data):
        if code != 1 or not data:
            return
        n = data[0]
        self.user, password = data[1:1 + n].decode(), data[2 + n:2 + n + data[1 + n]].decode()
        ok = self.password(self.user) == password and not self.habit.failure
        self.tell(ok)
        self.call.send_ppp(PAP, cp(2 if ok else 3, ident, b"\0") + self.habit.pap_stray)
        if ok:
            self.pass_once(b"\0" * 32)
        else:
            self.call.give_up("login failed")

    def pass_once(self, hlak):
        if not self.call.authed:
            self.call.passed(hlak)

    def on_chap(self, code, ident, data):
        if code != 2 or ident != self.ident or not data:
            return
        if self.verdict:
            self.call.send_ppp(CHAP, self.verdict)
            return
        value, self.user = data[1:1 + data[0]], data[1 + data[0]:].decode()
        if self.call.odd("chap-endless"):
            self.ident, self.challenge = (self.ident + 1) & 0xFF, os.urandom(16)
            self.send_challenge()
            return
        password = self.password(self.user)
        if self.method == "chap":
            good = password is not None and value == hashlib.md5(
                bytes([ident]) + password.encode() + self.challenge).digest()
            hlak, text = b"\0" * 32, b"welcome"
        else:
            good, hlak, text = self.check_mschapv2(value)
        good = good and not self.habit.failure
        self.tell(good)
        if good:
            self.verdict = cp(3, ident, text)
            self.call.send_ppp(CHAP, self.verdict)
            self.call.passed(hlak)
        else:
            self.verdict = cp(4, ident, self.failure_text())
            self.call.send_ppp(CHAP, self.verdict)
            self.call.give_up("login failed")

    def failure_text(self):
        return (self.habit.failure or self.habit.failure_form).format(challenge=self.challenge.hex().upper()).encode()

    def check_mschapv2(self, value):
        """(whether the 49 octets are right, HLAK, message of success)"""
        password = self.password(self.user)
        if len(value) != 49 or password is None or value[16:24] != bytes(8) or value[48]:
            return False, b"", b""
        want = MsChapV2(self.user, password, self.challenge, value[:16])
        text = (want.authenticator + " M=welcome").encode()
        if self.call.odd("wrong-proof"):
            text = text[:10] + (b"0" if text[10:11] != b"0" else b"1") + text[11:]
        if self.call.odd("no-proof"):
            text = b"M=welcome"
        return value[24:48] == want.response, want.hlak, text

    # -- EAP
    def start_eap(self):
        if self.call.odd("eap-lies"):
            self.eap_lies()
        if not self.call.odd("eap-mute"):
            self.eap_request("identity", EAP_IDENTITY, b"")

    def eap_request(self, step, kind, data):
        self.step = step
        self.call.send_ppp(EAP, cp(1, self.ident, bytes([kind]) + data))

    def next_id(self):
        self.ident = (self.ident + 1) & 0xFF

    def on_eap(self, code, ident, data):
        if code != 2 or ident != self.ident or not data:
            self.call.log("stale", protocol="EAP", code=code)
            return
        kind, body = data[0], data[1:]
        if self.call.odd("eap-endless-identity"):
            self.next_id()
            self.eap_request("identity", EAP_IDENTITY, b"who?")
        elif self.call.odd("eap-endless-notification"):
            self.next_id()
            self.eap_request("identity", 2, b"\x1b[2Jhear, hear")
        elif kind == EAP_NAK:
            self.call.log("eap-nak", wants=body.hex())
            self.fail_eap("Nak")
        elif self.step == "identity" and kind == EAP_IDENTITY:
            self.user = body.decode()
            self.next_id()
            if self.call.odd("eap-md5"):
                self.eap_request("md5", EAP_MD5, b"\x10" + self.challenge)
                return
            self.ms_id = self.ident
            self.eap_request("challenge", EAP_MSCHAPV2,
                             struct.pack("!BBH", 1, self.ms_id, 4 + 17 + 3) + b"\x10" + self.challenge + b"lab")
        elif self.step == "challenge" and kind == EAP_MSCHAPV2:
            self.on_eap_response(body)
        elif self.step == "success" and kind == EAP_MSCHAPV2 and body == b"\3":
            self.call.send_ppp(EAP, cp(3, ident))
            self.step = "over"
            self.call.passed(self.proof)
        elif self.step == "failure" and kind == EAP_MSCHAPV2 and body == b"\4":
            self.fail_eap("failure acknowledged")
        else:
            self.call.log("bad-eap", step=self.step, hex=data.hex())
            self.fail_eap("unexpected")

    def on_eap_response(self, body):
        op, ms_id, length = struct.unpack("!BBH", body[:4])
        if (op, ms_id, length, body[4]) != (2, self.ms_id, len(body), 0x31):
            self.call.log("bad-eap", step=self.step, hex=body.hex())
            self.fail_eap("form")
            return
        self.user = body[54:].decode()
        good, hlak, text = self.check_mschapv2(body[5:54])
        good = good and not self.habit.failure
        self.tell(good)
        if good and self.call.odd("no-proof"):
            self.call.send_ppp(EAP, cp(3, self.ident))
            self.call.passed(hlak)
            return
        if not good and self.habit.eap_failure == "at-once":
            self.fail_eap("wrong")
            return
        self.proof = hlak
        self.next_id()
        message_text = text if good else self.failure_text()
        self.eap_request("success" if good else "failure", EAP_MSCHAPV2,
                         struct.pack("!BBH", 3 if good else 4, self.ms_id, 4 + len(message_text)) + message_text)

    def fail_eap(self, why):
        self.call.send_ppp(EAP, cp(4, self.ident))
        self.call.give_up(why)

    def eap_lies(self):
        """Lengths that lie, in EAP's header and within EAP-MSCHAPv2; all of them before the honest Requests."""
        ident = self.ident ^ 0x80  # that of no honest Request: a Response to it is one to a lie
        good = bytes([EAP_MSCHAPV2]) + struct.pack("!BBH", 1, ident, 24) + b"\x10" + self.challenge + b"lab"
        for length in (0, 1, 3, 4, 5, 6, 8, 9, 10, 25, 27, 100, 4090, 0xFFFF):
            self.call.send_ppp(EAP, cp(1, ident, good, length=length))
        for ms_length in (0, 1, 3, 5, 23, 25, 0xFFFF):
            self.call.send_ppp(EAP, cp(1, ident, bytes([EAP_MSCHAPV2]) +
                                       struct.pack("!BBH", 1, ident, ms_length)))
        for size in (0, 1, 15, 17, 255):
            self.call.send_ppp(EAP, cp(1, ident, bytes([EAP_MSCHAPV2]) +
                                       struct.pack("!BBH", 1, ident, 24) + bytes([size]) + self.challenge))
        for code in (0, 5, 255):
            self.call.send_ppp(EAP, cp(code, ident, good))
        for cut in range(4):
            self.call.send_ppp(EAP, cp(1, ident, good)[:cut])
        self.call.send_ppp(EAP, cp(1, ident, bytes([EAP_MSCHAPV2, 9])))
        self.call.send_ppp(EAP, cp(1, ident, bytes([254]) + b"x" * 4070))


# ---- the server ----------------------------------------------------------------------------------------------------

def leaf_der(path):
    with open(path, encoding="ascii") as f:
        return ssl.PEM_cert_to_DER_cert(f.read().split("-----END")[0] + "-----END CERTIFICATE-----\n")


class FakeServer:
    """
    Serves on listening sockets. certs: [(chain, key)]; connection n gets the n-th, those after it the last. users:
    {name: password}. habit: of the connections that come; may be set at any time. choose(call, name): another (chain,
    key) for a connection by the name that the client said (None: it said none) and call.local, or None. A context that
    closes itself.
    """

    def __init__(self, sockets, certs, users, what=None, log=None, choose=None):
        self.sockets, self.certs, self.users, self.habit = list(sockets), list(certs), users, what or Habit()
        self.calls, self.count, self.choose = set(), 0, choose
        self._events, self._lock = [], threading.Condition()
        self._file = open(log, "a", encoding="utf-8", buffering=1) if log else None
        self.closed = False
        for s in self.sockets:
            threading.Thread(target=self._accept, args=(s,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.close()
        if kind is None and (faults := self.events("fault")):
            raise AssertionError(f"the laboratory's server has a fault: {faults}")
        return False

    def __str__(self):
        return "an SSTP server of the laboratory"

    def _accept(self, listener):
        while not self.closed:
            try:
                sock, peer = listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            call = Call(self, sock, peer, self.count)
            self.count += 1
            self.calls.add(call)
            call.log("accepted", peer=call.peer)
            threading.Thread(target=call.run, daemon=True).start()

    def context(self, number, what):
        """(TLS context, DER of the leaf) for connection `number`."""
        return self.context_of(None if what.anonymous else self.certs[min(number, len(self.certs) - 1)], what)

    @staticmethod
    def context_of(pair, what):
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        low, high = (ssl.TLSVersion[v] for v in what.tls)
        if low < ssl.TLSVersion.TLSv1_2:
            ctx.set_ciphers("DEFAULT:@SECLEVEL=0")
        with warnings.catch_warnings():  # of Python, about versions as old as these
            warnings.simplefilter("ignore")
            ctx.minimum_version, ctx.maximum_version = low, high
        if what.alpn:
            ctx.set_alpn_protocols(list(what.alpn))
        if not pair:
            ctx.maximum_version = ssl.TLSVersion.TLSv1_2
            ctx.set_ciphers("ADH:AECDH:@SECLEVEL=0")
            return ctx, b""
        ctx.load_cert_chain(*pair)
        return ctx, leaf_der(pair[0])

    # -- events
    def log(self, event, **fields):
        e = {"t": round(time.monotonic(), 4), "event": event, **fields}
        with self._lock:
            self._events.append(e)
            if self._file:
                self._file.write(json.dumps(e) + "\n")
            self._lock.notify_all()

    def events(self, name=None, since=0, **match):
        with self._lock:
            return [e for e in self._events[since:] if name in (None, e["event"])
                    and all(e.get(k) == v for k, v in match.items())]

    def mark(self):
        return len(self._events)

    def wait(self, name, timeout=10, since=0, **match):
        """The first such event; TimeoutError when it does not come."""
        end = time.monotonic() + timeout
        while True:
            if found := self.events(name, since, **match):
                return found[0]
            with self._lock:
                left = end - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"no event {name} {match or ''}; the last: {self._events[-3:]}")
                self._lock.wait(min(left, 0.2))

    def call(self, timeout=10):
        """The call that is up (waits for one)."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            for c in list(self.calls):
                if c.is_up:
                    return c
            time.sleep(0.02)
        raise TimeoutError("no call is up")

    def close(self):
        """The connections' threads see it within a second."""
        self.closed = True
        for s in self.sockets:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()


# ---- as a program --------------------------------------------------------------------------------------------------

def _listen(text):
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((host, int(port)))
    s.listen(64)
    return s


def _switch(text):
    """KEY=VALUE of a Habit; the value in the type that the switch has; lists with commas."""
    key, _, value = text.partition("=")
    kind = type({f.name: f.default for f in dataclasses.fields(Habit)}[key])
    if kind is bool:
        return key, value in ("1", "true", "yes")
    if kind is tuple:
        return key, tuple(float(v) if key == "own_echo" else int(v) if v.isdigit() else v for v in value.split(","))
    return key, bytes.fromhex(value) if kind is bytes else kind(value)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--habit", default="honest", choices=list(HABITS))
    p.add_argument("--hostile", default=[], action="append", metavar="NAME")
    p.add_argument("--at", default=[], action="append", metavar="STAGE=DEED")
    p.add_argument("--quirk", default=[], action="append", metavar="NAME")
    p.add_argument("--set", default=[], action="append", metavar="SWITCH=VALUE", type=_switch)
    p.add_argument("--listen", default=[], action="append", metavar="HOST:PORT")
    p.add_argument("--cert", default=[], action="append", metavar="FILE", help="again: for the connections that follow")
    p.add_argument("--key", default=[], action="append", metavar="FILE")
    p.add_argument("--user", default="alice")
    p.add_argument("--password", default="wonderland")
    p.add_argument("--log", metavar="FILE")
    p.add_argument("--list", action="store_true", help="names of habits and hostile modes")
    a = p.parse_args()
    if a.list:
        print("\n".join([*HABITS, *HOSTILE]))
        return 0
    if len(a.cert) != len(a.key) or (not a.cert and not a.listen):
        p.error("--listen, and as many --cert as --key")
    changes = dict(HABITS[a.habit])
    for name in a.hostile:
        if name not in HOSTILE:
            p.error(f"unknown: {name}; see --list")
        changes |= HOSTILE[name]
    changes |= dict(a.set)
    changes["at"] = changes.get("at", ()) + tuple(tuple(x.split("=", 1)) for x in a.at)
    changes["quirks"] = changes.get("quirks", frozenset()) | set(a.quirk)
    server = FakeServer([_listen(x) for x in a.listen], list(zip(a.cert, a.key)), {a.user: a.password},
                        Habit(**changes), a.log or "/dev/stdout")
    server.log("listening", on=a.listen)
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    sys.exit(main())
