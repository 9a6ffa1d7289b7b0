"""What template.yaml becomes, as far as no local AWS can show it: the SAM transform is AWS's own."""

import json
import re

import pytest
import tomlkit
from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform

from local_aws import FUNCTION, ROOT

ACCOUNT = {"Ref": "AWS::AccountId"}
ALARMS_ONLY = {
    "StringEquals": {"aws:SourceAccount": ACCOUNT},
    "ArnLike": {
        "aws:SourceArn": {"Fn::Sub": "arn:${AWS::Partition}:cloudwatch:${AWS::Region}:${AWS::AccountId}:alarm:*"}
    },
}
OWNER = {"AWS": {"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"}}
NAMED_AFTER_THE_STACK = {"Fn::Sub": f"${{AWS::StackName}}-{FUNCTION}"}


class NoManagedPolicies:
    def load(self):
        return {}


@pytest.fixture(scope="module")
def source():
    return yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def resources():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        template = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))
        for resource in template["Resources"].values():
            if resource["Type"] == "AWS::Serverless::Function":
                resource["Properties"]["CodeUri"] = "s3://bucket/code.zip"
        return transform(template, {}, NoManagedPolicies())["Resources"]


def properties(resources, logical_id):
    return resources[logical_id]["Properties"]


def arn_of(logical_id):
    return {"Fn::GetAtt": [logical_id, "Arn"]}


def of_type(resources, kind):
    return {name: resource for name, resource in resources.items() if resource["Type"] == kind}


# ---- Permissions -----------------------------------------------------------------------------------------------------


def statements(resources, role):
    (policy,) = properties(resources, role)["Policies"]
    assert "ManagedPolicyArns" not in properties(resources, role)
    return [
        {name: value for name, value in statement.items() if name != "Sid"}
        for statement in policy["PolicyDocument"]["Statement"]
    ]


