"""The deployed functions in a local AWS: IAM and TLS are enforced, and nothing of AWS is stubbed in the test."""

import collections
import contextlib
import copy
import datetime
import json
import time

import pytest
from botocore.exceptions import ClientError

import fleet
from conftest import ACCESS, AGE, EVENTS, FINDINGS, HEALTH, IDENTITY_CENTER, ROTATION, TRAIL, USAGE, event
from local_aws import APPLICATION_STACK, KEY_MANAGER, REGION, REPORTER, ROOT, STACK, Subscriber, receive
from test_watching import searches

ACCOUNT = "123456789012"
FINDING = {
    "control",
    "key_arn",
    "key_id",
    "aliases",
    "compliance",
    "severity",
    "reason",
    "detail",
    "evidence",
    "remediation",
    "references",
}
FUNCTIONS = (ROTATION, AGE, HEALTH, USAGE, ACCESS)


def denied(function):
    return (("INSUFFICIENT_DATA", "access_denied"),) * len(fleet.CONTROLS[function])


def verdicts(response):
    """What a verbose response says, by key and control."""
    said = [(each["key_arn"], each["control"]) for each in response["evaluations"]]
    assert len(said) == len(set(said)), "a key has two verdicts for one control"
    return {
        (each["key_arn"], each["control"]): (each["compliance"], each["reason"]) for each in response["evaluations"]
    }


def expected(keys, changed=None, function=ROTATION):
    """What it must say of these keys."""
    return {
        (key.arn, control): verdict
        for key in keys
        for control, verdict in zip(
            fleet.CONTROLS[function], (changed or {}).get(key.alias, key.verdicts[function]), strict=True
        )
    }


def assert_sound(response, keys_listed, function=ROTATION):
    """What holds for every response."""
    assert response["function"] == function
    assert (response["account_id"], response["region"]) == (ACCOUNT, REGION)
    assert (response["complete"], response["keys_not_reached"]) == (True, 0)
    assert response["keys_listed"] == keys_listed
    assert set(response["controls"]) == set(fleet.CONTROLS[function])
    for counts in response["controls"].values():
        assert set(counts) == {"COMPLIANT", "NON_COMPLIANT", "NOT_APPLICABLE", "INSUFFICIENT_DATA"}
        assert sum(counts.values()) == keys_listed
    for finding in response["findings"]:
        assert set(finding) == FINDING
        assert finding["compliance"] in ("NON_COMPLIANT", "INSUFFICIENT_DATA")
    severities = [["CRITICAL", "HIGH", "MEDIUM", "LOW"].index(finding["severity"]) for finding in response["findings"]]
    order = [(s, f["key_arn"], f["control"]) for s, f in zip(severities, response["findings"], strict=True)]
    assert order == sorted(order)


# ---- The schedule and its alert --------------------------------------------------------------------------------------


def test_the_schedule_fires_and_one_digest_tells_what_all_functions_found(deployment):
    message = json.loads(deployment.scheduled["Message"])
    assert message["schema"] == "kms-compliance-digest/1"
    assert (message["account_id"], message["region"]) == (ACCOUNT, REGION)
    assert deployment.first_execution.endswith(f":{message['execution']}")
    assert message["reported_at"] >= f"{deployment.fires_at:%Y-%m-%dT%H:%M:%SZ}"
    assert message["complete"] is True
    assert [message[each] for each in ("deleted", "worsened", "resolved", "reminder", "exemptions")] == [[]] * 5
    assert message["omitted"] == {}
    assert {(each["account_id"], each["region"]) for each in message["new"]} == {(ACCOUNT, REGION)}
    assert all(set(finding) == FINDING | {"function", "account_id", "region"} for finding in message["new"])
    found = collections.defaultdict(set)
    for each in message["new"]:
        found[each["function"]].add((each["aliases"][0], each["control"], each["reason"], each["severity"]))
    assert found == FINDINGS


