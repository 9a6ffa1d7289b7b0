"""The daily check of three accounts in two Regions, and what can go wrong in it."""

import concurrent.futures
import contextlib
import json

import pytest
from botocore.exceptions import ClientError

import fleet
from browser import assert_accessible
from conftest import HEALTH, ROTATION
from local_aws import ACCOUNT, REGION, REPORTER, Subscriber
from test_deployed import as_role

ELSEWHERE = fleet.PRIMARY_REGION
KINDS = ("deleted", "new", "worsened", "resolved", "reminder", "exemptions")


class Organisation:
    """The deployment with two accounts more, of which one lets the checks in and the other not yet."""

    def __init__(self, deployment):
        self.deployment, self.aws = deployment, deployment.aws
        # An early report comes after nine seconds here: a failing execution ends no sooner.
        parameters = deployment.parameters | {
            "Targets": "organization",
            "TargetRegions": f"{REGION},{ELSEWHERE}",
            "EarlyReportMinutes": 30,
            "CreateReportBucket": "true",
            "CreateChatTopic": "true",
        }
        self.outputs = self.aws.deploy(deployment.template, **parameters)
        self.web, self.data = map(self.aws.new_account, ("web", "data"))
        self.keys = {account: fleet.create_elsewhere(self.aws, account) for account in (self.web, self.data)}
        self.let_in(self.web)
        self.operations = Subscriber(self.aws, "operations-of-all", deployment.outputs["OperationsTopicArn"])
        self.chat = Subscriber(self.aws, "chat-of-all", self.outputs["ChatTopicArn"])
        self.check = deployment.daily_check
        self.pages = []

    def let_in(self, account):
        self.aws.let_in(account, self.outputs["CheckRoleArns"])

    def day(self):
        """A day's check: the reporter's answer, and what it told: change, function, account, Region, key, control."""
        answer = self.check.run()
        return answer, self.told(5 if answer["alerts"]["messages_published"] else 0)

    def place_of_page(self, day):
        """Bucket and key of the page that a day's reporter wrote."""
        return self.outputs["ReportBucketName"], f"reports/{day[0]['execution']}.html"

    def told(self, wait=5, least=1):
        """What the digests that came tell, together, and how often each."""
        told = {}
        for alert in self.deployment.alerts(wait, least):
            message = json.loads(alert["Message"])
            assert message["schema"] == "kms-compliance-digest/1"
            self.pages.append(message["page"])
            for kind in KINDS:
                for each in message[kind]:
                    place = [each[name] for name in ("function", "account_id", "region", "key_arn", "control")]
                    told[(kind, *place)] = told.get((kind, *place), 0) + 1
        return told

    @contextlib.contextmanager
    def rotation_off(self, account, name, region):
        """A key goes wrong for a while; gives what is told of it, but for the change."""
        kms, arn = self.aws.client("kms", region, account), self.keys[account][name, region]
        kms.disable_key_rotation(KeyId=arn)
        try:
            yield (ROTATION, account, region, arn, "rotation-enabled")
        finally:
            kms.enable_key_rotation(KeyId=arn)


@pytest.fixture(scope="module")
def organisation(deployment):
    return Organisation(deployment)


def once(change, *places):
    return {(change, *place): 1 for place in places}


def unreachable(account, region):
    return (REPORTER, account, region, f"arn:aws:iam::{account}:root", "account-reachable")


@pytest.fixture(scope="module")
def first_day(organisation):
    """The first check of all: an account's role is missing."""
    organisation.deployment.quiet()
    organisation.operations.receive(0)
    answer, told = organisation.day()
    return answer, told


@pytest.fixture(scope="module")
def second_day(organisation, first_day):
    """The next one: it has the role."""
    organisation.let_in(organisation.data)
    return organisation.day()


@pytest.fixture
def known(organisation, second_day):
    """All is told that is wrong."""
    assert organisation.deployment.alerts() == []
    return organisation


