"""The source document's way as a program: it says when it is done, and waits to be measured."""

import sys

from source_logic import check

print("done", check(sys.argv[1]), flush=True)
sys.stdin.readline()