def test_the_functions_role_allows_exactly_this(resources):
    assert statements(resources, "RotationCheckerRole") == [
        {"Effect": "Allow", "Action": ["kms:ListKeys", "kms:ListAliases"], "Resource": "*"},
        {
            "Effect": "Allow",
            "Action": ["kms:DescribeKey", "kms:GetKeyRotationStatus"],
            "Resource": {"Fn::Sub": "arn:${AWS::Partition}:kms:${AWS::Region}:${AWS::AccountId}:key/*"},
        },
        {"Effect": "Allow", "Action": "sns:Publish", "Resource": {"Ref": "AlertTopic"}},
        {
            "Effect": "Allow",
            "Action": ["kms:GenerateDataKey*", "kms:Decrypt"],
            "Resource": arn_of("AlertKey"),
            "Condition": {"StringEquals": {"kms:ViaService": {"Fn::Sub": "sns.${AWS::Region}.${AWS::URLSuffix}"}}},
        },
        {
            "Effect": "Allow",
            "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
            "Resource": arn_of("RotationCheckerLogs"),
        },
        {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": arn_of("FailedRunQueue")},
    ]


def test_the_schedules_role_allows_exactly_this(resources):
    assert statements(resources, "RotationCheckerScheduleRole") == [
        {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": arn_of("RotationChecker")},
        {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": arn_of("ScheduleDeadLetterQueue")},
    ]
    (trust,) = properties(resources, "RotationCheckerScheduleRole")["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}


def test_no_role_may_change_a_key(resources):
    harmless = {"kms:ListKeys", "kms:ListAliases", "kms:DescribeKey", "kms:GetKeyRotationStatus"}
    on_the_topics_key = {"kms:GenerateDataKey*", "kms:Decrypt"}
    roles = of_type(resources, "AWS::IAM::Role")
    assert set(roles) == {"RotationCheckerRole", "RotationCheckerScheduleRole"}
    assert not {"AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"} & {each["Type"] for each in resources.values()}
    for role in roles.values():
        for policy in role["Properties"]["Policies"]:
            for statement in policy["PolicyDocument"]["Statement"]:
                actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
                kms = {action for action in actions if action.startswith(("kms:", "*"))}
                allowed = on_the_topics_key if statement["Resource"] == arn_of("AlertKey") else harmless
                assert kms <= allowed


# ---- Alerts ----------------------------------------------------------------------------------------------------------


def test_the_topic_has_a_key_of_its_own_that_outlives_the_stack(resources):
    key = resources["AlertKey"]
    assert (key["DeletionPolicy"], key["UpdateReplacePolicy"]) == ("Retain", "Retain")
    assert key["Properties"]["EnableKeyRotation"] is True
    assert "MultiRegion" not in key["Properties"]
    assert properties(resources, "AlertTopic")["KmsMasterKeyId"] == arn_of("AlertKey")
    assert properties(resources, "AlertKeyAlias")["TargetKeyId"] == {"Ref": "AlertKey"}


def test_only_the_account_and_its_alarms_may_use_the_topics_key(resources):
    account, alarms = properties(resources, "AlertKey")["KeyPolicy"]["Statement"]
    assert (account["Effect"], account["Principal"], account["Action"]) == ("Allow", OWNER, "kms:*")
    assert (alarms["Effect"], alarms["Principal"]) == ("Allow", {"Service": "cloudwatch.amazonaws.com"})
    assert alarms["Action"] == ["kms:GenerateDataKey*", "kms:Decrypt"]
    assert alarms["Condition"] == ALARMS_ONLY


def test_the_topic_takes_messages_of_the_account_over_tls_only(resources):
    policy = properties(resources, "AlertTopicPolicy")
    assert policy["Topics"] == [{"Ref": "AlertTopic"}]
    account, alarms, tls = policy["PolicyDocument"]["Statement"]
    assert (account["Effect"], account["Principal"]) == ("Allow", OWNER)
    assert {"sns:Publish", "sns:Subscribe", "sns:SetTopicAttributes"} <= set(account["Action"])
    assert (alarms["Effect"], alarms["Action"], alarms["Condition"]) == ("Allow", "sns:Publish", ALARMS_ONLY)
    assert (tls["Effect"], tls["Principal"], tls["Action"]) == ("Deny", "*", "sns:Publish")
    assert tls["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert all(each["Resource"] == {"Ref": "AlertTopic"} for each in (account, alarms, tls))


def test_mail_is_subscribed_if_an_address_is_given(resources, source):
    assert resources["NotificationEmailSubscription"]["Condition"] == "HasNotificationEmail"
    assert source["Conditions"]["HasNotificationEmail"] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "NotificationEmail"}, ""]}]
    }
    assert source["Parameters"]["NotificationEmail"]["Default"] == ""


# ---- Schedule and failures -------------------------------------------------------------------------------------------


def test_the_schedule_has_its_time_zone_window_retries_and_dead_letter_queue(resources):
    schedule = properties(resources, "RotationCheckerDaily")
    assert schedule["Name"] == NAMED_AFTER_THE_STACK
    assert schedule["ScheduleExpression"] == {"Ref": "ScheduleExpression"}
    assert schedule["ScheduleExpressionTimezone"] == {"Ref": "ScheduleTimezone"}
    assert schedule["FlexibleTimeWindow"] == {
        "Mode": {"Fn::If": ["HasScheduleWindow", "FLEXIBLE", "OFF"]},
        "MaximumWindowInMinutes": {
            "Fn::If": ["HasScheduleWindow", {"Ref": "ScheduleWindowMinutes"}, {"Ref": "AWS::NoValue"}]
        },
    }
    assert schedule["Target"] == {
        "Arn": arn_of("RotationChecker"),
        "RoleArn": arn_of("RotationCheckerScheduleRole"),
        "DeadLetterConfig": {"Arn": arn_of("ScheduleDeadLetterQueue")},
        "RetryPolicy": {"MaximumEventAgeInSeconds": 21600, "MaximumRetryAttempts": 30},
    }
    assert schedule.get("State", "ENABLED") == "ENABLED"


