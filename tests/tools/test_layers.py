#!/usr/bin/env python3
"""The layer check finds what it is there for, in small source trees made for that. Usage: test_layers.py LAYERS.PY"""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

LAYERS = os.path.abspath(sys.argv.pop(1))
BASE = "int ct_equal(int a) { return a; }\nvoid log_setup(void) { }\n"
CORE = """
#include <stdlib.h>
#include <string.h>
int ct_equal(int a);
int core_call(char *p, const char *q, size_t n);
int core_call(char *p, const char *q, size_t n)
{
    %s
    memcpy(p, q, n);
    return ct_equal(memcmp(p, q, n)) + !malloc(n);
}
"""


class Layers(unittest.TestCase):
    good = None  # a folder with good archives, made by the first test

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="gatehouse-layers-")
        self.addCleanup(folder.cleanup)
        self.root = folder.name
        if Layers.good:
            shutil.copytree(Layers.good.name, self.root, dirs_exist_ok=True)
            return
        self.archive("base", BASE)
        for core in ("http", "sstp", "auth", "ppp", "ip"):
            self.core(core)
        Layers.good = tempfile.TemporaryDirectory(prefix="gatehouse-layers-")
        shutil.copytree(self.root, Layers.good.name, dirs_exist_ok=True)

    def core(self, name, statement="", *options, declare=""):
        self.archive(name, declare + (CORE % statement).replace("core_call", name + "_call"), *options)

    def write(self, path, text):
        path = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def archive(self, layer, text, *options):
        source = self.write(f"made/{layer}.c", text)
        folder = os.path.join(self.root, "build/src", layer)
        os.makedirs(folder, exist_ok=True)
        subprocess.run(["cc", "-w", "-O1", *options, "-c", source, "-o", f"{folder}/{layer}.o"], check=True)
        subprocess.run(["ar", "rcs", f"{folder}/lib{layer}.a", f"{folder}/{layer}.o"], check=True)

    def check(self, status, *texts):
        p = subprocess.run([sys.executable, LAYERS, "build"], cwd=self.root, capture_output=True, text=True, check=False)
        self.assertEqual(p.returncode, status, p.stdout + p.stderr)
        self.assertEqual(p.stderr, "")
        self.assertEqual(p.stdout.count("\n"), len(texts), p.stdout)
        for text in texts:
            self.assertIn(text, p.stdout)

    def impure(self, statement, symbol, *options, core="sstp", **more):
        self.core(core, statement, *options, **more)
        self.check(1, f"a protocol core references {symbol}\n")
        self.core(core)

    def test_good(self):
        self.write("src/base/a.h", "")
        self.write("src/ppp/a.c", '#include "base/a.h"\n#include "auth/a.h"\n#include "ppp/b.h"\n#include <stdio.h>\n')
        self.core("ppp", "auth_call(p, q, n);")
        self.check(0)

    def test_impure(self):
        self.impure("getaddrinfo(p, q, 0, 0);", "getaddrinfo")
        self.impure("read(0, p, n);", "read")
        self.impure("time(0);", "time")

    def test_names_that_nobody_listed(self):
        self.impure("some_library_of_ours(p);", "some_library_of_ours")
        self.impure("syscall(318, p, n, 0);", "syscall")
        self.impure("EVP_Digest(p, n, p, 0, 0, 0);", "EVP_Digest", core="auth")
        self.impure("*p = *environ[0];", "environ", declare="extern char **environ;\n")

    def test_fortified(self):
        """_FORTIFY_SOURCE renames calls: the good ones stay good, the others stay others."""
        declare = "#include <unistd.h>\nchar room[8];\n"
        fortified = ("-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2")
        self.core("ip", "memcpy(room, q, n);", *fortified, declare=declare)
        objects = os.path.join(self.root, "build/src/ip/libip.a")
        self.assertIn("__memcpy_chk", subprocess.run(["nm", objects], capture_output=True, text=True, check=True).stdout)
        self.check(0)
        self.impure("read(0, room, n);", "read", *fortified, declare=declare, core="ip")

    def test_other_layers_symbols(self):
        self.impure("auth_call(p, q, n);", "auth_call")  # sstp has nothing to do with auth
        self.impure("log_setup();", "log_setup")  # base's own, but not for a core

    def test_includes(self):
        self.write("src/http/a.h", '#pragma once\n#include "server/config.h"\n')
        self.write("src/base/b.c", '  #  include "http/a.h"\n')
        self.write("src/sstp/c.c", '#include "auth/login.h"\n')
        self.check(1, "src/http/a.h:2: http must not include server", "src/base/b.c:1: base must not include http",
                   "src/sstp/c.c:1: sstp must not include auth")

    def test_calls(self):
        self.write("src/net/a.c", "strcpy(a, b);\nif (memcmp(hlak, b, 32)) {}\n")
        self.check(1, "src/net/a.c:1: strcpy is not used here", "src/net/a.c:2: secrets are compared with ct_equal")

    def test_an_archive_is_missing(self):
        os.remove(os.path.join(self.root, "build/src/auth/libauth.a"))
        self.check(1, "build/src/auth/libauth.a: is not there")

    def test_an_unknown_folder(self):
        self.write("src/misc/a.c", '#include "base/a.h"\n')
        self.check(1, "src/misc/a.c:1: misc is no layer")


if __name__ == "__main__":
    unittest.main()
