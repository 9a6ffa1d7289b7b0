"""The deployed function in a local AWS: IAM and TLS are enforced, and nothing of AWS is stubbed in the test."""

import collections
import contextlib
import copy
import json

import pytest
from botocore.exceptions import ClientError

import fleet
from conftest import EVENTS, event
from local_aws import REGION, receive

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
DENIED = (("INSUFFICIENT_DATA", "access_denied"),) * 3


def verdicts(response):
    """What a verbose response says, by key and control."""
    said = [(each["key_arn"], each["control"]) for each in response["evaluations"]]
    assert len(said) == len(set(said)), "a key has two verdicts for one control"
    return {
        (each["key_arn"], each["control"]): (each["compliance"], each["reason"]) for each in response["evaluations"]
    }


def expected(keys, changed=None):
    """What it must say of these keys."""
    return {
        (key.arn, control): verdict
        for key in keys
        for control, verdict in zip(fleet.CONTROLS, (changed or {}).get(key.alias, key.verdicts), strict=True)
    }


def assert_sound(response, keys_listed):
    """What holds for every response."""
    assert response["function"] == "rotation-checker"
    assert (response["account_id"], response["region"]) == (ACCOUNT, REGION)
    assert (response["complete"], response["keys_not_reached"]) == (True, 0)
    assert response["keys_listed"] == keys_listed
    assert set(response["controls"]) == set(fleet.CONTROLS)
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


def test_the_schedule_fires_and_the_alert_arrives(deployment):
    (alert,) = deployment.scheduled
    message = json.loads(alert["Message"])
    assert set(message) == {
        "schema",
        "function",
        "account_id",
        "region",
        "evaluated_at",
        "complete",
        "new",
        "worsened",
        "resolved",
        "reminder",
        "exemptions",
        "omitted",
    }
    assert message["schema"] == "kms-compliance-alert/1"
    assert (message["function"], message["account_id"], message["region"]) == ("rotation-checker", ACCOUNT, REGION)
    assert message["evaluated_at"] >= f"{deployment.fires_at:%Y-%m-%dT%H:%M:%SZ}"
    assert message["complete"] is True
    assert [message[each] for each in ("worsened", "resolved", "reminder", "exemptions")] == [[], [], [], []]
    assert message["omitted"] == {}
    assert all(set(finding) == FINDING for finding in message["new"])
    found = {(finding["aliases"][0], finding["control"], finding["reason"]) for finding in message["new"]}
    assert found == {
        ("alias/payments", "rotation-enabled", "rotation_disabled"),
        ("alias/customers", "rotation-enabled", "rotation_disabled"),
        ("alias/archive", "rotation-period", "period_too_long"),
    }


def test_the_subject_fits_an_email(deployment):
    subject = deployment.scheduled[0]["Subject"]
    assert subject.isascii() and subject.isprintable() and len(subject) < 100
    for part in ("MEDIUM", "3", "rotation-checker", ACCOUNT, REGION):
        assert part in subject


def test_message_attributes_serve_filter_policies(deployment):
    attributes = {name: each["Value"] for name, each in deployment.scheduled[0]["MessageAttributes"].items()}
    assert attributes == {
        "severity": "MEDIUM",
        "function": "rotation-checker",
        "account_id": ACCOUNT,
        "region": REGION,
    }


def test_a_filter_policy_on_severity_works(quiet):
    quiet.invoke(event("scheduled-rule"))
    assert len(quiet.medium.receive(5)) == 1
    assert quiet.critical.receive(0) == []


def test_the_replica_points_to_its_primary(deployment):
    findings = json.loads(deployment.scheduled[0]["Message"])["new"]
    (replica,) = [finding for finding in findings if finding["aliases"] == ["alias/customers"]]
    primary = deployment.keys["alias/customers"].arn.replace(REGION, fleet.PRIMARY_REGION)
    assert primary in replica["remediation"]


