"""The template's functions, schedules, alerts and parameters, as CloudFormation gets them."""

import json
import re

import pytest
import tomlkit

from local_aws import PLANNER, REPORTER, ROOT, daily, functions, listeners, on_demand, read_template
from template import (
    ACCOUNT,
    ALARMS_ONLY,
    ALERT_KEY,
    ALERT_TOPIC,
    OWNER,
    arn_of,
    of_type,
    properties,
    statements,
    through,
)

FUNCTIONS = functions(read_template())
# Those, the planner and the reporter.
DAILY = daily(read_template())
# The same programs, for events of keys.
LISTENERS = listeners(read_template())
# One program, for requests of people.
ON_DEMAND = on_demand(read_template())
EVERY_FUNCTION = [*DAILY.values(), *LISTENERS.values(), *ON_DEMAND]
every_function = pytest.mark.parametrize(("function", "logical_id"), FUNCTIONS.items())
every_daily_function = pytest.mark.parametrize(("function", "logical_id"), DAILY.items())
every_listener = pytest.mark.parametrize(("function", "logical_id"), LISTENERS.items())
TELLERS = [arn_of(f"{logical_id}Role") for logical_id in [*FUNCTIONS.values(), "Reporter"]]


# Kept, but for a first deployment that fails: it takes along what it made.
OUTLIVES = ("RetainExceptOnCreate", "Retain")


def partition_of(function):
    """The function's part of the ledger: of this account and Region, or of every one that can be a target."""
    here = {"Fn::Sub": f"${{AWS::AccountId}}#${{AWS::Region}}#{function}"}
    return {"Fn::If": ["HasTargets", f"*#*#{function}", here]}


def in_partitions(*partitions):
    return {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": [*partitions]}}


def may_log(logical_id):
    return {
        "Effect": "Allow",
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "Resource": arn_of(f"{logical_id}Logs"),
    }


def named(parameter):
    """What a parameter names, with commas between."""
    return {"Fn::Split": [",", {"Ref": parameter}]}


KEEPS_FAILED_RUN = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": arn_of("FailedRunQueue")}
ENCRYPTS_ALERT = {
    "Effect": "Allow",
    "Action": ["kms:GenerateDataKey*", "kms:Decrypt"],
    "Resource": ALERT_KEY,
    "Condition": {"StringEquals": {"kms:ViaService": through("sns")}},
}
LEDGER = ["dynamodb:BatchWriteItem", "dynamodb:DeleteItem", "dynamodb:PutItem", "dynamodb:Query"]


# ---- Permissions -----------------------------------------------------------------------------------------------------


# These know no narrower resource.
LISTING = {"DescribeCustomKeyStores", "ListAliases", "ListKeys"}
# What the prober does to keys that opted in, and no other function to any key.
CRYPTING, SIGNING = {"Decrypt", "Encrypt"}, {"GenerateMac", "Sign", "Verify", "VerifyMac"}
KEYS_HERE = {"Fn::Sub": "arn:${AWS::Partition}:kms:${AWS::Region}:${AWS::AccountId}:key/*"}
# Another Region of this account is a target like any other, and needs no role of its own.
KEYS_READ = {"Fn::If": ["HasTargets", {"Fn::Sub": "arn:${AWS::Partition}:kms:*:${AWS::AccountId}:key/*"}, KEYS_HERE]}
REPLICAS_ANYWHERE = {"Fn::Sub": "arn:${AWS::Partition}:kms:*:${AWS::AccountId}:key/mrk-*"}


@every_function
def test_the_functions_role_allows_exactly_its_calls(resources, function, logical_id):
    # The Rust tests hold this file against what the binaries really call.
    calls = json.loads((ROOT / "tests/calls.json").read_text(encoding="utf-8"))[function]
    assert calls.keys() - {"cloudwatch"} == {"dynamodb", "kms", "sns", "sts"}
    # Nobody needs a permission to hear who he is.
    assert calls["sts"] == ["AssumeRole", "GetCallerIdentity"]
    assert [f"dynamodb:{call}" for call in calls["dynamodb"]] == LEDGER
    asked_of_the_topic = ["sns:GetTopicAttributes", "sns:Publish"]
    assert [f"sns:{call}" for call in calls["sns"]] == asked_of_the_topic
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
            "Resource": [KEYS_READ, REPLICAS_ANYWHERE] if prober else KEYS_READ,
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
            "Action": LEDGER,
            "Resource": arn_of("FindingsTable"),
            "Condition": in_partitions(partition_of(function)),
        },
        {
            "Effect": "Allow",
            "Action": "dynamodb:PutItem",
            "Resource": arn_of("FindingsTable"),
            "Condition": in_partitions("run#*"),
        },
        {
            "Effect": "Allow",
            "Action": "sts:AssumeRole",
            "Resource": {"Fn::Sub": "arn:${AWS::Partition}:iam::*:role/${MemberRoleName}"},
            "If": "HasTargets",
        },
        {"Effect": "Allow", "Action": asked_of_the_topic, "Resource": ALERT_TOPIC},
        ENCRYPTS_ALERT,
        may_log(logical_id),
        KEEPS_FAILED_RUN,
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


def test_the_planner_finds_targets_and_writes_them_down(resources):
    calls = json.loads((ROOT / "tests/calls.json").read_text(encoding="utf-8"))[PLANNER]
    asked = [f"account:{call}" for call in calls["account"]]
    asked += [f"organizations:{call}" for call in calls["organizations"]]
    assert "kms" not in calls and calls["s3"] == ["PutObject"]
    assert statements(resources, "TargetPlannerRole") == [
        # These know no narrower resource.
        {"Effect": "Allow", "Action": asked, "Resource": "*", "If": "HasTargets"},
        {"Effect": "Allow", "Action": "s3:PutObject", "Resource": {"Fn::Sub": "${PlanBucket.Arn}/plans/*"}},
        may_log("TargetPlanner"),
        KEEPS_FAILED_RUN,
    ]


