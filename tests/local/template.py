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
        return transform(template, {}, NoManagedPolicies())["Resources"]


def properties(resources, logical_id):
    return resources[logical_id]["Properties"]


def statements(resources, role):
    """What a role allows: its one policy, without the statements' names."""
    (policy,) = properties(resources, role)["Policies"]
    assert "ManagedPolicyArns" not in properties(resources, role)
    return [
        {name: value for name, value in statement.items() if name != "Sid"}
        for statement in policy["PolicyDocument"]["Statement"]
    ]


def arn_of(logical_id):
    return {"Fn::GetAtt": [logical_id, "Arn"]}


def of_type(resources, kind):
    return {name: resource for name, resource in resources.items() if resource["Type"] == kind}


ACCOUNT = {"Ref": "AWS::AccountId"}
OWNER = {"AWS": {"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"}}
ALARMS = {"Fn::Sub": "arn:${AWS::Partition}:cloudwatch:${AWS::Region}:${AWS::AccountId}:alarm:*"}
ALARMS_ONLY = {"StringEquals": {"aws:SourceAccount": ACCOUNT}, "ArnLike": {"aws:SourceArn": ALARMS}}
