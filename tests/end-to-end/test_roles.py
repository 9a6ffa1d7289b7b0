"""Each role walked through its job, and through what is not its job, by an evaluator that others keep: MiniStack's.

Nothing is deployed: these are the templates' policies, with their parameters filled in. `aws:PrincipalArn` is a role's
own ARN, as on AWS.
"""

import json

import pytest
from ministack.core.iam_evaluator import (
    EvalContext,
    combine_resource_policy,
    evaluate,
    evaluate_trust_policy,
    parse_policy_document,
)

from local_aws import PLANNER, REPORTER, ROOT, daily, functions, read_template
from render import ACCOUNT, REGION, Rendered

SERVICE_ROLE, MONITORING_ROLE = (f"arn:aws:iam::{ACCOUNT}:role/{name}" for name in ("backup-service", "rds-monitoring"))
SSO = f"arn:aws:iam::{ACCOUNT}:role/aws-reserved/sso.amazonaws.com/eu-west-1/AWSReservedSSO_Databases_0123456789abcdef"
NAMED_KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/named"
A_KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/payments"
REPLICA = f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/mrk-0123456789abcdef0123456789abcdef"
FUNCTIONS = functions(read_template())
OTHER = "222222222222"
MEMBER_ROLE = f"arn:aws:iam::{OTHER}:role/kms-compliance/kms-compliance-read"
OF_A_RUN = {"dynamodb:LeadingKeys": ["run#c0ffee"]}


@pytest.fixture(scope="module")
def monitor(source, resources):
    return Rendered(source, resources, ProbeByTag="true", ProbeKeys=NAMED_KEY)


@pytest.fixture(scope="module")
def organisation(source, resources):
    """The monitor of other accounts too."""
    return Rendered(source, resources, Targets="organization")


@pytest.fixture(scope="module")
def keys(application):
    return Rendered(
        application,
        application["Resources"],
        ApplicationName="shop",
        Environment="prod",
        AdminPrincipalArns=SSO.replace("0123456789abcdef", "*"),
        BackupServiceRoleArn=SERVICE_ROLE,
        MonitoringRoleArn=MONITORING_ROLE,
    )


def decision(stack, role, action, resource, resource_policy=None, **keys):
    """Allowed? Condition keys are given with `_` for `:`, or in a dictionary `more`."""
    keys |= keys.pop("more", {})
    context = EvalContext(
        principal_arn=stack.arn(role),
        principal_type="AssumedRole",
        principal_account=ACCOUNT,
        action=action,
        resource_arn=resource,
        region=REGION,
        secure_transport=True,
        service_context={name.replace("_", ":", 1).lower(): value for name, value in keys.items()},
    )
    policies = [parse_policy_document(each["PolicyDocument"]) for each in stack.resources[role]["Policies"]]
    result = evaluate(context, policies)
    if resource_policy:
        result = combine_resource_policy(result, context, resource_policy, ACCOUNT, required=action.startswith("kms:"))
    return result.decision == "Allow"


# ---- The monitor -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("function", "logical_id"), FUNCTIONS.items())
def test_a_function_may_do_its_job(monitor, function, logical_id):
    role, calls = f"{logical_id}Role", json.loads((ROOT / "tests/calls.json").read_text(encoding="utf-8"))[function]
    for call in calls["kms"]:
        context = {"kms:EncryptionContext:purpose": "kms-compliance-probe"} if call in ("Encrypt", "Decrypt") else {}
        tag = {"aws:ResourceTag/kms-compliance/probe": "true"}
        assert decision(monitor, role, f"kms:{call}", A_KEY, more=context | tag), call
    for call in calls.get("cloudwatch", []):
        assert decision(monitor, role, f"cloudwatch:{call}", "*")
    partition = {"dynamodb:LeadingKeys": [f"{ACCOUNT}#{REGION}#{function}"]}
    for call in calls["dynamodb"]:
        assert decision(monitor, role, f"dynamodb:{call}", monitor.arn("FindingsTable"), more=partition)
    assert decision(monitor, role, "dynamodb:PutItem", monitor.arn("FindingsTable"), more=OF_A_RUN)
    for call in ("GetTopicAttributes", "Publish"):
        assert decision(monitor, role, f"sns:{call}", monitor.arn("AlertTopic"))
    for call in ("GenerateDataKey", "Decrypt"):
        for suffix in ("", ".cn"):
            via = f"sns.{REGION}.amazonaws.com{suffix}"
            assert decision(monitor, role, f"kms:{call}", monitor.arn("AlertKey"), kms_ViaService=via)
    log = monitor.arn(f"{logical_id}Logs").removesuffix("*") + "log-stream:2026"
    for call in ("CreateLogStream", "PutLogEvents"):
        assert decision(monitor, role, f"logs:{call}", log)
    assert decision(monitor, role, "sqs:SendMessage", monitor.arn("FailedRunQueue"))


