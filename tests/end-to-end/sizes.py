"""Part of `make build`: what `sam build` made is no larger than a function may be.

Features that another program of this workspace has would show here first.
"""

import sys

from local_aws import ROOT, functions, read_template

LARGEST = 9_000_000  # bytes; the largest function has some 7.5 million


def main():
    too_large = []
    for function, logical_id in functions(read_template()).items():
        size = (ROOT / ".aws-sam/build" / logical_id / "bootstrap").stat().st_size
        print(f"{size / 1e6:6.1f} MB  {function}")
        if size > LARGEST:
            too_large.append(function)
    if too_large:
        sys.exit(f"larger than {LARGEST / 1e6} MB: {', '.join(too_large)}")


main()
