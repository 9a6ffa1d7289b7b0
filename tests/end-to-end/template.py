"""The template as CloudFormation gets it, and as far as this machine can show it: the SAM transform is AWS's own."""

import pytest
from samtranslator.translator.transform import transform

from local_aws import read_template


class NoManagedPolicies:
    def load(self):
        return {}


def built_resources():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        template = read_template()
        for resource in template["Resources"].values():
            if resource["Type"] == "AWS::Serverless::Function":
                resource["Properties"]["CodeUri"] = "s3://bucket/code.zip"
            if resource["Type"] == "AWS::Serverless::StateMachine":
                resource["Properties"]["DefinitionUri"] = "s3://bucket/definition.json"
        return transform(template, {}, NoManagedPolicies())["Resources"]


def properties(resources, logical_id):
    return resources[logical_id]["Properties"]


def statements(resources, role):
    """What a role allows: its one policy, without the statements' names; `If` is the condition that one depends on."""
    (policy,) = properties(resources, role)["Policies"]
    assert "ManagedPolicyArns" not in properties(resources, role)
    found = []
    for statement in policy["PolicyDocument"]["Statement"]:
        if "Fn::If" in statement:
            condition, statement, otherwise = statement["Fn::If"]
            assert otherwise == {"Ref": "AWS::NoValue"}
            statement = statement | {"If": condition}
        found.append({name: value for name, value in statement.items() if name != "Sid"})
    return found


def arn_of(logical_id):
    return {"Fn::GetAtt": [logical_id, "Arn"]}


def unless_yours(value, parameter):
    """What is made here, or what a parameter names in its place."""
    return {"Fn::If": ["OwnAlertTopic", value, {"Ref": parameter}]}


ALERT_TOPIC = unless_yours({"Ref": "AlertTopic"}, "ExistingAlertTopicArn")
ALERT_KEY = unless_yours(arn_of("AlertKey"), "ExistingAlertKeyArn")


def through(service):
    """Values of `kms:ViaService`: China's have another suffix."""
    return [{"Fn::Sub": f"{service}.${{AWS::Region}}.amazonaws.com{suffix}"} for suffix in ("", ".cn")]


def of_type(resources, kind):
    return {name: resource for name, resource in resources.items() if resource["Type"] == kind}


ACCOUNT = {"Ref": "AWS::AccountId"}
OWNER = {"AWS": {"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"}}
ALARMS = {"Fn::Sub": "arn:${AWS::Partition}:cloudwatch:${AWS::Region}:${AWS::AccountId}:alarm:*"}
ALARMS_ONLY = {"StringEquals": {"aws:SourceAccount": ACCOUNT}, "ArnLike": {"aws:SourceArn": ALARMS}}
