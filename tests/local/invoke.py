"""`make invoke`: one invocation of a function with a file of events/, in Lambda's container where a Docker engine runs.

Without an engine the same binary runs under the same interface emulator, straight on this machine. The function talks
to the AWS that the environment names (credentials, Region, AWS_ENDPOINT_URL) and takes its settings from there too;
with --local it talks to a local AWS with the demo's fleet of keys.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import samcli
from samcli.yamlhelper import yaml_parse

import fleet
import local_aws
from local_aws import ROOT, LocalAws, free_ports, quick_binary


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("function")
    parser.add_argument("event")
    parser.add_argument("--local", action="store_true")
    arguments = parser.parse_args()

    resources = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))["Resources"]
    functions = {
        resource["Metadata"]["BuildProperties"]["Binary"]: name
        for name, resource in resources.items()
        if resource["Type"] == "AWS::Serverless::Function"
    }
    if arguments.function not in functions:
        sys.exit(f"FUNCTION={arguments.function}: there is {', '.join(functions)}")
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
        elif not environment.get("SNS_TOPIC_ARN"):
            sys.exit("set SNS_TOPIC_ARN (the stack's output AlertTopicArn), or say LOCAL=1 to use a local AWS")
        if docker_runs():
            answer = in_container(stack, functions[arguments.function], event, environment, arguments.local)
        else:
            print("No Docker engine answers; the function runs on this machine instead.", file=sys.stderr)
            answer = on_this_machine(stack, arguments.function, event, environment)
    print(json.dumps(answer, indent=2))
    sys.exit(isinstance(answer, dict) and "errorType" in answer)


def docker_runs():
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return shutil.which("docker") is not None and subprocess.run(["docker", "info"], **quiet).returncode == 0


def in_container(stack, logical_id, event, environment, local):
    sam = [sys.executable, "-m", "samcli"]
    subprocess.run([*sam, "build", logical_id], cwd=ROOT, check=True, stdout=sys.stderr)
    build, directory = ROOT / ".aws-sam/build", stack.enter_context(scratch_directory())
    flags = shlex.split(os.environ.get("SAM_LOCAL_FLAGS", ""))
    variables = {name: environment[name] for name in ("AWS_ENDPOINT_URL",) if name in environment}
    if local:
        # The container needs this machine's network to reach the local AWS, and its certificate authority.
        build = shutil.copytree(build, directory / "build")
        shutil.copy(environment["AWS_CA_BUNDLE"], build / logical_id / "ca.pem")
        variables["SSL_CERT_FILE"] = "/var/task/ca.pem"
        flags += ["--docker-network", "host"]
    # SAM takes settings that the template declares from one file, and others from another.
    settings = directory / "settings.json"
    chosen = {name: environment[name] for name in declared(build) & environment.keys()}
    settings.write_text(json.dumps({"Parameters": chosen}))
    others = directory / "variables.json"
    others.write_text(json.dumps(variables))
    command = [*sam, "local", "invoke", logical_id, "--template", str(build / "template.yaml"), "--event", str(event)]
    command += ["--env-vars", str(settings), "--container-env-vars", str(others), *flags]
    # Not in the local AWS's home: SAM and Docker keep settings in the caller's.
    caller = environment | {name: os.environ[name] for name in ("HOME", "TMPDIR") if name in os.environ}
    answer = subprocess.run(command, cwd=ROOT, env=caller, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(answer.strip().splitlines()[-1])


def declared(build):
    """Names of the variables that a template declares for its functions."""
    template = yaml_parse((build / "template.yaml").read_text(encoding="utf-8"))
    sections = [template["Globals"]["Function"]]
    sections += [resource["Properties"] for resource in template["Resources"].values()]
    return {name for section in sections for name in section.get("Environment", {}).get("Variables", {})}


def on_this_machine(stack, function, event, environment):
    code = stack.enter_context(scratch_directory())
    shutil.copy(quick_binary(function), code / "bootstrap")
    machine = {"aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "x86_64")
    emulators = pathlib.Path(samcli.__file__).parent / "local/rapid"
    emulator = shutil.copy(emulators / f"aws-lambda-rie-{machine}", code / "emulator")
    emulator.chmod(0o755)
    port, runtime_port = free_ports(2)
    command = [emulator, "--runtime-interface-emulator-address", f"127.0.0.1:{port}"]
    command += ["--runtime-api-address", f"127.0.0.1:{runtime_port}", code / "bootstrap"]
    lambda_environment = environment | {"AWS_LAMBDA_FUNCTION_NAME": function, "AWS_LAMBDA_FUNCTION_TIMEOUT": "900"}
    process = subprocess.Popen(command, cwd=code, env=lambda_environment, stdout=sys.stderr, start_new_session=True)
    stack.callback(process.wait)
    stack.callback(os.killpg, process.pid, signal.SIGKILL)
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
