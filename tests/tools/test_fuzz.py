#!/usr/bin/env python3
"""The runner of the fuzz targets, over programs that stand in for them. Usage: test_fuzz.py TOOLS/FUZZ"""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

FUZZ = os.path.abspath(sys.argv.pop(1))
GOOD = "echo 'Done 5 runs in 1 second(s)'"


class Fuzz(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="gatehouse-fuzz-")
        self.addCleanup(folder.cleanup)
        self.root = folder.name
        self.script("ninja", "true")
        os.makedirs(self.path("tools"))
        shutil.copy(FUZZ, self.path("tools/fuzz"))

    def path(self, name):
        return os.path.join(self.root, name)

    def script(self, name, text):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "w", encoding="utf-8") as f:
            f.write(f"#!/bin/sh\n{text}\n")
        os.chmod(self.path(name), 0o755)

    def target(self, name, text=GOOD):
        self.script(f"build-fuzz/tests/fuzz/fuzz_{name}", text)
        os.makedirs(self.path(f"tests/fuzz/corpus/{name}"))
        with open(self.path(f"tests/fuzz/corpus/{name}/seed"), "w", encoding="utf-8") as f:
            f.write("x")

    def run_it(self, status, last):
        p = subprocess.run([self.path("tools/fuzz"), "1"], capture_output=True, text=True, check=False,
                           env={**os.environ, "PATH": f"{self.root}:{os.environ['PATH']}"})
        self.assertEqual((p.returncode, p.stdout.splitlines()[-1]), (status, last), p.stdout + p.stderr)
        return p.stdout

    def test_enough(self):
        for name in "abcdefg":
            self.target(name)
        self.assertEqual(self.run_it(0, "7 passed, 0 failed").count("\nok "), 6)

    def test_too_few(self):
        for name in "abcdef":
            self.target(name)
        os.makedirs(self.path("tests/fuzz/corpus/g"))  # a corpus, and no target
        self.assertIn("6 targets, there should be 7 at least", self.run_it(1, "6 passed, 1 failed"))

    def test_one_fails(self):
        for name in "abcdef":
            self.target(name)
        self.target("g", GOOD + "; exit 77")
        self.assertIn("not ok fuzz_g", self.run_it(1, "6 passed, 1 failed"))

    def test_one_does_not_run(self):
        for name in "abcdef":
            self.target(name)
        self.target("g", "echo 'Done 0 runs in 1 second(s)'")
        self.assertIn("not ok fuzz_g", self.run_it(1, "6 passed, 1 failed"))

    def test_the_build_fails(self):
        for name in "abcdefg":
            self.target(name)
        self.script("ninja", "echo an error; exit 1")
        self.run_it(1, "an error")


if __name__ == "__main__":
    unittest.main()
