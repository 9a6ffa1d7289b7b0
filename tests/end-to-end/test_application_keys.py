"""Keys and roles for an application, as CloudFormation gets them, and the replicas of its keys."""

import json
import re

import pytest

from local_aws import read_template
from template import ACCOUNT, OWNER, arn_of, of_type, properties, through

KEYS = {"Application": "app", "Database": "db", "Backup": "backup"}
ROLES = ("ApplicationRole", "DatabaseAdminRole", "BackupAdminRole")
USE = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
OUTLIVES = ("RetainExceptOnCreate", "Retain")
every_key = pytest.mark.parametrize("kind", KEYS)


@pytest.fixture(scope="module")
def source(application):
    return application


@pytest.fixture(scope="module")
def resources(application):
    return application["Resources"]


@pytest.fixture(scope="module")
def replicas():
    return read_template("replicas.yaml")


def either_key(kind, attribute=None):
    """The key of the kind that is made."""
    multi, single = f"{kind}MultiRegionKey", f"{kind}Key"
    if attribute:
        return {"Fn::If": ["MultiRegionKeys", arn_of(multi), arn_of(single)]}
    return {"Fn::If": ["MultiRegionKeys", {"Ref": multi}, {"Ref": single}]}


def policy(resources, logical_id):
    """A key's policy: what each statement that is not the owner's allows."""
    owner, *others = properties(resources, logical_id)["KeyPolicy"]["Statement"]
    assert (owner["Effect"], owner["Principal"], owner["Action"]) == ("Allow", OWNER, "kms:*")
    assert all(each["Effect"] == "Allow" and each["Resource"] == "*" for each in others)
    return {each["Sid"]: (each["Principal"], each["Action"], each.get("Condition")) for each in others}


# ---- Keys ------------------------------------------------------------------------------------------------------------


@every_key
def test_a_key_is_made_in_one_of_two_kinds(resources, source, kind):
    single, multi = (resources[f"{kind}{each}Key"] for each in ("", "MultiRegion"))
    assert (single["Condition"], multi["Condition"]) == ("SingleRegionKeys", "MultiRegionKeys")
    # Whichever it is, nothing else differs.
    assert multi["Properties"] == single["Properties"] | {"MultiRegion": True}
    assert source["Parameters"]["EnableMultiRegion"]["Default"] == "false"
    conditions = source["Conditions"]
    assert conditions["MultiRegionKeys"] == {"Fn::Equals": [{"Ref": "EnableMultiRegion"}, "true"]}
    assert conditions["SingleRegionKeys"] == {"Fn::Not": [{"Condition": "MultiRegionKeys"}]}


@every_key
def test_a_key_rotates_within_policy_and_outlives_the_stack(resources, kind):
    for each in ("", "MultiRegion"):
        key = resources[f"{kind}{each}Key"]
        assert (key["DeletionPolicy"], key["UpdateReplacePolicy"]) == OUTLIVES
        made = key["Properties"]
        assert (made["KeySpec"], made["KeyUsage"]) == ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
        assert made["EnableKeyRotation"] is True
        assert made["RotationPeriodInDays"] == {"Ref": "MaxRotationPeriodDays"}
        assert made["Tags"] == [{"Key": "KeyType", "Value": kind}]  # the stack has the others


@every_key
def test_an_alias_points_to_the_key_and_stays_with_it(resources, kind):
    assert (
        resources[f"{kind}KeyAlias"]["DeletionPolicy"],
        resources[f"{kind}KeyAlias"]["UpdateReplacePolicy"],
    ) == OUTLIVES
    alias = properties(resources, f"{kind}KeyAlias")
    assert alias["AliasName"] == {"Fn::Sub": f"alias/${{ApplicationName}}-${{Environment}}-{KEYS[kind]}-key"}
    assert alias["TargetKeyId"] == either_key(kind)


def test_the_application_uses_its_key_and_grants_it_to_aws_services_only(resources):
    role = {"AWS": arn_of("ApplicationRole")}
    assert policy(resources, "ApplicationKey") == {
        "Use": (role, USE, None),
        "GrantToAwsServices": (
            role,
            ["kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant"],
            {"Bool": {"kms:GrantIsForAWSResource": "true"}},
        ),
    }


