"""key-manager deployed, IAM enforced: from `events/key-manager/` through the two functions, to keys and the record."""

import datetime
import json
import re
import subprocess
import sys
import uuid

import jsonschema
import pytest
from botocore.exceptions import ClientError

import fleet
from conftest import EVENTS, event
from local_aws import REGION, ROOT, functions, read_template
from test_deployed import ACCOUNT, as_role
from usage import Usage

MANAGED = {"TagKey": "kms-compliance/managed", "TagValue": "true"}
ELSEWHERE = "eu-west-1"
REQUESTS = json.loads((ROOT / "docs/key-manager-requests.schema.json").read_text(encoding="utf-8"))
ANSWERS = json.loads((ROOT / "docs/key-manager-answers.schema.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", sorted((EVENTS / "key-manager").iterdir()), ids=lambda path: path.stem)
def test_the_examples_are_as_the_schema_says(path):
    request = json.loads(path.read_text(encoding="utf-8"))
    # Which values go together is said beside the schema.
    is_valid = path.stem != "malformed-unknown-field"
    assert jsonschema.Draft202012Validator(REQUESTS).is_valid(request) is is_valid


@pytest.mark.parametrize(
    ("name", "says"), [("audit-key-table", "rotation-enabled"), ("rotate-key", '"state": "succeeded"')]
)
def test_an_example_is_invoked_on_this_machine(name, says):
    """What `make invoke` does: the function that answers the example's operation, over a local AWS of its own."""
    command = [sys.executable, str(ROOT / "tests/end-to-end/invoke.py"), "key-manager", name, "--local"]
    invoked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert invoked.returncode == 0 and says in invoked.stdout, invoked.stderr


class Manager:
    def __init__(self, deployment):
        self.deployment, self.kms = deployment, deployment.aws.client("kms")

    def send(self, request, function="KeyManagerFunction"):
        """Invokes a function with a request; returns its answer, be it an error."""
        name = self.deployment.outputs[f"{function}Name"]
        answer = self.deployment.lambda_.invoke(FunctionName=name, Payload=json.dumps(request))
        body = json.load(answer["Payload"])
        assert ("FunctionError" in answer) == ("errorType" in body), body
        return body

    def do(self, name, **changes):
        """An example with a token of its own; what it is answered with, once it is done."""
        request = event(name, "key-manager") | {"client_token": f"t-{uuid.uuid4()}"} | changes
        answer = self.send(request)
        assert answer.get("state") == "succeeded", answer
        jsonschema.validate(answer, ANSWERS)
        return answer

    def refused(self, kind, why, name, **changes):
        answer = self.send(event(name, "key-manager") | {"client_token": f"t-{uuid.uuid4()}"} | changes)
        assert answer.get("errorType") == kind and re.search(why, answer["errorMessage"]), answer

    def records(self):
        pages = self.deployment.aws.client("dynamodb").get_paginator("scan")
        pages = pages.paginate(TableName=self.deployment.outputs["OperationsTableName"])
        return [item for page in pages for item in page["Items"]]

    def key(self, arn, region=REGION):
        return self.deployment.aws.client("kms", region=region).describe_key(KeyId=arn)["KeyMetadata"]

    def tags(self, arn):
        return {tag["TagKey"]: tag["TagValue"] for tag in self.kms.list_resource_tags(KeyId=arn)["Tags"]}


@pytest.fixture(scope="module")
def manager(deployment):
    # The local AWS asks for both calls on the resource `*`; the template grants them on aliases and managed keys.
    iam, role = deployment.aws.client("iam"), deployment.physical_id("KeyManagerFunctionRole")
    statement = {"Effect": "Allow", "Action": ["kms:CreateAlias", "kms:UpdateAlias"], "Resource": "*"}
    overlay = {"Version": "2012-10-17", "Statement": [statement]}
    iam.put_role_policy(RoleName=role, PolicyName="overlay", PolicyDocument=json.dumps(overlay))
    made = Manager(deployment)
    before = {key["KeyArn"] for page in made.kms.get_paginator("list_keys").paginate() for key in page["Keys"]}
    yield made
    iam.delete_role_policy(RoleName=role, PolicyName="overlay")
    # The other tests count on their own fleet.
    for page in list(made.kms.get_paginator("list_keys").paginate()):
        for key in page["Keys"]:
            if key["KeyArn"] not in before:
                remove(deployment, key["KeyId"])


def remove(deployment, key_id):
    for region in (ELSEWHERE, REGION):
        kms = deployment.aws.client("kms", region=region)
        try:
            for alias in kms.list_aliases(KeyId=key_id)["Aliases"]:
                kms.delete_alias(AliasName=alias["AliasName"])
            kms.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=7)
        except ClientError as error:
            assert error.response["Error"]["Code"] in ("NotFoundException", "KMSInvalidStateException"), error


