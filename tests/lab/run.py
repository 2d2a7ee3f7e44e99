#!/usr/bin/env python3
"""Runs the laboratory's tests: ./run.py [-v] [-l] [--strict] [NAME...]   (NAME: part of `file.test`)

A test is a function test_*(lab) or test_*(lab, shared) in test_*.py. `shared` is what the file's own fixture(lab), a
context manager, yields: a server that several tests use; it is made anew after a test that failed.
Logs: out/<file.test>/, or below LAB_OUT. --strict: what cannot run here has failed. The exit status is 0 only when
every test that was asked for ran to its end and none failed.

Files whose tests mostly wait for deadlines say BESIDE = N: they run in process N beside the others, with a laboratory of
its own; --beside=N: only those. Files that say LAST = True (they measure what others feel) come when all else is over.
"""

import contextlib
import glob
import importlib
import inspect
import os
import re
import subprocess
import sys
import threading
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
    return sorted(found, key=lambda f: last(f[0]))


class Runner:
    def __init__(self, lab, verbose, strict):
        self.lab, self.verbose, self.strict = lab, verbose, strict
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
            if not self.strict:
                self.skipped += 1
                print(f"skip {name}: {e}", flush=True)
                return True
            error = lablib.LabError(f"cannot run here: {e}")
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


def last(module):
    return getattr(module, "LAST", False)


def run(found, verbose, strict, alone=lambda: None):
    """
    Runs all, those that are last after alone(); returns (passed, failed, skipped, reason why it was cut short or None).
    """
    r, short = None, None
    try:
        lab = lablib.Lab()
        r = Runner(lab, verbose, strict)
        for module, tests in found:
            if last(module):
                alone()
            r.module(module, tests)
    except lablib.Skip as e:  # of the laboratory itself
        print(f"{'not ok' if strict else 'skip'} everything: {e}")
        n = sum(len(t) for _, t in found)
        return (0, n, 0, None) if strict else (0, 0, n, None)
    except (KeyboardInterrupt, SystemExit) as e:
        short = f"stopped by {type(e).__name__} {e}".strip()
    except Exception as e:  # a fault of the laboratory: no test's
        short = f"{type(e).__name__}: {e}"
        traceback.print_exc()
    finally:
        if r:
            r.drop_shared(True)
        lablib.teardown()
    return (r.passed, r.failed, r.skipped, short) if r else (0, 0, 0, short)


class Beside:
    """Another process: its lines are passed on as they come, its count is added at the end."""

    COUNT = re.compile(r"(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$")

    def __init__(self, number, args):
        env = dict(os.environ, LAB_OUT=os.path.join(lablib.OUT, f"beside-{number}"))
        self.process = subprocess.Popen([sys.executable, os.path.abspath(__file__), f"--beside={number}", *args],
                                        env=env, stdout=subprocess.PIPE, text=True)
        self.count = None
        self.thread = threading.Thread(target=self.pass_on)
        self.thread.start()

    def pass_on(self):
        for line in self.process.stdout:
            m = self.COUNT.match(line)
            if m:
                self.count = tuple(int(n or 0) for n in m.groups())
            else:
                print(line, end="", flush=True)

    def end(self, stop):
        """(passed, failed, skipped, reason why it was cut short or None)"""
        if stop:
            self.process.terminate()
        status = self.process.wait()
        self.thread.join()
        if self.count is None or (status and not self.count[1]):
            return (*(self.count or (0, 0, 0)), f"the tests beside ended with {status}")
        return (*self.count, None)


def run_all(found, beside, args):
    """What run() returns, of all tests. The other processes begin when the first has made its folder."""
    strict, verbose = "--strict" in args, "-v" in args
    if not found or not beside:
        return run(found or beside, verbose, strict)
    lablib.fresh_out()
    others = [Beside(n, args) for n in sorted({m.BESIDE for m, _ in beside})]
    counts = [run(found, verbose, strict, lambda: [o.process.wait() for o in others])]
    counts += [o.end(bool(counts[0][3])) for o in others]
    return (*(sum(c[i] for c in counts) for i in range(3)), next((c[3] for c in counts if c[3]), None))


def main():
    args = sys.argv[1:]
    names = [a for a in args if not a.startswith("-")]
    only = next((int(a[9:]) for a in args if re.fullmatch(r"--beside=\d", a)), None)
    unknown = [a for a in args if a.startswith("-") and not re.fullmatch(r"-v|-l|--strict|--beside=\d", a)]
    found = discover(names)
    missing = [n for n in names if not any(n in t for _, tests in found for t, _ in tests)]
    if unknown or missing:
        print(f"unknown: {' '.join(unknown + missing)}; see run.py -l", file=sys.stderr)
        return 2
    if "-l" in args:
        for _, tests in found:
            print("\n".join(n for n, _ in tests))
        return 0
    lablib.on_signals()
    began = time.monotonic()
    beside = [f for f in found if getattr(f[0], "BESIDE", 0) and only in (None, f[0].BESIDE)]
    rest = [f for f in found if not getattr(f[0], "BESIDE", 0) and only is None]
    passed, failed, skipped, short = run_all(rest, beside, args)
    if lablib.Sstpc.redials:
        print(f"# sstpc dialled again for a race of its own: {lablib.Sstpc.redials} times")
    print(f"# {time.monotonic() - began:.0f} s, logs in {os.path.relpath(lablib.OUT)}")
    if short:
        print(f"not ok run: cut short: {short}")
        failed += 1
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.path.insert(0, lablib.HERE)
    sys.exit(main())