def use_through(name, via):
    """Use and grants through a service, for callers of the account."""
    callers = {"kms:CallerAccount": ACCOUNT, "kms:ViaService": through(via)}
    for_aws = {"Bool": {"kms:GrantIsForAWSResource": "true"}}
    return {
        f"UseThrough{name}": ({"AWS": "*"}, USE, {"StringEquals": callers}),
        f"GrantThrough{name}": ({"AWS": "*"}, "kms:CreateGrant", {"StringEquals": callers} | for_aws),
    }


def test_the_database_key_is_used_through_rds_only(resources):
    assert policy(resources, "DatabaseKey") == use_through("Rds", "rds") | {
        "Administer": (
            {"AWS": arn_of("DatabaseAdminRole")},
            ["kms:Decrypt", "kms:DescribeKey"],
            {"StringEquals": {"kms:ViaService": through("rds")}},
        )
    }


def test_the_backup_key_is_used_through_backup_and_read_through_s3(resources):
    role = {"AWS": arn_of("BackupAdminRole")}
    assert policy(resources, "BackupKey") == use_through("Backup", "backup") | {
        "Read": (role, "kms:Decrypt", {"StringEquals": {"kms:ViaService": through("backup") + through("s3")}}),
        "Administer": (role, ["kms:DescribeKey", "kms:ListGrants"], None),
    }


def test_keys_are_not_made_without_the_name_of_an_application(source):
    assert "Default" not in source["Parameters"]["ApplicationName"]


def test_keys_and_roles_are_put_out(source):
    outputs = source["Outputs"]
    expected = {f"{kind}Key{what}" for kind in KEYS for what in ("Id", "Arn")} | {f"{role}Arn" for role in ROLES}
    assert set(outputs) == expected
    for name, output in outputs.items():
        assert output["Export"] == {"Name": {"Fn::Sub": f"${{AWS::StackName}}-{name}"}}
    for kind in KEYS:
        assert outputs[f"{kind}KeyId"]["Value"] == either_key(kind)
        assert outputs[f"{kind}KeyArn"]["Value"] == either_key(kind, "Arn")
    for role in ROLES:
        assert outputs[f"{role}Arn"]["Value"] == arn_of(role)


# ---- Roles -----------------------------------------------------------------------------------------------------------


def test_administrators_need_mfa_or_to_be_named(resources, source):
    anybody_here = {"Effect": "Allow", "Principal": OWNER, "Action": "sts:AssumeRole"}
    named = {"ArnLike": {"aws:PrincipalArn": {"Fn::Split": [",", {"Ref": "AdminPrincipalArns"}]}}}
    for role in ROLES[1:]:
        assert properties(resources, role)["AssumeRolePolicyDocument"]["Statement"] == [
            anybody_here | {"Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}}},
            {"Fn::If": ["HasAdminPrincipals", anybody_here | {"Condition": named}, {"Ref": "AWS::NoValue"}]},
        ]
    assert source["Parameters"]["AdminPrincipalArns"]["Default"] == ""


def test_only_services_become_the_application(resources):
    (trust,) = properties(resources, "ApplicationRole")["AssumeRolePolicyDocument"]["Statement"]
    # ec2.amazonaws.com.cn in China, and lambda.amazonaws.com everywhere.
    assert trust["Principal"] == {"Service": [{"Fn::Sub": "ec2.${AWS::URLSuffix}"}, "lambda.amazonaws.com"]}


def test_every_role_is_bounded_named_by_cloudformation_and_stays_with_the_keys_that_name_it(resources):
    boundary = {"Fn::If": ["HasPermissionsBoundary", {"Ref": "PermissionsBoundaryArn"}, {"Ref": "AWS::NoValue"}]}
    roles = of_type(resources, "AWS::IAM::Role")
    assert set(roles) == set(ROLES)
    for role in roles.values():
        assert role["Properties"]["PermissionsBoundary"] == boundary
        assert "RoleName" not in role["Properties"]
        assert (role["DeletionPolicy"], role["UpdateReplacePolicy"]) == OUTLIVES


def actions(statement):
    return statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]