def test_a_key_is_created_with_policy_tags_rotation_and_alias(manager):
    request = event("create-key", "key-manager")
    answer = manager.send(request)
    assert answer["state"] == "succeeded", answer
    arn = answer["key_arn"]
    assert manager.key(arn)["Description"] == request["description"]
    tags = {"kms-compliance/managed": "true", "kms-compliance/client-token": request["client_token"]}
    assert manager.tags(arn) == request["tags"] | tags
    rotation = manager.kms.get_key_rotation_status(KeyId=arn)
    assert (rotation["KeyRotationEnabled"], rotation["RotationPeriodInDays"]) == (True, 180)
    assert manager.key("alias/shop-payments")["Arn"] == arn
    policy = json.loads(manager.kms.get_key_policy(KeyId=arn, PolicyName="default")["Policy"])
    assert [each["Sid"] for each in policy["Statement"]] == ["Account", "Administer", "Use", "GrantToAwsServices"]
    # The same again is the same key.
    again = manager.send(request)
    assert (again["key_arn"], again["repeated"]) == (arn, True)
    # Another request with the token is none, and an alias that exists is never repointed.
    other = manager.send(request | {"description": "another"})
    assert other["errorType"] == "NotAllowed" and "belongs to another request" in other["errorMessage"]
    manager.refused("NotAllowed", "exists", "create-key")
    (record,) = [item for item in manager.records() if item["sk"]["S"] == f"operation#{request['client_token']}"]
    assert record["claimed_by"]["S"] == request["requested_by"] and record["state"]["S"] == "succeeded"
    assert manager.key("alias/shop-payments")["Arn"] == arn


def test_what_is_not_understood_or_only_tried_out_leaves_nothing(manager):
    keys = sum(len(page["Keys"]) for page in manager.kms.get_paginator("list_keys").paginate())
    records = len(manager.records())
    manager.refused("InvalidRequest", "force", "malformed-unknown-field")
    manager.refused("InvalidRequest", "rotation_period_days", "malformed-combination")
    tried = manager.send(event("create-key-dry-run", "key-manager") | {"client_token": "tried"})
    assert tried["state"] == "dry_run" and tried["would_do"] and tried["policy"]["Statement"]
    assert sum(len(page["Keys"]) for page in manager.kms.get_paginator("list_keys").paginate()) == keys
    assert len(manager.records()) == records


def test_a_key_with_replicas(manager):
    answer = manager.do("create-multi-region-key")
    arn = answer["key_arn"]
    (replica,) = answer["replicas"]
    assert (replica["region"], replica["key_state"]) == (ELSEWHERE, "Enabled")
    facts = manager.key(arn)["MultiRegionConfiguration"]
    assert facts["MultiRegionKeyType"] == "PRIMARY"
    assert [each["Region"] for each in facts["ReplicaKeys"]] == [ELSEWHERE]
    assert manager.key(replica["key_arn"], ELSEWHERE)["KeyState"] == "Enabled"


def test_rotation_is_enabled_and_its_period_changed(manager):
    arn = manager.do("create-key-own-policy", key_spec="SYMMETRIC_DEFAULT", key_usage="ENCRYPT_DECRYPT")["key_arn"]
    assert manager.kms.get_key_rotation_status(KeyId=arn)["KeyRotationEnabled"] is False
    for name, days in (("enable-rotation", 180), ("set-rotation-period", 90)):
        manager.do(name, key=arn)
        rotation = manager.kms.get_key_rotation_status(KeyId=arn)
        assert (rotation["KeyRotationEnabled"], rotation["RotationPeriodInDays"]) == (True, days)
    # Each says what the other is for.
    manager.refused("NotAllowed", "set_rotation_period", "enable-rotation", key=arn)


