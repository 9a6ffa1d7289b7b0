"""Updates of the deployed stacks: the file's name makes them the last tests."""

import json

import pytest
from botocore.exceptions import ClientError

from local_aws import APPLICATION_STACK, STACK

KINDS = {"Application": "app", "Database": "db", "Backup": "backup"}


def test_switching_to_multi_region_keys_makes_new_keys_and_keeps_the_old(deployment):
    kms, before, monitor = deployment.aws.client("kms"), deployment.application, resources_of(deployment, STACK)
    ciphertext = kms.encrypt(KeyId="alias/shop-test-app-key", Plaintext=b"a letter")["CiphertextBlob"]
    after = deployment.deploy_application_keys(EnableMultiRegion="true")
    for kind, alias in KINDS.items():
        name = f"{kind}KeyArn"
        key = kms.describe_key(KeyId=f"alias/shop-test-{alias}-key")["KeyMetadata"]
        assert (key["Arn"], key["MultiRegion"], key["KeyState"]) == (after[name], True, "Enabled")
        assert after[name] != before[name]
        assert kms.describe_key(KeyId=before[name])["KeyMetadata"]["KeyState"] == "Enabled"
    assert kms.decrypt(CiphertextBlob=ciphertext)["Plaintext"] == b"a letter"
    unchanged = {name for name in before if before[name] == after[name]}
    assert before.keys() - unchanged == {f"{kind}Key{what}" for kind in KINDS for what in ("Id", "Arn")}
    assert resources_of(deployment, STACK) == monitor


def resources_of(deployment, stack):
    pages = deployment.aws.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack)
    return {
        each["LogicalResourceId"]: each["PhysicalResourceId"]
        for page in pages
        for each in page["StackResourceSummaries"]
    }


def keys_by_alias(deployment, application):
    kms = deployment.aws.client("kms")
    names = [f"alias/{application}-test-{alias}-key" for alias in KINDS.values()]
    return {name: kms.describe_key(KeyId=name)["KeyMetadata"]["Arn"] for name in names}


def single_region(template):
    """A template without the keys of the other kind: the local AWS would import what a false condition leaves out."""

    def of(part):
        if isinstance(part, dict):
            if "Fn::If" in part and part["Fn::If"][0] == "MultiRegionKeys":
                return part["Fn::If"][2]
            return {name: of(each) for name, each in part.items() if not name.endswith("MultiRegionKey")}
        return [of(each) for each in part] if isinstance(part, list) else part

    return of(template)


def test_keys_of_an_earlier_stack_move_to_their_own_and_no_alias_is_gone_for_a_moment(deployment, application):
    """The steps of docs/operations.md."""
    cloudformation, iam = deployment.aws.client("cloudformation"), deployment.aws.client("iam")
    parameters = [{"ParameterKey": "ApplicationName", "ParameterValue": "moving"}]
    parameters += [{"ParameterKey": "Environment", "ParameterValue": "test"}]

    def deploy(resources, action):
        getattr(cloudformation, f"{action}_stack")(
            StackName="earlier",
            TemplateBody=json.dumps(whole | {"Resources": resources}),
            Parameters=parameters,
            Capabilities=["CAPABILITY_IAM"],
        )
        cloudformation.get_waiter(f"stack_{action}_complete").wait(StackName="earlier", WaiterConfig={"Delay": 1})

    # An import takes no outputs.
    whole = {name: part for name, part in application.items() if name != "Outputs"}
    moving = {name: each for name, each in application["Resources"].items() if not name.endswith(("Band", "Threshold"))}
    stays = {"Topic": {"Type": "AWS::SNS::Topic"}}
    # As it was: of these, the keys alone were retained.
    without = {
        name: {part: value for part, value in each.items() if not part.endswith("Policy")}
        | ({"DeletionPolicy": "Retain"} if each["Type"] == "AWS::KMS::Key" else {})
        for name, each in moving.items()
    }
    deploy(without | stays, "create")
    ids, keys = resources_of(deployment, "earlier"), keys_by_alias(deployment, "moving")
    assert len(ids) == 10

    retained = {
        "DeletionPolicy": "Retain",
        "UpdateReplacePolicy": "Retain",
        "Metadata": {"MovesTo": "application-keys.yaml"},
    }
    deploy({name: each | retained for name, each in without.items()} | stays, "update")
    assert keys_by_alias(deployment, "moving") == keys
    deploy(stays, "update")
    assert set(resources_of(deployment, "earlier")) == {"Topic"}
    assert keys_by_alias(deployment, "moving") == keys

    identifiers = {"AWS::KMS::Key": "KeyId", "AWS::KMS::Alias": "AliasName", "AWS::IAM::Role": "RoleName"}
    change_set = cloudformation.create_change_set(
        StackName="moved",
        ChangeSetName="import",
        ChangeSetType="IMPORT",
        TemplateBody=json.dumps(single_region(whole | {"Resources": moving})),
        Parameters=parameters,
        Capabilities=["CAPABILITY_IAM"],
        ResourcesToImport=[
            {
                "LogicalResourceId": name,
                "ResourceType": moving[name]["Type"],
                "ResourceIdentifier": {identifiers[moving[name]["Type"]]: physical_id},
            }
            for name, physical_id in ids.items()
            if name != "Topic"
        ],
    )["Id"]
    cloudformation.get_waiter("change_set_create_complete").wait(ChangeSetName=change_set, WaiterConfig={"Delay": 1})
    cloudformation.execute_change_set(ChangeSetName=change_set)
    cloudformation.get_waiter("stack_import_complete").wait(StackName="moved", WaiterConfig={"Delay": 1})
    assert keys_by_alias(deployment, "moving") == keys

    # From here on, as any deployment: outputs come along.
    cloudformation.update_stack(
        StackName="moved", TemplateBody=json.dumps(application), Parameters=parameters, Capabilities=["CAPABILITY_IAM"]
    )
    cloudformation.get_waiter("stack_update_complete").wait(StackName="moved", WaiterConfig={"Delay": 1})
    assert keys_by_alias(deployment, "moving") == keys
    assert resources_of(deployment, "moved") == {name: each for name, each in ids.items() if name != "Topic"}

    cloudformation.delete_stack(StackName="moved")
    cloudformation.get_waiter("stack_delete_complete").wait(StackName="moved", WaiterConfig={"Delay": 1})
    assert keys_by_alias(deployment, "moving") == keys
    assert all(iam.get_role(RoleName=each) for name, each in ids.items() if name.endswith("Role"))


def test_the_monitor_does_not_notice_that_the_keys_stack_goes(deployment):
    monitor, keys = resources_of(deployment, STACK), keys_by_alias(deployment, "shop")
    cloudformation = deployment.aws.client("cloudformation")
    cloudformation.delete_stack(StackName=APPLICATION_STACK)
    cloudformation.get_waiter("stack_delete_complete").wait(StackName=APPLICATION_STACK, WaiterConfig={"Delay": 1})
    with pytest.raises(ClientError, match="does not exist"):
        cloudformation.describe_stacks(StackName=APPLICATION_STACK)
    assert resources_of(deployment, STACK) == monitor
    assert keys_by_alias(deployment, "shop") == keys