def test_an_account_without_the_role_is_told_once_and_the_rest_goes_on(organisation, first_day):
    answer, told = first_day
    web, data = organisation.web, organisation.data
    missing = {unreachable(data, region) for region in (REGION, ELSEWHERE)}
    keys = organisation.deployment.keys
    assert told == once(
        "new", *missing, *fleet.wrong_elsewhere(web, organisation.keys[web]), *fleet.wrong_here(ACCOUNT, keys)
    )
    assert (answer["targets_planned"], answer["targets_reached"]) == (6, 4)
    # It lowers the coverage, and is no failure: nobody is called for it at night.
    assert answer["failed_checks"] == 0 and answer["coverage_percent"] < 99
    assert organisation.operations.receive(1) == []


def test_the_page_of_the_day_is_in_the_bucket_and_the_digest_links_it(organisation, first_day):
    bucket, key = organisation.place_of_page(first_day)
    page = organisation.aws.client("s3").get_object(Bucket=bucket, Key=key)
    assert page["ContentType"] == "text/html; charset=utf-8"
    text = page["Body"].read().decode()
    for said in (organisation.web, organisation.data, ROTATION.removesuffix("-checker"), "hold neither the settings"):
        assert said in text, said
    link = f"https://{REGION}.console.aws.amazon.com/s3/object/{bucket}?region={REGION}&prefix={key}"
    assert organisation.pages[0] == link


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_the_page_of_the_day_in_a_browser(organisation, first_day, visit, tmp_path, scheme, width):
    bucket, key = organisation.place_of_page(first_day)
    file = tmp_path / "page.html"
    organisation.aws.client("s3").download_file(bucket, key, str(file))
    page = visit(file, color_scheme=scheme, viewport={"width": width, "height": 800})
    _, told = first_day
    # Of the whole organisation, as the digest told it. What is out of reach is not known, and no key's.
    wrong = [place for place in told if place[-1] != "account-reachable"]
    assert 0 < page.locator("#keys li").count() == len(wrong) < len(told)
    assert organisation.data in page.locator("#not-known").text_content()
    page.locator("[name=control]").select_option("rotation-enabled")
    page.wait_for_function("() => document.getElementById('shown').textContent.includes(' of ')")
    left = page.locator("#keys li:not([hidden]) > code").all_text_contents()
    assert left == ["rotation-enabled"] * sum(place[-1] == "rotation-enabled" for place in wrong)
    page.locator("[type=reset]").click()
    page.locator("[name=open]").click()
    assert_accessible(page, width)


def test_the_chat_gets_the_digest_in_short(organisation, first_day):
    (message,) = organisation.chat.receive(5)
    notification = json.loads(message["Message"])
    assert (notification["version"], notification["source"]) == ("1.0", "custom")
    assert "3 accounts" in notification["content"]["title"] and notification["content"]["nextSteps"]


def test_with_the_role_it_is_resolved_and_its_findings_are_told(organisation, first_day, second_day):
    answer, told = second_day
    data = organisation.data
    assert told == once("resolved", *(unreachable(data, region) for region in (REGION, ELSEWHERE))) | once(
        "new", *fleet.wrong_elsewhere(data, organisation.keys[data])
    )
    assert (answer["targets_planned"], answer["targets_reached"], answer["failed_checks"]) == (6, 6, 0)


def test_a_day_without_change_tells_nothing(known):
    answer, told = known.day()
    assert (answer["alerts"]["messages_published"], told) == (0, {})
    assert known.deployment.alerts(1) == []


def test_each_check_of_each_target_writes_what_came_of_it(known):
    execution = known.check.start()
    known.check.told(execution)
    name = execution.rpartition(":")[2]
    outcomes = {item["sk"]["S"]: item for item in known.deployment.ledger() if item["pk"]["S"] == f"run#{name}"}
    targets = [(account, region) for account in (ACCOUNT, known.web, known.data) for region in (REGION, ELSEWHERE)]
    assert outcomes.keys() == {f"{'#'.join(each)}#{function}" for each in targets for function in fleet.CONTROLS}
    assert all("error" not in item and int(item["expires_at"]["N"]) for item in outcomes.values())
    assert {each[:3] for each in known.check.children(execution)} == {(*each, "SUCCEEDED") for each in targets}