def test_a_key_is_retired_taken_back_and_enabled(manager):
    arn = manager.do("create-key", alias="alias/retiring")["key_arn"]
    retired = manager.do("retire-key", key=arn)
    assert manager.key(arn)["KeyState"] == "Disabled"
    # The tag has whole seconds.
    assert manager.tags(arn)["kms-compliance/retired-at"][:19] == retired["retired_at"][:19]
    manager.kms.schedule_key_deletion(KeyId=arn, PendingWindowInDays=7)
    manager.do("cancel-deletion", key=arn, enable=False)
    assert manager.key(arn)["KeyState"] == "Disabled"
    # This stack does not schedule deletions: it has neither the operation nor the permission.
    manager.refused("NotAllowed", "schedule_deletion", "schedule-deletion", key=arn, confirm=arn)
    manager.kms.schedule_key_deletion(KeyId=arn, PendingWindowInDays=7)
    manager.do("cancel-deletion", key=arn)
    assert manager.key(arn)["KeyState"] == "Enabled"


def test_an_alias_moves_from_a_managed_key_to_another(manager):
    old = manager.do("create-key", alias="alias/moving")["key_arn"]
    new, third = (manager.do("create-key", alias=f"alias/{name}")["key_arn"] for name in ("new", "third"))
    # It is not where the request takes it to be.
    manager.refused("NotAllowed", "", "set-alias", alias="alias/moving", key=new, expected_current=third)
    assert manager.key("alias/moving")["Arn"] == old
    manager.do("set-alias", alias="alias/moving", key=new, expected_current=old)
    assert manager.key("alias/moving")["Arn"] == new


def test_a_key_that_is_not_managed_is_left_alone_until_its_owner_opts_in(manager):
    arn = manager.kms.create_key()["KeyMetadata"]["Arn"]
    for name in ("retire-key", "rotate-key", "enable-rotation", "set-rotation-period"):
        manager.refused("NotAllowed", "kms-compliance/managed", name, key=arn)
    assert manager.key(arn)["KeyState"] == "Enabled"
    # Deletion is cancelled on every key; enabling it needs the tag.
    manager.kms.schedule_key_deletion(KeyId=arn, PendingWindowInDays=7)
    manager.do("cancel-deletion", key=arn, enable=False)
    assert manager.key(arn)["KeyState"] == "Disabled"
    manager.refused("NotAllowed", "kms-compliance/managed", "cancel-deletion", key=arn, enable=True)
    manager.kms.enable_key(KeyId=arn)
    manager.kms.tag_resource(KeyId=arn, Tags=[MANAGED])
    manager.do("retire-key", key=arn)
    assert manager.key(arn)["KeyState"] == "Disabled"


def test_a_key_is_rotated_once(manager):
    request = event("rotate-key", "key-manager") | {
        "key": manager.do("create-key", alias="alias/rotating")["key_arn"],
        "client_token": "rotated-once",
    }
    rotated = manager.send(request)
    jsonschema.validate(rotated, ANSWERS)
    assert rotated["state"] == "succeeded", rotated
    again = manager.send(request)
    assert (again["rotated_at"], again["repeated"]) == (rotated["rotated_at"], True)
    assert len(manager.kms.list_key_rotations(KeyId=request["key"])["Rotations"]) == 1


def test_the_record_is_read_by_the_other_function(manager):
    arn = manager.do("create-key", alias="alias/listed")["key_arn"]
    listed = manager.send(event("list-operations", "key-manager") | {"key": arn}, "KeyAuditFunction")
    jsonschema.validate(listed, ANSWERS)
    (created,) = listed["operations"]
    steps = [step["name"] for step in created["steps"] if "done_at" in step]
    assert (created["operation"], created["state"], created["made"]) == ("create_key", "succeeded", [arn])
    assert steps == ["CreateKey", "EnableKeyRotation", "CreateAlias"]
    refused = manager.send(event("retire-key", "key-manager") | {"key": arn}, "KeyAuditFunction")
    assert refused["errorType"] == "NotAllowed"
    assert manager.key(arn)["KeyState"] == "Enabled"


