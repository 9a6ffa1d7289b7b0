"""The template that these grew from: where each of its parts stands here, and its defects that a template can show.

Defects have the numbers of the table in docs/. Those that lie in the source document's Python alone are tested in Rust.
"""

import json
import re

import pytest

from local_aws import ROOT, functions, read_template
from template import ALERT_KEY, ALERT_TOPIC, of_type, properties, statements

COUNTERPARTS = {
    "ApplicationEncryptionKey": ["ApplicationKey", "ApplicationMultiRegionKey"],
    "ApplicationEncryptionKeyAlias": ["ApplicationKeyAlias"],
    "DatabaseEncryptionKey": ["DatabaseKey", "DatabaseMultiRegionKey"],
    "DatabaseEncryptionKeyAlias": ["DatabaseKeyAlias"],
    "BackupEncryptionKey": ["BackupKey", "BackupMultiRegionKey"],
    "BackupEncryptionKeyAlias": ["BackupKeyAlias"],
    "ApplicationRole": ["ApplicationRole"],
    "DatabaseAdminRole": ["DatabaseAdminRole"],
    "BackupAdminRole": ["BackupAdminRole"],
    "KeyUsageAlarm": [
        f"{key}KeyUsage{how}" for key in ("Application", "Database", "Backup") for how in ("Band", "Threshold")
    ],
    "SecurityNotificationTopic": ["AlertTopic"],
    "KeyRotationMonitor": ["RotationChecker", "KeyAgeChecker"],
    "KeyRotationMonitorRole": ["RotationCheckerRole", "KeyAgeCheckerRole"],
    "KeyMonitoringSchedule": ["DailyCheckDaily"],
    "KeyMonitoringPermission": ["ScheduleRole"],
}
TYPES = {
    "Alias": "AWS::KMS::Alias",
    "Band": "AWS::CloudWatch::Alarm",
    "Checker": "AWS::Lambda::Function",
    "Daily": "AWS::Scheduler::Schedule",
    "Key": "AWS::KMS::Key",
    "Role": "AWS::IAM::Role",
    "Threshold": "AWS::CloudWatch::Alarm",
    "Topic": "AWS::SNS::Topic",
}


TEMPLATES = ("template.yaml", "application-keys.yaml", "replicas.yaml", "member-role.yaml")


@pytest.fixture(scope="module")
def resources(resources, application):
    """Those of the monitor and of an application's keys; no name is in both."""
    assert not resources.keys() & application["Resources"].keys()
    return resources | application["Resources"]


@pytest.mark.parametrize("counterparts", COUNTERPARTS.values(), ids=COUNTERPARTS)
def test_each_resource_has_its_counterpart(resources, counterparts):
    for name in counterparts:
        (kind,) = [kind for suffix, kind in TYPES.items() if name.endswith(suffix)]
        assert resources[name]["Type"] == kind


def test_each_parameter_is_still_one(source, application):
    parameters = application["Parameters"]
    assert parameters.keys() >= {"Environment", "ApplicationName", "EnableMultiRegion"}
    for environment in ("dev", "staging", "prod"):
        for each in (source["Parameters"], parameters):
            assert re.fullmatch(each["Environment"]["AllowedPattern"], environment)
    assert parameters["EnableMultiRegion"]["AllowedValues"] == ["true", "false"]
    assert parameters["EnableMultiRegion"]["Default"] == "false"


@pytest.mark.parametrize(
    "name", ["ApplicationKeyId", "ApplicationKeyArn", "DatabaseKeyId", "BackupKeyId", "ApplicationRoleArn"]
)
def test_each_output_is_exported_under_its_name(application, name):
    assert application["Outputs"][name]["Export"] == {"Name": {"Fn::Sub": f"${{AWS::StackName}}-{name}"}}


def principals(policies):
    for policy in policies:
        for statement in policy["Statement"]:
            yield statement, statement.get("Principal", {})


def key_policies(resources):
    return [key["Properties"]["KeyPolicy"] for key in of_type(resources, "AWS::KMS::Key").values()]


def test_defect_8_no_key_is_ever_without_its_policy(resources):
    replicas = of_type(read_template("replicas.yaml")["Resources"], "AWS::KMS::ReplicaKey")
    keys = of_type(resources, "AWS::KMS::Key") | replicas
    assert len(keys) == 10
    assert all(key["Properties"]["KeyPolicy"]["Statement"] for key in keys.values())


def test_defect_10_spec_and_usage_of_keys_agree(resources):
    for key in of_type(resources, "AWS::KMS::Key").values():
        made = key["Properties"]
        assert made.get("KeySpec", "SYMMETRIC_DEFAULT") == "SYMMETRIC_DEFAULT"
        assert made.get("KeyUsage", "ENCRYPT_DECRYPT") == "ENCRYPT_DECRYPT"


def test_defect_12_replicas_are_made_in_their_own_region_and_no_region_is_fixed():
    for name in TEMPLATES:
        assert not re.search(r"\b(us|eu|ap|ca|sa|me|af)-[a-z]+-\d\b", (ROOT / name).read_text(encoding="utf-8"))
    assert of_type(read_template("replicas.yaml")["Resources"], "AWS::KMS::ReplicaKey")


