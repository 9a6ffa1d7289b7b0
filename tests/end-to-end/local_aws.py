"""A whole AWS on 127.0.0.1: MiniStack with IAM and TLS enforced, and the real template deployed into it by SAM.

`LocalAws` is a context manager. It listens on a free port, keeps everything it writes in a directory of its own and
leaves nothing behind, however the block ends.
"""

import contextlib
import datetime
import ipaddress
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import boto3
import tomlkit
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from samcli.yamlhelper import yaml_dump, yaml_parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
REGION = "us-east-1"
STACK, APPLICATION_STACK = "kms-compliance-dev", "application-keys-dev"  # as in samconfig.toml
ACCOUNT, MEMBER_STACK = "123456789012", "kms-compliance-member"
NOT_YET = "at(2099-12-31T00:00:00)"
# CloudFormation here makes no alarm with metric math. A table that is protected would outlive a failed deployment.
PARAMETERS = {"MetricMathAlarms": "false", "DeletionProtection": "false", "ProbeByTag": "true"}


def interrupt_on_signals():
    """SIGTERM and SIGHUP end Python as Ctrl-C does: with every `finally` on the way."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


def run(main):
    """Runs a script's `main`; how it can fail is one line."""
    interrupt_on_signals()
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except subprocess.CalledProcessError as error:
        sys.exit(f"failed: {' '.join(map(str, error.cmd))}")


@contextlib.contextmanager
def part(name):
    """Says what is under way; `parts.py` prints how long it took."""
    print(f"--> {name}", flush=True)
    start = time.monotonic()
    try:
        yield
    finally:
        if report := os.environ.get("PARTS"):
            with open(report, "a", encoding="utf-8") as file:
                print(f"{time.monotonic() - start:.1f} {name}", file=file)


def free_ports(count):
    """Ports of 127.0.0.1 that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def read_template(name="template.yaml"):
    return yaml_parse((ROOT / name).read_text(encoding="utf-8"))


PLANNER, REPORTER, KEY_MANAGER = "target-planner", "reporter", "key-manager"


def functions(template):
    """The checks: their binaries' names, and the logical IDs of the functions that the daily check calls."""
    return {name: each for name, each in daily(template).items() if name not in (PLANNER, REPORTER)}


def daily(template):
    """All functions that the daily check calls: the binaries' names, and the logical IDs."""
    return _functions(template, lambda events: "SQS" not in events)


def listeners(template):
    """The functions for key events: the binaries' names, and the logical IDs."""
    return _functions(template, lambda events: "SQS" in events)


def on_demand(template):
    """The functions that nothing starts but a request: logical IDs, and their binaries' names."""
    return {logical_id: binary for logical_id, binary, _ in _functions_of(template) if binary == KEY_MANAGER}


def _functions(template, chosen):
    return {
        binary: logical_id
        for logical_id, binary, events in _functions_of(template)
        if binary != KEY_MANAGER and chosen(events)
    }