def test_a_key_is_audited(manager):
    arn = manager.do("create-key", alias="alias/audited")["key_arn"]
    manager.kms.create_grant(KeyId=arn, GranteePrincipal=f"arn:aws:iam::{ACCOUNT}:role/worker", Operations=["Decrypt"])
    for change in (manager.kms.disable_key, manager.kms.disable_key, manager.kms.enable_key):
        change(KeyId=arn)
    laid = Usage()
    laid.lay(manager.deployment.aws, arn, "Decrypt", 100, 10)
    request = event("audit-key", "key-manager") | {"key": arn}
    answer = manager.send(request, "KeyAuditFunction")
    jsonschema.validate(answer, ANSWERS)
    unknown = {
        name: part["not_known"] for name, part in answer.items() if isinstance(part, dict) and "not_known" in part
    }
    assert unknown == {"usage": {}}
    assert (answer["key"]["state"], answer["key"]["spec"]) == ("Enabled", "SYMMETRIC_DEFAULT")
    assert answer["aliases"] == ["alias/audited"]
    assert answer["tags"]["kms-compliance/managed"] == "true"
    assert (answer["rotation"]["enabled"], answer["rotation"]["period_days"]) == (True, 180)
    assert [grant["operations"] for grant in answer["grants"]["listed"]] == [["Decrypt"]]
    principals = event("create-key", "key-manager")["principals"]
    assert {*principals["administrators"], ACCOUNT} <= set(answer["policy"]["may_administer"])
    assert any(user in said for user in principals["users"] for said in answer["policy"]["may_use"])
    assert answer["policy"]["public"]["public"] is False and answer["policy"]["foreign"]["accounts"] == []
    assert answer["last_usage"]["at"] is None and answer["last_usage"]["tracked_since"]
    assert answer["usage"]["successful_requests"].keys() == {"Decrypt"}
    assert answer["usage"]["successful_requests"]["Decrypt"] > 1_000
    names = answer["management_events"]["by_name"]
    assert (names["DisableKey"], names["EnableKey"], names["CreateGrant"]) == (2, 1, 1), names
    assert {*functions(read_template())} == answer["verdicts"].keys() == answer["ledger"].keys()
    verdicts = {each["control"]: each["compliance"] for of in answer["verdicts"].values() for each in of["evaluations"]}
    assert (verdicts["rotation-enabled"], verdicts["public-access"]) == ("COMPLIANT", "COMPLIANT")
    for name, begins in (("audit-key-table", "Key alias/audited\n"), ("audit-key-page", "<!DOCTYPE html>")):
        content = manager.send(event(name, "key-manager") | {"key": arn}, "KeyAuditFunction")["content"]
        assert content.startswith(begins) and "DisableKey" in content and "rotation-enabled" in content


def test_the_audit_knows_what_the_monitor_has_told(manager):
    deployment = manager.deployment
    deployment.invoke(event("empty"))
    arn = deployment.keys["alias/payments"].arn
    answer = manager.send(event("audit-key", "key-manager") | {"key": arn}, "KeyAuditFunction")
    jsonschema.validate(answer, ANSWERS)
    (finding,) = answer["ledger"]["rotation-checker"]["listed"]
    assert (finding["open"], finding["control"], finding["severity"]) == (True, "rotation-enabled", "MEDIUM")
    assert [change["event"] for change in finding["history"]][0] == "new"
    assert any(each.startswith("rotation-enabled: ") for each in answer["recommendations"])


# ---- The roles -------------------------------------------------------------------------------------------------------

READERS = [*(f"{each}Role" for each in functions(read_template()).values()), "KeyAuditFunctionRole"]


@pytest.mark.parametrize("role", READERS)
def test_no_other_role_can_change_a_key(manager, role):
    deployment = manager.deployment
    managed = manager.kms.create_key(Tags=[MANAGED])["KeyMetadata"]["Arn"]
    kms = as_role(deployment, deployment.physical_id(role), "kms")
    for change in changes(kms, managed):
        with pytest.raises(ClientError, match="AccessDenied"):
            change()
    with pytest.raises(ClientError, match="AccessDenied"):
        kms.create_key(Tags=[MANAGED])
    remove(deployment, managed)


