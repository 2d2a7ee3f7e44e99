#!/usr/bin/env python3
"""The systemd units: systemd's own parser has nothing to say, and the rights are those that are meant. Usage: test_units.py PROGRAM"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

PROGRAM = os.path.abspath(sys.argv.pop(1))
PACKAGING = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../packaging")
UNITS = ["gatehouse.service", "gatehouse-connect@.service"]


def unit(name):
    with open(os.path.join(PACKAGING, name), encoding="utf-8") as f:
        return f.read()


def values(text, key):
    return re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)


class Units(unittest.TestCase):
    def test_systemd_takes_them(self):
        if not shutil.which("systemd-analyze"):
            self.skipTest("systemd-analyze is not installed")
        with tempfile.TemporaryDirectory(prefix="gatehouse-units-") as folder:
            for name in UNITS:
                with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
                    f.write(unit(name).replace("/usr/local/sbin/gatehouse", PROGRAM))
            p = subprocess.run(["systemd-analyze", "verify", "--man=no", *UNITS], cwd=folder, capture_output=True, text=True, timeout=60,
                               check=False)
            self.assertEqual((p.returncode, p.stdout + p.stderr), (0, ""))

    def test_rights_of_the_client(self):
        text = unit("gatehouse-connect@.service")
        self.assertEqual(values(text, "CapabilityBoundingSet"),
                         ["CAP_NET_ADMIN CAP_SETUID CAP_SETGID CAP_SETPCAP CAP_KILL CAP_DAC_READ_SEARCH"])
        self.assertEqual(values(text, "ProtectSystem"), ["strict"])
        self.assertEqual(values(text, "ReadWritePaths"), ["-/etc/resolv.conf"])
        self.assertEqual(values(text, "DeviceAllow"), ["/dev/net/tun rw"])
        self.assertEqual(values(text, "NoNewPrivileges"), ["yes"])
        self.assertEqual(values(text, "LoadCredential"), ["password:/etc/gatehouse/connect/%i.password",
                                                          "proxy-password:/etc/gatehouse/connect/%i.proxy-password"])
        self.assertEqual(values(text, "SetCredential"), ["password:\\n", "proxy-password:\\n"])  # empty: none
        self.assertEqual(values(text, "Documentation"), ["man:gatehouse-connect(8)"])
        self.assertNotIn("--password", text)

    def test_what_a_killed_one_left_stays_for_the_next(self):
        for name in UNITS:  # the client's folder is inside the server's
            self.assertEqual(values(unit(name), "RuntimeDirectoryPreserve"), ["yes"], name)


if __name__ == "__main__":
    unittest.main()