def test_the_run_leaves_metrics_in_its_log_group(deployment):
    group = deployment.outputs["RotationCheckerLogGroup"]
    events = deployment.aws.client("logs").filter_log_events(logGroupName=group)["events"]
    lines = [json.loads(each["message"]) for each in events if each["message"].startswith("{")]
    assert all("timestamp" in line and "level" in line for line in lines)
    metrics = [line for line in lines if "_aws" in line]
    dimensions = collections.Counter()
    for line in metrics:
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "KmsCompliance"
        (names,) = directive["Dimensions"]
        dimensions[tuple(names)] += 1
        assert all(metric["Name"] in line for metric in directive["Metrics"])
        assert not any(key.arn.rpartition("/")[2] in json.dumps(line) for key in deployment.keys.values())
    assert dimensions[("Function",)] >= 1
    assert dimensions[("Function", "Control")] == 3 * dimensions[("Function",)]


# ---- Verdicts, with IAM enforced -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["scheduled-rule", "scheduled", "empty"])
def test_every_scheduled_event_is_one_run_over_all_keys_with_one_alert(quiet, name):
    response = quiet.invoke(event(name))
    assert_sound(response, len(quiet.keys))
    assert "evaluations" not in response
    assert response["alerts"] == {"new": 3, "worsened": 0, "resolved": 0, "reminder": 0, "messages_published": 1}
    (alert,) = quiet.alerts(5)
    assert json.loads(alert["Message"])["new"] == response["findings"]


def test_every_key_of_a_mixed_fleet_gets_its_verdicts(quiet):
    response = quiet.invoke(event("dry-run"))
    assert_sound(response, len(quiet.keys))
    assert verdicts(response) == expected(quiet.keys.values())
    assert {finding["aliases"][0] for finding in response["findings"]} == {
        "alias/payments",
        "alias/customers",
        "alias/archive",
    }


@contextlib.contextmanager
def without(deployment, action):
    """The function's role without one of its permissions."""
    iam, role = deployment.aws.client("iam"), deployment.physical_id("RotationCheckerRole")
    (name,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    policy = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    reduced = copy.deepcopy(policy)
    taken = 0
    for statement in reduced["Statement"]:
        if action in statement["Action"]:
            taken += 1
            others = [each for each in statement["Action"] if each != action] if statement["Action"] != action else []
            statement["Action"] = others or ["iam:GetNothing"]
    assert taken == 1
    iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(reduced))
    try:
        yield
    finally:
        iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(policy))


def test_without_get_key_rotation_status_exactly_the_eligible_keys_are_not_known(quiet):
    eligible = {key.alias: DENIED for key in quiet.keys.values() if key.eligible}
    assert len(eligible) == 6
    with without(quiet, "kms:GetKeyRotationStatus"):
        response = quiet.invoke(event("dry-run"))
    assert_sound(response, len(quiet.keys))
    assert verdicts(response) == expected(quiet.keys.values(), eligible)
    assert {finding["reason"] for finding in response["findings"]} == {"access_denied"}
    assert verdicts(quiet.invoke(event("dry-run"))) == expected(quiet.keys.values())


def test_without_describe_key_no_key_is_known(quiet):
    with without(quiet, "kms:DescribeKey"):
        response = quiet.invoke(event("dry-run"))
    assert_sound(response, len(quiet.keys))
    assert verdicts(response) == expected(quiet.keys.values(), dict.fromkeys(quiet.keys, DENIED))


def test_without_list_keys_the_run_fails_and_says_so(quiet):
    with without(quiet, "kms:ListKeys"):
        error = quiet.invoke(event("empty"))
    assert error["errorType"] == "ListKeysFailed"
    assert "kms:ListKeys was denied" in error["errorMessage"]
    assert quiet.alerts() == []


def test_without_list_aliases_findings_have_no_names(quiet):
    with without(quiet, "kms:ListAliases"):
        response = quiet.invoke(event("dry-run"))
    assert verdicts(response) == expected(quiet.keys.values())
    assert {tuple(finding["aliases"]) for finding in response["findings"]} == {()}