def test_the_schedules_execution_covered_its_one_target_and_nothing_failed(deployment):
    answer = deployment.first_answer
    assert (answer["targets_planned"], answer["targets_reached"], answer["failed_checks"]) == (1, 1, 0)
    assert answer["coverage_percent"] == 100
    ((account, region, status, _),) = deployment.daily_check.children(deployment.first_execution)
    assert (account, region, status) == (ACCOUNT, REGION, "SUCCEEDED")


def test_the_subject_fits_an_email_and_attributes_serve_filter_policies(deployment):
    alert, count = deployment.scheduled, sum(map(len, FINDINGS.values()))
    subject = alert["Subject"]
    assert subject.isascii() and subject.isprintable() and len(subject) < 100
    for part in ("CRITICAL", f"{count} new", REGION):
        assert part in subject
    attributes = {name: (each["Type"], each["Value"]) for name, each in alert["MessageAttributes"].items()}
    assert attributes["severity"] == ("String", "CRITICAL")
    for name, values in (("function", sorted(FUNCTIONS)), ("account_id", [ACCOUNT]), ("region", [REGION])):
        kind, value = attributes[name]
        assert (kind, sorted(json.loads(value))) == ("String.Array", values)


def scheduled(deployment, function):
    """What the first digest tells of a function's findings."""
    return [each for each in json.loads(deployment.scheduled["Message"])["new"] if each["function"] == function]


def test_a_filter_policy_on_severity_works(quiet):
    quiet.invoke(event("scheduled-rule"))
    assert len(quiet.medium.receive(5)) == 1
    assert quiet.critical.receive(0) == []
    quiet.invoke(event("scheduled-rule", AGE), AGE)
    assert len(quiet.critical.receive(5)) == 1
    assert quiet.medium.receive(0) == []


def test_the_replica_points_to_its_primary(deployment):
    findings = scheduled(deployment, ROTATION)
    (replica,) = [finding for finding in findings if finding["aliases"] == ["alias/customers"]]
    primary = deployment.keys["alias/customers"].arn.replace(REGION, fleet.PRIMARY_REGION)
    assert primary in replica["remediation"]


def test_the_alert_says_when_imported_material_expires(deployment):
    findings = scheduled(deployment, AGE)
    left = {finding["aliases"][0]: finding["evidence"]["days_left"] for finding in findings}
    assert left == {"alias/partner-exchange": 5, "alias/card-vault": 20}
    kms = deployment.aws.client("kms")
    for finding in findings:
        valid_to = kms.describe_key(KeyId=finding["key_arn"])["KeyMetadata"]["ValidTo"]
        assert finding["evidence"]["valid_to"].startswith(
            f"{valid_to.astimezone(datetime.timezone.utc):%Y-%m-%dT%H:%M:%S}"
        )


def log_lines(deployment, function):
    """The lines of the function's log that are JSON."""
    group = deployment.outputs[f"{deployment.logical_ids[function]}LogGroup"]
    pages = deployment.aws.client("logs").get_paginator("filter_log_events").paginate(logGroupName=group)
    messages = [each["message"] for page in pages for each in page["events"]]
    lines = [json.loads(message) for message in messages if message.startswith("{")]
    assert all("timestamp" in line and "level" in line for line in lines)
    return lines


def metric_lines(deployment, function):
    return [line for line in log_lines(deployment, function) if "_aws" in line]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_run_leaves_metrics_in_its_log_group(deployment, function):
    metrics = metric_lines(deployment, function)
    dimensions = collections.Counter()
    for line in metrics:
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == f"KmsCompliance/{STACK}"
        (names,) = directive["Dimensions"]
        if "ProbeLatency" not in line:
            dimensions[tuple(names)] += 1
        assert all(metric["Name"] in line for metric in directive["Metrics"])
        assert not any(key.arn.rpartition("/")[2] in json.dumps(line) for key in deployment.keys.values())
    assert dimensions[("Function",)] >= 1
    assert dimensions[("Function", "Control")] == len(fleet.CONTROLS[function]) * dimensions[("Function",)]


