"""`make invoke`: one invocation of a function with a file of events/, in Lambda's container where a Docker engine runs.

Without an engine the same binary runs under the same interface emulator, straight on this machine. The function talks
to the AWS that the environment names (credentials, Region, AWS_ENDPOINT_URL) and takes its settings from there too;
with --local it talks to a local AWS with the demo's fleet of keys, which no container could reach.

Of key-manager the event's operation says which of its two functions it is for. With --local, its examples find managed
keys of their own.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import samcli
from samcli.yamlhelper import yaml_dump, yaml_parse

import fleet
import local_aws
from local_aws import KEY_MANAGER, ROOT, LocalAws, free_ports, on_demand, quick_binaries

KEYS_OF_EXAMPLES = ("1234abcd-12ab-34cd-56ef-1234567890ab", "8765dcba-21ba-43dc-65fe-ba0987654321")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("function")
    parser.add_argument("event")
    parser.add_argument("--local", action="store_true")
    arguments = parser.parse_args()

    template = local_aws.read_template()
    functions = local_aws.daily(template)
    is_key_manager = arguments.function == KEY_MANAGER
    if arguments.function not in functions and not is_key_manager:
        sys.exit(f"FUNCTION={arguments.function}: there is {', '.join([*functions, KEY_MANAGER])}")
    events = ROOT / "events" / arguments.function
    event = events / f"{arguments.event}.json"
    if not event.exists():
        sys.exit(f"EVENT={arguments.event}: there is {', '.join(sorted(path.stem for path in events.iterdir()))}")

    with contextlib.ExitStack() as stack:
        environment = dict(os.environ)
        if arguments.local:
            aws = stack.enter_context(LocalAws(ROOT / ".local/invoke.log"))
            fleet.create(aws)
            environment |= aws.environment
            environment["SNS_TOPIC_ARN"] = aws.client("sns").create_topic(Name="alerts")["TopicArn"]
            if is_key_manager:
                environment["OPERATIONS_TABLE"] = operations_table(aws)
                event = with_own_keys(aws, event)
        else:
            needed, output = ("OPERATIONS_TABLE", "OperationsTableName") if is_key_manager else TOPIC
            if not environment.get(needed):
                sys.exit(f"set {needed} (the stack's output {output}), or say LOCAL=1 to use a local AWS")
        logical_id = functions.get(arguments.function)
        if is_key_manager:
            logical_id, environment["OPERATIONS"] = asked_for(template, event)
        if docker_runs() and not arguments.local:
            answer = in_container(stack, logical_id, event, environment)
        else:
            if not arguments.local:
                print("no Docker engine answers; the function runs on this machine instead", file=sys.stderr)
            answer = on_this_machine(stack, arguments.function, event, environment)
    is_for_people = isinstance(answer, dict) and "content" in answer
    print(answer["content"] if is_for_people else json.dumps(answer, indent=2))
    sys.exit(isinstance(answer, dict) and "errorType" in answer)


TOPIC = ("SNS_TOPIC_ARN", "AlertTopicArn")


def asked_for(template, event):
    """The logical ID of key-manager's function that answers the operation of an event, and all that it answers."""
    operation = json.loads(event.read_bytes()).get("operation")
    answered = {}
    for logical_id in on_demand(template):
        operations = template["Resources"][logical_id]["Properties"]["Environment"]["Variables"]["OPERATIONS"]
        # With the parameter for deletions, and without: those that come with it are refused here too.
        answered[logical_id] = operations["Fn::If"][-1] if isinstance(operations, dict) else operations
    found = [each for each in answered.items() if operation in each[1].split(",")]
    return (found or [("KeyManagerFunction", answered["KeyManagerFunction"])])[0]


def operations_table(aws):
    keys = {"pk": "HASH", "sk": "RANGE"}
    aws.client("dynamodb").create_table(
        TableName="operations",
        KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys.items()],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in keys],
        BillingMode="PAY_PER_REQUEST",
    )
    return "operations"