@contextlib.contextmanager
def denied_its_part(organisation, function, account, region):
    """A function whose part of the ledger for one target is shut."""
    iam = organisation.aws.client("iam")
    role = organisation.deployment.physical_id(f"{organisation.deployment.logical_ids[function]}Role")
    condition = {"ForAnyValue:StringEquals": {"dynamodb:LeadingKeys": [f"{account}#{region}#{function}"]}}
    deny = {"Effect": "Deny", "Action": "dynamodb:*", "Resource": "*", "Condition": condition}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
    iam.put_role_policy(RoleName=role, PolicyName="shut", PolicyDocument=policy)
    try:
        yield
    finally:
        iam.delete_role_policy(RoleName=role, PolicyName="shut")


def test_a_check_that_fails_in_one_region_is_said_fails_the_execution_and_is_made_up_for(known):
    with known.rotation_off(known.web, "invoices", REGION) as broken:
        with denied_its_part(known, HEALTH, known.data, ELSEWHERE):
            kms, arn = known.aws.client("kms", ELSEWHERE, known.data), known.keys[known.data]["orders", ELSEWHERE]
            kms.enable_key(KeyId=arn)
            execution = known.check.start()
            ended = known.check.end(execution)
        # What the others found is told all the same.
        assert known.told() == once("new", broken)
        assert (ended["status"], ended["error"]) == ("FAILED", "ChecksFailed")
        assert ended["cause"].startswith("1 failed")
        (said,) = known.operations.receive(5)
        for part in (HEALTH, known.data, ELSEWHERE, "LedgerUnavailable", execution.rpartition(":")[2]):
            assert part in said["Message"], part
        # The next day makes up for it.
        answer, told = known.day()
        assert told == once("resolved", (HEALTH, known.data, ELSEWHERE, arn, "key-usable"))
        assert answer["failed_checks"] == 0 and known.operations.receive(1) == []
        kms.disable_key(KeyId=arn)
        assert known.day()[1] == once("new", (HEALTH, known.data, ELSEWHERE, arn, "key-usable"))
    assert known.day()[1] == once("resolved", broken)


@contextlib.contextmanager
def short_lived_reporter(organisation):
    """A reporter that is given up after eight seconds: so long its leases last when it dies."""
    lambda_, name = organisation.deployment.lambda_, organisation.deployment.name(REPORTER)
    lambda_.update_function_configuration(FunctionName=name, Timeout=8)
    try:
        yield
    finally:
        lambda_.update_function_configuration(FunctionName=name, Timeout=900)


@pytest.mark.parametrize(("moment", "messages"), [("before", 1), ("after", 2)])
def test_a_reporter_that_dies_loses_nothing(known, moment, messages):
    with known.rotation_off(known.web, "invoices", REGION) as broken, short_lived_reporter(known):
        known.aws.kill_the_reporter(moment)
        answer = known.check.run()
        assert answer["failed_checks"] == 0
        # Dead before: told once. Dead after, when nobody knew that it was told: twice, and not a third time.
        assert known.told(5, messages) == {("new", *broken): messages}
        assert known.day()[1] == {}
    assert known.day()[1] == once("resolved", broken)


def test_two_executions_at_once_tell_each_change_once(known):
    with known.rotation_off(known.data, "invoices", REGION) as broken:
        with concurrent.futures.ThreadPoolExecutor(2) as threads:
            answers = list(threads.map(lambda _: known.check.run(), range(2)))
        assert [each["failed_checks"] for each in answers] == [0, 0]
        told = known.told(2)
        # What either left to the next reporter, since the other had it in hand, the next one tells.
        _, later = known.day()
        assert not told.keys() & later.keys()
        assert told | later == once("new", broken)
    assert known.day()[1] == once("resolved", broken)