# ---- Verdicts, with IAM enforced -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["scheduled-rule", "scheduled", "empty"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_scheduled_event_is_one_run_over_all_keys_with_one_alert(quiet, function, name):
    response = quiet.invoke(event(name, function), function)
    assert_sound(response, len(quiet.keys), function)
    assert "evaluations" not in response
    new = len(FINDINGS[function])
    alerts = {"new": new, "worsened": 0, "resolved": 0, "reminder": 0, "held_back": 0, "messages_published": 1}
    assert response["alerts"] == alerts
    (alert,) = quiet.alerts(5)
    assert json.loads(alert["Message"])["new"] == response["findings"]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_key_of_a_mixed_fleet_gets_its_verdicts(quiet, function):
    response = quiet.invoke(event("dry-run", function), function)
    assert_sound(response, len(quiet.keys), function)
    assert verdicts(response) == expected(quiet.keys.values(), function=function)
    assert {each["aliases"][0] for each in response["findings"]} == {each[0] for each in FINDINGS[function]}


@contextlib.contextmanager
def without(deployment, action, function=ROTATION):
    """The function's role without one of its permissions."""
    iam, role = deployment.aws.client("iam"), deployment.physical_id(f"{deployment.logical_ids[function]}Role")
    (name,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    policy = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    reduced = copy.deepcopy(policy)
    taken = 0
    for statement in reduced["Statement"]:
        if action in statement["Action"]:
            taken += 1
            others = [each for each in statement["Action"] if each != action] if statement["Action"] != action else []
            statement["Action"] = others or ["iam:GetNothing"]
    assert taken
    iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(reduced))
    try:
        yield
    finally:
        iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(policy))


def test_without_get_key_rotation_status_exactly_the_eligible_keys_are_not_known(quiet):
    eligible = {key.alias: denied(ROTATION) for key in quiet.keys.values() if key.rotatable}
    assert len(eligible) == 9
    with without(quiet, "kms:GetKeyRotationStatus"):
        response = quiet.invoke(event("dry-run"))
    assert_sound(response, len(quiet.keys))
    assert verdicts(response) == expected(quiet.keys.values(), eligible)
    assert {finding["reason"] for finding in response["findings"]} == {"access_denied"}
    assert verdicts(quiet.invoke(event("dry-run"))) == expected(quiet.keys.values())


def test_without_list_key_rotations_exactly_the_keys_that_need_it_are_not_known(quiet):
    # The local AWS makes all keys now, and judges another day: all are older than policy allows. Their age alone is not
    # known, and only where it may have been reset by a rotation.
    def ages(response):
        return {key: verdict for (key, control), verdict in verdicts(response).items() if control == "key-material-age"}

    years_ahead = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=800)
    payload = {"detail": {"as_of": f"{years_ahead:%Y-%m-%dT%H:%M:%SZ}", "verbose": True}}
    with without(quiet, "kms:ListKeyRotations", AGE):
        response = quiet.invoke(payload, AGE)
    assert_sound(response, len(quiet.keys), AGE)
    unrotatable = ("alias/invoice-signing", "alias/inbox", "alias/session-tokens")
    changed = {
        key.arn: ("NON_COMPLIANT", "material_too_old") if key.alias in unrotatable else denied(AGE)[0]
        for key in quiet.keys.values()
        if key.age[0] == ("COMPLIANT", "within_policy")
    }
    assert len(changed) == 15
    assert ages(response) == {key.arn: changed.get(key.arn, key.age[0]) for key in quiet.keys.values()}
    # With the permission it asks, and the local AWS does not know the call: an error, and no verdict about the key.
    allowed = ages(quiet.invoke(payload, AGE))
    assert {key for key, verdict in allowed.items() if verdict[0] == "INSUFFICIENT_DATA"} == {
        key for key, verdict in changed.items() if verdict == denied(AGE)[0]
    }
    assert ("INSUFFICIENT_DATA", "access_denied") not in allowed.values()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_without_describe_key_no_key_is_known(quiet, function):
    with without(quiet, "kms:DescribeKey", function):
        response = quiet.invoke(event("dry-run", function), function)
    assert_sound(response, len(quiet.keys), function)
    assert verdicts(response) == expected(
        quiet.keys.values(), dict.fromkeys(quiet.keys, denied(function)), function=function
    )