def test_defect_14_alarms_are_on_metrics_that_exist_of_every_key(resources):
    text = json.dumps(resources)
    assert "NumberOfRequestsSucceeded" not in text and '"KeyId"' not in text
    watched = set()
    for name, alarm in of_type(resources, "AWS::CloudWatch::Alarm").items():
        made = alarm["Properties"]
        stats = [each["MetricStat"]["Metric"] for each in made.get("Metrics", []) if "MetricStat" in each] or [made]
        for metric in stats:
            if metric["Namespace"] == "AWS/KMS":
                assert metric["MetricName"] == "SuccessfulRequest"
                assert [each["Name"] for each in metric["Dimensions"]] == ["KeyArn", "Operation"]
                watched.add(name)
    assert watched == set(COUNTERPARTS["KeyUsageAlarm"])


def test_defect_15_the_alert_topic_has_its_own_key_and_alarms_and_functions_may_use_it(resources):
    assert properties(resources, "AlertTopic")["KmsMasterKeyId"] == {"Fn::GetAtt": ["AlertKey", "Arn"]}
    assert "AlertKey" not in json.dumps(list(COUNTERPARTS.values()))
    _, alarms = properties(resources, "AlertKey")["KeyPolicy"]["Statement"]
    assert alarms["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    for role in COUNTERPARTS["KeyRotationMonitorRole"]:
        (use,) = [each for each in statements(resources, role) if each["Resource"] == ALERT_KEY]
        assert use["Action"] == alarms["Action"] == ["kms:GenerateDataKey*", "kms:Decrypt"]


def test_defect_16_rights_are_narrow_every_key_is_watched_and_nothing_gets_lost(resources, source):
    unnarrowable = {"kms:ListKeys", "kms:ListAliases"}
    for role in COUNTERPARTS["KeyRotationMonitorRole"] + COUNTERPARTS["KeyMonitoringPermission"]:
        wide = [each["Action"] for each in statements(resources, role) if each["Resource"] == "*"]
        assert {action for actions in wide for action in actions} <= unnarrowable
    assert source["Parameters"]["MonitoredKeys"]["Default"] == ""
    policies = of_type(resources, "AWS::SNS::TopicPolicy").values()
    topics = {topic["Ref"] for policy in policies for topic in policy["Properties"]["Topics"]}
    subscriptions = [each["Properties"]["TopicArn"] for each in of_type(resources, "AWS::SNS::Subscription").values()]
    subscribed = {"AlertTopic" if topic == ALERT_TOPIC else topic["Ref"] for topic in subscriptions}
    # A chat is subscribed from its own side.
    assert topics == subscribed | {"ChatTopic"} == set(of_type(resources, "AWS::SNS::Topic"))
    assert properties(resources, "DailyCheckDaily")["Target"]["DeadLetterConfig"]
    for logical_id in functions(source).values():
        assert properties(resources, logical_id)["Timeout"] == 900
        assert properties(resources, f"{logical_id}Logs")["RetentionInDays"] == {"Ref": "LogRetentionDays"}


def test_defect_17_a_run_that_failed_is_kept_and_alarms(resources):
    for function in COUNTERPARTS["KeyRotationMonitor"]:
        kept = properties(resources, f"{function}EventInvokeConfig")["DestinationConfig"]["OnFailure"]["Destination"]
        assert kept == {"Fn::GetAtt": ["FailedRunQueue", "Arn"]}
    # A check that fails after its retries fails the daily check.
    failures = [each["MetricStat"]["Metric"] for each in properties(resources, "DailyCheckFailures")["Metrics"][1:]]
    assert "ExecutionsFailed" in [each["MetricName"] for each in failures]


def test_defect_18_no_service_acts_on_a_key_for_another_account(resources):
    for statement, principal in principals(key_policies(resources)):
        if "Service" in principal:
            assert "aws:SourceAccount" in statement["Condition"]["StringEquals"]
            assert principal["Service"] == "cloudwatch.amazonaws.com"  # neither RDS nor AWS Backup by themselves
        if principal == {"AWS": "*"}:
            assert {"kms:CallerAccount", "kms:ViaService"} == statement["Condition"]["StringEquals"].keys()
        if "kms:CreateGrant" in statement["Action"]:
            assert statement["Condition"]["Bool"] == {"kms:GrantIsForAWSResource": "true"}


def test_defect_19_any_partition_no_tag_that_drifts_every_condition_used_no_service_whole(
    resources, source, application
):
    for name in TEMPLATES:
        text = (ROOT / name).read_text(encoding="utf-8")
        assert "arn:aws:" not in text and "RotationEnabled" not in text
    for each in (source, application):
        for condition in each["Conditions"]:
            assert re.search(rf'"(Condition|Fn::If)": \[?"{condition}"', json.dumps(each)), condition
    for role in of_type(resources, "AWS::IAM::Role"):
        for statement in statements(resources, role):
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            assert not [action for action in actions if action == "*" or action.endswith(":*")]


def test_defect_20_keys_are_retained_never_switched_and_the_runtime_is_no_version_that_ages(resources):
    for key in of_type(resources, "AWS::KMS::Key").values():
        assert key["DeletionPolicy"] in ("Retain", "RetainExceptOnCreate") and key["UpdateReplacePolicy"] == "Retain"
        # A value that never changes: an update could not change it.
        assert key["Properties"].get("MultiRegion", False) in (True, False)
    assert {each["Properties"]["Runtime"] for each in of_type(resources, "AWS::Lambda::Function").values()} == {
        "provided.al2023"
    }