def test_the_reporter_alone_reads_what_waits_and_every_part_of_the_ledger(resources):
    calls = json.loads((ROOT / "tests/calls.json").read_text(encoding="utf-8"))[REPORTER]
    everything = [*LEDGER, "dynamodb:Scan"]
    assert "kms" not in calls and [f"dynamodb:{call}" for call in calls["dynamodb"]] == everything
    index = {"Fn::Sub": "${FindingsTable.Arn}/index/waits"}
    assert statements(resources, "ReporterRole") == [
        {"Effect": "Allow", "Action": "dynamodb:Query", "Resource": index},
        {"Effect": "Allow", "Action": everything, "Resource": arn_of("FindingsTable")},
        {"Effect": "Allow", "Action": ["sns:GetTopicAttributes", "sns:Publish"], "Resource": ALERT_TOPIC},
        {"Effect": "Allow", "Action": "sns:Publish", "Resource": {"Ref": "OperationsTopic"}},
        ENCRYPTS_ALERT,
        {"Effect": "Allow", "Action": "sns:Publish", "Resource": {"Ref": "ChatTopic"}, "If": "HasChatTopic"},
        {
            "Effect": "Allow",
            "Action": "s3:PutObject",
            "Resource": [{"Fn::Sub": "${ReportBucket.Arn}/open/*"}, {"Fn::Sub": "${ReportBucket.Arn}/reports/*"}],
            "If": "HasReportBucket",
        },
        {"Effect": "Allow", "Action": "sns:Publish", "Resource": named("RouteTopicArns"), "If": "HasRoutes"},
        {
            "Effect": "Allow",
            "Action": "s3:GetObject",
            "Resource": {"Fn::Sub": "${PlanBucket.Arn}/plans/*"},
            "If": "HasRoutes",
        },
        {
            "Effect": "Allow",
            "Action": ["kms:GenerateDataKey*", "kms:Decrypt"],
            "Resource": named("RouteKeyArns"),
            # Wherever the topic is.
            "Condition": {"StringLike": {"kms:ViaService": ["sns.*.amazonaws.com", "sns.*.amazonaws.com.cn"]}},
            "If": "HasRouteKeys",
        },
        may_log("Reporter"),
        KEEPS_FAILED_RUN,
    ]
    readers = [role for role in of_type(resources, "AWS::IAM::Role") if "/index/" in json.dumps(resources[role])]
    assert readers == ["ReporterRole"]


EXECUTIONS = "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}"
DAILY_CHECK = {"Fn::Sub": f"{EXECUTIONS}:stateMachine:${{AWS::StackName}}-daily-check"}


