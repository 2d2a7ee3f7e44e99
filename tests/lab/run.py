#!/usr/bin/env python3
"""Runs the laboratory's tests: ./run.py [-v] [-l] [NAME...]   (NAME: part of `file.test`)

A test is a function test_*(lab) or test_*(lab, shared) in test_*.py. `shared` is what the file's own fixture(lab), a
context manager, yields: a server that several tests use; it is made anew after a test that failed.
Logs: out/<file.test>/.
"""

import contextlib
import glob
import importlib
import inspect
import os
import sys
import time
import traceback

sys.dont_write_bytecode = True
import lablib  # noqa: E402  pylint: disable=wrong-import-position


def discover(filters):
    """[(module, [(full name, function)])], tests that share the fixture first."""
    found = []
    for path in sorted(glob.glob(os.path.join(lablib.HERE, "test_*.py"))):
        module = importlib.import_module(os.path.basename(path)[:-3])
        tests = [(f"{module.__name__[5:]}.{n[5:]}", f) for n, f in vars(module).items()
                 if n.startswith("test_") and inspect.isfunction(f) and f.__module__ == module.__name__]
        tests = [t for t in tests if not filters or any(x in t[0] for x in filters)]
        tests.sort(key=lambda t: len(inspect.signature(t[1]).parameters) < 2)
        if tests:
            found.append((module, tests))
    return found


class Runner:
    def __init__(self, lab, verbose):
        self.lab, self.verbose = lab, verbose
        self.passed = self.failed = self.skipped = 0
        self.stack, self.shared = None, None

    def drop_shared(self, broken):
        """Ends the shared fixture; in order unless broken."""
        stack, self.stack, self.shared = self.stack, None, None
        if not stack:
            return
        if broken:
            err = lablib.LabError("a test failed")
            with contextlib.suppress(lablib.LabError):
                stack.__exit__(lablib.LabError, err, None)
        else:
            stack.close()

    def get_shared(self, module):
        if self.stack is None:
            stack = contextlib.ExitStack()
            self.shared = stack.enter_context(module.fixture(self.lab))
            self.stack = stack
        return self.shared

    def one(self, name, body):
        """Runs body; prints its line. True when it passed."""
        self.lab.begin(name)
        began, error = time.monotonic(), None
        try:
            body()
        except lablib.Skip as e:
            self.skipped += 1
            print(f"skip {name}: {e}", flush=True)
            return True
        except Exception as e:  # a failure of this test, whatever it is
            error = e
        took = time.monotonic() - began
        if error is None:
            self.passed += 1
            print(f"ok {name} ({took:.1f} s)", flush=True)
            return True
        self.failed += 1
        text = str(error) if isinstance(error, lablib.LabError) else f"{type(error).__name__}: {error}"
        print(f"not ok {name}: {' '.join(text.split())} ({took:.1f} s)", flush=True)
        trace = "".join(traceback.format_exception(error))
        with open(os.path.join(self.lab.test_dir, "traceback.txt"), "w", encoding="utf-8") as f:
            f.write(trace)
        if self.verbose:
            print("  | " + trace.replace("\n", "\n  | "), flush=True)
        return False

    def module(self, module, tests):
        for name, func in tests:
            shares = len(inspect.signature(func).parameters) == 2
            if not shares and self.stack is not None:
                self.finish(module)
            good = self.one(name, (lambda f=func: f(self.lab, self.get_shared(module))) if shares
                            else (lambda f=func: f(self.lab)))
            if not good and shares:
                self.drop_shared(True)
        self.finish(module)

    def finish(self, module):
        """The shared server must end well too: a test of its own."""
        if self.stack is not None:
            self.one(f"{module.__name__[5:]}.stop", lambda: self.drop_shared(False))


def main():
    args = sys.argv[1:]
    verbose = "-v" in args
    found = discover([a for a in args if not a.startswith("-")])
    if "-l" in args:
        for _, tests in found:
            print("\n".join(n for n, _ in tests))
        return 0
    lablib.on_signals()
    began = time.monotonic()
    try:
        lab = lablib.Lab()
    except lablib.Skip as e:
        n = sum(len(t) for _, t in found)
        print(f"skip everything: {e}\n0 passed, 0 failed, {n} skipped")
        return 0
    r = Runner(lab, verbose)
    try:
        for module, tests in found:
            r.module(module, tests)
    finally:
        r.drop_shared(True)
        lablib.teardown()
        print(f"# {time.monotonic() - began:.0f} s, logs in {os.path.relpath(lablib.OUT)}")
        print(f"{r.passed} passed, {r.failed} failed" + (f", {r.skipped} skipped" if r.skipped else ""), flush=True)
    return 1 if r.failed else 0


if __name__ == "__main__":
    sys.path.insert(0, lablib.HERE)
    sys.exit(main())