def test_an_alert_that_may_not_be_published_fails_the_run(quiet):
    with without(quiet, "sns:Publish"):
        error = quiet.invoke(event("empty"))
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
    assert verdicts(response) == expected(quiet.keys.values(), {"alias/backups": DENIED})


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


def test_a_batch_gives_back_its_malformed_messages_alone(quiet):
    response = quiet.invoke(event("sqs-batch"))
    assert response["batchItemFailures"] == []
    assert_sound(response, 2)
    assert len(quiet.alerts(5)) == 1

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
    assert {path.stem for path in EVENTS.glob("malformed-*.json")} == set(REFUSED)


@pytest.mark.parametrize(("name", "named"), REFUSED.items())
def test_a_malformed_event_is_refused(quiet, name, named):
    error = quiet.invoke(event(name))
    assert error["errorType"] == "InvalidEvent"
    assert named in error["errorMessage"]
    assert quiet.alerts() == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SNS_TOPIC_ARN", ""),
        ("SNS_TOPIC_ARN", "alerts"),
        ("MONITORED_KEYS", "alias/payments, no key!"),
        ("EXCLUDED_KEYS", "arn:aws:s3:::bucket"),
        ("KMS_QUOTA_SHARE", "0"),
        ("KMS_QUOTA_SHARE", "1.1"),
        ("KMS_QUOTA_SHARE", "half"),
        ("REMINDER_INTERVAL_DAYS", "-1"),
        ("MAX_ROTATION_PERIOD_DAYS", "89"),
        ("MAX_ROTATION_PERIOD_DAYS", "2561"),
        ("ROTATION_GRACE_DAYS", "two"),
    ],
)
def test_a_wrong_setting_is_refused(quiet, variable, value):
    with quiet.settings(**{variable: value}):
        error = quiet.invoke(event("empty"))
    assert error["errorType"] == "InvalidConfiguration"
    assert variable in error["errorMessage"]
    assert value.rpartition(", ")[2] in error["errorMessage"]
    assert quiet.alerts() == []


def test_a_failed_asynchronous_run_ends_in_the_queue_for_failed_runs(quiet):
    quiet.lambda_.invoke(
        FunctionName=quiet.function, InvocationType="Event", Payload=json.dumps(event("malformed-unknown-field"))
    )
    (record,) = receive(quiet.aws.client("sqs"), quiet.outputs["FailedRunQueueUrl"], wait=30)
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestContext"]["approximateInvokeCount"] == 3
    assert record["requestPayload"] == event("malformed-unknown-field")
    assert record["responsePayload"]["errorType"] == "InvalidEvent"


# ---- Is anything enforced at all? ------------------------------------------------------------------------------------


def as_role(deployment, role, service):
    """A client with the permissions of a role."""
    arn = f"arn:aws:iam::{ACCOUNT}:role/{role}"
    credentials = deployment.aws.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
    return deployment.aws.client(
        service,
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
    )


def test_the_local_aws_denies_what_no_policy_allows(deployment):
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
    deployment.aws.client("iam").create_role(RoleName="nobody", AssumeRolePolicyDocument=json.dumps(trust))
    with pytest.raises(ClientError, match="AccessDenied"):
        as_role(deployment, "nobody", "kms").list_keys()


def test_the_functions_role_changes_no_key(deployment):
    arn = deployment.keys["alias/payments"].arn
    kms = as_role(deployment, deployment.physical_id("RotationCheckerRole"), "kms")
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
    sns, topic = quiet.aws.client("sns"), quiet.outputs["AlertTopicArn"]
    sns.publish(TopicArn=topic, Message="over TLS")
    assert len(quiet.alerts(5)) == 1

    # The local AWS takes a proxy's word for it that the caller came without TLS.
    def without_tls(request, **_):
        request.headers["X-Forwarded-Proto"] = "http"

    sns.meta.events.register("before-sign.sns.Publish", without_tls)
    with pytest.raises(ClientError, match="not authorized"):
        sns.publish(TopicArn=topic, Message="without TLS")