def test_a_run_that_fails_is_tried_twice_more_and_kept(resources):
    config = properties(resources, "RotationCheckerEventInvokeConfig")
    assert config["MaximumRetryAttempts"] == 2
    assert config["DestinationConfig"] == {"OnFailure": {"Destination": arn_of("FailedRunQueue")}}


def test_queues_are_encrypted_and_keep_messages_as_long_as_can_be(resources):
    queues = of_type(resources, "AWS::SQS::Queue")
    assert set(queues) == {"ScheduleDeadLetterQueue", "FailedRunQueue"}
    for queue in queues.values():
        assert queue["Properties"]["SqsManagedSseEnabled"] is True
        assert queue["Properties"]["MessageRetentionPeriod"] == 14 * 24 * 60 * 60


# ---- Function --------------------------------------------------------------------------------------------------------


def test_the_function_runs_its_binary_and_logs_json_to_a_group_that_forgets(resources, source):
    function = properties(resources, "RotationChecker")
    assert (function["Runtime"], function["Handler"]) == ("provided.al2023", "bootstrap")
    assert function["Timeout"] == 900
    assert function["FunctionName"] == NAMED_AFTER_THE_STACK
    assert function["LoggingConfig"] == {
        "LogFormat": "JSON",
        "ApplicationLogLevel": {"Ref": "LogLevel"},
        "LogGroup": {"Ref": "RotationCheckerLogs"},
    }
    assert properties(resources, "RotationCheckerLogs")["RetentionInDays"] == {"Ref": "LogRetentionDays"}
    assert source["Resources"]["RotationChecker"]["Metadata"] == {
        "BuildMethod": "rust-cargolambda",
        "BuildProperties": {"Binary": FUNCTION},
    }


def test_concurrency_is_not_reserved_unless_asked_for(resources, source):
    reserved = properties(resources, "RotationChecker")["ReservedConcurrentExecutions"]
    assert reserved == {"Fn::If": ["ReserveConcurrency", {"Ref": "ReservedConcurrency"}, {"Ref": "AWS::NoValue"}]}
    assert source["Parameters"]["ReservedConcurrency"]["Default"] == -1


def test_every_setting_is_a_parameter_with_its_default(resources, source):
    variables = dict(properties(resources, "RotationChecker")["Environment"]["Variables"])
    assert variables.pop("SNS_TOPIC_ARN") == {"Ref": "AlertTopic"}
    defaults = {name: str(source["Parameters"][value["Ref"]]["Default"]) for name, value in variables.items()}
    assert defaults == {
        "MONITORED_KEYS": "",
        "EXCLUDED_KEYS": "",
        "KMS_QUOTA_SHARE": "0.2",
        "REMINDER_INTERVAL_DAYS": "7",
        "MAX_ROTATION_PERIOD_DAYS": "365",
        "ROTATION_GRACE_DAYS": "2",
    }


# ---- Parameters ------------------------------------------------------------------------------------------------------

KEY_ID = "1234abcd-12ab-34cd-56ef-1234567890ab"