@pytest.mark.parametrize("function", FUNCTIONS)
def test_without_list_keys_the_run_fails_and_says_so(quiet, function):
    with without(quiet, "kms:ListKeys", function):
        error = quiet.invoke(event("empty", function), function)
    assert error["errorType"] == "ListKeysFailed"
    assert "kms:ListKeys was denied" in error["errorMessage"]
    assert quiet.alerts() == []


def test_without_list_aliases_findings_have_no_names(quiet):
    with without(quiet, "kms:ListAliases"):
        response = quiet.invoke(event("dry-run"))
    assert verdicts(response) == expected(quiet.keys.values())
    assert {tuple(finding["aliases"]) for finding in response["findings"]} == {()}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_alert_that_may_not_be_published_fails_the_run(quiet, function):
    with without(quiet, "sns:Publish", function):
        error = quiet.invoke(event("empty", function), function)
    assert error["errorType"] == "AlertNotDelivered"
    assert quiet.outputs["AlertTopicArn"] in error["errorMessage"]
    assert quiet.alerts() == []


def test_a_key_whose_own_policy_shuts_the_function_out_stops_nothing(quiet):
    kms = quiet.aws.client("kms")
    arn = quiet.keys["alias/backups"].arn
    policy = kms.get_key_policy(KeyId=arn, PolicyName="default")["Policy"]
    shut = json.loads(policy)
    role = f"arn:aws:iam::{ACCOUNT}:role/{quiet.physical_id('RotationCheckerRole')}"
    shut["Statement"].append({"Effect": "Deny", "Principal": {"AWS": role}, "Action": "kms:*", "Resource": "*"})
    kms.put_key_policy(KeyId=arn, PolicyName="default", Policy=json.dumps(shut))
    try:
        response = quiet.invoke(event("dry-run"))
    finally:
        kms.put_key_policy(KeyId=arn, PolicyName="default", Policy=policy)
    assert_sound(response, len(quiet.keys))
    assert verdicts(response) == expected(quiet.keys.values(), {"alias/backups": denied(ROTATION)})


def requests_of_functions(deployment, since):
    """What functions asked of AWS: the local AWS keeps a trail. Nobody else here uses the SDK for Rust."""
    cloudtrail, kms = deployment.aws.client("cloudtrail"), deployment.aws.client("kms")
    # An answer holds the newest fifty, and a run makes more requests of KMS.
    lookups = [("EventName", name) for name in kms.meta.service_model.operation_names]
    lookups += [("EventSource", f"{service}.amazonaws.com") for service in ("dynamodb", "monitoring", "sns")]
    trail = []
    for key, value in lookups:
        attributes = [{"AttributeKey": key, "AttributeValue": value}]
        trail += cloudtrail.lookup_events(StartTime=since, LookupAttributes=attributes)["Events"]
    asked = {}
    for request in (json.loads(each["CloudTrailEvent"]) for each in trail):
        if "aws-sdk-rust" in request["userAgent"]:
            # SNS is asked by a form; its name for the request stands in there alone.
            name = request["requestParameters"].get("Action", request["eventName"])
            service = request["eventSource"].partition(".")[0]
            asked.setdefault({"monitoring": "cloudwatch"}.get(service, service), set()).add(name)
    return {service: sorted(names) for service, names in asked.items()}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_trail_holds_exactly_the_calls_that_the_role_is_given(quiet, function):
    time.sleep(1.1)  # the trail's times are whole seconds
    since = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    quiet.invoke(event("empty", function), function)
    if function == AGE:
        # Keys are never old enough here, but on another day.
        quiet.invoke({"detail": {"as_of": f"{since + datetime.timedelta(days=800):%Y-%m-%dT%H:%M:%SZ}"}}, function)
    calls = json.loads((ROOT / "tests/calls.json").read_text(encoding="utf-8"))
    asked_for = calls[function]
    # The keys of this account need no role, and no look at whose credentials these are.
    assert asked_for.pop("sts") == ["AssumeRole", "GetCallerIdentity"]
    # The local AWS has no custom key stores, and all of its keys are young: nobody asks for what no key needs.
    for call in {"DescribeCustomKeyStores", "GetKeyLastUsage"} & set(asked_for["kms"]):
        asked_for["kms"].remove(call)
    assert requests_of_functions(quiet, since) == asked_for