@pytest.mark.parametrize(("function", "logical_id"), FUNCTIONS.items())
def test_a_function_may_do_nothing_else(monitor, function, logical_id):
    role = f"{logical_id}Role"
    tag = {"aws:ResourceTag/kms-compliance/probe": "true"}
    refused = [
        *((f"kms:{call}", A_KEY, tag) for call in ("DisableKey", "ScheduleKeyDeletion", "PutKeyPolicy", "CreateGrant")),
        *((f"kms:{call}", A_KEY, tag) for call in ("EnableKeyRotation", "RotateKeyOnDemand", "TagResource")),
        *((f"kms:{call}", A_KEY, tag) for call in ("GenerateDataKey", "ReEncryptFrom", "Decrypt")),
        ("kms:Decrypt", A_KEY, {"kms:EncryptionContext:purpose": "kms-compliance-probe"}),
        ("kms:Decrypt", monitor.arn("AlertKey"), {}),
        ("kms:DescribeKey", A_KEY.replace(ACCOUNT, "999999999999"), {}),
        ("dynamodb:Query", monitor.arn("FindingsTable"), {"dynamodb:LeadingKeys": [f"{ACCOUNT}#{REGION}#other"]}),
        ("dynamodb:Query", monitor.arn("FindingsTable"), {"dynamodb:LeadingKeys": [f"{OTHER}#{REGION}#{function}"]}),
        ("dynamodb:Query", monitor.arn("FindingsTable"), OF_A_RUN),
        ("dynamodb:DeleteItem", monitor.arn("FindingsTable"), OF_A_RUN),
        ("dynamodb:Query", monitor.arn("FindingsTable") + "/index/waits", {"dynamodb:LeadingKeys": ["pending#7"]}),
        ("dynamodb:Scan", monitor.arn("FindingsTable"), {}),
        ("sts:AssumeRole", MEMBER_ROLE, {}),
        ("sns:Publish", monitor.arn("OperationsTopic"), {}),
        ("sns:Subscribe", monitor.arn("AlertTopic"), {}),
        ("iam:PassRole", monitor.arn(role), {}),
        ("sts:AssumeRole", SSO, {}),
    ]
    for action, resource, more in refused:
        assert not decision(monitor, role, action, resource, more=more), (action, resource, more)


