"""`make package`: what plain CloudFormation deploys, without Rust, zig or SAM.

Into a directory: the template, already transformed, with the functions' code under a bucket prefix; one zip a program,
the other templates, checksums, and what the programs are made of (CycloneDX).
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile

import tomlkit
from samcli.yamlhelper import yaml_dump, yaml_parse
from samtranslator.translator.transform import transform

from local_aws import ROOT

TEMPLATE, OTHERS = "kms-compliance-monitor.yaml", ("application-keys.yaml", "member-role.yaml", "replicas.yaml")
TARGETS = {"x86_64": "x86_64-unknown-linux-gnu", "arm64": "aarch64-unknown-linux-gnu"}
PARAMETERS = {
    "CodeBucketPrefix": {
        "Description": "The code lies in the bucket <this>-<Region>: Lambda takes it from its own Region alone.",
        "Type": "String",
        "AllowedPattern": "[a-z0-9][a-z0-9.-]{1,44}",
        "ConstraintDescription": "beginning of a bucket's name: 2 to 45 small letters, digits, dots or hyphens",
    },
    "CodeKeyPrefix": {
        "Description": "What the zips' keys in that bucket begin with, such as kms-compliance-monitor/0.1.0/.",
        "Type": "String",
        "Default": "",
        "AllowedPattern": "([A-Za-z0-9._-]+/)*",
        "ConstraintDescription": "names of folders, each with a / at its end, or empty",
    },
}


class NoManagedPolicies:
    def load(self):
        return {}


def main(environment):
    directory = ROOT / "dist"
    shutil.rmtree(directory, ignore_errors=True)
    package(ROOT / ".aws-sam/build/template.yaml", directory)
    config = tomlkit.parse((ROOT / "samconfig.toml").read_text(encoding="utf-8"))[environment]
    tags = [tag.split("=") for tag in config["deploy"]["parameters"]["tags"]]
    print("\n".join(str(path.relative_to(ROOT)) for path in sorted(directory.iterdir())))
    print(
        "\nCopy dist/ to a prefix of one bucket a Region, and deploy from there with --capabilities CAPABILITY_IAM and"
    )
    print("  --tags", *(f"Key={name},Value={value}" for name, value in tags))


def package(built, directory):
    """Packages a built template, whose functions have directories for their code."""
    template = yaml_parse(built.read_text(encoding="utf-8"))
    directory.mkdir(parents=True)
    zips = {}
    for logical_id, resource in template["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function":
            program = resource["Metadata"]["BuildProperties"]["Binary"]
            if program not in zips.values():
                code = built.parent / resource["Properties"]["CodeUri"] / "bootstrap"
                write_zip(directory / f"{program}.zip", code)
            zips[logical_id] = program
            resource["Properties"]["CodeUri"] = "s3://bucket/key"
    # A name that changes with the code: CloudFormation sees by it that there is new code.
    names = {}
    for program in set(zips.values()):
        path = directory / f"{program}.zip"
        names[program] = f"{program}-{digest(path)[:16]}.zip"
        path.rename(directory / names[program])
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")  # the transform asks; nothing of it stays
    template = transform(template, {}, NoManagedPolicies())
    for logical_id, program in zips.items():
        template["Resources"][logical_id]["Properties"]["Code"] = {
            "S3Bucket": {"Fn::Sub": "${CodeBucketPrefix}-${AWS::Region}"},
            "S3Key": {"Fn::Sub": f"${{CodeKeyPrefix}}{names[program]}"},
        }
    # The zips are of one kind.
    architecture = template["Parameters"]["Architecture"]
    architecture["AllowedValues"] = [architecture["Default"]]
    template["Parameters"] |= PARAMETERS
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    groups.insert(0, {"Label": {"default": "Code"}, "Parameters": list(PARAMETERS)})
    (directory / TEMPLATE).write_text(yaml_dump(json.loads(json.dumps(template))), encoding="utf-8")
    for name in OTHERS:
        shutil.copy(ROOT / name, directory / name)
    materials = bill_of_materials(sorted(names), TARGETS[architecture["Default"]])
    (directory / "sbom.cdx.json").write_text(json.dumps(materials, indent=1) + "\n", encoding="utf-8")
    sums = [f"{digest(path)}  {path.name}\n" for path in sorted(directory.iterdir())]
    (directory / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")


def write_zip(path, program):
    """The same program makes the same zip: no times, no owners."""
    entry = zipfile.ZipInfo("bootstrap")
    entry.external_attr = 0o100755 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(entry, program.read_bytes())


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def bill_of_materials(programs, target):
    """Every crate that is compiled into one of the programs, with the checksum of Cargo.lock."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", target]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    packages = {each["id"]: each for each in metadata["packages"]}
    needs = {
        node["id"]: [each["pkg"] for each in node["deps"] if any(kind["kind"] is None for kind in each["dep_kinds"])]
        for node in metadata["resolve"]["nodes"]
    }
    waiting = [each for each, found in packages.items() if found["name"] in programs]
    compiled = set()
    while waiting:
        if (each := waiting.pop()) not in compiled:
            compiled.add(each)
            waiting += needs[each]
    lock = tomlkit.parse((ROOT / "Cargo.lock").read_text(encoding="utf-8"))
    checksums = {(str(each["name"]), str(each["version"])): each.get("checksum") for each in lock["package"]}
    components = []
    for found in sorted((packages[each] for each in compiled), key=lambda each: (each["name"], each["version"])):
        name, version = found["name"], found["version"]
        component = {"type": "application" if name in programs else "library", "name": name, "version": version}
        component["purl"] = f"pkg:cargo/{name}@{version}"
        if found["license"]:
            component["licenses"] = [{"expression": found["license"].replace("/", " OR ")}]
        if checksum := checksums[name, version]:
            component["hashes"] = [{"alg": "SHA-256", "content": str(checksum)}]
        components.append(component)
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components}


if __name__ == "__main__":
    main(sys.argv[1])
