"""`make scan`: `kms-compliance scan` over the demo's fleet of keys in a local AWS, on the screen and as a page."""

import subprocess
import sys

import fleet
import local_aws
from local_aws import ROOT, LocalAws, part, quick_binaries

PAGE = ROOT / ".local/scan.html"
# Nothing is wrong with a scan that found something, or that could not read what the local AWS lacks.
COMPLETE, INCOMPLETE = 0, 4


def main():
    with part("build the program"):
        program = quick_binaries()["kms-compliance"]
    with LocalAws(ROOT / ".local/scan.log") as aws:
        with part("lay a fleet of keys"):
            fleet.create(aws)
        with part("scan it"):
            show(aws, program)


def show(aws, program):
    """Scans the keys of a local AWS: prints the table, and where the page lies."""
    PAGE.parent.mkdir(exist_ok=True)
    print(f"\n  $ kms-compliance scan --output {PAGE.relative_to(ROOT)}\n", flush=True)
    status = run(aws, program, "--output", PAGE, stdout=None, stderr=None).returncode
    if status not in (COMPLETE, INCOMPLETE):
        sys.exit(f"the scan ended with {status}")
    print(f"\nThe same as a page that needs nothing else: {PAGE.as_uri()}\n")


def run(aws, program, *arguments, environment=None, **options):
    """Runs a scan at the whole of the local AWS's quotas."""
    command = [program, "scan", "--quota-share", "1", *map(str, arguments)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.run(command, env=environment or aws.environment, **options)


if __name__ == "__main__":
    local_aws.run(main)