def _functions_of(template):
    """All functions: logical ID, the binary's name, the types of the events that start it."""
    for logical_id, resource in template["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function":
            events = resource["Properties"].get("Events", {}).values()
            yield logical_id, resource["Metadata"]["BuildProperties"]["Binary"], [each["Type"] for each in events]


def quick_binaries():
    """Builds the workspace with the dev profile and returns its binaries by name."""
    command = ["cargo", "build", "--workspace", "--message-format", "json-render-diagnostics"]
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    messages = [json.loads(line) for line in output.splitlines()]
    return {
        message["target"]["name"]: pathlib.Path(message["executable"])
        for message in messages
        if message.get("executable")
    }


def built_template(directory, binaries):
    """Copies the template into `directory`, each function with its binary as its code. Returns the copy."""
    template = read_template()
    for_events = listeners(template)
    for function, logical_id in daily(template).items():
        code = directory / function
        code.mkdir()
        shutil.copy(binaries[function], code / "bootstrap")
        for each in {logical_id, for_events.get(function, logical_id)}:
            template["Resources"][each]["Properties"]["CodeUri"] = str(code)
    template["Resources"]["DailyCheck"]["Properties"]["DefinitionUri"] = str(ROOT / "statemachine/daily-check.asl.json")
    for logical_id, function in on_demand(template).items():
        code = directory / function
        code.mkdir(exist_ok=True)
        shutil.copy(binaries[function], code / "bootstrap")
        template["Resources"][logical_id]["Properties"]["CodeUri"] = str(code)
    path = directory / "template.yaml"
    path.write_text(yaml_dump(template), encoding="utf-8")
    return path


class LocalAws:
    def __init__(self, log):
        self.log = pathlib.Path(log)

    def __enter__(self):
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="kms-compliance-"))
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self):
        (port,) = free_ports(1)
        ca, certificate, key = certificates(self.directory)
        self.mailbox = self.directory / "mail.jsonl"
        # Nothing else of the caller's environment: a profile, a proxy or a setting of a function would leak in.
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "CARGO_HOME") if name in os.environ}
        self.environment = kept | {
            "AWS_ENDPOINT_URL": f"https://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "test",  # MiniStack's administrator
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CA_BUNDLE": str(ca),
            "SSL_CERT_FILE": str(ca),
            "HOME": str(self.directory),
            "TMPDIR": str(self.directory),
        }
        server = {
            "AUTH": "true",
            "CLOUDTRAIL_RECORDING": "1",
            # What waits in a state machine waits a two-hundredth of the time.
            "SFN_WAIT_SCALE": "0.005",
            "MINISTACK_ACCOUNT_ID": ACCOUNT,
            "USE_SSL": "1",
            "MINISTACK_SSL_CERT": str(certificate),
            "MINISTACK_SSL_KEY": str(key),
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            # Functions run natively; a Docker engine of this machine is none of its business.
            "DOCKER_HOST": f"unix://{self.directory}/no-docker",
            "MAILBOX": str(self.mailbox),
            "KILL": str(self.directory / "kill"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = [sys.executable, str(pathlib.Path(__file__).with_name("local_ministack.py"))]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                env=self.environment | server,
                cwd=self.directory,
                stdin=subprocess.PIPE,  # see `_end_with_the_parent`
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.session = boto3.Session("test", "test", region_name=REGION)
        deadline = time.monotonic() + 60
        while True:
            try:
                self.client("sts").get_caller_identity()
                return
            except Exception as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    tail = self.log.read_text(errors="replace").strip().splitlines()[-1:]
                    raise SystemExit(f"the local AWS did not start: {tail or error} (whole log: {self.log})") from None
                time.sleep(0.2)

    def __exit__(self, *_):
        # A second signal must not cut this short.
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        handlers = [signal.signal(number, signal.SIG_IGN) for number in numbers]
        if process := getattr(self, "process", None):
            # Its group holds the functions that it started. It keeps nothing worth an orderly end.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.stdin.close()
        shutil.rmtree(self.directory, ignore_errors=True)
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)

    def client(self, service, region=REGION, account=None, **credentials):
        """A client of an administrator: of the home account, or of another one."""
        if account:
            credentials = {"aws_access_key_id": account, "aws_secret_access_key": "test"}
        return self.session.client(
            service,
            region_name=region,
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            verify=self.environment["AWS_CA_BUNDLE"],
            **credentials,
        )

    def new_account(self, name):
        """One more account of the organisation that the home account manages; returns its ID."""
        organizations = self.client("organizations")
        status = organizations.create_account(Email=f"{name}@example.com", AccountName=name)["CreateAccountStatus"]
        return status["AccountId"]

    def let_in(self, account, check_roles, external_id=""):
        """Deploys member-role.yaml in an account: a stack of its own, by its own administrator."""
        organization = self.client("organizations").describe_organization()["Organization"]["Id"]
        parameters = {
            "MonitorAccountId": ACCOUNT,
            "MonitorRoleArns": check_roles,
            "OrganizationId": organization,
            "ExternalId": external_id,
        }
        cloudformation = self.client("cloudformation", account=account)
        cloudformation.create_stack(
            StackName=MEMBER_STACK,
            TemplateBody=(ROOT / "member-role.yaml").read_text(encoding="utf-8"),
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        cloudformation.get_waiter("stack_create_complete").wait(StackName=MEMBER_STACK, WaiterConfig={"Delay": 1})

    def deploy(self, template, section="default", **parameters):
        """`sam deploy` of a template, with a section of samconfig.toml; returns the outputs of the stack."""
        # SAM asks the Python package index for its newest version, unless it did so lately.
        settings = self.directory / ".aws-sam/metadata.json"
        settings.parent.mkdir(exist_ok=True)
        settings.write_text(json.dumps({"lastVersionCheck": time.time(), "telemetryEnabled": False}))
        command = [sys.executable, "-m", "samcli", "deploy", "--template-file", str(template)]
        command += ["--config-file", str(ROOT / "samconfig.toml"), "--config-env", section]
        command += ["--region", REGION, "--no-progressbar", "--no-confirm-changeset"]
        overrides = [f"{name}={json.dumps(str(value))}" for name, value in parameters.items()]
        command += ["--parameter-overrides", *overrides]
        environment = self.environment | {"SAM_CLI_TELEMETRY": "0"}
        # It tells of every resource at length.
        log = self.log.with_name(f"{self.log.stem}-deploy.log")
        with log.open("wb") as output:
            deployed = subprocess.run(command, cwd=self.directory, env=environment, stdout=output, stderr=output)
        if deployed.returncode:
            sys.exit(
                f"`sam deploy` failed: {log.read_text(errors='replace').strip().splitlines()[-1:]} (all of it: {log})"
            )
        config = tomlkit.parse((ROOT / "samconfig.toml").read_text(encoding="utf-8"))
        name = str(config[section]["global"]["parameters"]["stack_name"])
        stack = self.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def let_the_schedule_fire(self):
        """Moves the deployed schedule, which was `NOT_YET` to fire, to a moment from now, and returns it."""
        at = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) + datetime.timedelta(seconds=3)
        scheduler = self.client("scheduler")
        (found,) = scheduler.list_schedules()["Schedules"]
        schedule = scheduler.get_schedule(Name=found["Name"])
        scheduler.update_schedule(
            Name=schedule["Name"],
            ScheduleExpression=f"at({at:%Y-%m-%dT%H:%M:%S})",
            FlexibleTimeWindow=schedule["FlexibleTimeWindow"],
            Target=schedule["Target"],
        )
        return at

    def kill_the_reporter(self, moment):
        """The reporter dies `before` or `after` the next message that it publishes."""
        (self.directory / "kill").write_text(moment, encoding="utf-8")

    def mails(self):
        """What e-mail subscribers got so far."""
        if not self.mailbox.exists():
            return []
        return [json.loads(line) for line in self.mailbox.read_text(encoding="utf-8").splitlines()]


class Subscriber:
    """A queue that is subscribed to a topic."""

    def __init__(self, aws, name, topic_arn, filter_policy=None):
        self.sqs = aws.client("sqs")
        self.url = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        policy = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "sns.amazonaws.com"},
                    "Action": "sqs:SendMessage",
                    "Resource": arn,
                    "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
                }
            ],
        }
        self.sqs.set_queue_attributes(QueueUrl=self.url, Attributes={"Policy": json.dumps(policy)})
        attributes = {"FilterPolicy": json.dumps(filter_policy)} if filter_policy else {}
        aws.client("sns").subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=arn, Attributes=attributes)

    def receive(self, wait, least=1):
        """The notifications that are there, or come within `wait` seconds: `least` of them, then no longer."""
        return receive(self.sqs, self.url, wait, least)


