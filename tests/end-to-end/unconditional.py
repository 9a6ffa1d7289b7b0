"""Templates as if every condition held, for checkov: it looks at nothing that an `If` or a condition chooses.

unconditional.py DIRECTORY TEMPLATE…
"""

import json
import pathlib
import sys

from samcli.yamlhelper import yaml_dump, yaml_parse


def unconditional(part):
    if isinstance(part, dict):
        if part.keys() == {"Fn::If"}:
            return unconditional(part["Fn::If"][1])
        return {name: unconditional(each) for name, each in part.items()}
    return [unconditional(each) for each in part] if isinstance(part, list) else part


def main(directory, *names):
    for name in names:
        template = json.loads(json.dumps(yaml_parse(pathlib.Path(name).read_text(encoding="utf-8"))))
        for resource in template["Resources"].values():
            resource.pop("Condition", None)
        path = pathlib.Path(directory) / f"checkov-{name}"
        path.write_text(yaml_dump(unconditional(template)), encoding="utf-8")


main(*sys.argv[1:])