def test_the_daily_checks_role_allows_exactly_this(resources):
    assert properties(resources, "DailyCheck")["StateMachineName"] == {"Fn::Sub": "${AWS::StackName}-daily-check"}
    assert statements(resources, "DailyCheckRole") == [
        {
            "Effect": "Allow",
            "Action": "lambda:InvokeFunction",
            "Resource": [arn_of(each) for each in ["TargetPlanner", *FUNCTIONS.values(), "Reporter"]],
        },
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": {"Fn::Sub": "${PlanBucket.Arn}/*"}},
        {"Effect": "Allow", "Action": "states:StartExecution", "Resource": DAILY_CHECK},
        {
            "Effect": "Allow",
            "Action": ["states:DescribeExecution", "states:RedriveExecution", "states:StopExecution"],
            "Resource": {"Fn::Sub": f"{EXECUTIONS}:execution:${{AWS::StackName}}-daily-check/Targets:*"},
        },
        {
            "Effect": "Allow",
            "Action": "dynamodb:PutItem",
            "Resource": arn_of("FindingsTable"),
            "Condition": in_partitions("run#*"),
        },
    ]
    (trust,) = properties(resources, "DailyCheckRole")["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "states.amazonaws.com"}
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}


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
            "If": "ProbesByTag",
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


def test_a_role_decrypts_with_keys_that_are_not_named_on_request_alone(resources, source):
    """AWS Security Hub's KMS.2: no decryption with all keys in an inline policy, whatever its conditions."""
    assert source["Parameters"]["ProbeByTag"]["Default"] == "false"
    assert source["Conditions"]["ProbesByTag"] == {"Fn::Equals": [{"Ref": "ProbeByTag"}, "true"]}
    for role in of_type(resources, "AWS::IAM::Role"):
        for statement in statements(resources, role):
            if "kms:Decrypt" in statement["Action"] and statement["Resource"] != ALERT_KEY:
                assert statement["If"] in ("ProbesByTag", "HasProbeKeys", "HasRouteKeys")


def test_traces_are_permitted_on_request_alone(resources, source):
    (name,) = of_type(resources, "AWS::IAM::Policy")
    assert resources[name]["Condition"] == "Traces"
    traced = [*FUNCTIONS.values(), *ON_DEMAND, "TargetPlanner", "Reporter", "DailyCheck"]
    assert properties(resources, name)["Roles"] == [{"Ref": f"{logical_id}Role"} for logical_id in traced]
    assert properties(resources, "DailyCheck")["TracingConfiguration"] == {
        "Enabled": {"Fn::If": ["Traces", True, False]}
    }
    (statement,) = properties(resources, name)["PolicyDocument"]["Statement"]
    assert statement["Action"] == ["xray:PutTelemetryRecords", "xray:PutTraceSegments"]
    for logical_id in EVERY_FUNCTION:
        tracing = properties(resources, logical_id)["TracingConfig"]
        assert tracing == {"Mode": {"Fn::If": ["Traces", "Active", "PassThrough"]}}
    assert source["Parameters"]["Tracing"]["Default"] == "false"


def test_keys_are_named_for_the_probe_on_request_alone(source):
    assert source["Conditions"]["HasProbeKeys"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "ProbeKeys"}, ""]}]}
    assert source["Parameters"]["ProbeKeys"]["Default"] == ""


def test_the_schedules_role_allows_exactly_this(resources):
    assert statements(resources, "ScheduleRole") == [
        {"Effect": "Allow", "Action": "states:StartExecution", "Resource": DAILY_CHECK},
        {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": arn_of("ScheduleDeadLetterQueue")},
    ]
    (trust,) = properties(resources, "ScheduleRole")["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}


def test_no_function_and_no_schedule_may_change_a_key(resources):
    calls = json.loads((ROOT / "tests/calls.json").read_text(encoding="utf-8")).values()
    reads = ("Describe", "Get", "List")
    harmless = {f"kms:{call}" for each in calls for call in each.get("kms", []) if call.startswith(reads)}
    use = {f"kms:{call}" for call in CRYPTING | SIGNING}
    on_the_topics_key = {"kms:GenerateDataKey*", "kms:Decrypt"}
    monitor = {f"{each}Role" for each in [*DAILY.values(), "Schedule", "DailyCheck"]}
    on_demand = {f"{each}Role" for each in ON_DEMAND} | {"KeyAuditInvokerRole", "KeyManagerInvokerRole"}
    assert set(of_type(resources, "AWS::IAM::Role")) == monitor | on_demand
    assert "AWS::IAM::ManagedPolicy" not in {each["Type"] for each in resources.values()}
    for role in (monitor | on_demand) - {"KeyManagerFunctionRole"}:
        for statement in statements(resources, role):
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            kms = {action for action in actions if action.startswith(("kms:", "*"))}
            is_of_topics = statement["Resource"] in (ALERT_KEY, named("RouteKeyArns"))
            allowed = on_the_topics_key if is_of_topics else harmless
            assert kms <= (allowed | use if role == "HealthProberRole" else allowed)


# ---- Functions on demand ---------------------------------------------------------------------------------------------

CALLS = json.loads((ROOT / "tests/calls.json").read_text(encoding="utf-8"))
OPERATIONS = {
    "KeyAuditFunction": {"audit_key", "list_operations"},
    "KeyManagerFunction": {
        "create_key",
        "rotate_key",
        "enable_rotation",
        "set_rotation_period",
        "create_multi_region_key",
        "cancel_deletion",
        "retire_key",
        "set_alias",
    },
}
PREFIXES = {"cloudtrail": "cloudtrail", "cloudwatch": "cloudwatch", "dynamodb": "dynamodb", "kms": "kms", "tag": "tag"}
MANAGED = {"aws:ResourceTag/kms-compliance/managed": "true"}
NEW_AND_MANAGED = {
    "StringEquals": {"aws:RequestTag/kms-compliance/managed": "true"},
    "Null": {"aws:RequestTag/kms-compliance/client-token": "false"},
}


def allowed_by(resources, role, condition=None):
    """Action by action, each Allow of a role that does not depend on a condition of the template, or on this one."""
    found = {}
    for statement in statements(resources, role):
        if statement["Effect"] == "Allow" and statement.get("If") == condition:
            actions = statement["Action"]
            for action in actions if isinstance(actions, list) else [actions]:
                found.setdefault(action, []).append((statement["Resource"], statement.get("Condition")))
    return found


@pytest.mark.parametrize(
    ("logical_id", "calls"), [("KeyAuditFunction", "key-auditor"), ("KeyManagerFunction", "key-manager")]
)
def test_a_function_on_demand_may_make_exactly_its_calls(resources, logical_id, calls):
    expected = {f"{PREFIXES[service]}:{call}" for service, names in CALLS[calls].items() for call in names}
    beside = {"logs:CreateLogStream", "logs:PutLogEvents", "sqs:SendMessage"}
    if logical_id == "KeyManagerFunction":
        # For the first multi-Region key KMS makes a role of its own.
        beside.add("iam:CreateServiceLinkedRole")
        expected.remove("kms:ScheduleKeyDeletion")
        scheduling = allowed_by(resources, f"{logical_id}Role", "SchedulesDeletion")
        assert scheduling == {"kms:ScheduleKeyDeletion": [(KEYS_HERE, {"StringEquals": MANAGED})]}
    assert allowed_by(resources, f"{logical_id}Role").keys() == expected | beside


def test_the_manager_changes_managed_keys_alone(resources, source):
    allowed = allowed_by(resources, "KeyManagerFunctionRole")
    aliases = {"Fn::Sub": "arn:${AWS::Partition}:kms:${AWS::Region}:${AWS::AccountId}:alias/*"}
    on_managed = ([KEYS_HERE, REPLICAS_ANYWHERE], {"StringEquals": MANAGED})
    for action in ("DisableKey", "EnableKey", "EnableKeyRotation", "ReplicateKey", "RotateKeyOnDemand"):
        assert allowed[f"kms:{action}"] == [on_managed]
    for action in ("CreateAlias", "UpdateAlias"):
        assert allowed[f"kms:{action}"] == [on_managed, (aliases, None)]
    assert allowed["kms:CreateKey"] == [("*", NEW_AND_MANAGED)]
    anywhere = {"Fn::Sub": "arn:${AWS::Partition}:kms:*:${AWS::AccountId}:key/*"}
    retired = {"StringEquals": MANAGED, "ForAllValues:StringEquals": {"aws:TagKeys": "kms-compliance/retired-at"}}
    assert allowed["kms:TagResource"] == [(anywhere, NEW_AND_MANAGED), (KEYS_HERE, retired)]
    # It takes danger away from every key.
    assert allowed["kms:CancelKeyDeletion"] == [(KEYS_HERE, None)]
    (never,) = [each for each in statements(resources, "KeyManagerFunctionRole") if each["Effect"] == "Deny"]
    assert never["Condition"] == {"Bool": {"kms:BypassPolicyLockoutSafetyCheck": "true"}}
    assert set(never["Action"]) == {"kms:CreateKey", "kms:PutKeyPolicy"}
    assert source["Parameters"]["AllowScheduleDeletion"]["Default"] == "false"
    assert source["Conditions"]["SchedulesDeletion"] == {"Fn::Equals": [{"Ref": "AllowScheduleDeletion"}, "true"]}
    policies = properties(resources, "KeyManagerFunctionRole")["Policies"]
    assert len(json.dumps(policies, separators=(",", ":"))) < 8_000  # all inline policies of a role: 10,240


@pytest.mark.parametrize("logical_id", ON_DEMAND)
def test_a_function_on_demand_answers_its_operations_once(resources, source, logical_id):
    said = properties(resources, logical_id)["Environment"]["Variables"]["OPERATIONS"]
    if logical_id == "KeyManagerFunction":
        condition, with_deletion, said = said["Fn::If"]
        assert condition == "SchedulesDeletion"
        assert set(with_deletion.split(",")) == OPERATIONS[logical_id] | {"schedule_deletion"}
    assert set(said.split(",")) == OPERATIONS[logical_id]
    assert properties(resources, f"{logical_id}EventInvokeConfig")["MaximumRetryAttempts"] == 0
    assert not [each for each in resources if each.startswith(f"{logical_id}Daily")]
    declared = source["Resources"][logical_id]
    assert declared["Metadata"] == {"BuildMethod": "rust-cargolambda", "BuildProperties": {"Binary": "key-manager"}}
    assert declared["Properties"]["CodeUri"] == "functions/key-manager"
    made = properties(resources, logical_id)
    assert made["Role"] == arn_of(f"{logical_id}Role") and made["LoggingConfig"]["LogGroup"] == {
        "Ref": f"{logical_id}Logs"
    }
    logs = resources[f"{logical_id}Logs"]
    assert (logs["DeletionPolicy"], logs["UpdateReplacePolicy"]) == OUTLIVES


@pytest.mark.parametrize("name", ["KeyAudit", "KeyManager"])
def test_who_invokes_has_a_role_with_mfa_for_one_function(resources, name):
    assert statements(resources, f"{name}InvokerRole") == [
        {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": arn_of(f"{name}Function")}
    ]
    mfa, named = properties(resources, f"{name}InvokerRole")["AssumeRolePolicyDocument"]["Statement"]
    assert (mfa["Principal"], mfa["Condition"]) == (OWNER, {"Bool": {"aws:MultiFactorAuthPresent": "true"}})
    condition, named, otherwise = named["Fn::If"]
    assert (condition, otherwise) == ("HasAdminPrincipals", {"Ref": "AWS::NoValue"})
    principals = {"Fn::Split": [",", {"Ref": "AdminPrincipalArns"}]}
    assert (named["Principal"], named["Condition"]) == (OWNER, {"ArnLike": {"aws:PrincipalArn": principals}})


# ---- Alerts ----------------------------------------------------------------------------------------------------------


def test_the_topic_has_a_key_of_its_own_that_outlives_the_stack(resources):
    key = resources["AlertKey"]
    assert (key["DeletionPolicy"], key["UpdateReplacePolicy"]) == OUTLIVES
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


SUBSCRIBERS = {"StringNotEquals": {"aws:PrincipalAccount": ACCOUNT}}


def test_the_monitor_alone_publishes_to_the_alert_topic_over_tls(resources):
    policy = properties(resources, "AlertTopicPolicy")
    assert policy["Topics"] == [{"Ref": "AlertTopic"}]
    account, monitor, subscribers, tls = policy["PolicyDocument"]["Statement"]
    assert (account["Effect"], account["Principal"]) == ("Allow", OWNER)
    assert {"sns:GetTopicAttributes", "sns:Subscribe", "sns:SetTopicAttributes"} <= set(account["Action"])
    assert (monitor["Effect"], monitor["Principal"], monitor["Action"]) == ("Deny", "*", "sns:Publish")
    assert monitor["Condition"] == {"ArnNotEquals": {"aws:PrincipalArn": TELLERS}}
    assert (subscribers["Effect"], subscribers["Principal"], subscribers["Action"]) == ("Deny", "*", "sns:Subscribe")
    assert subscribers["Condition"] == SUBSCRIBERS
    assert (tls["Effect"], tls["Principal"], tls["Action"]) == ("Deny", "*", "sns:Publish")
    assert tls["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert all(each["Resource"] == {"Ref": "AlertTopic"} for each in policy["PolicyDocument"]["Statement"])


def test_the_chats_topic_is_made_on_request_and_takes_the_reporters_messages_alone(resources, source):
    for made in ("ChatTopic", "ChatTopicPolicy"):
        assert resources[made]["Condition"] == "HasChatTopic"
    assert source["Conditions"]["HasChatTopic"] == {"Fn::Equals": [{"Ref": "CreateChatTopic"}, "true"]}
    assert source["Parameters"]["CreateChatTopic"]["Default"] == "false"
    assert properties(resources, "ChatTopic")["KmsMasterKeyId"] == ALERT_KEY
    account, reporter, subscribers, tls = properties(resources, "ChatTopicPolicy")["PolicyDocument"]["Statement"]
    assert account["Principal"] == OWNER and "sns:Publish" not in account["Action"]
    assert (reporter["Effect"], reporter["Principal"], reporter["Action"]) == ("Deny", "*", "sns:Publish")
    assert reporter["Condition"] == {"ArnNotEquals": {"aws:PrincipalArn": arn_of("ReporterRole")}}
    assert (subscribers["Effect"], subscribers["Condition"]) == ("Deny", SUBSCRIBERS)
    assert (tls["Effect"], tls["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


def test_a_topic_of_yours_keeps_its_policy_and_comes_with_its_key(resources, source):
    for made in ("AlertKey", "AlertKeyAlias", "AlertTopic", "AlertTopicPolicy"):
        assert resources[made]["Condition"] == "OwnAlertTopic"
    assert source["Conditions"]["OwnAlertTopic"] == {"Fn::Equals": [{"Ref": "ExistingAlertTopicArn"}, ""]}
    assert source["Outputs"]["AlertTopicArn"]["Value"] == ALERT_TOPIC
    assert source["Outputs"]["AlertKeyArn"]["Value"] == ALERT_KEY
    assert properties(resources, "SecurityAlarmTopic")["KmsMasterKeyId"] == ALERT_KEY


def test_mail_is_subscribed_if_an_address_is_given(resources, source):
    for subscription, topic in (("Notification", ALERT_TOPIC), ("SecurityAlarm", {"Ref": "SecurityAlarmTopic"})):
        assert resources[f"{subscription}EmailSubscription"]["Condition"] == "HasNotificationEmail"
        assert properties(resources, f"{subscription}EmailSubscription")["TopicArn"] == topic
    assert source["Conditions"]["HasNotificationEmail"] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "NotificationEmail"}, ""]}]
    }
    assert source["Parameters"]["NotificationEmail"]["Default"] == ""


# ---- Findings ledger -------------------------------------------------------------------------------------------------


TABLES = ("FindingsTable", "OperationsTable")


def test_no_other_table_is_made(resources):
    assert tuple(of_type(resources, "AWS::DynamoDB::Table")) == TABLES


@pytest.mark.parametrize("name", TABLES)
def test_the_ledger_outlives_the_stack_mistakes_and_every_key(resources, source, name):
    table = resources[name]
    assert (table["DeletionPolicy"], table["UpdateReplacePolicy"]) == OUTLIVES
    made = table["Properties"]
    assert made["DeletionProtectionEnabled"] == {"Fn::If": ["ProtectsLedger", True, False]}
    assert source["Parameters"]["DeletionProtection"]["Default"] == "true"
    assert made["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    # Encrypted, and with no key that somebody could disable.
    assert made["SSESpecification"] == {"SSEEnabled": True}


@pytest.mark.parametrize("name", TABLES)
def test_the_ledgers_items_are_found_by_function_and_end_by_their_own_date(resources, name):
    made = properties(resources, name)
    assert made["KeySchema"] == [
        {"AttributeName": "pk", "KeyType": "HASH"},
        {"AttributeName": "sk", "KeyType": "RANGE"},
    ]
    keys = [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")]
    if name != "FindingsTable":
        assert made["AttributeDefinitions"] == keys and "GlobalSecondaryIndexes" not in made
    else:
        assert made["AttributeDefinitions"] == [*keys, {"AttributeName": "waits", "AttributeType": "S"}]
        # By it the reporter finds the parts in which something waits; only those records have the attribute.
        assert made["GlobalSecondaryIndexes"] == [
            {
                "IndexName": "waits",
                "KeySchema": [
                    {"AttributeName": "waits", "KeyType": "HASH"},
                    {"AttributeName": "pk", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ]
    assert made["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    assert made["BillingMode"] == "PAY_PER_REQUEST" and "ProvisionedThroughput" not in made
    # A name of its own would make it impossible to deploy again after the stack is gone.
    assert "TableName" not in made


# ---- Schedule and failures -------------------------------------------------------------------------------------------


RETENTION = {"PlanBucket": 30, "ReportBucket": {"Ref": "ReportRetentionDays"}}


def test_there_are_two_buckets_one_of_them_on_request(resources, source):
    assert of_type(resources, "AWS::S3::Bucket").keys() == RETENTION.keys()
    for made in ("ReportBucket", "ReportBucketPolicy"):
        assert resources[made]["Condition"] == "HasReportBucket"
    assert source["Conditions"]["HasReportBucket"] == {"Fn::Equals": [{"Ref": "CreateReportBucket"}, "true"]}
    assert source["Parameters"]["CreateReportBucket"]["Default"] == "false"
    assert source["Outputs"]["ReportBucketName"]["Condition"] == "HasReportBucket"


@pytest.mark.parametrize("name", RETENTION)
def test_what_is_in_a_bucket_is_encrypted_private_and_forgotten(resources, name):
    # A bucket that holds something cannot be deleted, and the stack's deletion would fail.
    assert (resources[name]["DeletionPolicy"], resources[name]["UpdateReplacePolicy"]) == OUTLIVES
    made = resources[name]["Properties"]
    assert "BucketName" not in made
    (encryption,) = made["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption == {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    assert set(made["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(made["PublicAccessBlockConfiguration"]) == 4
    (rule,) = made["LifecycleConfiguration"]["Rules"]
    assert (rule["Status"], rule["ExpirationInDays"]) == ("Enabled", RETENTION[name]) and "Prefix" not in rule
    (tls,) = properties(resources, f"{name}Policy")["PolicyDocument"]["Statement"]
    assert (tls["Effect"], tls["Principal"], tls["Action"]) == ("Deny", "*", "s3:*")
    assert tls["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_the_schedule_has_its_time_zone_window_retries_and_dead_letter_queue(resources):
    (schedule,) = [each["Properties"] for each in of_type(resources, "AWS::Scheduler::Schedule").values()]
    assert "Name" not in schedule  # CloudFormation makes one of the stack's
    assert schedule["ScheduleExpression"] == {"Ref": "ScheduleExpression"}
    assert schedule["ScheduleExpressionTimezone"] == {"Ref": "ScheduleTimezone"}
    assert schedule["FlexibleTimeWindow"] == {
        "Mode": {"Fn::If": ["HasScheduleWindow", "FLEXIBLE", "OFF"]},
        "MaximumWindowInMinutes": {
            "Fn::If": ["HasScheduleWindow", {"Ref": "ScheduleWindowMinutes"}, {"Ref": "AWS::NoValue"}]
        },
    }
    assert schedule["Target"] == {
        "Arn": {"Ref": "DailyCheck"},
        "RoleArn": arn_of("ScheduleRole"),
        "DeadLetterConfig": {"Arn": arn_of("ScheduleDeadLetterQueue")},
        "RetryPolicy": {"MaximumEventAgeInSeconds": 21600, "MaximumRetryAttempts": 30},
    }
    assert schedule["State"] == {"Ref": "ScheduleState"}


def test_no_schedule_fires_at_once_and_all_can_be_stopped(source):
    """A rate without a start begins with the deployment, before anybody has confirmed a subscription."""
    assert source["Parameters"]["ScheduleExpression"]["Default"] == "cron(0 6 * * ? *)"
    state = source["Parameters"]["ScheduleState"]
    assert (state["Default"], state["AllowedValues"]) == ("ENABLED", ["ENABLED", "DISABLED"])


@every_daily_function
def test_an_asynchronous_run_that_fails_is_tried_twice_more_and_kept(resources, function, logical_id):
    config = properties(resources, f"{logical_id}EventInvokeConfig")
    assert config["MaximumRetryAttempts"] == 2
    assert config["DestinationConfig"] == {"OnFailure": {"Destination": arn_of("FailedRunQueue")}}


def test_queues_are_encrypted_and_keep_messages_as_long_as_can_be(resources):
    queues = of_type(resources, "AWS::SQS::Queue")
    assert set(queues) == {
        "ScheduleDeadLetterQueue",
        "FailedRunQueue",
        "KeyEventDeadLetterQueue",
        *(f"{FUNCTIONS[each]}EventQueue" for each in LISTENERS),
    }
    over_tls = {
        queue["Ref"]
        for policy in of_type(resources, "AWS::SQS::QueuePolicy").values()
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        for queue in policy["Properties"]["Queues"]
        if (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "sqs:*")
        and statement["Resource"] in ("*", arn_of(queue["Ref"]))
        and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    }
    for name, queue in queues.items():
        assert queue["Properties"]["SqsManagedSseEnabled"] is True
        assert queue["Properties"]["MessageRetentionPeriod"] == 14 * 24 * 60 * 60
        assert name in over_tls


def test_only_queues_of_key_events_end_in_the_queue_for_them(resources):
    allowed = {
        name: queue["Properties"]["RedriveAllowPolicy"] for name, queue in of_type(resources, "AWS::SQS::Queue").items()
    }
    by_queue = allowed.pop("KeyEventDeadLetterQueue")
    assert all(each == {"redrivePermission": "denyAll"} for each in allowed.values())
    names = [properties(resources, f"{FUNCTIONS[each]}EventQueue")["QueueName"]["Fn::Sub"] for each in LISTENERS]
    arn = "arn:${AWS::Partition}:sqs:${AWS::Region}:${AWS::AccountId}:"
    assert by_queue == {"redrivePermission": "byQueue", "sourceQueueArns": [{"Fn::Sub": arn + name} for name in names]}


# ---- Function --------------------------------------------------------------------------------------------------------


@every_daily_function
def test_the_function_runs_its_binary_and_logs_json_to_a_group_that_forgets(resources, source, function, logical_id):
    made = properties(resources, logical_id)
    assert (made["Runtime"], made["Handler"]) == ("provided.al2023", "bootstrap")
    assert made["Timeout"] == 900
    assert "FunctionName" not in made
    assert made["LoggingConfig"] == {
        "LogFormat": "JSON",
        "ApplicationLogLevel": {"Ref": "LogLevel"},
        "LogGroup": {"Ref": f"{logical_id}Logs"},
    }
    logs = resources[f"{logical_id}Logs"]
    # Evidence. Without a name of its own, what stays is in nobody's way.
    assert (logs["DeletionPolicy"], logs["UpdateReplacePolicy"]) == OUTLIVES
    assert logs["Properties"] == {
        "RetentionInDays": {"Ref": "LogRetentionDays"},
        "KmsKeyId": {"Fn::If": ["HasLogKey", {"Ref": "LogKeyArn"}, {"Ref": "AWS::NoValue"}]},
    }
    declared = source["Resources"][logical_id]
    assert declared["Metadata"] == {"BuildMethod": "rust-cargolambda", "BuildProperties": {"Binary": function}}
    assert declared["Properties"]["CodeUri"] == f"functions/{function}"


@every_listener
def test_the_function_for_key_events_is_the_same_program_in_the_same_role(resources, source, function, logical_id):
    made, daily = dict(properties(resources, logical_id)), properties(resources, FUNCTIONS[function])
    assert made.pop("Timeout") == 60
    assert {name: each for name, each in made.items() if name not in ("Code", "Description")} == {
        name: each for name, each in daily.items() if name not in ("Code", "Description", "Timeout")
    }
    declared, of_daily = source["Resources"][logical_id], source["Resources"][FUNCTIONS[function]]
    assert declared["Metadata"] == of_daily["Metadata"]
    assert declared["Properties"]["CodeUri"] == of_daily["Properties"]["CodeUri"]


@pytest.mark.parametrize("logical_id", EVERY_FUNCTION)
def test_concurrency_is_not_reserved_unless_asked_for(resources, source, logical_id):
    reserved = properties(resources, logical_id)["ReservedConcurrentExecutions"]
    assert reserved == {"Fn::If": ["ReserveConcurrency", {"Ref": "ReservedConcurrency"}, {"Ref": "AWS::NoValue"}]}
    assert source["Parameters"]["ReservedConcurrency"]["Default"] == -1


SETTINGS = json.loads((ROOT / "tests/settings.json").read_text(encoding="utf-8"))
# Settings that the functions on demand do without, and those that they alone have.
OF_RUNS = {"EXCLUDED_KEYS", "MONITORED_KEYS"}
OF_REQUESTS = {"CREATE_SETTLE_MINUTES", "MIN_RETIRED_DAYS", "OPERATIONS_RETENTION_DAYS"}


# What the template makes, and what no check has a use for.
MADE = {
    "SNS_TOPIC_ARN": ALERT_TOPIC,
    "FINDINGS_TABLE": {"Ref": "FindingsTable"},
    "METRICS_NAMESPACE": {"Fn::Sub": "KmsCompliance/${AWS::StackName}"},
    "MEMBER_ROLE_NAME": {"Fn::If": ["HasTargets", {"Ref": "MemberRoleName"}, ""]},
    "PLAN_BUCKET": {"Ref": "PlanBucket"},
    "OPERATIONS_TOPIC_ARN": {"Ref": "OperationsTopic"},
    "CHAT_TOPIC_ARN": {"Fn::If": ["HasChatTopic", {"Ref": "ChatTopic"}, ""]},
    "REPORT_BUCKET": {"Fn::If": ["HasReportBucket", {"Ref": "ReportBucket"}, ""]},
}
OF_THE_PLANNER = {"TARGETS", "TARGET_REGIONS", "EXCLUDED_ACCOUNTS", "EXCLUDED_REGIONS", "PLAN_BUCKET", "ROUTES"}
OF_THE_REPORTER = {"OPERATIONS_TOPIC_ARN", "ROUTES", "CHAT_TOPIC_ARN", "REPORT_BUCKET", "PLAN_BUCKET"}
NOT_OFFERED = {"KMS_QUOTA_CALLERS"}
# Of the planner and the reporter, which have none of these, they are empty: there would be no room.
LONG = {"MONITORED_KEYS", "EXCLUDED_KEYS", "PROBE_KEYS"}
LONG_FOR_THE_PLANNER = LONG | {"SNS_TOPIC_ARN", "REPLICA_REGIONS", "TRUSTED_ACCOUNTS", "REQUIRED_TAGS"}


@pytest.mark.parametrize("logical_id", EVERY_FUNCTION)
def test_every_setting_is_a_parameter_with_its_default(resources, source, logical_id):
    variables = dict(properties(resources, logical_id)["Environment"]["Variables"])
    own = {"TargetPlanner": OF_THE_PLANNER, "Reporter": OF_THE_REPORTER}.get(logical_id, set())
    of_others = OF_REQUESTS
    if logical_id in ON_DEMAND:
        assert variables.pop("OPERATIONS_TABLE") == {"Ref": "OperationsTable"}
        assert variables.pop("OPERATIONS")
        assert (variables.pop("MONITORED_KEYS"), variables.pop("EXCLUDED_KEYS")) == ("", "")
        of_others = OF_RUNS
    record = {"OPERATIONS_TABLE", "OPERATIONS"}
    everybodys = SETTINGS.keys() - OF_THE_PLANNER - OF_THE_REPORTER - NOT_OFFERED - record - of_others
    assert variables.keys() == everybodys | own
    for name, value in variables.items():
        if own and name in (LONG_FOR_THE_PLANNER if logical_id == "TargetPlanner" else LONG):
            assert value == "", name
        elif name in MADE:
            assert value == MADE[name], name
        else:
            assert str(source["Parameters"][value["Ref"]]["Default"]) == SETTINGS[name], name


def test_the_checks_take_a_role_only_where_there_are_other_targets(source):
    nothing = [{"Fn::Not": [{"Fn::Equals": [{"Ref": each}, ""]}]} for each in ("Targets", "TargetRegions")]
    assert source["Conditions"]["HasTargets"] == {"Fn::Or": nothing}
    assert source["Parameters"]["Targets"]["Default"] == source["Parameters"]["TargetRegions"]["Default"] == ""


# Lambda's limit for all variables of a function, names and values.
MAX_ENVIRONMENT = 4096
LONGEST_STACK_NAME = "s" * 60


def longest(parameter):
    """The longest text that a parameter can be."""
    if "AllowedValues" in parameter:
        return max(len(str(value)) for value in parameter["AllowedValues"])
    if parameter["Type"] == "Number":
        return len(str(parameter["MaxValue"])) + 8  # some decimals
    return parameter["MaxLength"]


@pytest.mark.parametrize("logical_id", EVERY_FUNCTION)
def test_the_longest_settings_fit_into_the_environment(resources, source, logical_id):
    share = source["Parameters"]["KmsQuotaShare"] | {"MaxLength": 10}
    topic = len("arn:aws-us-gov:sns:us-gov-west-1:123456789012:") + 256
    made = {
        "SNS_TOPIC_ARN": topic,
        "OPERATIONS_TOPIC_ARN": topic,
        "CHAT_TOPIC_ARN": topic,
        "FINDINGS_TABLE": len(f"{LONGEST_STACK_NAME}-FindingsTable-1234567890123"),
        "METRICS_NAMESPACE": len(f"KmsCompliance/{LONGEST_STACK_NAME}"),
        "MEMBER_ROLE_NAME": longest(source["Parameters"]["MemberRoleName"]),
        "PLAN_BUCKET": 63,
        "REPORT_BUCKET": 63,
        "KMS_QUOTA_SHARE": longest(share),
        "OPERATIONS_TABLE": len(f"{LONGEST_STACK_NAME}-OperationsTable-1234567890123"),
        "OPERATIONS": 160,
    }
    total = 0
    for name, value in properties(resources, logical_id)["Environment"]["Variables"].items():
        size = 0 if value == "" else made[name] if name in made else longest(source["Parameters"][value["Ref"]])
        total += len(name) + size
    assert 2500 < total <= MAX_ENVIRONMENT


# ---- Parameters ------------------------------------------------------------------------------------------------------

KEY_ID = "1234abcd-12ab-34cd-56ef-1234567890ab"
KEY_ARN = f"arn:aws:kms:us-east-1:123456789012:key/{KEY_ID}"
ROLE = "arn:aws:iam::123456789012:role"


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
            "ExistingAlertTopicArn",
            ["", "arn:aws:sns:us-east-1:123456789012:security", "arn:aws-cn:sns:cn-north-1:123456789012:a-b_c"],
            ["security", "arn:aws:sns:us-east-1:123456789012:security.fifo", "arn:aws:sqs:us-east-1:123456789012:a"],
        ),
        (
            "ExistingAlertKeyArn",
            ["", KEY_ARN],
            [KEY_ID, "alias/alerts", KEY_ARN.replace(f"key/{KEY_ID}", "alias/alerts")],
        ),
        ("LogKeyArn", ["", KEY_ARN], [KEY_ID, "alias/logs"]),
        (
            "CodeSigningConfigArn",
            ["", "arn:aws:lambda:us-east-1:123456789012:code-signing-config:csc-0123456789abcdef0"],
            ["csc-0123456789abcdef0"],
        ),
        (
            "ScheduleExpression",
            [
                "rate(1 day)",
                "rate(12 hours)",
                "cron(0 6 * * ? *)",
                "cron(15 10 ? * 6L 2026-2028)",
                "at(2026-11-23T06:00:00)",
            ],
            ["daily", "", "rate()", "rate(0 days)", "rate(1 fortnight)", "cron(0 6 * * *)", "cron()", "at(tomorrow)"],
        ),
        (
            "AdminPrincipalArns",
            ["", f"{ROLE}/*", f"{ROLE}/a,{ROLE}/b"],
            ["*", ROLE, f"{ROLE}/a, {ROLE}/b", "arn:aws:iam::123456789012:user/a", "arn:aws:iam::*:role/a"],
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
        (
            "Targets",
            ["", "organization", "111111111111", "ou-ab12-34cd56ef, 111111111111", "ou-ab12-34cd56ef,organization"],
            ["all", "1111", "ou-ab12", "111111111111,", "arn:aws:iam::111111111111:root", "o-a1b2c3d4e5"],
        ),
        (
            "TargetRegions",
            ["", "enabled", "eu-west-1", "eu-west-1, us-gov-east-1"],
            ["all", "eu-west-1,enabled", "eu-west-1,", "*"],
        ),
        (
            "MemberRoleName",
            ["kms-compliance/read"],
            ["", "read", "kms-compliance/*", "other/read", "kms-compliance/a/b"],
        ),
        ("MemberExternalId", ["", "a-secret"], ["x", "two words"]),
        (
            "Routes",
            [
                "",
                "111111111111=arn:aws:sns:eu-west-1:222222222222:team",
                "333333333333=arn:aws:sns:eu-west-1:222222222222:a,111111111111=arn:aws-cn:sns:cn-north-1:222222222222:b",
            ],
            [
                "team",
                "111111111111=team",
                "x=arn:aws:sns:eu-west-1:222222222222:team",
                "111111111111=arn:aws:sns:eu:1:a,",
            ],
        ),
        (
            "RouteTopicArns",
            ["", "arn:aws:sns:eu-west-1:222222222222:a,arn:aws:sns:eu-west-1:222222222222:b"],
            ["arn:aws:sns:eu-west-1:222222222222:*", "arn:aws:sns:eu-west-1:222222222222:a, b", "a"],
        ),
        ("RouteKeyArns", ["", KEY_ARN], [KEY_ID, KEY_ARN.replace(KEY_ID, "*")]),
        ("ExcludedAccounts", ["", "111111111111, 222222222222"], ["1", "111111111111,"]),
        ("ExcludedRegions", ["", "eu-west-1,eu-west-2"], ["*", "eu"]),
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
        ("DeniedRequestsThreshold", 0, 1_000_000),
        ("MinCoveragePercent", 0, 100),
        ("MaxHoursBetweenRuns", 1, 168),
        ("ReservedConcurrency", -1, 1000),
        ("MaxConcurrency", 1, 1000),
        ("UnusedAfterDays", 1, 3650),
        ("MaxDecryptRatio", 1, 1_000_000),
        ("MinRetiredDays", 7, 365),
        ("OperationsRetentionDays", 1, 3650),
        ("CreateSettleMinutes", 5, 1440),
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
        assert '"Tags"' not in json.dumps(each.get("Globals", {}))
    config = tomlkit.parse((ROOT / "samconfig.toml").read_text(encoding="utf-8"))
    for section in ("default", "prod", "default-application-keys", "prod-application-keys"):
        deploy = config[section]["deploy"]["parameters"]
        tags, parameters = (dict(each.split("=") for each in deploy[what]) for what in ("tags", "parameter_overrides"))
        assert tags["Environment"] == parameters["Environment"]
        assert tags["Application"] == parameters.get("ApplicationName", "kms-compliance-monitor")


NAMES = {"AlarmName", "AliasName", "DashboardName", "FilterName", "FunctionName", "LogGroupName", "Name", "QueueName"}
NAMES |= {"StateMachineName"}
# How long AWS lets a name be.
LONGEST_NAMES = {
    "AWS::CloudWatch::Alarm": 255,
    "AWS::CloudWatch::Dashboard": 255,
    "AWS::KMS::Alias": 256,
    "AWS::Logs::MetricFilter": 512,
    "AWS::SQS::Queue": 80,
    "AWS::StepFunctions::StateMachine": 80,
}


def names(resources):
    """The names that the template gives, by the resource's logical ID."""
    return {
        logical_id: value["Fn::Sub"]
        for logical_id, resource in resources.items()
        for key, value in resource["Properties"].items()
        if key in NAMES and "Ref" not in value
    }


def test_it_deploys_in_every_partition_and_twice_in_a_region(resources):
    text = json.dumps(resources)
    assert "arn:aws:" not in text and "us-east-1" not in text
    given = names(resources)
    assert given and all("${AWS::StackName}" in name for name in given.values())
    assert len({(resources[logical_id]["Type"], name) for logical_id, name in given.items()}) == len(given)


def test_every_name_fits_a_stack_name_of_sixty_characters(resources):
    """What has no name here gets one of CloudFormation's, which fits."""
    for logical_id, name in names(resources).items():
        name = name.replace("${AWS::StackName}", LONGEST_STACK_NAME).replace("${AWS::Region}", "ap-southeast-99")
        assert "$" not in name and len(name) <= LONGEST_NAMES[resources[logical_id]["Type"]], logical_id
    for kind in (
        "Events::Rule",
        "IAM::Role",
        "Lambda::Function",
        "Logs::LogGroup",
        "Scheduler::Schedule",
        "SNS::Topic",
    ):
        assert (
            of_type(resources, f"AWS::{kind}")
            and not of_type(resources, f"AWS::{kind}").keys() & names(resources).keys()
        )


def test_samconfig_builds_fresh_and_keeps_dev_and_prod_apart():
    config = tomlkit.parse((ROOT / "samconfig.toml").read_text(encoding="utf-8"))
    stacks = set()
    for environment in ("default", "prod"):
        build = config[environment]["build"]["parameters"]
        assert (build["cached"], build["parallel"]) == (False, False)
        assert config[environment]["deploy"]["parameters"]["capabilities"] == "CAPABILITY_IAM"
        stacks.add(config[environment]["global"]["parameters"]["stack_name"])
    assert len(stacks) == 2
