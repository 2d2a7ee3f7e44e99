"""An SSTP client for tests, written from the specifications alone (MS-SSTP, RFC 1661, 1332, 1334, 1994, 2759, 3079).

It makes whole calls (PAP, CHAP-MD5, MS-CHAPv2; crypto binding; IPv4, IPv6) and lets a test step in anywhere: send raw
bytes, split them into records, leave steps out, answer wrongly. It shares no code with the server.
"""

import collections
import contextlib
import hashlib
import hmac
import os
import socket
import ssl
import struct
import subprocess
import time

URI = "/sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/"

CCR, CC_ACK, CC_NAK, CONNECTED, ABORT, DISCONNECT, DISCONNECT_ACK, ECHO_REQUEST, ECHO_RESPONSE = range(1, 10)
MESSAGES = ("", "CCR", "ACK", "NAK", "CONNECTED", "ABORT", "DISCONNECT", "DISCONNECT_ACK", "ECHO_REQUEST",
            "ECHO_RESPONSE")

IP, IPV6, IPCP, IPV6CP, CCP = 0x0021, 0x0057, 0x8021, 0x8057, 0x80FD
LCP, PAP, CHAP, EAP = 0xC021, 0xC023, 0xC223, 0xC227
CONF_REQ, CONF_ACK, CONF_NAK, CONF_REJ, TERM_REQ, TERM_ACK, CODE_REJ, PROTO_REJ, LCP_ECHO, LCP_ECHO_REPLY = range(1, 11)

CCR_BYTES = bytes.fromhex("1001000e00010001000100060001")
AUTH_OPTION = {"pap": b"\xc0\x23", "chap": b"\xc2\x23\x05", "mschapv2": b"\xc2\x23\x81", "eap": b"\xc2\x27"}


class Closed(Exception):
    """The server ended the connection (close_notify, FIN or reset)."""


class Protocol(Exception):
    """The server said something that this step does not allow."""


# ---- bytes ---------------------------------------------------------------------------------------------------------

def packet(body, control=False, version=0x10, flags=None, length=None):
    """An SSTP packet; the header can be made to lie."""
    flags = int(control) if flags is None else flags
    return struct.pack("!BBH", version, flags, 4 + len(body) if length is None else length) + body


def attribute(ident, value=b"", length=None):
    return struct.pack("!BBH", 0, ident, 4 + len(value) if length is None else length) + value


def message(kind, *attributes, count=None, **header):
    body = struct.pack("!HH", kind, len(attributes) if count is None else count) + b"".join(attributes)
    return packet(body, control=True, **header)


def status_info(attrib=0, status=0):
    return attribute(2, struct.pack("!3xBI", attrib, status))


def cp(code, ident, data=b"", length=None):
    """A packet of LCP, IPCP, PAP, CHAP or EAP."""
    return struct.pack("!BBH", code, ident, 4 + len(data) if length is None else length) + data


def option(kind, value=b"", length=None):
    return struct.pack("!BB", kind, 2 + len(value) if length is None else length) + value


def options(data):
    out = []
    while data:
        if len(data) < 2 or not 2 <= data[1] <= len(data):
            raise Protocol(f"bad option in {data.hex()}")
        out.append((data[0], data[2:data[1]]))
        data = data[data[1]:]
    return out


def checksum(data):
    data += b"\0" * (len(data) % 2)
    n = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while n >> 16:
        n = (n & 0xFFFF) + (n >> 16)
    return ~n & 0xFFFF


def ipv4(src, dst, proto, payload, ident=1):
    def header(check):
        return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), ident, 0, 64, proto, check,
                           socket.inet_aton(src), socket.inet_aton(dst))
    return header(checksum(header(0))) + payload


def udp(src, dst, sport, dport, data):
    return ipv4(src, dst, 17, struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data)