def statements(resources, role):
    """What a role may do, with every parameter given."""
    (policy,) = properties(resources, role)["Policies"]
    return [each["Fn::If"][1] if "Fn::If" in each else each for each in policy["PolicyDocument"]["Statement"]]


def test_roles_change_only_what_is_the_applications(resources):
    reading = re.compile(r"(rds|backup):(Describe|Get|List)[A-Za-z*]*")
    # They know no narrower resource: one is a part of making a vault, the other only stops.
    unbounded = {"backup-storage:MountCapsule", "backup:StopBackupJob"}
    for role in ROLES:
        for statement in statements(resources, role):
            assert statement["Effect"] == "Allow"
            text = json.dumps([statement["Resource"], statement.get("Condition", {})])
            # What RDS does in the caller's name for the passwords that it manages.
            of_rds = "secret:rds!*" in text or "alias/aws/secretsmanager" in text
            for action in actions(statement):
                if action == "iam:PassRole":
                    assert set(statement["Resource"]) == {"Ref"} and "iam:PassedToService" in text
                    continue
                assert not action.startswith(("iam:", "sts:", "*")) and not action.endswith(":*")
                assert action == "kms:DescribeKey" or not action.startswith("kms:")
                if not reading.fullmatch(action) and action not in unbounded:
                    assert "ApplicationName" in text or ":default" in text or of_rds, (role, action)
                    assert "*" not in action, (role, action)


def test_administrators_give_nothing_away_and_destroy_no_backup(resources):
    allowed = {action for role in ROLES for statement in statements(resources, role) for action in actions(statement)}
    refused = {
        "backup:DeleteBackupVault",
        "backup:DeleteRecoveryPoint",
        "backup:PutBackupVaultAccessPolicy",
        "rds:ModifyDBClusterSnapshotAttribute",
        "rds:ModifyDBSnapshotAttribute",
        "rds:StartExportTask",
    }
    assert not refused & allowed


def test_a_plan_of_another_application_cannot_be_made_ones_own(resources):
    (new,) = [each for each in statements(resources, "BackupAdminRole") if "backup:CreateBackupPlan" in actions(each)]
    names = {"Application": {"Ref": "ApplicationName"}, "Environment": {"Ref": "Environment"}}
    assert new["Condition"] == {
        "StringEquals": {f"aws:RequestTag/{tag}": value for tag, value in names.items()},
        "Null": {"aws:ResourceTag/Application": "true"},
    }


# ---- Unusual use -----------------------------------------------------------------------------------------------------


@every_key
def test_an_anomaly_band_watches_each_keys_decrypts(resources, source, kind):
    alarm = resources[f"{kind}KeyUsageBand"]
    assert alarm["Condition"] == "UsageBands"
    made = alarm["Properties"]
    metric, filled, band = made["Metrics"]
    assert metric["MetricStat"]["Metric"] == {
        "Namespace": "AWS/KMS",
        "MetricName": "SuccessfulRequest",
        "Dimensions": [
            {"Name": "KeyArn", "Value": either_key(kind, "Arn")},
            {"Name": "Operation", "Value": "Decrypt"},
        ],
    }
    assert (metric["Id"], metric["MetricStat"]["Stat"]) == ("m1", "Sum")
    # Five minutes without a request count as none. The filled metric and its band are what is compared.
    assert (metric["ReturnData"], filled) == (False, {"Id": "m2", "Expression": "FILL(m1, 0)"})
    assert band == {"Id": "ad1", "Expression": {"Fn::Sub": "ANOMALY_DETECTION_BAND(m2, ${UsageBandWidth})"}}
    assert source["Parameters"]["UsageBandWidth"]["Default"] == 2
    assert (made["ThresholdMetricId"], made["ComparisonOperator"]) == ("ad1", "GreaterThanUpperThreshold")
    assert made["TreatMissingData"] == "notBreaching"
    assert made["AlarmActions"] == [{"Ref": "AlarmTopicArn"}]
    # What an alarm on one metric has, one with a band must not.
    assert not {"MetricName", "Namespace", "Dimensions", "Statistic", "Period", "Threshold"} & made.keys()
    topic, band = {"Condition": "HasAlarmTopic"}, {"Fn::Equals": [{"Ref": "UsageAlarmThreshold"}, 0]}
    assert source["Conditions"]["UsageBands"] == {"Fn::And": [topic, band]}
    assert source["Conditions"]["UsageThresholds"] == {"Fn::And": [topic, {"Fn::Not": [band]}]}
    assert source["Parameters"]["UsageAlarmThreshold"]["Default"] == 0


