"""Part of `make build`: what `sam build` made is no larger than a function may be.

Features that another program of this workspace has would show here first.
"""

import sys

from samcli.yamlhelper import yaml_parse

from local_aws import KEY_MANAGER, ROOT

BUILT = ROOT / ".aws-sam/build"
LARGEST = 9_000_000  # bytes
# Its audit asks what all checks ask, and its operations are most of what KMS knows.
LARGEST_OF = {KEY_MANAGER: 10_000_000}


def main():
    resources = yaml_parse((BUILT / "template.yaml").read_text(encoding="utf-8"))["Resources"].values()
    functions = [it for it in resources if it["Type"] == "AWS::Serverless::Function"]
    programs = {it["Metadata"]["BuildProperties"]["Binary"]: it["Properties"]["CodeUri"] for it in functions}
    too_large = []
    for program, directory in programs.items():
        size = (BUILT / directory / "bootstrap").stat().st_size
        print(f"{size / 1e6:6.1f} MB  {program}")
        largest = LARGEST_OF.get(program, LARGEST)
        if size > largest:
            too_large.append(f"{program} is larger than {largest / 1e6} MB")
    if too_large:
        sys.exit("; ".join(too_large))


main()
