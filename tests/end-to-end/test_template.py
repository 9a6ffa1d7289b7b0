"""The template's functions, schedules, alerts and parameters, as CloudFormation gets them."""

import json
import re

import pytest
import tomlkit

import key_events
from local_aws import ROOT, functions, read_template
from template import ACCOUNT, ALARMS_ONLY, OWNER, arn_of, of_type, properties, statements

FUNCTIONS = functions(read_template())
# Those that look into events of keys too.
LISTENERS = {function: FUNCTIONS[function] for function in key_events.RULES}
every_function = pytest.mark.parametrize(("function", "logical_id"), FUNCTIONS.items())


def named_after_the_stack(name):
    return {"Fn::Sub": f"${{AWS::StackName}}-{name}"}


def partition_of(function):
    """The function's part of the ledger."""
    return {"Fn::Sub": f"${{AWS::AccountId}}#${{AWS::Region}}#{function}"}


# ---- Permissions -----------------------------------------------------------------------------------------------------


# These know no narrower resource.
LISTING = {"DescribeCustomKeyStores", "ListAliases", "ListKeys"}
# What the prober does to keys that opted in, and no other function to any key.
CRYPTING, SIGNING = {"Decrypt", "Encrypt"}, {"GenerateMac", "Sign", "Verify", "VerifyMac"}
KEYS_HERE = {"Fn::Sub": "arn:${AWS::Partition}:kms:${AWS::Region}:${AWS::AccountId}:key/*"}
REPLICAS_ANYWHERE = {"Fn::Sub": "arn:${AWS::Partition}:kms:*:${AWS::AccountId}:key/mrk-*"}


@every_function
def test_the_functions_role_allows_exactly_its_calls(resources, function, logical_id):
    # The Rust tests hold this file against what the binaries really call.
    calls = json.loads((ROOT / "tests/calls.json").read_text(encoding="utf-8"))[function]
    assert calls.keys() - {"cloudwatch"} == {"dynamodb", "kms", "sns"} and calls["sns"] == ["Publish"]
    requests = set(calls["kms"])
    prober = function == "health-prober"
    assert requests >= {"ListAliases", "ListKeys"} and prober == (requests >= CRYPTING | SIGNING)
    allowed = statements(resources, f"{logical_id}Role")
    for statement in allowed[:2]:
        statement["Action"] = sorted(statement["Action"])
    assert allowed == [
        {"Effect": "Allow", "Action": sorted(f"kms:{call}" for call in requests & LISTING), "Resource": "*"},
        {
            "Effect": "Allow",
            "Action": sorted(f"kms:{call}" for call in requests - LISTING - CRYPTING - SIGNING),
            "Resource": [KEYS_HERE, REPLICAS_ANYWHERE] if prober else KEYS_HERE,
        },
        *(use_of_keys() if prober else []),
        *[
            # CloudWatch knows no narrower resource for these.
            {"Effect": "Allow", "Action": [f"cloudwatch:{call}" for call in reads], "Resource": "*"}
            for reads in [calls.get("cloudwatch")]
            if reads
        ],
        {
            "Effect": "Allow",
            "Action": [f"dynamodb:{call}" for call in calls["dynamodb"]],
            "Resource": arn_of("FindingsTable"),
            "Condition": {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [partition_of(function)]}},
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
            "Resource": arn_of(f"{logical_id}Logs"),
        },
        {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": arn_of("FailedRunQueue")},
        *[
            {
                "Effect": "Allow",
                "Action": ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"],
                "Resource": arn_of(f"{logical_id}EventQueue"),
            }
            for _ in LISTENERS.keys() & {function}
        ],
    ]
    (trust,) = properties(resources, f"{logical_id}Role")["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "lambda.amazonaws.com"}
    assert properties(resources, logical_id)["Role"] == arn_of(f"{logical_id}Role")


def use_of_keys():
    """Tagged keys, then named ones: symmetric by the probe's context, key pairs by their algorithms, the others."""
    tagged = {"aws:ResourceTag/kms-compliance/probe": "true"}
    ways = (
        (CRYPTING, {"kms:EncryptionContext:purpose": "kms-compliance-probe"}),
        # None of them is SYMMETRIC_DEFAULT: it must not get by without the context.
        (CRYPTING, {"kms:EncryptionAlgorithm": ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "SM2PKE"]}),
        (SIGNING, {}),
    )
    for requests, condition in ways:
        yield {
            "Effect": "Allow",
            "Action": sorted(f"kms:{request}" for request in requests),
            "Resource": [KEYS_HERE, REPLICAS_ANYWHERE],
            "Condition": {"StringEquals": tagged | condition},
        }
    for requests, condition in ways:
        named = {
            "Effect": "Allow",
            "Action": sorted(f"kms:{request}" for request in requests),
            "Resource": {"Fn::Split": [",", {"Ref": "ProbeKeys"}]},
            "If": "HasProbeKeys",
        }
        yield named | ({"Condition": {"StringEquals": condition}} if condition else {})