def tcp(src, dst, sport, dport, seq, ack, flags, payload=b"", mss=None):
    """An IPv4 packet with one TCP segment; flags as in the header (2: SYN, 16: ACK)."""
    opts = b"" if mss is None else struct.pack("!BBH", 2, 4, mss)

    def segment(check):
        return struct.pack("!HHIIBBHHH", sport, dport, seq, ack, (20 + len(opts)) // 4 << 4, flags, 65535, check, 0) + \
            opts + payload
    pseudo = socket.inet_aton(src) + socket.inet_aton(dst) + struct.pack("!HH", 6, 20 + len(opts) + len(payload))
    return ipv4(src, dst, 6, segment(checksum(pseudo + segment(0))))


Segment = collections.namedtuple("Segment", "src dst sport dport seq ack flags mss payload")


def tcp_parse(data):
    """The Segment in an IPv4 packet, or None. Protocol when its checksum is wrong."""
    if len(data) < 40 or data[0] >> 4 != 4 or data[9] != 6:
        return None
    head, total = (data[0] & 15) * 4, struct.unpack("!H", data[2:4])[0]
    body = data[head:total]
    sport, dport, seq, ack, offset, flags = struct.unpack("!HHIIBB", body[:14])
    if checksum(data[12:20] + struct.pack("!HH", 6, len(body)) + body):
        raise Protocol(f"TCP checksum of {data.hex()}")
    opts, mss = body[20:(offset >> 4) * 4], None
    while opts and opts[0]:
        if opts[0] == 2:
            mss, = struct.unpack("!H", opts[2:4])
        opts = opts[1:] if opts[0] == 1 else opts[max(opts[1], 2):]
    return Segment(socket.inet_ntoa(data[12:16]), socket.inet_ntoa(data[16:20]), sport, dport, seq, ack, flags, mss,
                   body[(offset >> 4) * 4:])


def ipv6(src, dst, proto, payload):
    return struct.pack("!IHBB", 6 << 28, len(payload), proto, 64) + src + dst + payload


def _upper6(src, dst, proto, make):
    pseudo = src + dst + struct.pack("!II", len(make(0)), proto)
    return ipv6(src, dst, proto, make(checksum(pseudo + make(0)) or 0xFFFF))


def udp6(src, dst, sport, dport, data):
    return _upper6(src, dst, 17, lambda check: struct.pack("!HHHH", sport, dport, 8 + len(data), check) + data)


def icmp6_echo(src, dst, ident, seq, data=b"gatehouse"):
    return _upper6(src, dst, 58, lambda check: struct.pack("!BBHHH", 128, 0, check, ident, seq) + data)


def link_local(iid):
    return b"\xfe\x80" + b"\0" * 6 + iid


def icmp_echo(src, dst, ident, seq, data=b"gatehouse"):
    body = struct.pack("!HH", ident, seq) + data
    return ipv4(src, dst, 1, struct.pack("!BBH", 8, 0, checksum(b"\x08\0\0\0" + body)) + body)


# ---- authentication ------------------------------------------------------------------------------------------------

def _openssl(*argv, data):
    """Old algorithms by the openssl command: Python's own modules no longer have them."""
    return subprocess.run(["openssl", *argv, "-provider", "legacy", "-provider", "default"], input=data,
                          capture_output=True, check=True, timeout=20).stdout


def md4(data):
    return _openssl("dgst", "-md4", "-binary", data=data)


def _des7(key7, block):
    bits = int.from_bytes(key7, "big")
    key = bytes((bits >> (49 - 7 * i) & 0x7F) << 1 for i in range(8))
    return _openssl("enc", "-des-ecb", "-nopad", "-K", key.hex(), data=block)


def sha1(*parts):
    return hashlib.sha1(b"".join(parts)).digest()


class MsChapV2:
    """RFC 2759 section 8 and RFC 3079 section 3.4, client's side."""

    MAGIC2 = b"On the client side, this is the send key; on the server side, it is the receive key."
    MAGIC3 = b"On the client side, this is the receive key; on the server side, it is the send key."

    def __init__(self, user, password, challenge, peer_challenge=None):
        self.peer = peer_challenge or os.urandom(16)
        plain = user.rpartition("\\")[2].encode()
        nt = md4(password.encode("utf-16-le"))
        self.challenge8 = sha1(self.peer, challenge, plain)[:8]
        z = nt + b"\0" * 5
        self.response = b"".join(_des7(z[i:i + 7], self.challenge8) for i in (0, 7, 14))
        hash_hash = md4(nt)
        d = sha1(hash_hash, self.response, b"Magic server to client signing constant")
        self.authenticator = "S=" + sha1(d, self.challenge8, b"Pad to make it do more than one iteration").hex().upper()
        master = sha1(hash_hash, self.response, b"This is the MPPE Master Key")[:16]
        pads = b"\0" * 40, b"\xf2" * 40
        self.hlak = b"".join(sha1(master, pads[0], m, pads[1])[:16] for m in (self.MAGIC2, self.MAGIC3))

    def value(self):
        return self.peer + b"\0" * 8 + self.response + b"\0"


def call_connected(nonce, cert_der, hlak, algorithm="sha256", hash_bits=None):
    """A CALL_CONNECTED with the Compound MAC of MS-SSTP 3.2.5.2."""
    bits = {"sha1": 1, "sha256": 2}[algorithm] if hash_bits is None else hash_bits
    size = hashlib.new(algorithm).digest_size
    cert = hashlib.new(algorithm, cert_der).digest().ljust(32, b"\0")
    cmk = hmac.new(hlak, b"SSTP inner method derived CMK" + struct.pack("<HB", size, 1), algorithm).digest()

    def build(mac):
        return message(CONNECTED, attribute(3, b"\0\0\0" + bytes([bits]) + nonce + cert + mac.ljust(32, b"\0")))
    return build(hmac.new(cmk, build(b""), algorithm).digest())


# ---- TLS, record by record -----------------------------------------------------------------------------------------

class RecordTls:
    """
    Stands for an SSLSocket where a test asks how the server cut its records: `records` has the plaintext of each record
    of application data, in order. Records go into TLS one at a time; what they hold comes out before the next goes in.
    """

    APPLICATION_DATA = 23

    def __init__(self, tcp_socket, ctx, server_hostname=None, session=None):
        self.tcp, self.records, self._raw, self._plain = tcp_socket, [], bytearray(), bytearray()
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = ctx.wrap_bio(self._in, self._out, server_hostname=server_hostname, session=session)
        while True:
            try:
                self._tls.do_handshake()
                self._flush()
                return
            except ssl.SSLWantReadError:
                self._flush()
                self._one_record()

    def __getattr__(self, name):
        return getattr(self._tls, name)

    def _flush(self):
        self.tcp.sendall(self._out.read())

    def _need(self, n):
        while len(self._raw) < n:
            part = self.tcp.recv(65536)
            if not part:
                raise ConnectionResetError("end of stream")
            self._raw += part

    def _one_record(self):
        """The type and plaintext of the next record."""
        self._need(5)
        kind, length = self._raw[0], 5 + struct.unpack("!H", self._raw[3:5])[0]
        self._need(length)
        self._in.write(bytes(self._raw[:length]))
        del self._raw[:length]
        return kind

    def recv(self, _n):
        kind = self._one_record()
        plain = b""
        with contextlib.suppress(ssl.SSLWantReadError):
            while part := self._tls.read(65536):
                plain += part
            return plain  # close_notify
        self._flush()
        if kind == self.APPLICATION_DATA and plain:  # a ticket of TLS 1.3 looks the same and holds nothing
            self.records.append(plain)
        return plain or self.recv(_n)

    def sendall(self, data):
        self._tls.write(data)
        self._flush()

    def settimeout(self, seconds):
        self.tcp.settimeout(seconds)

    def fileno(self):
        return self.tcp.fileno()

    def close(self):
        self.tcp.close()


# ---- a call --------------------------------------------------------------------------------------------------------

Frame = collections.namedtuple("Frame", "protocol data")
Message = collections.namedtuple("Message", "kind attributes")  # attributes: [(id, value)]


class Client:
    """One connection. connect() makes it; call() makes a whole VPN call; everything between is open to a test."""

    def __init__(self, ns, host="192.0.2.2", port=443, *, ca=None, sni="www.example.com", session=None, keylog=None,
                 context=None, timeout=10, records=False, iid=None, source=None, receive_buffer=None, before=b"",
                 plain=None):
        """before: bytes ahead of TLS, as a PROXY header. plain: no TLS; the certificate that a front has shown (DER)."""
        self.timeout = timeout
        self.buffer, self.seen = bytearray(), []  # seen: every Message and Frame, in order
        self.nonce = self.hash_mask = None
        self.hlak, self.address, self.dns = b"\0" * 32, None, []
        self.magic = os.urandom(4)
        self.answer_echo = True
        self.open = set()           # protocols of which both directions were acknowledged
        self._acked = collections.defaultdict(set)
        self._ident = 0
        self._chap = None
        self.auth_done, self.auth_failed, self.failure_text = False, False, ""
        self.inbox = collections.deque()
        self.ended = None           # the message with which the server ended the call
        self.credentials = (None, None, None)  # user, password, method
        self.terminate_text = None  # of the server's LCP Terminate-Request
        self.iid, self.server_iid = iid, None  # interface identifiers, 8 bytes; without one IPV6CP is rejected
        ctx = context or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if not context:
            if ca:
                ctx.load_verify_locations(ca)
            ctx.check_hostname = bool(ca and sni)
            ctx.verify_mode = ssl.CERT_REQUIRED if ca else ssl.CERT_NONE
        if keylog:
            ctx.keylog_filename = keylog
        raw = ns.connect(host, port, timeout, source=source, receive_buffer=receive_buffer)
        try:
            raw.sendall(before)
            if plain is not None:
                self.s = raw
            elif records:
                self.s = RecordTls(raw, ctx, server_hostname=sni, session=session)
            else:
                self.s = ctx.wrap_socket(raw, server_hostname=sni, session=session)
        except BaseException:
            raw.close()
            raise
        self.cert = self.s.getpeercert(binary_form=True) if plain is None else plain

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
        return False

    def close(self):
        with contextlib.suppress(OSError):
            self.s.close()

    # -- bytes
    def send(self, data, piece=None):
        """Sends bytes, in TLS records of `piece` bytes if given."""
        try:
            for i in range(0, len(data), piece or max(len(data), 1)):
                self.s.sendall(data[i:i + piece] if piece else data)
        except (ConnectionError, ssl.SSLError, BrokenPipeError) as e:
            raise Closed(str(e)) from e

    def _fill(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the server says nothing")
        self.s.settimeout(left)
        try:
            part = self.s.recv(65536)
        except TimeoutError:
            raise TimeoutError("the server says nothing") from None
        except (ConnectionError, ssl.SSLError) as e:
            raise Closed(str(e)) from e
        finally:
            with contextlib.suppress(OSError):
                self.s.settimeout(self.timeout)
        if not part:
            raise Closed("end of stream")
        self.buffer += part

    def deadline(self, timeout=None):
        return time.monotonic() + (self.timeout if timeout is None else timeout)

    def read_head(self, timeout=None):
        """The head of an HTTP answer as bytes."""
        deadline = self.deadline(timeout)
        while b"\r\n\r\n" not in self.buffer:
            self._fill(deadline)
        end = self.buffer.index(b"\r\n\r\n") + 4
        head = bytes(self.buffer[:end])
        del self.buffer[:end]
        return head

    def read_all(self, timeout=None):
        """All until the server closes; TimeoutError when it does not."""
        deadline = self.deadline(timeout)
        with contextlib.suppress(Closed):
            while True:
                self._fill(deadline)
        out = bytes(self.buffer)
        self.buffer.clear()
        return out

    # -- SSTP
    @staticmethod
    def request(host="www.example.com", extra="", method="SSTP_DUPLEX_POST", uri=URI):
        return (f"{method} {uri} HTTP/1.1\r\nContent-Length: 18446744073709551615\r\nHost: {host}\r\n"
                f"SSTPCORRELATIONID: {{11111111-2222-3333-4444-555555555555}}\r\n{extra}\r\n").encode()

    def http(self, request=None, with_request=b""):
        """The HTTP exchange. with_request: bytes sent in the same write."""
        self.send((request or self.request()) + with_request)
        head = self.read_head()
        if not head.startswith(b"HTTP/1.1 200"):
            raise Protocol(f"answer {head!r}")
        return head

    def read(self, timeout=None):
        """The next Message or Frame."""
        if self.inbox:
            return self.inbox.popleft()
        deadline = self.deadline(timeout)
        while True:
            if len(self.buffer) >= 4:
                version, flags, length = struct.unpack("!BBH", self.buffer[:4])
                if version != 0x10 or flags not in (0, 1) or not 4 <= length <= 4095:
                    raise Protocol(f"the server's header is {self.buffer[:4].hex()}")
                if len(self.buffer) >= length:
                    break
            self._fill(deadline)
        body = bytes(self.buffer[4:length])
        del self.buffer[:length]
        item = self._message(body) if flags else self._frame(body)
        self.seen.append(item)
        return item

    @staticmethod
    def _message(body):
        kind, count = struct.unpack("!HH", body[:4])
        rest, attrs = body[4:], []
        while rest:
            length = struct.unpack("!H", rest[2:4])[0]
            if not 4 <= length <= len(rest):
                raise Protocol(f"the server's attribute is {rest.hex()}")
            attrs.append((rest[1], rest[4:length]))
            rest = rest[length:]
        if count != len(attrs):
            raise Protocol(f"the server's message counts {count} attributes and has {len(attrs)}")
        return Message(kind, attrs)

    @staticmethod
    def _frame(body):
        """Open SSTP takes the first four bytes to be these: a server may not compress them, whatever LCP allows."""
        if len(body) < 4 or body[:2] != b"\xff\x03" or body[2] & 1 or not body[3] & 1:
            raise Protocol(f"the server's frame starts with {body[:4].hex()}")
        return Frame(int.from_bytes(body[2:4], "big"), body[4:])

    def expect(self, kind, timeout=None):
        """The next control message, which must be of this kind; PPP frames before it are kept for pump()."""
        deadline, kept = self.deadline(timeout), []
        while True:
            item = self.read(max(0.001, deadline - time.monotonic()))
            if isinstance(item, Frame):
                kept.append(item)
                continue
            self.inbox.extendleft(reversed(kept))
            if item.kind != kind:
                raise Protocol(f"{MESSAGES[item.kind]} {item.attributes} instead of {MESSAGES[kind]}")
            return item

    def status(self, msg):
        """[(AttribID, Status)] of the Status Info in a message."""
        return [struct.unpack("!3xBI", v[:8]) for i, v in msg.attributes if i == 2]

    def connect_request(self, data=CCR_BYTES, piece=None):
        self.send(data, piece)
        self.take_ack()

    def take_ack(self):
        ack = self.expect(CC_ACK)
        (ident, value), = ack.attributes
        if ident != 4 or len(value) != 36:
            raise Protocol(f"ACK with {ack.attributes}")
        self.hash_mask, self.nonce = value[3], value[4:]

    def send_connected(self, hlak=None, algorithm="sha256", **kw):
        self.send(call_connected(self.nonce, kw.pop("cert", self.cert), self.hlak if hlak is None else hlak, algorithm,
                                 **kw))

    # -- PPP
    def send_ppp(self, protocol, data):
        self.send(packet(b"\xff\x03" + struct.pack("!H", protocol) + data))

    def ident(self):
        self._ident = (self._ident + 1) & 0xFF
        return self._ident

    def start_lcp(self):
        self.send_ppp(LCP, cp(CONF_REQ, self.ident(), option(5, self.magic)))

    def start_ipv6cp(self):
        self.send_ppp(IPV6CP, cp(CONF_REQ, self.ident(), option(1, self.iid)))

    def start_ipcp(self):
        self.send_ppp(IPCP, cp(CONF_REQ, self.ident(), self._ip_options()))

    def _ip_options(self):
        return option(3, socket.inet_aton(self.address or "0.0.0.0"))

    def pump(self, until, timeout=None, user=None, password=None, method=None):
        """Answers what comes as a PPP client does until until() is true. Closed, Protocol, TimeoutError otherwise."""
        deadline = self.deadline(timeout)
        self.credentials = (user, password, method)
        while not until():
            item = self.read(max(0.001, deadline - time.monotonic()))
            if isinstance(item, Message):
                self._on_message(item)
            else:
                self._on_frame(item)

    def _on_message(self, m):
        if m.kind == ECHO_REQUEST:
            if self.answer_echo:
                self.send(message(ECHO_RESPONSE))
        elif m.kind in (ABORT, DISCONNECT):
            self.ended = m
            self.send(message(ABORT, status_info(0, 0)) if m.kind == ABORT else message(DISCONNECT_ACK))
        elif m.kind != ECHO_RESPONSE:
            raise Protocol(f"{MESSAGES[m.kind]} is not expected")

    def _on_frame(self, f):
        if f.protocol in (LCP, IPCP) or (f.protocol == IPV6CP and self.iid):
            self._on_cp(f)
        elif f.protocol == PAP:
            self.auth_done, self.auth_failed = f.data[0] == 2, f.data[0] == 3
            n = f.data[4] if len(f.data) > 4 else 0
            self.failure_text = f.data[5:5 + n].decode(errors="replace")
        elif f.protocol == CHAP:
            self._on_chap(f.data)
        elif f.protocol == IPV6CP:
            self.send_ppp(LCP, cp(PROTO_REJ, self.ident(), struct.pack("!H", f.protocol) + f.data))
        elif f.protocol in (IP, IPV6):
            self.on_packet(f)
        else:
            raise Protocol(f"frame of protocol {f.protocol:04x}")

    def on_packet(self, f):
        """Network data that nobody waits for: dropped."""

    def _on_cp(self, f):
        code, ident, length = struct.unpack("!BBH", f.data[:4])
        data = f.data[4:length]
        if code == CONF_REQ:
            self._on_conf_req(f.protocol, ident, data)
        elif code == CONF_ACK:
            self._acked[f.protocol].add("ours")
        elif code == CONF_NAK and f.protocol == IPCP:
            for kind, value in options(data):
                if kind == 3:
                    self.address = socket.inet_ntoa(value)
                elif kind in (129, 131):
                    self.dns.append(socket.inet_ntoa(value))
            self.start_ipcp()
        elif code == CONF_NAK and f.protocol == IPV6CP:
            self.iid = dict(options(data))[1]
            self.start_ipv6cp()
        elif code == CONF_REJ and f.protocol == LCP:
            self.send_ppp(LCP, cp(CONF_REQ, self.ident()))
        elif code == TERM_REQ:
            self.terminate_text = data.decode(errors="replace")
            self.send_ppp(f.protocol, cp(TERM_ACK, ident, data))
        elif code == LCP_ECHO:
            self.send_ppp(LCP, cp(LCP_ECHO_REPLY, ident, self.magic + data[4:]))
        if self._acked[f.protocol] == {"ours", "theirs"}:
            self.open.add(f.protocol)

    def _on_conf_req(self, protocol, ident, data):
        method = self.credentials[2]
        if protocol == LCP and method:
            offered = dict(options(data)).get(3)
            if offered != AUTH_OPTION[method]:
                if offered is None:
                    raise Protocol("the server wants no authentication")
                self.send_ppp(LCP, cp(CONF_NAK, ident, option(3, AUTH_OPTION[method])))
                return
        if protocol == IPV6CP:
            self.server_iid = dict(options(data)).get(1)
        self.send_ppp(protocol, cp(CONF_ACK, ident, data))
        self._acked[protocol].add("theirs")

    def _on_chap(self, data):
        code, ident, length = struct.unpack("!BBH", data[:4])
        user, password, method = self.credentials
        body = data[4:length]
        if code == 1:
            challenge = body[1:1 + body[0]]
            if method == "mschapv2":
                self._chap = MsChapV2(user, password, challenge)
                value = self._chap.value()
            else:
                value = hashlib.md5(bytes([ident]) + password.encode() + challenge).digest()
            self.send_ppp(CHAP, cp(2, ident, bytes([len(value)]) + value + user.encode()))
        elif code == 3:
            if self._chap:
                if not body.decode().startswith(self._chap.authenticator):
                    raise Protocol(f"authenticator response {body!r} is wrong")
                self.hlak = self._chap.hlak
            self.auth_done = True
        elif code == 4:
            self.auth_failed, self.failure_text = True, body.decode(errors="replace")

    # -- whole steps
    def open_lcp(self, method="pap", user=None, password=None):
        self.start_lcp()
        self.pump(lambda: LCP in self.open, user=user, password=password, method=method)

    def login(self, user, password, method="pap", timeout=None):
        """LCP and authentication. True when the server accepts."""
        if LCP not in self.open:
            self.open_lcp(method, user, password)
        if method == "pap":
            u, p = user.encode(), password.encode()
            self.send_ppp(PAP, cp(1, self.ident(), bytes([len(u)]) + u + bytes([len(p)]) + p))
        self.pump(lambda: self.auth_done or self.auth_failed, timeout, user, password, method)
        return self.auth_done

    def open_ipcp(self):
        self.start_ipcp()
        self.pump(lambda: IPCP in self.open)
        return self.address

    def open_ipv6cp(self):
        """Returns the interface identifier that was agreed on."""
        self.start_ipv6cp()
        self.pump(lambda: IPV6CP in self.open)
        return self.iid

    def call(self, user, password, method="mschapv2", algorithm="sha256"):
        """A whole call. Returns the address."""
        self.http()
        self.connect_request()
        if not self.login(user, password, method):
            raise Protocol(f"login refused: {self.failure_text}")
        self.send_connected(algorithm=algorithm)
        return self.open_ipcp()

    def send_ip(self, data):
        self.send_ppp(IP, data)

    def ping(self, dst, seq=1, timeout=5, data=b"gatehouse"):
        """An ICMP echo through the call: True when its answer comes back unchanged."""
        ident = os.getpid() & 0xFFFF
        self.send_ip(icmp_echo(self.address, dst, ident, seq, data))
        return self.wait_packet(
            lambda f: f.protocol == IP and len(f.data) >= 28 and f.data[9] == 1 and f.data[20] == 0 and
            struct.unpack("!HH", f.data[24:28]) == (ident, seq) and f.data[28:] == data, timeout) is not None

    def ping6(self, dst, src=None, seq=1, timeout=5, data=b"gatehouse"):
        """The same over IPv6, from this call's link-local address; addresses are 16 bytes."""
        ident, src = os.getpid() & 0xFFFF, src or link_local(self.iid)
        self.send_ppp(IPV6, icmp6_echo(src, dst, ident, seq, data))
        return self.wait_packet(
            lambda f: f.protocol == IPV6 and f.data[6] == 58 and f.data[8:40] == dst + src and f.data[40] == 129 and
            struct.unpack("!HH", f.data[44:48]) == (ident, seq) and f.data[48:] == data, timeout) is not None

    def wait_packet(self, wanted, timeout=5):
        """The first network packet for which wanted(frame) holds; None when it does not come in time."""
        got = []

        def on_packet(f):
            if not got and wanted(f):
                got.append(f.data)
        old, self.on_packet = self.on_packet, on_packet
        try:
            self.pump(lambda: got, timeout)
        except TimeoutError:
            return None
        finally:
            self.on_packet = old
        return got[0]

    def hang_up(self):
        """DISCONNECT and its answer, then the close."""
        self.send(message(DISCONNECT, status_info()))
        with contextlib.suppress(Closed):
            while True:
                item = self.read()
                if isinstance(item, Message) and item.kind == DISCONNECT_ACK:
                    break
        self.close()

    def fate(self, timeout=None):
        """
        What the server makes of what was sent, reading until it closes: (messages, closed). PPP frames are left out. A
        closing server has its ABORT or DISCONNECT answered, as a client would.
        """
        said, deadline = [], self.deadline(timeout)
        try:
            while True:
                item = self.read(max(0.001, deadline - time.monotonic()))
                if isinstance(item, Message):
                    said.append(item)
                    if item.kind == ABORT:
                        self.send(message(ABORT, status_info(0, 0)))
                    elif item.kind == DISCONNECT:
                        self.send(message(DISCONNECT_ACK))
        except Closed:
            return said, True
        except TimeoutError:
            return said, False