# ---- Options ---------------------------------------------------------------------------------------------------------


def test_a_dry_run_publishes_nothing(quiet):
    for name in ("dry-run", "options-string"):
        response = quiet.invoke(event(name))
        assert response["findings"] and response["alerts"]["messages_published"] == 0
    assert quiet.alerts(2) == []


def test_as_of_judges_another_day_and_publishes_nothing(quiet):
    response = quiet.invoke(event("options"))
    payments = quiet.keys["alias/payments"]
    assert response["evaluated_at"] == event("options")["detail"]["as_of"]
    assert_sound(response, 1)
    assert verdicts(response) == expected([payments])
    assert response["alerts"]["messages_published"] == 0
    assert quiet.alerts(2) == []


def test_keys_narrow_the_run_by_alias_id_and_arn(quiet):
    payments, backups, archive = (quiet.keys[f"alias/{name}"] for name in ("payments", "backups", "archive"))
    names = [payments.alias, backups.arn.rpartition("/")[2], archive.arn, "alias/payments"]
    response = quiet.invoke({"detail": {"keys": names, "dry_run": True, "verbose": True}})
    assert_sound(response, 3)
    assert verdicts(response) == expected([payments, backups, archive])


def test_a_named_key_that_does_not_exist_is_not_found(quiet):
    unknown = "11111111-2222-3333-4444-555555555555"
    names = ["alias/nobody", unknown, "alias/backups"]
    response = quiet.invoke({"detail": {"keys": names, "dry_run": True, "verbose": True}})
    assert_sound(response, 3)
    said = collections.Counter(verdicts(response).values())
    assert said[("INSUFFICIENT_DATA", "not_found")] == 6
    assert verdicts(response).items() >= expected([quiet.keys["alias/backups"]]).items()
    assert any(unknown in finding["key_arn"] for finding in response["findings"])


def test_settings_narrow_the_run(quiet):
    keys = quiet.keys
    with quiet.settings(MONITORED_KEYS="alias/payments, alias/archive"):
        response = quiet.invoke(event("dry-run"))
    assert verdicts(response) == expected([keys["alias/payments"], keys["alias/archive"]])
    with quiet.settings(EXCLUDED_KEYS=f"alias/payments,{keys['alias/archive'].arn}"):
        response = quiet.invoke(event("dry-run"))
    excluded = fleet.not_applicable("excluded")
    assert verdicts(response) == expected(keys.values(), {"alias/payments": excluded, "alias/archive": excluded})


def test_settings_set_the_policy(quiet):
    with quiet.settings(MAX_ROTATION_PERIOD_DAYS="730"):
        response = quiet.invoke(event("dry-run"))
    assert verdicts(response) == expected(quiet.keys.values(), {"alias/archive": fleet.COMPLIANT})
    with quiet.settings(AGE, EXPIRY_WARNING_DAYS="4"):
        response = quiet.invoke(event("dry-run", AGE), AGE)
    assert response["findings"] == []
    with quiet.settings(AGE, EXPIRY_WARNING_DAYS="120"):
        response = quiet.invoke(event("dry-run", AGE), AGE)
    assert len(response["findings"]) == len(FINDINGS[AGE]) + 1


def test_a_batch_gives_back_its_malformed_messages_alone(quiet):
    response = quiet.invoke(event("sqs-batch"))
    assert response["batchItemFailures"] == []
    assert_sound(response, 2)
    assert len(quiet.alerts(5)) == 1

    quiet.forget()
    batch = event("sqs-batch-one-malformed")
    response = quiet.invoke(batch)
    assert response["batchItemFailures"] == [{"itemIdentifier": batch["Records"][1]["messageId"]}]
    assert_sound(response, 1)
    (alert,) = quiet.alerts(5)
    assert [finding["aliases"] for finding in json.loads(alert["Message"])["new"]] == [["alias/payments"]]


# ---- Bad input -------------------------------------------------------------------------------------------------------

