"""One local AWS with one deployment of the real template for all end-to-end tests, and the schedule's first digest."""

import contextlib
import json
import os

import pytest
from botocore.config import Config

import fleet
import local_aws
import template
import usage
from browser import CHROMIUM
from executions import Executions
from local_aws import NOT_YET, ROOT, LocalAws, Subscriber, built_template, quick_binaries

ROTATION, AGE, HEALTH, USAGE = "rotation-checker", "key-age-checker", "health-prober", "usage-anomaly-scorer"
ACCESS = "access-checker"
EVENTS = ROOT / "events"
TRAIL = "trail"
IDENTITY_CENTER = "/aws-reserved/sso.amazonaws.com/"  # the path of its roles, with the Region
KINDS = ("deleted", "new", "worsened", "resolved", "reminder", "exemptions")

# What is wrong in the fleet: key, control, reason, severity.
FINDINGS = {
    ROTATION: {
        ("alias/payments", "rotation-enabled", "rotation_disabled", "MEDIUM"),
        ("alias/customers", "rotation-enabled", "rotation_disabled", "MEDIUM"),
        ("alias/archive", "rotation-period", "period_too_long", "LOW"),
    },
    AGE: {
        ("alias/partner-exchange", "imported-material-expiry", "material_expiring", "CRITICAL"),
        ("alias/card-vault", "imported-material-expiry", "material_expiring", "HIGH"),
    },
    HEALTH: {
        ("alias/leaving", "pending-deletion", "scheduled_for_deletion", "CRITICAL"),
        ("alias/retired", "key-usable", "key_disabled", "MEDIUM"),
        ("alias/not-yet", "key-usable", "no_key_material", "MEDIUM"),
    },
    USAGE: {("alias/payments", "usage-anomaly", "unusual_usage", "HIGH")},
    ACCESS: {
        ("alias/inbox", "public-access", "public", "CRITICAL"),
        ("alias/ledger", "foreign-grant", "foreign_grantee", "HIGH"),
    },
}


def event(name, function=ROTATION):
    return json.loads((EVENTS / function / f"{name}.json").read_text(encoding="utf-8"))


class Deployment:
    """The deployed stack, its fleet of keys, and the queues that listen to its topic."""

    def __init__(self, aws):
        self.aws = aws
        self.keys = fleet.create(aws)
        self.keys["alias/archive"].health = fleet.TRIED_OUT  # by the parameter ProbeKeys
        self.template = built_template(aws.directory, quick_binaries())
        aws.client("logs").create_log_group(logGroupName=TRAIL)
        self.parameters = local_aws.PARAMETERS | {
            "Environment": "test",
            "ScheduleExpression": NOT_YET,  # the queues must be there before it fires
            "ScheduleWindowMinutes": 0,
            "EarlyReportMinutes": 240,  # never, here: executions are stopped once they have told
            "OperationsEmail": "operations@example.com",
            "CloudTrailLogGroupName": TRAIL,
            "ProbeKeys": self.keys["alias/archive"].arn,
            "BaselineDays": usage.DAYS,
        }
        self.outputs = aws.deploy(self.template, **self.parameters)
        topic = self.outputs["AlertTopicArn"]
        self.application_parameters = {
            "Environment": "test",
            "ApplicationName": "shop",
            "AdminPrincipalArns": f"arn:aws:iam::123456789012:role{IDENTITY_CENTER}*/AWSReservedSSO_Admins_*",
            "AlarmTopicArn": self.outputs["SecurityAlarmTopicArn"],
            "UsageAlarmThreshold": 1000,  # the local AWS has no anomaly detection
        }
        self.application = self.deploy_application_keys()
        self.team = Subscriber(aws, "team", topic)
        self.medium = Subscriber(aws, "medium-only", topic, {"severity": ["MEDIUM"]})
        self.critical = Subscriber(aws, "critical-only", topic, {"severity": ["CRITICAL"]})
        self.fires_at = aws.let_the_schedule_fire()
        self.daily_check = Executions(aws, self.outputs["DailyCheckArn"])
        # The stacks' own keys are keys of the account too.
        made = self.outputs | self.application
        for name in ("AlertKey", "ApplicationKey", "DatabaseKey", "BackupKey"):
            self.keys[name] = fleet.Key(name, "of a stack", fleet.COMPLIANT, fleet.YOUNG, made[f"{name}Arn"])
        self.logical_ids = local_aws.daily(local_aws.read_template())
        # An invocation is not idempotent: it alerts.
        self.lambda_ = aws.client("lambda", config=Config(retries={"total_max_attempts": 1}))

    def deploy_application_keys(self, **changes):
        parameters = self.application_parameters | changes
        return self.aws.deploy(ROOT / "application-keys.yaml", "default-application-keys", **parameters)

    def name(self, function):
        return self.outputs[f"{self.logical_ids[function]}Name"]

    def invoke(self, payload, function=ROTATION):
        """Invokes a function; returns its answer, be it a response or an error."""
        answer = self.lambda_.invoke(FunctionName=self.name(function), Payload=json.dumps(payload))
        body = json.load(answer["Payload"])
        assert ("FunctionError" in answer) == ("errorType" in body), body
        return body

    @contextlib.contextmanager
    def settings(self, function=ROTATION, **changes):
        """Other environment variables, for a while."""
        name = self.name(function)
        environment = self.lambda_.get_function_configuration(FunctionName=name)["Environment"]

        def put(variables):
            self.lambda_.update_function_configuration(FunctionName=name, Environment={"Variables": variables})

        put(environment["Variables"] | changes)
        try:
            yield
        finally:
            put(environment["Variables"])

    def physical_id(self, logical_id, stack=local_aws.STACK):
        detail = self.aws.client("cloudformation").describe_stack_resource(
            StackName=stack, LogicalResourceId=logical_id
        )
        return detail["StackResourceDetail"]["PhysicalResourceId"]

    def forget(self):
        """Empties the ledger: the next run knows of nothing."""
        dynamodb, table = self.aws.client("dynamodb"), self.outputs["FindingsTableName"]
        for item in self.ledger():
            dynamodb.delete_item(TableName=table, Key={"pk": item["pk"], "sk": item["sk"]})

    def quiet(self):
        """Empties the ledger and the queues."""
        self.forget()
        for subscriber in (self.team, self.medium, self.critical):
            while subscriber.receive(0):
                pass

    def ledger(self):
        pages = self.aws.client("dynamodb").get_paginator("scan").paginate(TableName=self.outputs["FindingsTableName"])
        return [item for page in pages for item in page["Items"]]

    def alerts(self, wait=0, least=1):
        """Takes the alerts that came; `wait` seconds at most until there are n."""
        return self.team.receive(wait, least)