def test_the_managers_role_cannot_touch_a_key_that_is_not_managed(manager):
    deployment = manager.deployment
    kms = as_role(deployment, deployment.physical_id("KeyManagerFunctionRole"), "kms")
    for arn in (deployment.keys["alias/payments"].arn, deployment.keys["AlertKey"].arn):
        for change in changes(kms, arn):
            with pytest.raises(ClientError, match="AccessDenied"):
                change()
    for tags in ([], [MANAGED], [fleet.PROBE]):
        with pytest.raises(ClientError, match="AccessDenied"):
            kms.create_key(Tags=tags)


def changes(kms, arn):
    yield lambda: kms.disable_key(KeyId=arn)
    yield lambda: kms.enable_key(KeyId=arn)
    yield lambda: kms.enable_key_rotation(KeyId=arn)
    yield lambda: kms.disable_key_rotation(KeyId=arn)
    yield lambda: kms.rotate_key_on_demand(KeyId=arn)
    yield lambda: kms.replicate_key(KeyId=arn, ReplicaRegion=ELSEWHERE)
    yield lambda: kms.schedule_key_deletion(KeyId=arn, PendingWindowInDays=7)
    yield lambda: kms.tag_resource(KeyId=arn, Tags=[{"TagKey": "owner", "TagValue": "me"}])
    yield lambda: kms.tag_resource(KeyId=arn, Tags=[MANAGED])
    yield lambda: kms.untag_resource(KeyId=arn, TagKeys=["owner"])
    yield lambda: kms.put_key_policy(KeyId=arn, PolicyName="default", Policy="{}")
    yield lambda: kms.create_grant(KeyId=arn, GranteePrincipal=f"arn:aws:iam::{ACCOUNT}:role/x", Operations=["Decrypt"])


# ---- A stack that schedules deletions --------------------------------------------------------------------------------


def test_a_deletion_is_scheduled_where_the_stack_allows_it(manager):
    deployment = manager.deployment
    # It has been there for long, or its usage would be tracked only since after its retirement.
    created = int((datetime.datetime.now() - datetime.timedelta(days=60)).timestamp())
    old = {"TagKey": "local-aws/created", "TagValue": str(created)}
    arn = manager.kms.create_key(Tags=[MANAGED, old])["KeyMetadata"]["Arn"]
    manager.refused("NotAllowed", "does not answer `schedule_deletion`", "schedule-deletion", key=arn, confirm=arn)
    parameters = deployment.parameters | {"AllowScheduleDeletion": "true", "MinRetiredDays": 7}
    deployment.aws.deploy(deployment.template, **parameters)
    manager.refused("NotAllowed", "only a retired key", "schedule-deletion", key=arn, confirm=arn)
    token = f"t-{uuid.uuid4()}"
    manager.do("retire-key", key=arn, client_token=token)
    manager.refused("NotAllowed", "retired for 0 days", "schedule-deletion", key=arn, confirm=arn)
    # Eight days go by.
    (record,) = [item for item in manager.records() if item["sk"]["S"] == f"operation#{token}"]
    days_ago = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=8)
    record["retired_at"] = {"S": f"{days_ago:%Y-%m-%dT%H:%M:%SZ}"}
    table = deployment.outputs["OperationsTableName"]
    deployment.aws.client("dynamodb").put_item(TableName=table, Item=record)
    manager.kms.create_alias(AliasName="alias/still-named", TargetKeyId=arn)
    manager.refused("NotAllowed", "alias/still-named", "schedule-deletion", key=arn, confirm=arn)
    manager.kms.delete_alias(AliasName="alias/still-named")
    scheduled = manager.do("schedule-deletion", key=arn, confirm=arn)
    assert scheduled["key_state"] == manager.key(arn)["KeyState"] == "PendingDeletion"
    manager.do("cancel-deletion", key=arn, enable=False)
    assert manager.key(arn)["KeyState"] == "Disabled"