REFUSED = {
    "malformed-unknown-field": "dry-run",
    "malformed-top-level": "dry_run",
    "malformed-type": "keys",
    "malformed-key-type": "keys",
    "malformed-as-of": "as_of",
    "malformed-detail-string": "detail",
    "malformed-detail-type": "detail",
    "malformed-not-an-object": "object",
}


def test_every_malformed_event_is_tested():
    assert {path.stem for path in (EVENTS / ROTATION).glob("malformed-*.json")} == set(REFUSED)
    assert {path.stem for path in (EVENTS / AGE).glob("malformed-*.json")} < set(REFUSED)


@pytest.mark.parametrize(
    ("function", "name"),
    sorted(
        (path.parent.name, path.stem) for path in EVENTS.glob("*/malformed-*.json") if path.parent.name != KEY_MANAGER
    ),
)
def test_a_malformed_event_is_refused(quiet, function, name):
    error = quiet.invoke(event(name, function), function)
    assert error["errorType"] == "InvalidEvent"
    assert REFUSED[name] in error["errorMessage"]
    assert quiet.alerts() == []


@pytest.mark.parametrize(
    ("function", "variable", "value"),
    [
        (AGE, "MAX_KEY_AGE_DAYS", "0"),
        (AGE, "MAX_KEY_AGE_DAYS", "3651"),
        (AGE, "EXPIRY_WARNING_DAYS", "-1"),
        (AGE, "SNS_TOPIC_ARN", "alerts"),
        (ROTATION, "SNS_TOPIC_ARN", ""),
        (ROTATION, "SNS_TOPIC_ARN", "alerts"),
        (ROTATION, "MONITORED_KEYS", "alias/payments, no key!"),
        (ROTATION, "EXCLUDED_KEYS", "arn:aws:s3:::bucket"),
        (ROTATION, "KMS_QUOTA_SHARE", "0"),
        (ROTATION, "KMS_QUOTA_SHARE", "1.1"),
        (ROTATION, "KMS_QUOTA_SHARE", "half"),
        (ROTATION, "REMINDER_INTERVAL_DAYS", "-1"),
        (ROTATION, "MAX_ROTATION_PERIOD_DAYS", "89"),
        (ROTATION, "MAX_ROTATION_PERIOD_DAYS", "2561"),
        (ROTATION, "ROTATION_GRACE_DAYS", "two"),
    ],
)
def test_a_wrong_setting_is_refused(quiet, function, variable, value):
    with quiet.settings(function, **{variable: value}):
        error = quiet.invoke(event("empty", function), function)
    assert error["errorType"] == "InvalidConfiguration"
    assert variable in error["errorMessage"]
    assert value.rpartition(", ")[2] in error["errorMessage"]
    assert quiet.alerts() == []


def test_a_failed_asynchronous_run_ends_in_the_queue_for_failed_runs(quiet):
    quiet.lambda_.invoke(
        FunctionName=quiet.name(ROTATION), InvocationType="Event", Payload=json.dumps(event("malformed-unknown-field"))
    )
    (record,) = receive(quiet.aws.client("sqs"), quiet.outputs["FailedRunQueueUrl"], wait=30)
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestContext"]["approximateInvokeCount"] == 3
    assert record["requestPayload"] == event("malformed-unknown-field")
    assert record["responsePayload"]["errorType"] == "InvalidEvent"


# ---- What is deployed besides ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "alias"), [("Application", "app"), ("Database", "db"), ("Backup", "backup")])
def test_the_applications_keys_are_there_under_their_names(deployment, kind, alias):
    kms, arn = deployment.aws.client("kms"), deployment.application[f"{kind}KeyArn"]
    key = kms.describe_key(KeyId=f"alias/shop-test-{alias}-key")["KeyMetadata"]
    assert (key["Arn"], key["KeyId"]) == (arn, deployment.application[f"{kind}KeyId"])
    assert (key["KeyState"], key["MultiRegion"]) == ("Enabled", False)
    assert kms.get_key_rotation_status(KeyId=arn)["KeyRotationEnabled"] is True
    tags = {tag["TagKey"]: tag["TagValue"] for tag in kms.list_resource_tags(KeyId=arn)["Tags"]}
    # As samconfig.toml says it of the stack, but for its kind.
    assert tags.items() >= {"Application": "shop", "Environment": "dev", "KeyType": kind}.items()