def receive(sqs, url, wait, least=1):
    """Takes what lies in a queue, or comes within `wait` seconds; bodies are JSON."""
    deadline = time.monotonic() + wait
    bodies = []
    while True:
        messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        for message in messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            bodies.append(json.loads(message["Body"]))
        if len(bodies) >= least or time.monotonic() > deadline:
            return bodies
        time.sleep(0.3)


def certificates(directory):
    """A certificate authority and a certificate for 127.0.0.1; returns the paths of both and of the key."""
    now = datetime.datetime.now(datetime.timezone.utc)

    def sign(name, key, issuer, issuer_key, *extensions):
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def common_name(text):
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    others = "content_commitment key_encipherment data_encipherment key_agreement encipher_only decipher_only"
    flags = dict.fromkeys(others.split(), False)
    ca_name, ca_key = common_name("local AWS, test authority"), ec.generate_private_key(ec.SECP256R1())
    ca = sign(
        ca_name,
        ca_key,
        ca_name,
        ca_key,
        x509.BasicConstraints(ca=True, path_length=0),
        x509.KeyUsage(digital_signature=False, key_cert_sign=True, crl_sign=True, **flags),
    )
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = sign(
        common_name("local AWS"),
        key,
        ca_name,
        ca_key,
        x509.BasicConstraints(ca=False, path_length=None),
        x509.KeyUsage(digital_signature=True, key_cert_sign=False, crl_sign=False, **flags),
        x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]),
        x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
    )
    key_text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    paths = directory / "ca.pem", directory / "server.pem", directory / "server.key"
    for path, text in zip(paths, (ca, certificate, key_text), strict=True):
        path.write_bytes(text)
    return paths