def test_the_prober_uses_what_opted_in_and_only_as_the_probe_does(monitor, source, resources):
    tag, context = (
        {"aws:ResourceTag/kms-compliance/probe": "true"},
        {"kms:EncryptionContext:purpose": "kms-compliance-probe"},
    )
    oaep = {"kms:EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}

    def may(action, key, stack=monitor, **more):
        return decision(stack, "HealthProberRole", f"kms:{action}", key, **more)

    assert may("Decrypt", REPLICA, more=tag | context) and may("Encrypt", A_KEY, more=tag | oaep)
    assert may("Sign", A_KEY, more=tag) and may("Decrypt", NAMED_KEY, more=context) and may("Sign", NAMED_KEY)
    assert not may("Decrypt", NAMED_KEY) and not may("Sign", A_KEY)
    assert not may("Decrypt", A_KEY, more=tag | {"kms:EncryptionAlgorithm": "SYMMETRIC_DEFAULT"})
    untagged = Rendered(source, resources, ProbeKeys=NAMED_KEY)
    assert not may("Decrypt", A_KEY, untagged, more=tag | context) and may("Decrypt", NAMED_KEY, untagged, more=context)


def test_the_topics_policy_lets_the_monitor_publish_and_nobody_else(monitor):
    policy, topic = monitor.resources["AlertTopicPolicy"]["PolicyDocument"], monitor.arn("AlertTopic")
    for logical_id in [*FUNCTIONS.values(), "Reporter"]:
        assert decision(monitor, f"{logical_id}Role", "sns:Publish", topic, resource_policy=policy)
    role = f"arn:aws:iam::{ACCOUNT}:role/administrator"
    administrator = EvalContext(role, "AssumedRole", ACCOUNT, "", topic, REGION, secure_transport=True)
    everything = parse_policy_document({"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
    for action, allowed in (("sns:Publish", False), ("sns:Subscribe", True), ("sns:GetTopicAttributes", True)):
        administrator.action = action
        result = combine_resource_policy(evaluate(administrator, [everything]), administrator, policy, ACCOUNT)
        assert (result.decision == "Allow") == allowed, action


def test_the_schedule_starts_the_daily_check_and_nothing_else(monitor):
    def may(action, resource):
        return decision(monitor, "ScheduleRole", action, resource)

    assert may("states:StartExecution", DAILY_CHECK) and may("sqs:SendMessage", monitor.arn("ScheduleDeadLetterQueue"))
    assert not may("states:StartExecution", f"{DAILY_CHECK}-other") and not may("states:StopExecution", DAILY_CHECK)
    assert not may("sqs:SendMessage", monitor.arn("FailedRunQueue"))
    for logical_id in daily(read_template()).values():
        assert not may("lambda:InvokeFunction", monitor.arn(logical_id))


STATES = f"arn:aws:states:{REGION}:{ACCOUNT}"
DAILY_CHECK = f"{STATES}:stateMachine:stack-daily-check"
CHILD = f"{STATES}:execution:stack-daily-check/Targets:c0ffee"


def test_the_daily_check_calls_its_functions_reads_the_plan_and_says_what_failed(monitor):
    def may(action, resource, **more):
        return decision(monitor, "DailyCheckRole", action, resource, more=more)

    for logical_id in daily(read_template()).values():
        assert may("lambda:InvokeFunction", monitor.arn(logical_id))
    table, plans = monitor.arn("FindingsTable"), monitor.arn("PlanBucket")
    assert may("dynamodb:PutItem", table, **OF_A_RUN) and may("s3:GetObject", f"{plans}/plans/c0ffee.json")
    assert may("states:StartExecution", DAILY_CHECK)
    for action in ("DescribeExecution", "RedriveExecution", "StopExecution"):
        assert may(f"states:{action}", CHILD)
    refused = [
        ("lambda:InvokeFunction", monitor.arn("HealthProberEvents"), {}),
        ("lambda:UpdateFunctionCode", monitor.arn("HealthProber"), {}),
        ("dynamodb:PutItem", table, {"dynamodb:LeadingKeys": [f"{ACCOUNT}#{REGION}#rotation-checker"]}),
        ("dynamodb:Query", table, OF_A_RUN),
        ("s3:PutObject", f"{plans}/plans/c0ffee.json", {}),
        ("states:StartExecution", f"{STATES}:stateMachine:another", {}),
        ("states:StopExecution", f"{STATES}:execution:stack-daily-check:c0ffee", {}),
        ("sns:Publish", monitor.arn("AlertTopic"), {}),
        ("kms:ListKeys", "*", {}),
        ("sts:AssumeRole", MEMBER_ROLE, {}),
    ]
    for action, resource, more in refused:
        assert not may(action, resource, **more), (action, resource)


@pytest.mark.parametrize(("function", "logical_id"), FUNCTIONS.items())
def test_with_other_accounts_a_function_reaches_them_and_keeps_its_part_of_the_ledger(
    organisation, function, logical_id
):
    def may(action, resource, more=None):
        return decision(organisation, f"{logical_id}Role", action, resource, more=more or {})

    table = organisation.arn("FindingsTable")
    assert may("sts:AssumeRole", MEMBER_ROLE)
    assert may("kms:DescribeKey", A_KEY.replace(REGION, "eu-west-1"))
    for partition in (f"{OTHER}#eu-west-1#{function}", f"{ACCOUNT}#{REGION}#{function}"):
        assert may("dynamodb:PutItem", table, {"dynamodb:LeadingKeys": [partition]})
    others = [f"{OTHER}#eu-west-1#{other}" for other in (*FUNCTIONS, REPORTER) if other != function]
    for partition in (*others, "pending#7"):
        assert not may("dynamodb:PutItem", table, {"dynamodb:LeadingKeys": [partition]})
    # Not even together with what is its own.
    mixed = {"dynamodb:LeadingKeys": [f"{OTHER}#eu-west-1#{function}", others[0]]}
    assert not may("dynamodb:BatchWriteItem", table, mixed)
    assert not may("dynamodb:Query", f"{table}/index/waits", {"dynamodb:LeadingKeys": ["pending#7"]})
    assert not may("sts:AssumeRole", MEMBER_ROLE.replace("kms-compliance-read", "administrator"))
    assert not may("sts:AssumeRole", f"arn:aws:iam::{OTHER}:role/OrganizationAccountAccessRole")


def test_the_planner_finds_targets_and_knows_no_key(monitor, organisation):
    plan = f"{organisation.arn('PlanBucket')}/plans/c0ffee.json"
    calls = json.loads((ROOT / "tests/calls.json").read_text(encoding="utf-8"))[PLANNER]
    for service in ("account", "organizations"):
        for call in calls[service]:
            assert decision(organisation, "TargetPlannerRole", f"{service}:{call}", "*")
            assert not decision(monitor, "TargetPlannerRole", f"{service}:{call}", "*")
    for stack in (monitor, organisation):
        assert decision(stack, "TargetPlannerRole", "s3:PutObject", plan)
        for action, resource in (
            ("s3:GetObject", plan),
            ("s3:PutObject", plan.replace("plans", "reports")),
            ("kms:ListKeys", "*"),
            ("sts:AssumeRole", MEMBER_ROLE),
            ("dynamodb:Query", stack.arn("FindingsTable")),
            ("organizations:LeaveOrganization", "*"),
        ):
            assert not decision(stack, "TargetPlannerRole", action, resource), action


def test_the_reporter_finds_what_waits_and_tells_it(monitor):
    def may(action, resource):
        return decision(monitor, "ReporterRole", action, resource)

    table, topics = monitor.arn("FindingsTable"), [monitor.arn(f"{each}Topic") for each in ("Alert", "Operations")]
    assert may("dynamodb:Query", f"{table}/index/waits") and may("dynamodb:Query", table)
    assert may("dynamodb:BatchWriteItem", table) and may("dynamodb:DeleteItem", table)
    assert all(may("sns:Publish", topic) for topic in topics)
    policy = monitor.resources["OperationsTopicPolicy"]["PolicyDocument"]
    for role, allowed in (("ReporterRole", True), ("RotationCheckerRole", False)):
        answer = decision(monitor, role, "sns:Publish", topics[1], resource_policy=policy)
        assert answer is allowed, role
    for action, resource in (
        ("sns:Publish", monitor.arn("SecurityAlarmTopic")),
        ("dynamodb:DeleteTable", table),
        ("kms:ListKeys", "*"),
        ("sts:AssumeRole", MEMBER_ROLE),
        ("s3:PutObject", f"{monitor.arn('PlanBucket')}/plans/c0ffee.json"),
        ("lambda:InvokeFunction", monitor.arn("RotationChecker")),
    ):
        assert not may(action, resource), action


def test_the_reporter_reads_plans_where_there_are_routes_and_nothing_else(source, resources, monitor):
    topic = f"arn:aws:sns:{REGION}:{ACCOUNT}:team"
    routed = Rendered(source, resources, Routes=f"ou-abcd-11111111={topic}", RouteTopicArns=topic)
    plan = f"{routed.arn('PlanBucket')}/plans/c0ffee.json"
    assert decision(routed, "ReporterRole", "s3:GetObject", plan)
    assert decision(routed, "ReporterRole", "sns:Publish", topic)
    assert not decision(monitor, "ReporterRole", "s3:GetObject", plan)
    for action, resource in (
        ("s3:GetObject", f"{routed.arn('PlanBucket')}/other/c0ffee.json"),
        ("s3:PutObject", plan),
        ("s3:DeleteObject", plan),
        ("s3:ListBucket", routed.arn("PlanBucket")),
        ("sns:Publish", f"{topic}-2"),
    ):
        assert not decision(routed, "ReporterRole", action, resource), (action, resource)


def test_the_reporter_writes_lists_where_there_is_a_bucket_for_them(source, resources, monitor):
    with_bucket = Rendered(source, resources, CreateReportBucket="true")

    def may(action, key):
        return decision(with_bucket, "ReporterRole", action, f"{with_bucket.arn('ReportBucket')}/{key}")

    assert may("s3:PutObject", "open/c0ffee.json")
    assert may("s3:PutObject", "reports/c0ffee.html")
    for action, key in (
        ("s3:PutObject", "plans/c0ffee.json"),
        ("s3:PutObject", "c0ffee.json"),
        ("s3:GetObject", "open/c0ffee.json"),
        ("s3:GetObject", "reports/c0ffee.html"),
        ("s3:DeleteObject", "open/c0ffee.json"),
        ("s3:PutObjectAcl", "open/c0ffee.json"),
    ):
        assert not may(action, key), (action, key)
    assert "ReportBucket" not in monitor.resources
    assert not decision(
        with_bucket, "RotationCheckerRole", "s3:PutObject", f"{with_bucket.arn('ReportBucket')}/open/x.json"
    )


# ---- Functions on demand ---------------------------------------------------------------------------------------------

MANAGED = {"aws:ResourceTag/kms-compliance/managed": "true"}
NEW = {
    "aws:RequestTag/kms-compliance/managed": "true",
    "aws:RequestTag/kms-compliance/client-token": "t",
    "aws:TagKeys": ["kms-compliance/managed", "kms-compliance/client-token"],
}
RETIRES = {"aws:RequestTag/kms-compliance/retired-at": "2026-11-25", "aws:TagKeys": ["kms-compliance/retired-at"]}
AN_ALIAS = f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/payments"
CHANGES = (
    "DisableKey",
    "EnableKey",
    "EnableKeyRotation",
    "ReplicateKey",
    "RotateKeyOnDemand",
    "CreateAlias",
    "UpdateAlias",
)
MANAGER = "KeyManagerFunctionRole"


@pytest.fixture(scope="module")
def deleting(source, resources):
    return Rendered(
        source, resources, AllowScheduleDeletion="true", AdminPrincipalArns=SSO.replace("0123456789abcdef", "*")
    )


def test_the_manager_creates_and_changes_managed_keys(monitor):
    assert decision(monitor, MANAGER, "kms:CreateKey", "*", more=NEW)
    for key in (A_KEY, REPLICA):
        assert decision(monitor, MANAGER, "kms:TagResource", key, more=NEW)
    assert decision(monitor, MANAGER, "kms:TagResource", A_KEY, more=MANAGED | RETIRES)
    for action in CHANGES:
        assert decision(monitor, MANAGER, f"kms:{action}", A_KEY, more=MANAGED), action
    for action in ("CreateAlias", "UpdateAlias"):
        assert decision(monitor, MANAGER, f"kms:{action}", AN_ALIAS)
    assert decision(monitor, MANAGER, "kms:CancelKeyDeletion", A_KEY)
    # The primary of a replica, which is elsewhere.
    assert decision(monitor, MANAGER, "kms:EnableKeyRotation", REPLICA, more=MANAGED)
    record, own = monitor.arn("OperationsTable"), {"dynamodb:LeadingKeys": [f"{ACCOUNT}#{REGION}"]}
    for action in ("GetItem", "PutItem", "Query"):
        assert decision(monitor, MANAGER, f"dynamodb:{action}", record, more=own), action


def test_the_manager_cannot_touch_a_key_that_is_not_managed(monitor):
    for tag in ({}, {"aws:ResourceTag/kms-compliance/managed": "false"}, {"aws:ResourceTag/managed": "true"}):
        for action in (*CHANGES, "TagResource", "UntagResource", "DisableKeyRotation", "ScheduleKeyDeletion"):
            assert not decision(monitor, MANAGER, f"kms:{action}", A_KEY, more=tag), (action, tag)
            assert not decision(monitor, MANAGER, f"kms:{action}", REPLICA, more=tag), (action, tag)
    assert not decision(monitor, MANAGER, "kms:TagResource", A_KEY, more=RETIRES)
    # Of a managed key it changes that one tag.
    more = RETIRES | {"aws:TagKeys": ["kms-compliance/retired-at", "owner"]}
    assert not decision(monitor, MANAGER, "kms:TagResource", A_KEY, more=MANAGED | more)


def test_the_manager_does_nothing_else(monitor):
    for name in ("aws:RequestTag/kms-compliance/managed", "aws:RequestTag/kms-compliance/client-token"):
        assert not decision(monitor, MANAGER, "kms:CreateKey", "*", more={k: v for k, v in NEW.items() if k != name})
    bypass = {"kms:BypassPolicyLockoutSafetyCheck": "true"}
    assert not decision(monitor, MANAGER, "kms:CreateKey", "*", more=NEW | bypass)
    elsewhere = A_KEY.replace(ACCOUNT, "999999999999")
    refused = [
        *(
            (f"kms:{action}", A_KEY, MANAGED)
            for action in ("PutKeyPolicy", "CreateGrant", "Decrypt", "GenerateDataKey")
        ),
        *(
            (f"kms:{action}", A_KEY, MANAGED)
            for action in ("DeleteAlias", "UntagResource", "DisableKeyRotation", "Sign")
        ),
        *((f"kms:{action}", A_KEY, MANAGED) for action in ("ScheduleKeyDeletion", "ImportKeyMaterial", "GetKeyPolicy")),
        *((f"kms:{action}", elsewhere, MANAGED) for action in (*CHANGES, "CancelKeyDeletion")),
        ("dynamodb:PutItem", monitor.arn("OperationsTable"), {"dynamodb:LeadingKeys": [f"{ACCOUNT}#eu-west-1"]}),
        ("dynamodb:DeleteItem", monitor.arn("OperationsTable"), {"dynamodb:LeadingKeys": [f"{ACCOUNT}#{REGION}"]}),
        ("dynamodb:PutItem", monitor.arn("FindingsTable"), {"dynamodb:LeadingKeys": [f"{ACCOUNT}#{REGION}"]}),
        ("lambda:InvokeFunction", monitor.arn("KeyAuditFunction"), {}),
        ("iam:PassRole", monitor.arn(MANAGER), {}),
    ]
    for action, resource, more in refused:
        assert not decision(monitor, MANAGER, action, resource, more=more), (action, resource, more)


def test_deletion_is_scheduled_of_managed_keys_where_the_stack_allows_it(monitor, deleting):
    assert decision(deleting, MANAGER, "kms:ScheduleKeyDeletion", A_KEY, more=MANAGED)
    assert not decision(deleting, MANAGER, "kms:ScheduleKeyDeletion", A_KEY)
    assert not decision(monitor, MANAGER, "kms:ScheduleKeyDeletion", A_KEY, more=MANAGED)
    assert "schedule_deletion" in deleting.resources["KeyManagerFunction"]["Environment"]["Variables"]["OPERATIONS"]
    assert "schedule_deletion" not in monitor.resources["KeyManagerFunction"]["Environment"]["Variables"]["OPERATIONS"]


@pytest.mark.parametrize("role", ["KeyAuditFunctionRole", "KeyAuditInvokerRole", "KeyManagerInvokerRole"])
def test_nobody_beside_the_manager_changes_a_key(deleting, role):
    for action in (*CHANGES, "CancelKeyDeletion", "ScheduleKeyDeletion", "TagResource", "PutKeyPolicy", "CreateGrant"):
        assert not decision(deleting, role, f"kms:{action}", A_KEY, more=MANAGED | NEW), (role, action)
    assert not decision(deleting, role, "kms:CreateKey", "*", more=NEW)
    assert not decision(deleting, role, "dynamodb:PutItem", deleting.arn("OperationsTable"))


def test_the_auditor_reads_keys_findings_and_the_record(monitor):
    role = "KeyAuditFunctionRole"
    calls = json.loads((ROOT / "tests/calls.json").read_text(encoding="utf-8"))["key-auditor"]
    for call in calls["kms"]:
        assert decision(monitor, role, f"kms:{call}", A_KEY), call
    for service in ("cloudtrail", "cloudwatch"):
        for call in calls[service]:
            assert decision(monitor, role, f"{service}:{call}", "*"), call
    for table, partition in (
        ("OperationsTable", f"{ACCOUNT}#{REGION}"),
        ("FindingsTable", f"{ACCOUNT}#{REGION}#rotation-checker"),
    ):
        for call in calls["dynamodb"]:
            assert decision(
                monitor, role, f"dynamodb:{call}", monitor.arn(table), more={"dynamodb:LeadingKeys": [partition]}
            )
    elsewhere = {"dynamodb:LeadingKeys": [f"999999999999#{REGION}#rotation-checker"]}
    assert not decision(monitor, role, "dynamodb:Query", monitor.arn("FindingsTable"), more=elsewhere)
    for action in ("Decrypt", "Encrypt", "Sign", "GenerateDataKey"):
        assert not decision(monitor, role, f"kms:{action}", A_KEY, more=MANAGED)


@pytest.mark.parametrize(
    ("caller", "context", "taken"),
    [
        (f"arn:aws:iam::{ACCOUNT}:user/ana", {"aws:multifactorauthpresent": "true"}, True),
        (f"arn:aws:iam::{ACCOUNT}:user/ana", {}, False),
        (SSO, {}, True),
        (SSO.replace("Databases", "Payroll"), {}, False),
        (SSO.replace(ACCOUNT, "999999999999"), {}, False),
    ],
)
@pytest.mark.parametrize("name", ["KeyAudit", "KeyManager"])
def test_who_may_invoke(deleting, name, caller, context, taken):
    role, other = f"{name}InvokerRole", {"KeyAudit": "KeyManager", "KeyManager": "KeyAudit"}[name]
    request = EvalContext(caller, "AssumedRole", caller.split(":")[4], "sts:AssumeRole", deleting.arn(role), REGION)
    request.service_context = context
    assert evaluate_trust_policy(deleting.resources[role]["AssumeRolePolicyDocument"], caller, request) is taken
    assert decision(deleting, role, "lambda:InvokeFunction", deleting.arn(f"{name}Function"))
    assert not decision(deleting, role, "lambda:InvokeFunction", deleting.arn(f"{other}Function"))
    assert not decision(deleting, role, "lambda:InvokeFunction", deleting.arn("RotationChecker"))


# ---- An application's roles ------------------------------------------------------------------------------------------


def rds(resource):
    return f"arn:aws:rds:{REGION}:{ACCOUNT}:{resource}"


def backup(resource, region=REGION):
    return f"arn:aws:backup:{region}:{ACCOUNT}:{resource}"


OURS = {"aws:ResourceTag/Application": "shop", "aws:ResourceTag/Environment": "prod"}
THEIRS = {"aws:ResourceTag/Application": "bank", "aws:ResourceTag/Environment": "prod"}
NEW_PLAN = {"aws:RequestTag/Application": "shop", "aws:RequestTag/Environment": "prod"}
SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:rds!db-0123"
POINT = backup("recovery-point:0123")
DATABASES = [
    # A database with a password that RDS manages and with enhanced monitoring.
    ("rds:CreateDBInstance", rds("db:shop-prod-orders"), {}),
    ("rds:CreateDBInstance", rds("pg:default.postgres17"), {}),
    ("rds:CreateDBInstance", rds("subgrp:default"), {}),
    ("rds:AddTagsToResource", rds("db:shop-prod-orders"), {}),
    ("secretsmanager:CreateSecret", SECRET, {}),
    ("secretsmanager:TagResource", SECRET, {}),
    ("kms:DescribeKey", A_KEY, {"kms:ResourceAliases": ["alias/aws/secretsmanager"]}),
    ("iam:PassRole", MONITORING_ROLE, {"iam:PassedToService": "monitoring.rds.amazonaws.com"}),
    ("rds:ModifyDBInstance", rds("db:shop-prod-orders"), {}),
    ("secretsmanager:RotateSecret", SECRET, {}),
    # Its life.
    ("rds:CreateDBSnapshot", rds("snapshot:shop-prod-orders-1"), {}),
    ("rds:RestoreDBInstanceFromDBSnapshot", rds("snapshot:shop-prod-orders-1"), {}),
    ("rds:RebootDBInstance", rds("db:shop-prod-orders"), {}),
    ("rds:DescribeDBInstances", rds("db:bank-prod-orders"), {}),
    ("rds:DeleteDBInstance", rds("db:shop-prod-orders"), {}),
]
NO_DATABASES = [
    ("rds:DeleteDBInstance", rds("db:bank-prod-orders"), {}),
    ("rds:ModifyDBSnapshotAttribute", rds("snapshot:shop-prod-orders-1"), {}),
    ("rds:StartExportTask", "*", {}),
    ("secretsmanager:GetSecretValue", SECRET, {}),
    ("secretsmanager:CreateSecret", SECRET.replace("rds!", "bank-"), {}),
    ("kms:DescribeKey", A_KEY, {"kms:ResourceAliases": ["alias/bank"]}),
    ("iam:PassRole", MONITORING_ROLE, {"iam:PassedToService": "ec2.amazonaws.com"}),
    ("iam:PassRole", SERVICE_ROLE, {"iam:PassedToService": "monitoring.rds.amazonaws.com"}),
]
PASS = ("iam:PassRole", SERVICE_ROLE, {"iam:PassedToService": "backup.amazonaws.com"})
BACKUPS = [
    # A vault, a plan, what it is for.
    ("backup:CreateBackupVault", backup("backup-vault:shop-prod-daily"), {}),
    ("backup-storage:MountCapsule", "*", {}),
    ("backup:CreateBackupPlan", backup("backup-plan:new"), NEW_PLAN),
    ("backup:TagResource", backup("backup-plan:new"), NEW_PLAN),
    ("backup:CreateBackupSelection", backup("backup-plan:0123"), OURS),
    PASS,
    # Back up now, copy elsewhere, restore.
    ("backup:StartBackupJob", backup("backup-vault:shop-prod-daily"), {}),
    ("backup:StartCopyJob", POINT, OURS),
    ("backup:CopyFromBackupVault", backup("backup-vault:shop-prod-daily"), {}),
    ("backup:CopyIntoBackupVault", backup("backup-vault:shop-prod-elsewhere", "eu-west-1"), {}),
    ("backup:GetRecoveryPointRestoreMetadata", POINT, OURS),
    ("backup:StartRestoreJob", POINT, OURS),
    ("backup:UpdateRecoveryPointLifecycle", POINT, OURS),
    ("backup:ListRecoveryPointsByBackupVault", backup("backup-vault:shop-prod-daily"), {}),
    ("backup:StopBackupJob", "*", {}),
    ("s3:GetObject", "arn:aws:s3:::shop-prod-backups/orders", {"aws:ResourceAccount": ACCOUNT}),
]
NO_BACKUPS = [
    ("backup:DeleteRecoveryPoint", POINT, OURS),
    ("backup:DeleteBackupVault", backup("backup-vault:shop-prod-daily"), {}),
    ("backup:StartRestoreJob", POINT, THEIRS),
    ("backup:StartBackupJob", backup("backup-vault:bank-prod-daily"), {}),
    ("backup:CopyIntoBackupVault", backup("backup-vault:shop-prod-daily").replace(ACCOUNT, "999999999999"), {}),
    ("backup:TagResource", backup("backup-plan:0123"), NEW_PLAN | THEIRS),
    ("iam:PassRole", SERVICE_ROLE, {"iam:PassedToService": "ec2.amazonaws.com"}),
    ("iam:PassRole", MONITORING_ROLE, {"iam:PassedToService": "backup.amazonaws.com"}),
]


@pytest.mark.parametrize(
    ("role", "steps", "refused"),
    [("DatabaseAdminRole", DATABASES, NO_DATABASES), ("BackupAdminRole", BACKUPS, NO_BACKUPS)],
    ids=["databases", "backups"],
)
def test_an_administrator_may_do_the_job_and_nothing_else(keys, role, steps, refused):
    assert [step for step in steps if not decision(keys, role, step[0], step[1], more=step[2])] == []
    assert [step for step in refused if decision(keys, role, step[0], step[1], more=step[2])] == []


def test_without_a_service_role_nothing_is_passed(application):
    bare = Rendered(application, application["Resources"], ApplicationName="shop", Environment="prod")
    assert not decision(bare, "BackupAdminRole", PASS[0], PASS[1], more=PASS[2])
    policies = json.dumps([bare.resources[role]["Policies"] for role in ("BackupAdminRole", "DatabaseAdminRole")])
    assert "iam:PassRole" not in policies


USE = ("kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey")


@pytest.mark.parametrize(
    ("role", "key", "actions", "via"),
    [
        ("ApplicationRole", "ApplicationKey", USE, None),
        ("DatabaseAdminRole", "DatabaseKey", USE, "rds"),
        ("BackupAdminRole", "BackupKey", ("kms:DescribeKey", "kms:ListGrants"), None),
        ("BackupAdminRole", "BackupKey", ("kms:Decrypt",), "s3"),
        ("BackupAdminRole", "BackupKey", USE, "backup"),
    ],
)
def test_a_keys_policy_lets_its_role_use_it(keys, role, key, actions, via):
    policy, arn = keys.resources[key]["KeyPolicy"], keys.arn(key)
    for suffix in ("", ".cn"):
        context = {"kms:CallerAccount": ACCOUNT}
        if via:
            context["kms:ViaService"] = f"{via}.{REGION}.amazonaws.com{suffix}"
        for action in actions:
            assert decision(keys, role, action, arn, policy, more=context), (role, action)
    for others, other in (("ApplicationRole", "DatabaseKey"), ("DatabaseAdminRole", "ApplicationKey")):
        policy = keys.resources[other]["KeyPolicy"]
        assert not decision(keys, others, "kms:Decrypt", keys.arn(other), policy, more={"kms:CallerAccount": ACCOUNT})


@pytest.mark.parametrize(
    ("caller", "context", "taken"),
    [
        (f"arn:aws:iam::{ACCOUNT}:user/ana", {"aws:multifactorauthpresent": "true"}, True),
        (f"arn:aws:iam::{ACCOUNT}:user/ana", {"aws:multifactorauthpresent": "false"}, False),
        (f"arn:aws:iam::{ACCOUNT}:user/ana", {}, False),
        # Sessions of IAM Identity Center carry no MFA key.
        (SSO, {}, True),
        (SSO.replace("Databases", "Payroll"), {}, False),
        (SSO.replace(ACCOUNT, "999999999999"), {}, False),
    ],
)
@pytest.mark.parametrize("role", ["DatabaseAdminRole", "BackupAdminRole"])
def test_who_takes_an_administrators_role(keys, role, caller, context, taken):
    account = caller.split(":")[4]
    request = EvalContext(caller, "AssumedRole", account, "sts:AssumeRole", keys.arn(role), REGION)
    request.service_context = context
    assert evaluate_trust_policy(keys.resources[role]["AssumeRolePolicyDocument"], caller, request) is taken