def pytest_collection_modifyitems(items):
    """What makes keys comes last: no key can be taken away at once, and the other tests count theirs."""
    items.sort(key=lambda item: item.path.name == "test_key_manager.py")


@pytest.fixture(scope="session")
def source():
    """The template as it stands in its file."""
    return local_aws.read_template()


@pytest.fixture(scope="session")
def resources():
    """The resources that CloudFormation gets."""
    return template.built_resources()


@pytest.fixture(scope="session")
def application():
    """The template of an application's keys, which CloudFormation gets as it stands."""
    return json.loads(json.dumps(local_aws.read_template("application-keys.yaml")))


@pytest.fixture(scope="session")
def deployment():
    local_aws.interrupt_on_signals()
    with LocalAws(ROOT / ".local/e2e.log") as aws:
        deployment = Deployment(aws)
        # Waited for here, so that no test meets an alert that it did not cause.
        deployment.first_execution = deployment.daily_check.newest(wait=30)
        deployment.first_answer = deployment.daily_check.told(deployment.first_execution)
        (deployment.scheduled,) = deployment.alerts(wait=10)
        yield deployment


@pytest.fixture
def quiet(deployment):
    """A deployment whose queues and ledger are empty when the test begins."""
    deployment.quiet()
    return deployment


@pytest.fixture(scope="module")
def chromium():
    """A browser. Without one its tests are skipped, in CI they fail."""
    if not CHROMIUM:
        missing = "no Chromium on this machine: the page is not tried in a browser (Debian: apt-get install chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    """Opens a file in a browser of its own; whatever that complains of or asks for fails the test."""
    contexts, complaints, requests = [], [], []

    def visit(file, **options):
        contexts.append(chromium.new_context(**options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(file.as_uri())
        return page

    yield visit
    elsewhere = {request for request in requests if not request.startswith("file:///")}
    for context in contexts:
        context.close()
    assert not complaints
    assert not elsewhere
    assert len(requests) == len(contexts)


def run(deployment, function=ROTATION):
    """A day's run: its response, and what its one alert tells: keys and controls by kind, empty if there was none."""
    response = deployment.invoke(event("empty", function), function)
    alerts = deployment.alerts(5 if response["alerts"]["messages_published"] else 0)
    assert len(alerts) == response["alerts"]["messages_published"]
    told = {}
    for alert in alerts:
        message = json.loads(alert["Message"])
        told = {kind: {(each["key_arn"], each["control"]) for each in message[kind]} for kind in KINDS if message[kind]}
    counts = {kind: len(told.get(kind, ())) for kind in KINDS[:-1]}
    assert {kind: response["alerts"].get(kind, 0) for kind in counts} == counts
    return response, told


@pytest.fixture(scope="session")
def first_day(deployment):
    """What the ledger holds once the team knows of all that is wrong."""
    deployment.quiet()
    for function in FINDINGS:
        response, told = run(deployment, function)
        assert told == {"new": {(each["key_arn"], each["control"]) for each in response["findings"]}}
        assert len(told["new"]) == len(FINDINGS[function])
    return deployment.ledger()


@pytest.fixture
def known(first_day, quiet):
    """A deployment whose team knows of all that is wrong when the test begins."""
    for item in first_day:
        quiet.aws.client("dynamodb").put_item(TableName=quiet.outputs["FindingsTableName"], Item=item)
    return quiet


@contextlib.contextmanager
def rotation_off(deployment, alias):
    kms, arn = deployment.aws.client("kms"), deployment.keys[alias].arn
    kms.disable_key_rotation(KeyId=arn)
    try:
        yield (arn, "rotation-enabled")
    finally:
        kms.enable_key_rotation(KeyId=arn)