def test_the_probers_policy_fits_with_as_many_named_keys_as_can_be(resources, source):
    policies = properties(resources, "HealthProberRole")["Policies"]
    # Each of the three statements about named keys holds them all, in quotes.
    named = 3 * (source["Parameters"]["ProbeKeys"]["MaxLength"] + 2 * 25)
    # Functions of the template are longer than what becomes of them, but for names that CloudFormation makes.
    made = 6 * 150
    assert len(json.dumps(policies, separators=(",", ":"))) + named + made <= 10_240  # all inline policies of a role


def test_keys_are_named_for_the_probe_on_request_alone(source):
    assert source["Conditions"]["HasProbeKeys"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "ProbeKeys"}, ""]}]}
    assert source["Parameters"]["ProbeKeys"]["Default"] == ""


def test_the_schedules_role_allows_exactly_this(resources):
    functions = [arn_of(logical_id) for logical_id in FUNCTIONS.values()]
    assert statements(resources, "ScheduleRole") == [
        {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": functions},
        {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": arn_of("ScheduleDeadLetterQueue")},
    ]
    (trust,) = properties(resources, "ScheduleRole")["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}


def test_no_function_and_no_schedule_may_change_a_key(resources):
    harmless = {
        "kms:DescribeCustomKeyStores",
        "kms:DescribeKey",
        "kms:GetKeyLastUsage",
        "kms:GetKeyPolicy",
        "kms:GetKeyRotationStatus",
        "kms:ListAliases",
        "kms:ListKeyRotations",
        "kms:ListKeys",
        "kms:ListResourceTags",
    }
    use = {f"kms:{call}" for call in CRYPTING | SIGNING}
    on_the_topics_key = {"kms:GenerateDataKey*", "kms:Decrypt"}
    monitor = {f"{each}Role" for each in FUNCTIONS.values()} | {"ScheduleRole"}
    assert set(of_type(resources, "AWS::IAM::Role")) == monitor
    assert not {"AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"} & {each["Type"] for each in resources.values()}
    for role in monitor:
        for statement in statements(resources, role):
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            kms = {action for action in actions if action.startswith(("kms:", "*"))}
            allowed = on_the_topics_key if statement["Resource"] == arn_of("AlertKey") else harmless
            assert kms <= (allowed | use if role == "HealthProberRole" else allowed)


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


# ---- Findings ledger -------------------------------------------------------------------------------------------------


def test_the_ledger_outlives_the_stack_mistakes_and_every_key(resources):
    (name,) = of_type(resources, "AWS::DynamoDB::Table")
    table = resources[name]
    assert name == "FindingsTable"
    assert (table["DeletionPolicy"], table["UpdateReplacePolicy"]) == ("Retain", "Retain")
    made = table["Properties"]
    assert made["DeletionProtectionEnabled"] is True
    assert made["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    # Encrypted, and with no key that somebody could disable.
    assert made["SSESpecification"] == {"SSEEnabled": True}


def test_the_ledgers_items_are_found_by_function_and_end_by_their_own_date(resources):
    made = properties(resources, "FindingsTable")
    assert made["KeySchema"] == [
        {"AttributeName": "pk", "KeyType": "HASH"},
        {"AttributeName": "sk", "KeyType": "RANGE"},
    ]
    assert made["AttributeDefinitions"] == [
        {"AttributeName": "pk", "AttributeType": "S"},
        {"AttributeName": "sk", "AttributeType": "S"},
    ]
    assert made["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    assert made["BillingMode"] == "PAY_PER_REQUEST" and "ProvisionedThroughput" not in made
    # A name of its own would make it impossible to deploy again after the stack is gone.
    assert "TableName" not in made


# ---- Schedule and failures -------------------------------------------------------------------------------------------


@every_function
def test_the_schedule_has_its_time_zone_window_retries_and_dead_letter_queue(resources, function, logical_id):
    schedule = properties(resources, f"{logical_id}Daily")
    assert schedule["Name"] == named_after_the_stack(function)
    assert schedule["ScheduleExpression"] == {"Ref": "ScheduleExpression"}
    assert schedule["ScheduleExpressionTimezone"] == {"Ref": "ScheduleTimezone"}
    assert schedule["FlexibleTimeWindow"] == {
        "Mode": {"Fn::If": ["HasScheduleWindow", "FLEXIBLE", "OFF"]},
        "MaximumWindowInMinutes": {
            "Fn::If": ["HasScheduleWindow", {"Ref": "ScheduleWindowMinutes"}, {"Ref": "AWS::NoValue"}]
        },
    }
    assert schedule["Target"] == {
        "Arn": arn_of(logical_id),
        "RoleArn": arn_of("ScheduleRole"),
        "DeadLetterConfig": {"Arn": arn_of("ScheduleDeadLetterQueue")},
        "RetryPolicy": {"MaximumEventAgeInSeconds": 21600, "MaximumRetryAttempts": 30},
    }
    assert schedule.get("State", "ENABLED") == "ENABLED"


@every_function
def test_a_run_that_fails_is_tried_twice_more_and_kept(resources, function, logical_id):
    config = properties(resources, f"{logical_id}EventInvokeConfig")
    assert config["MaximumRetryAttempts"] == 2
    assert config["DestinationConfig"] == {"OnFailure": {"Destination": arn_of("FailedRunQueue")}}


def test_queues_are_encrypted_and_keep_messages_as_long_as_can_be(resources):
    queues = of_type(resources, "AWS::SQS::Queue")
    assert set(queues) == {
        "ScheduleDeadLetterQueue",
        "FailedRunQueue",
        "KeyEventDeadLetterQueue",
        *(f"{LISTENERS[each]}EventQueue" for each in LISTENERS),
    }
    for queue in queues.values():
        assert queue["Properties"]["SqsManagedSseEnabled"] is True
        assert queue["Properties"]["MessageRetentionPeriod"] == 14 * 24 * 60 * 60


# ---- Function --------------------------------------------------------------------------------------------------------


@every_function
def test_the_function_runs_its_binary_and_logs_json_to_a_group_that_forgets(resources, source, function, logical_id):
    made = properties(resources, logical_id)
    assert (made["Runtime"], made["Handler"]) == ("provided.al2023", "bootstrap")
    assert made["Timeout"] == 900
    assert made["FunctionName"] == named_after_the_stack(function)
    assert made["LoggingConfig"] == {
        "LogFormat": "JSON",
        "ApplicationLogLevel": {"Ref": "LogLevel"},
        "LogGroup": {"Ref": f"{logical_id}Logs"},
    }
    logs = properties(resources, f"{logical_id}Logs")
    assert logs["RetentionInDays"] == {"Ref": "LogRetentionDays"}
    assert logs["LogGroupName"] == {"Fn::Sub": f"/aws/lambda/${{AWS::StackName}}-{function}"}
    declared = source["Resources"][logical_id]
    assert declared["Metadata"] == {"BuildMethod": "rust-cargolambda", "BuildProperties": {"Binary": function}}
    assert declared["Properties"]["CodeUri"] == f"functions/{function}"


@every_function
def test_concurrency_is_not_reserved_unless_asked_for(resources, source, function, logical_id):
    reserved = properties(resources, logical_id)["ReservedConcurrentExecutions"]
    assert reserved == {"Fn::If": ["ReserveConcurrency", {"Ref": "ReservedConcurrency"}, {"Ref": "AWS::NoValue"}]}
    assert source["Parameters"]["ReservedConcurrency"]["Default"] == -1


SETTINGS = {
    "ANOMALY_THRESHOLD": "0.9",
    "BASELINE_DAYS": "28",
    "EXCLUDED_KEYS": "",
    "EXPIRY_WARNING_DAYS": "30",
    "KMS_QUOTA_SHARE": "0.2",
    "MAX_DECRYPT_RATIO": "10",
    "MAX_KEY_AGE_DAYS": "365",
    "MAX_ROTATION_PERIOD_DAYS": "365",
    "MONITORED_KEYS": "",
    "PROBE_KEYS": "",
    "REMINDER_INTERVAL_DAYS": "7",
    "REPLICA_REGIONS": "",
    "RESOLVED_RETENTION_DAYS": "365",
    "ROTATION_GRACE_DAYS": "2",
    "UNUSED_AFTER_DAYS": "90",
}


@every_function
def test_every_setting_is_a_parameter_with_its_default(resources, source, function, logical_id):
    variables = dict(properties(resources, logical_id)["Environment"]["Variables"])
    assert variables.pop("SNS_TOPIC_ARN") == {"Ref": "AlertTopic"}
    assert variables.pop("FINDINGS_TABLE") == {"Ref": "FindingsTable"}
    defaults = {name: str(source["Parameters"][value["Ref"]]["Default"]) for name, value in variables.items()}
    assert defaults == SETTINGS


# ---- Parameters ------------------------------------------------------------------------------------------------------

KEY_ID = "1234abcd-12ab-34cd-56ef-1234567890ab"
KEY_ARN = f"arn:aws:kms:us-east-1:123456789012:key/{KEY_ID}"


@pytest.mark.parametrize(
    ("parameter", "taken", "refused"),
    [
        ("KmsQuotaShare", ["0.2", "1", "1.0", ".5", "0.05", "0.001"], ["0", "0.0", "1.1", "2", "-1", "", "half", "."]),
        (
            "MonitoredKeys",
            ["", "alias/payments", f"{KEY_ID}, {KEY_ARN}", f"mrk-{KEY_ID}"],
            ["alias/a b", "alias/a,", ",alias/a", "alias/*", "alias/a;alias/b"],
        ),
        (
            "ScheduleExpression",
            ["rate(1 day)", "cron(0 6 * * ? *)", "at(2026-11-23T06:00:00)"],
            ["daily", "", "rate()"],
        ),
        ("ScheduleTimezone", ["UTC", "Europe/Berlin", "Etc/GMT+5"], ["", "Europe Berlin"]),
        (
            "ProbeKeys",
            ["", KEY_ARN, f"{KEY_ARN},{KEY_ARN.replace('key/', 'key/mrk-')}"],
            [KEY_ID, "alias/a", f"{KEY_ARN}, {KEY_ARN}", f"{KEY_ARN},", KEY_ARN.replace(KEY_ID, "*"), f"{KEY_ARN},*"],
        ),
        (
            "ReplicaRegions",
            ["", "eu-west-1", "eu-west-1, us-gov-east-1,ap-southeast-2"],
            ["eu-west", "*", "eu-west-1,", "eu-west-1;us-east-1", "EU-WEST-1"],
        ),
        ("NotificationEmail", ["", "team@example.com"], ["team", "team@example", "a b@example.com"]),
        (
            "PermissionsBoundaryArn",
            ["", "arn:aws:iam::123456789012:policy/boundary", "arn:aws-cn:iam::aws:policy/PowerUserAccess"],
            ["boundary", "arn:aws:iam::123456789012:role/boundary"],
        ),
        ("Environment", ["dev", "prod-1"], ["", "-prod", "a b", "Prod"]),
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
        ("MaxKeyAgeDays", 1, 3650),
        ("ExpiryWarningDays", 0, 3650),
        ("ReminderIntervalDays", 0, 3650),
        ("LedgerRetentionDays", 1, 3650),
        ("ScheduleWindowMinutes", 0, 1440),
        ("BaselineDays", 7, 63),
        ("AnomalyThreshold", 0, 1),
        ("UnusedAfterDays", 1, 3650),
        ("MaxDecryptRatio", 1, 1_000_000),
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


def test_tags_are_the_stacks(source, application):
    """CloudFormation puts the stack's tags on what takes tags: no resource repeats them."""
    for each in (source, application, read_template("replicas.yaml")):
        assert not re.search(r'"Key": "(Application|Environment)"', json.dumps(each["Resources"]))
        assert "Tags" not in json.dumps(each.get("Globals", {}))
    config = tomlkit.parse((ROOT / "samconfig.toml").read_text(encoding="utf-8"))
    for section in ("default", "prod", "default-application-keys", "prod-application-keys"):
        deploy = config[section]["deploy"]["parameters"]
        tags, parameters = (dict(each.split("=") for each in deploy[what]) for what in ("tags", "parameter_overrides"))
        assert tags["Environment"] == parameters["Environment"]
        assert tags["Application"] == parameters.get("ApplicationName", "kms-compliance-monitor")


def test_it_deploys_in_every_partition_and_twice_in_a_region(resources):
    text = json.dumps(resources)
    assert "arn:aws:" not in text and "us-east-1" not in text
    named = "AlarmName AliasName DashboardName FilterName FunctionName LogGroupName Name QueueName RoleName TopicName"
    names = [
        value
        for resource in resources.values()
        for key, value in resource["Properties"].items()
        if key in named.split()
    ]
    own = {name["Fn::Sub"] for name in names if "Ref" not in name}
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


def test_prod_is_not_deployed_without_somebody_who_hears(source):
    (rule,) = source["Rules"].values()
    assert rule["RuleCondition"] == {"Fn::Equals": [{"Ref": "Environment"}, "prod"]}
    (assertion,) = rule["Assertions"]
    assert assertion["Assert"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "NotificationEmail"}, ""]}]}