@pytest.mark.parametrize("role", ["DatabaseAdminRole", "BackupAdminRole"])
def test_administrators_are_refused_without_mfa(deployment, role):
    with pytest.raises(ClientError, match="AccessDenied"):
        as_role(deployment, deployment.physical_id(role, APPLICATION_STACK), "sts")


def test_administrators_who_are_named_need_no_mfa(deployment):
    """Sessions of IAM Identity Center have nothing that says MFA."""
    iam, trust = deployment.aws.client("iam"), trusting(f"arn:aws:iam::{ACCOUNT}:root")
    may_assume = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [may_assume]})
    wanted = f"arn:aws:iam::{ACCOUNT}:role/{deployment.physical_id('DatabaseAdminRole', APPLICATION_STACK)}"
    for kind in ("Admins", "Readers"):
        name, path = f"AWSReservedSSO_{kind}_0123456789abcdef", f"{IDENTITY_CENTER}eu-west-1/"
        iam.create_role(RoleName=name, Path=path, AssumeRolePolicyDocument=trust)
        iam.put_role_policy(RoleName=name, PolicyName="assume", PolicyDocument=policy)
        sts = as_role(deployment, name, "sts", path)
        if kind == "Admins":
            sts.assume_role(RoleArn=wanted, RoleSessionName="test")
        else:
            with pytest.raises(ClientError, match="AccessDenied"):
                sts.assume_role(RoleArn=wanted, RoleSessionName="test")


def test_every_alarm_is_deployed_and_tells_its_topic(deployment):
    alarms = deployment.aws.client("cloudwatch").describe_alarms()["MetricAlarms"]
    told = collections.defaultdict(set)
    for alarm in alarms:
        (topic,) = alarm["AlarmActions"]
        told[topic].add(alarm["AlarmName"].removeprefix(f"{STACK}-").removeprefix(f"{APPLICATION_STACK}-"))
    # Those with metric math are switched off: the local AWS has none.
    assert told[deployment.outputs["OperationsTopicArn"]] == {"silence", "coverage", "alerts-held-back"}
    assert told[deployment.outputs["SecurityAlarmTopicArn"]] == {
        f"{key}-key-usage-threshold" for key in ("application", "database", "backup")
    } | {"denied-kms-requests"}
    assert len(told) == 2


def test_an_alarm_reaches_the_operations_topic_and_nobody_else_may(deployment):
    topic, cloudwatch = deployment.outputs["OperationsTopicArn"], deployment.aws.client("cloudwatch")
    operations = Subscriber(deployment.aws, "operations", topic)
    name = f"{STACK}-silence"
    # A daily check leaves a datapoint; then there is none for too long.
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="a test")
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="INSUFFICIENT_DATA", StateReason="a test")
    (notification,) = operations.receive(10)
    assert json.loads(notification["Message"])["AlarmName"] == name
    with pytest.raises(ClientError, match="not authorized"):
        deployment.aws.client("sns").publish(TopicArn=topic, Message="not an alarm")


def test_an_alarm_that_concerns_security_reaches_its_own_topic_and_no_subscriber_to_alerts(quiet):
    topic, cloudwatch = quiet.outputs["SecurityAlarmTopicArn"], quiet.aws.client("cloudwatch")
    security = Subscriber(quiet.aws, "security", topic)
    name = f"{STACK}-denied-kms-requests"
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="a test")
    (notification,) = security.receive(10)
    assert json.loads(notification["Message"])["AlarmName"] == name
    assert quiet.alerts(1) == []
    with pytest.raises(ClientError, match="not authorized"):
        quiet.aws.client("sns").publish(TopicArn=topic, Message="not an alarm")


