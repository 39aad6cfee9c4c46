#!/usr/bin/env python3
"""The contract of the local AWS: what boto3 gets from it is what it would get from AWS.

    pip install boto3
    python3 tests/contract/run.py --endpoint http://127.0.0.1:PORT --clock http://127.0.0.1:MAILBOX
    python3 tests/contract/run.py --endpoint http://127.0.0.1:4566 --foreign ministack

Prints a line a check, then `N passed, N failed`; the exit code is 0 when none failed. The clock checks move the system's
clock some days ahead, so run the suite against a system that was started for it. `--only s3` runs one service.
"""

import argparse
import sys
import unittest

from botocore.exceptions import BotoCoreError

import differences
import harness

import check_clock
import check_dynamodb
import check_kms
import check_s3
import check_sesv2
import check_sns
import check_sqs
import check_unknown

# The clock comes last: presigned addresses and signatures are made with this machine's time.
MODULES = [check_dynamodb, check_s3, check_kms, check_sqs, check_sns, check_sesv2, check_unknown, check_clock]


class Result(unittest.TestResult):
    """Prints each check as one line, and applies the table of differences."""

    def __init__(self, foreign):
        super().__init__()
        self.foreign = foreign
        self.n_passed = self.n_failed = self.n_other = 0

    def startTest(self, test):
        super().startTest(test)
        self.trouble = None

    def addError(self, test, err):
        if hasattr(test, "_testMethodName"):
            self.trouble = err
        else:
            # What a class or module prepares for its checks failed, so that none of them ran.
            self.n_failed += 1
            self.line("FAIL", test.id(), f"{err[0].__name__}: {err[1]}".splitlines()[0][:300])

    addFailure = addError

    def addSkip(self, test, reason):
        self.trouble = reason

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.trouble = err

    def stopTest(self, test):
        super().stopTest(test)
        name = harness.name_of(test)
        row = differences.ROWS.get(name) if self.foreign else None
        if isinstance(self.trouble, str):
            self.n_other += 1
            self.line("skip", name, self.trouble)
        elif row and row.is_expected_to_fail and not self.is_unreachable():
            if self.trouble:
                self.n_other += 1
                self.line("differs", name, row.what)
            else:
                self.n_failed += 1
                self.line("FAIL", name, f"{self.foreign} agrees with AWS now: drop the row in differences.py")
        elif self.trouble:
            self.n_failed += 1
            kind, error, _ = self.trouble
            self.line("FAIL", name, f"{kind.__name__}: {error}".splitlines()[0][:300])
        else:
            self.n_passed += 1
            self.line("ok", name)

    def is_unreachable(self):
        """Whether the trouble is that nobody answered, which is no difference."""
        return self.trouble is not None and issubclass(self.trouble[0], BotoCoreError)

    def line(self, mark, name, more=""):
        print(f"{mark:8}{name}{'  – ' + more if more else ''}", flush=True)


def flatten(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from flatten(item)
        else:
            yield item


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoint", required=True, help="where AWS's APIs listen")
    parser.add_argument("--clock", help="where POST /clock listens")
    parser.add_argument("--foreign", metavar="NAME", help="the endpoint is this emulator, not ours")
    parser.add_argument("--only", metavar="SERVICE", help="dynamodb, s3, kms, sqs, sns, sesv2, unknown or clock")
    arguments = parser.parse_args()
    if arguments.foreign and arguments.foreign != differences.FOREIGN:
        parser.error(f"the table of differences is for {differences.FOREIGN}")
    harness.configure(arguments.endpoint, arguments.clock, arguments.foreign)

    loader = unittest.TestLoader()
    tests = [test for module in MODULES for test in flatten(loader.loadTestsFromModule(module))]
    names = {harness.name_of(test) for test in tests}
    unknown = sorted(set(differences.ROWS) - names)
    if unknown:
        sys.exit(f"differences.py names checks that do not exist: {', '.join(unknown)}")
    if arguments.only:
        tests = [test for test in tests if harness.name_of(test).startswith(arguments.only + ".")]
    result = Result(arguments.foreign)
    unittest.TestSuite(tests).run(result)
    other = f", {result.n_other} not applicable (named above)" if result.n_other else ""
    print(f"{result.n_passed} passed, {result.n_failed} failed{other}")
    sys.exit(1 if result.n_failed or not result.n_passed else 0)


if __name__ == "__main__":
    main()
