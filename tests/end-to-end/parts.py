"""Runs the parts of a make target one after the other, and says at the end how long each took.

    parts.py NAME COMMAND [NAME COMMAND]…

Stops at the first part that fails and ends as that one ended. A part can report parts of its own as lines
"<seconds> <name>" in the file `$PARTS`. Only the standard library: it runs before the tools are there.
"""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time


def main(arguments):
    child = None

    def pass_on(number, _frame):
        # Ctrl-C in a terminal reaches the child by itself; whoever signals us alone does not.
        if child:
            child.send_signal(signal.SIGTERM if number != signal.SIGINT else number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)

    status, rows, start = 0, [], time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        for name, command in zip(arguments[::2], arguments[1::2], strict=True):
            report = os.path.join(directory, name.replace(" ", "-"))
            print(f"==> {name}", flush=True)
            part_start = time.monotonic()
            child = subprocess.Popen(shlex.split(command), env=os.environ | {"PARTS": report})
            status = child.wait()
            rows.append((time.monotonic() - part_start, name if status == 0 else f"{name}: FAILED"))
            if os.path.exists(report):
                with open(report, encoding="utf-8") as file:
                    rows += [(float(seconds), f"  {part}") for seconds, part in (line.split(" ", 1) for line in file)]
            if status != 0:
                break
    rows.append((time.monotonic() - start, "all"))
    print("\nTime taken:")
    for seconds, name in rows:
        print(f"{seconds:8.1f} s  {name.rstrip()}")
    return 128 - status if status < 0 else status


sys.exit(main(sys.argv[1:]))