def test_nobody_but_the_monitor_publishes_to_the_alert_topic(quiet):
    """Not even the account's administrator."""
    topic = quiet.outputs["AlertTopicArn"]
    with pytest.raises(ClientError, match="not authorized"):
        quiet.aws.client("sns").publish(TopicArn=topic, Message="all is well")
    tellers = (*FUNCTIONS, REPORTER)
    for function in tellers:
        role = quiet.physical_id(f"{quiet.logical_ids[function]}Role")
        as_role(quiet, role, "sns").publish(TopicArn=topic, Message="an alert")
    assert [alert["Message"] for alert in quiet.alerts(5, least=len(tellers))] == ["an alert"] * len(tellers)
    with pytest.raises(ClientError, match="not authorized"):
        as_role(quiet, quiet.physical_id("TargetPlannerRole"), "sns").publish(TopicArn=topic, Message="a plan")


def test_denied_requests_are_counted_in_the_trails_log_group(deployment):
    # The local AWS keeps the filter and counts nothing; its pattern is looked at on the template.
    (kept,) = deployment.aws.client("logs").describe_metric_filters(logGroupName=TRAIL)["metricFilters"]
    (count,) = kept["metricTransformations"]
    (alarm,) = deployment.aws.client("cloudwatch").describe_alarms(AlarmNames=[f"{STACK}-denied-kms-requests"])[
        "MetricAlarms"
    ]
    assert (count["metricNamespace"], count["metricName"]) == (alarm["Namespace"], alarm["MetricName"])


def test_the_dashboard_shows_only_what_runs_have_emitted(deployment):
    body = deployment.aws.client("cloudwatch").get_dashboard(DashboardName=f"{STACK}-{REGION}")["DashboardBody"]
    emitted = set()
    for function in (*FUNCTIONS, REPORTER):
        for line in metric_lines(deployment, function):
            (directive,) = line["_aws"]["CloudWatchMetrics"]
            (names,) = directive["Dimensions"]
            emitted |= {(directive["Namespace"], ",".join(names), metric["Name"]) for metric in directive["Metrics"]}
    looked_for = set().union(*searches(json.loads(body)).values())
    assert len(looked_for) >= 8 and looked_for <= emitted


# ---- Is anything enforced at all? ------------------------------------------------------------------------------------


def as_role(deployment, role, service, path="/"):
    """A client with the permissions of a role."""
    arn = f"arn:aws:iam::{ACCOUNT}:role{path}{role}"
    credentials = deployment.aws.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
    return deployment.aws.client(
        service,
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
    )


def trusting(principal):
    statement = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def test_the_local_aws_denies_what_no_policy_allows(deployment):
    trust = trusting(f"arn:aws:iam::{ACCOUNT}:root")
    deployment.aws.client("iam").create_role(RoleName="nobody", AssumeRolePolicyDocument=trust)
    with pytest.raises(ClientError, match="AccessDenied"):
        as_role(deployment, "nobody", "kms").list_keys()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_functions_role_changes_no_key(deployment, function):
    arn = deployment.keys["alias/payments"].arn
    kms = as_role(deployment, deployment.physical_id(f"{deployment.logical_ids[function]}Role"), "kms")
    assert kms.describe_key(KeyId=arn)["KeyMetadata"]["Arn"] == arn
    for refused in (
        lambda: kms.enable_key_rotation(KeyId=arn),
        lambda: kms.disable_key(KeyId=arn),
        lambda: kms.schedule_key_deletion(KeyId=arn),
        lambda: kms.encrypt(KeyId=arn, Plaintext=b"x"),
        lambda: kms.generate_data_key(KeyId=arn, KeySpec="AES_256"),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            refused()


def test_the_topic_refuses_to_be_reached_without_tls(quiet):
    topic = quiet.outputs["AlertTopicArn"]
    sns = as_role(quiet, quiet.physical_id("RotationCheckerRole"), "sns")
    sns.publish(TopicArn=topic, Message="over TLS")
    assert len(quiet.alerts(5)) == 1

    # The local AWS takes a proxy's word for it that the caller came without TLS.
    def without_tls(request, **_):
        request.headers["X-Forwarded-Proto"] = "http"

    sns.meta.events.register("before-sign.sns.Publish", without_tls)
    with pytest.raises(ClientError, match="not authorized"):
        sns.publish(TopicArn=topic, Message="without TLS")