@every_key
def test_a_threshold_can_take_the_bands_place(resources, kind):
    alarm, band = resources[f"{kind}KeyUsageThreshold"], resources[f"{kind}KeyUsageBand"]["Properties"]
    assert alarm["Condition"] == "UsageThresholds"
    made = alarm["Properties"]
    metric = band["Metrics"][0]["MetricStat"]
    assert {name: made[name] for name in ("Namespace", "MetricName", "Dimensions")} == metric["Metric"]
    assert (made["Statistic"], made["Period"]) == (metric["Stat"], metric["Period"])
    assert (made["ComparisonOperator"], made["Threshold"]) == ("GreaterThanThreshold", {"Ref": "UsageAlarmThreshold"})
    assert made["AlarmActions"] == [{"Ref": "AlarmTopicArn"}]
    # One name for both, and switching would delete the alarm that it made.
    assert made["AlarmName"] != band["AlarmName"]


# ---- Replicas --------------------------------------------------------------------------------------------------------


@every_key
def test_a_replica_is_as_its_primary(resources, replicas, kind):
    replica = replicas["Resources"][f"{kind}Replica"]
    assert replica["Type"] == "AWS::KMS::ReplicaKey"
    assert (replica["DeletionPolicy"], replica["UpdateReplacePolicy"]) == OUTLIVES
    made, primary = replica["Properties"], properties(resources, f"{kind}MultiRegionKey")
    assert made["PrimaryKeyArn"] == {"Ref": f"{kind}KeyArn"}
    # Roles come as parameters there; all else is the same.
    same = json.loads(re.sub(r'\{"Fn::GetAtt": \["(\w+Role)", "Arn"\]\}', r'{"Ref": "\1Arn"}', json.dumps(primary)))
    for name in ("Description", "KeyPolicy", "Tags"):
        assert made[name] == same[name]
    alias = replicas["Resources"][f"{kind}ReplicaAlias"]["Properties"]
    assert alias == properties(resources, f"{kind}KeyAlias") | {"TargetKeyId": {"Ref": f"{kind}Replica"}}


def test_every_parameter_of_the_replicas_is_an_output_or_a_parameter_of_the_primaries(source, replicas):
    for name, parameter in replicas["Parameters"].items():
        assert name in source["Outputs"] or name in source["Parameters"]
        assert parameter["Description"] and parameter["AllowedPattern"] and parameter["ConstraintDescription"]


@pytest.mark.parametrize(
    ("parameter", "taken", "refused"),
    [
        (
            "ApplicationKeyArn",
            ["arn:aws:kms:eu-west-1:123456789012:key/mrk-0123456789abcdef0123456789abcdef"],
            ["mrk-0123456789abcdef0123456789abcdef", "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab", ""],
        ),
        ("ApplicationRoleArn", ["arn:aws-cn:iam::123456789012:role/shop"], ["shop", ""]),
        ("ApplicationName", ["shop", "web-shop2"], ["", "Shop", "-shop", "shop-"]),
    ],
)
def test_parameters_of_the_replicas_take_what_they_should(replicas, parameter, taken, refused):
    pattern = replicas["Parameters"][parameter]["AllowedPattern"]
    assert [value for value in taken if not re.fullmatch(pattern, value)] == []
    assert [value for value in refused if re.fullmatch(pattern, value)] == []