def test_the_same_execution_twice_tells_each_change_once(known):
    with known.rotation_off(known.web, "invoices", REGION) as broken:
        execution = known.check.start("the-same")
        known.check.told(execution)
        with pytest.raises(ClientError, match="ExecutionAlreadyExists"):
            known.check.start("the-same")
        # Lambda may deliver what it delivered before.
        target = {"account_id": known.web, "region": REGION}
        again = {"id": "the-same", "detail": {"target": target, "notify": "later", "response": "summary"}}
        response = known.deployment.invoke(again, ROTATION)
        assert (response["account_id"], response["alerts"]["new"]) == (known.web, 0)
        answer = known.deployment.invoke({"id": "the-same", "detail": {}}, REPORTER)
        assert answer["alerts"]["messages_published"] == 0
        assert known.told() == once("new", broken)
    assert known.day()[1] == once("resolved", broken)


def test_a_key_event_is_told_at_once_and_not_again_by_the_digest(known):
    kms, arn = known.aws.client("kms"), known.deployment.keys["alias/backups"].arn
    kms.disable_key_rotation(KeyId=arn)
    try:
        response = known.deployment.invoke({"detail": {"keys": [arn]}}, ROTATION)
        assert response["alerts"]["messages_published"] == 1
        (alert,) = known.deployment.alerts(5)
        assert json.loads(alert["Message"])["schema"] == "kms-compliance-alert/1"
        assert known.day()[1] == {}
    finally:
        kms.enable_key_rotation(KeyId=arn)
    assert known.day()[1] == once("resolved", (ROTATION, ACCOUNT, REGION, arn, "rotation-enabled"))


def test_a_target_is_refused_that_no_role_is_for(known):
    with known.deployment.settings(MEMBER_ROLE_NAME=""):
        event = {"detail": {"target": {"account_id": known.web, "region": REGION}, "dry_run": True}}
        assert known.deployment.invoke(event, ROTATION)["errorType"] == "InvalidEvent"
    error = known.deployment.invoke({"detail": {"target": {"account_id": "999999999999", "region": REGION}}}, ROTATION)
    assert error["errorType"] == "TargetNotReachable"
    assert error["errorMessage"].startswith("role_denied: account 999999999999")


def test_a_function_finds_no_others_part_and_not_what_waits(known):
    """With IAM enforced, and the roles as they are where other accounts are targets."""
    dynamodb = as_role(known.deployment, known.deployment.physical_id("RotationCheckerRole"), "dynamodb")
    table = known.deployment.outputs["FindingsTableName"]

    def put(partition):
        return dynamodb.put_item(TableName=table, Item={"pk": {"S": partition}, "sk": {"S": "test"}})

    def query(key, value, **index):
        return dynamodb.query(
            TableName=table,
            KeyConditionExpression=f"{key} = :it",
            ExpressionAttributeValues={":it": {"S": value}},
            **index,
        )

    put(f"{known.web}#{ELSEWHERE}#{ROTATION}")
    put("run#a-test")
    query("pk", f"{known.web}#{ELSEWHERE}#{ROTATION}")
    for refused in (
        lambda: put(f"{known.web}#{ELSEWHERE}#{HEALTH}"),
        lambda: put(f"{known.web}#{ELSEWHERE}#{REPORTER}"),
        lambda: query("pk", f"{known.web}#{ELSEWHERE}#{HEALTH}"),
        lambda: query("pk", "run#a-test"),
        lambda: query("waits", "pending#0", IndexName="waits"),
        lambda: query("waits", "pending#0", IndexName="waits", ConsistentRead=False),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            refused()
    reporter = as_role(known.deployment, known.deployment.physical_id("ReporterRole"), "dynamodb")
    reporter.query(
        TableName=table,
        IndexName="waits",
        KeyConditionExpression="waits = :it",
        ExpressionAttributeValues={":it": {"S": "pending#0"}},
    )
    known.aws.client("dynamodb").delete_item(
        TableName=table, Key={"pk": {"S": f"{known.web}#{ELSEWHERE}#{ROTATION}"}, "sk": {"S": "test"}}
    )