def with_own_keys(aws, event):
    """A copy of an event in which managed keys of the local AWS stand for the keys of the examples."""
    kms, text = aws.client("kms"), event.read_text(encoding="utf-8")
    request, tags = json.loads(text), [{"TagKey": "kms-compliance/managed", "TagValue": "true"}]
    for example in KEYS_OF_EXAMPLES:
        if example in text:
            key = kms.create_key(Tags=tags)["KeyMetadata"]["KeyId"]
            text = text.replace(example, key)
            if request.get("expected_current") == example:
                kms.create_alias(AliasName=request["alias"], TargetKeyId=key)
            if request["operation"] == "cancel_deletion":
                kms.schedule_key_deletion(KeyId=key)
    copy = aws.directory / event.name
    copy.write_text(text, encoding="utf-8")
    return copy


def docker_runs():
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return shutil.which("docker") is not None and subprocess.run(["docker", "info"], **quiet).returncode == 0


def in_container(stack, logical_id, event, environment):
    sam = [sys.executable, "-m", "samcli"]
    subprocess.run([*sam, "build", logical_id], cwd=ROOT, check=True, stdout=sys.stderr)
    # SAM passes on the variables that the template declares, and the endpoint is none of them.
    template = yaml_parse((ROOT / ".aws-sam/build/template.yaml").read_text(encoding="utf-8"))
    shared = template["Globals"]["Function"]["Environment"]["Variables"]
    if "AWS_ENDPOINT_URL" in environment:
        shared["AWS_ENDPOINT_URL"] = environment["AWS_ENDPOINT_URL"]
    # SAM would make a name up. Without a ledger each invocation tells all it finds.
    shared["FINDINGS_TABLE"] = ""
    declared = shared | template["Resources"][logical_id]["Properties"].get("Environment", {}).get("Variables", {})
    copy = ROOT / ".aws-sam/build/invoke.yaml"
    copy.write_text(yaml_dump(template), encoding="utf-8")
    settings = stack.enter_context(scratch_directory()) / "settings.json"
    chosen = {name: environment[name] for name in declared if name in environment}
    settings.write_text(json.dumps({"Parameters": chosen}))
    command = [*sam, "local", "invoke", logical_id, "--template", str(copy), "--event", str(event)]
    command += ["--env-vars", str(settings), *shlex.split(environment.get("SAM_LOCAL_FLAGS", ""))]
    answer = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(answer.strip().splitlines()[-1])


def on_this_machine(stack, function, event, environment):
    code = stack.enter_context(scratch_directory())
    shutil.copy(quick_binaries()[function], code / "bootstrap")
    machine = {"aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "x86_64")
    emulators = pathlib.Path(samcli.__file__).parent / "local/rapid"
    emulator = shutil.copy(emulators / f"aws-lambda-rie-{machine}", code / "emulator")
    emulator.chmod(0o755)
    port, runtime_port = free_ports(2)
    command = [emulator, "--log-level", "error", "--runtime-interface-emulator-address", f"127.0.0.1:{port}"]
    command += ["--runtime-api-address", f"127.0.0.1:{runtime_port}", code / "bootstrap"]
    lambda_environment = environment | {"AWS_LAMBDA_FUNCTION_NAME": function, "AWS_LAMBDA_FUNCTION_TIMEOUT": "900"}
    lambda_environment["AWS_SAM_LOCAL"] = "true"
    process = subprocess.Popen(command, cwd=code, env=lambda_environment, stdout=sys.stderr)
    stack.callback(process.wait)
    stack.callback(process.terminate)  # it ends the function too
    url = f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"
    for _ in range(100):
        with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(url, event.read_bytes()) as response:
            return json.load(response)
        time.sleep(0.1)
    sys.exit("the interface emulator did not start")


@contextlib.contextmanager
def scratch_directory():
    with tempfile.TemporaryDirectory(prefix="kms-compliance-") as directory:
        yield pathlib.Path(directory)


local_aws.run(main)