@pytest.mark.parametrize(
    ("parameter", "taken", "refused"),
    [
        ("KmsQuotaShare", ["0.2", "1", "1.0", ".5", "0.05", "0.001"], ["0", "0.0", "1.1", "2", "-1", "", "half", "."]),
        (
            "MonitoredKeys",
            ["", "alias/payments", f"{KEY_ID}, arn:aws:kms:us-east-1:123456789012:key/{KEY_ID}", f"mrk-{KEY_ID}"],
            ["alias/a b", "alias/a,", ",alias/a", "alias/*", "alias/a;alias/b"],
        ),
        (
            "ScheduleExpression",
            ["rate(1 day)", "cron(0 6 * * ? *)", "at(2026-11-23T06:00:00)"],
            ["daily", "", "rate()"],
        ),
        ("ScheduleTimezone", ["UTC", "Europe/Berlin", "Etc/GMT+5"], ["", "Europe Berlin"]),
        ("NotificationEmail", ["", "team@example.com"], ["team", "team@example", "a b@example.com"]),
        (
            "PermissionsBoundaryArn",
            ["", "arn:aws:iam::123456789012:policy/boundary", "arn:aws-cn:iam::aws:policy/PowerUserAccess"],
            ["boundary", "arn:aws:iam::123456789012:role/boundary"],
        ),
        ("Environment", ["dev", "prod-1"], ["", "-prod", "a b"]),
    ],
)
def test_text_parameters_take_what_they_should(source, parameter, taken, refused):
    pattern = source["Parameters"][parameter]["AllowedPattern"]
    assert [value for value in taken if not re.fullmatch(pattern, value)] == []
    assert [value for value in refused if re.fullmatch(pattern, value)] == []


@pytest.mark.parametrize(
    ("parameter", "least", "most"),
    [
        ("MaxRotationPeriodDays", 90, 2560),
        ("RotationGraceDays", 0, 3650),
        ("ReminderIntervalDays", 0, 3650),
        ("ScheduleWindowMinutes", 0, 1440),
    ],
)
def test_numbers_have_their_limits(source, parameter, least, most):
    declared = source["Parameters"][parameter]
    assert (declared["Type"], declared["MinValue"], declared["MaxValue"]) == ("Number", least, most)


def test_every_parameter_is_described_limited_and_in_a_group(source):
    grouped = [
        name
        for group in source["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
        for name in group["Parameters"]
    ]
    assert sorted(grouped) == sorted(source["Parameters"])
    for name, parameter in source["Parameters"].items():
        assert parameter["Description"], name
        assert {"AllowedPattern", "AllowedValues", "MinValue"} & parameter.keys(), name
        assert ("AllowedPattern" in parameter) == ("ConstraintDescription" in parameter), name


# ---- The whole -------------------------------------------------------------------------------------------------------


def test_every_taggable_resource_is_tagged(resources):
    untaggable = {
        "AWS::KMS::Alias",
        "AWS::Lambda::EventInvokeConfig",
        "AWS::SNS::Subscription",
        "AWS::SNS::TopicPolicy",
        "AWS::Scheduler::Schedule",
    }
    for name, resource in resources.items():
        if resource["Type"] not in untaggable:
            tags = {tag["Key"]: tag["Value"] for tag in resource["Properties"]["Tags"]}
            assert tags["Application"] == "kms-compliance-monitor", name
            assert tags["Environment"] == {"Ref": "Environment"}, name


def test_it_deploys_in_every_partition_and_twice_in_a_region(resources):
    text = json.dumps(resources)
    assert "arn:aws:" not in text and "us-east-1" not in text
    names = [
        value
        for resource in resources.values()
        for key, value in resource["Properties"].items()
        if key in ("AliasName", "FunctionName", "LogGroupName", "Name", "QueueName", "RoleName", "TopicName")
    ]
    own = [name["Fn::Sub"] for name in names if "Ref" not in name]
    assert own and all("${AWS::StackName}" in name for name in own)


def test_samconfig_builds_fresh_and_keeps_dev_and_prod_apart():
    config = tomlkit.parse((ROOT / "samconfig.toml").read_text(encoding="utf-8"))
    stacks = set()
    for environment in ("default", "prod"):
        build = config[environment]["build"]["parameters"]
        assert (build["cached"], build["parallel"]) == (False, False)
        assert config[environment]["deploy"]["parameters"]["capabilities"] == "CAPABILITY_IAM"
        stacks.add(config[environment]["global"]["parameters"]["stack_name"])
    assert len(stacks) == 2
