"""The role of a member account: exactly the reads that the checks make, for the monitor's roles alone."""

import json

import pytest
from ministack.core.iam_evaluator import EvalContext, evaluate_trust_policy

from local_aws import ROOT, functions, read_template
from render import ACCOUNT, REGION, Rendered
from test_roles import A_KEY, decision

MONITOR, ORGANIZATION = "999999999999", "o-a1b2c3d4e5"
PROBER = f"arn:aws:iam::{MONITOR}:role/monitor-HealthProberRole-1A2B3C4D5E6F"
USES = {"Decrypt", "Encrypt", "GenerateMac", "Sign", "Verify", "VerifyMac"}
# Those that know no narrower resource, by the service authorisation reference.
WITHOUT_RESOURCE = {
    "cloudwatch:GetMetricData",
    "cloudwatch:ListMetrics",
    "kms:DescribeCustomKeyStores",
    "kms:ListAliases",
    "kms:ListKeys",
}


def rendered(**parameters):
    template = json.loads(json.dumps(read_template("member-role.yaml")))
    given = {
        "MonitorAccountId": MONITOR,
        "MonitorRoleArns": f"arn:aws:iam::{MONITOR}:role/monitor-*Role-*",
        "OrganizationId": ORGANIZATION,
    }
    return Rendered(template, template["Resources"], **(given | parameters))


@pytest.fixture(scope="module")
def member():
    return rendered()


def statements(member):
    return [
        each for policy in member.resources["MemberRole"]["Policies"] for each in policy["PolicyDocument"]["Statement"]
    ]


def reads():
    calls = json.loads((ROOT / "tests/calls.json").read_text(encoding="utf-8"))
    checks = [calls[function] for function in functions(read_template())]
    assert len(checks) >= 5
    return {
        f"{service}:{call}"
        for each in checks
        for service in ("kms", "cloudwatch")
        for call in each.get(service, [])
        if call not in USES
    }


def test_it_allows_exactly_what_the_checks_read(member):
    allowed = [action for each in statements(member) for action in each["Action"]]
    assert sorted(allowed) == sorted(reads()), "each call once, and no other"
    assert all(each["Effect"] == "Allow" for each in statements(member))


def test_everything_is_resource_only_where_there_is_no_narrower_one(member):
    wide = {action for each in statements(member) if each["Resource"] == "*" for action in each["Action"]}
    assert wide == WITHOUT_RESOURCE
    narrow = {each["Resource"] for each in statements(member)} - {"*"}
    assert narrow == {f"arn:aws:kms:*:{ACCOUNT}:key/*"}


def test_an_evaluator_lets_it_read_and_nothing_else(member):
    for action in reads():
        resource = "*" if action in WITHOUT_RESOURCE else A_KEY.replace(REGION, "eu-west-1")
        assert decision(member, "MemberRole", action, resource), action
    refused = [f"kms:{call}" for call in USES] + [
        *("kms:GenerateDataKey", "kms:CreateGrant", "kms:PutKeyPolicy", "kms:ScheduleKeyDeletion", "kms:DisableKey"),
        *("kms:EnableKeyRotation", "kms:ReplicateKey", "kms:TagResource", "sts:AssumeRole", "iam:PassRole"),
        *("cloudwatch:PutMetricData", "s3:GetObject", "dynamodb:Query", "organizations:ListAccounts"),
    ]
    for action in refused:
        assert not decision(member, "MemberRole", action, A_KEY), action
    assert not decision(member, "MemberRole", "kms:DescribeKey", A_KEY.replace(ACCOUNT, MONITOR))


@pytest.mark.parametrize(
    ("caller", "organization", "external", "given", "taken"),
    [
        (PROBER, ORGANIZATION, "", None, True),
        (PROBER.replace("HealthProber", "UsageAnomalyScorer"), ORGANIZATION, "", None, True),
        (PROBER, "o-zzzzzzzzzz", "", None, False),
        (PROBER, None, "", None, False),
        (f"arn:aws:iam::{MONITOR}:role/administrator", ORGANIZATION, "", None, False),
        (f"arn:aws:iam::{MONITOR}:user/monitor-xRole-1", ORGANIZATION, "", None, False),
        (PROBER.replace(MONITOR, "888888888888"), ORGANIZATION, "", None, False),
        (PROBER, ORGANIZATION, "agreed", "agreed", True),
        (PROBER, ORGANIZATION, "agreed", "guessed", False),
        (PROBER, ORGANIZATION, "agreed", None, False),
    ],
)
def test_who_takes_it(caller, organization, external, given, taken):
    member = rendered(ExternalId=external)
    role = f"arn:aws:iam::{ACCOUNT}:role/kms-compliance/kms-compliance-read"
    request = EvalContext(caller, "AssumedRole", caller.split(":")[4], "sts:AssumeRole", role, REGION)
    request.service_context = {"aws:principalarn": caller}
    if organization:
        request.service_context["aws:principalorgid"] = organization
    if given:
        request.service_context["sts:externalid"] = given
    trust = member.resources["MemberRole"]["AssumeRolePolicyDocument"]
    assert evaluate_trust_policy(trust, caller, request) is taken


def test_it_has_the_name_that_the_monitor_knows_it_by(member):
    role = member.resources["MemberRole"]
    assert role["Path"] + role["RoleName"] == "/kms-compliance/kms-compliance-read"
