"""health-prober deployed, IAM enforced in every Region: which keys it uses, and what it says of other Regions."""

import contextlib
import json

import pytest
from botocore.exceptions import ClientError

import fleet
from conftest import HEALTH, event, run
from local_aws import REGION
from test_deployed import ACCOUNT, as_role, verdicts, without

PRIMARY = "alias/sessions"
CONTEXT = {"purpose": "kms-compliance-probe"}
NAMED = "alias/archive"  # has no tag: the parameter ProbeKeys names it


def of_control(response, control):
    return {key: verdict for (key, each), verdict in verdicts(response).items() if each == control}


def findings(response):
    return {(each["key_arn"], each["control"]): each for each in response["findings"]}


def used_by_functions(deployment, region):
    """The keys that functions used for cryptography, by operation."""
    cloudtrail, used = deployment.aws.client("cloudtrail", region=region), {}
    for name in ("Encrypt", "Decrypt", "Sign", "Verify", "GenerateMac", "VerifyMac", "GenerateDataKey", "ReEncrypt"):
        attributes = [{"AttributeKey": "EventName", "AttributeValue": name}]
        for each in cloudtrail.lookup_events(LookupAttributes=attributes)["Events"]:
            request = json.loads(each["CloudTrailEvent"])
            if "aws-sdk-rust" in request["userAgent"]:
                used.setdefault(name, set()).add(request["requestParameters"]["KeyId"].rpartition("/")[2])
    return used


@contextlib.contextmanager
def undone(change, undo):
    change()
    try:
        yield
    finally:
        undo()


# ---- Which keys are used ---------------------------------------------------------------------------------------------


def test_keys_that_opted_in_are_tried_out_and_no_other_is_ever_used(quiet):
    response = quiet.invoke(event("dry-run", HEALTH), HEALTH)
    by_arn = {key.arn: key.alias for key in quiet.keys.values()}
    tried = {by_arn[key] for key, verdict in of_control(response, "round-trip").items() if verdict[0] == "COMPLIANT"}
    assert tried == {"alias/backups", "alias/invoice-signing", "alias/inbox", "alias/session-tokens", PRIMARY, NAMED}
    used = used_by_functions(quiet, REGION)
    by_id = {key.arn.rpartition("/")[2]: key.alias for key in quiet.keys.values()}
    symmetric = {"alias/backups", PRIMARY, NAMED, "alias/inbox"}
    assert {name: {by_id[key] for key in keys} for name, keys in used.items()} == {
        "Encrypt": symmetric,
        "Decrypt": symmetric,
        "Sign": {"alias/invoice-signing"},
        "Verify": {"alias/invoice-signing"},
        "GenerateMac": {"alias/session-tokens"},
        "VerifyMac": {"alias/session-tokens"},
    }
    primary = quiet.keys[PRIMARY].arn.rpartition("/")[2]
    for region in fleet.REPLICA_REGIONS:
        assert used_by_functions(quiet, region) == {"Encrypt": {primary}, "Decrypt": {primary}}


def test_its_role_uses_a_key_only_if_it_opted_in_and_only_as_the_probe_does(deployment):
    kms = as_role(deployment, deployment.physical_id("HealthProberRole"), "kms")
    arns = {key.alias: key.arn for key in deployment.keys.values()}
    oaep, pss = "RSAES_OAEP_SHA_256", "RSASSA_PSS_SHA_256"
    for symmetric in ("alias/backups", NAMED):
        blob = kms.encrypt(KeyId=arns[symmetric], Plaintext=b"x", EncryptionContext=CONTEXT)["CiphertextBlob"]
        answer = kms.decrypt(KeyId=arns[symmetric], CiphertextBlob=blob, EncryptionContext=CONTEXT)
        assert answer["Plaintext"] == b"x"
    kms.encrypt(KeyId=arns["alias/inbox"], Plaintext=b"x", EncryptionAlgorithm=oaep)
    kms.sign(KeyId=arns["alias/invoice-signing"], Message=b"x", SigningAlgorithm=pss)
    kms.generate_mac(KeyId=arns["alias/session-tokens"], Message=b"x", MacAlgorithm="HMAC_SHA_256")
    foreign = deployment.aws.client("kms").encrypt(KeyId=arns["alias/backups"], Plaintext=b"a letter")["CiphertextBlob"]
    for refused in (
        # Keys that did not opt in, the topic's own among them.
        lambda: kms.encrypt(KeyId=arns["alias/payments"], Plaintext=b"x", EncryptionContext=CONTEXT),
        lambda: kms.encrypt(KeyId=arns["AlertKey"], Plaintext=b"x", EncryptionContext=CONTEXT),
        # A symmetric key without the probe's context: the application's own ciphertexts stay shut.
        lambda: kms.encrypt(KeyId=arns["alias/backups"], Plaintext=b"x"),
        lambda: kms.encrypt(KeyId=arns["alias/backups"], Plaintext=b"x", EncryptionContext={"purpose": "payments"}),
        lambda: kms.encrypt(KeyId=arns[NAMED], Plaintext=b"x"),
        lambda: kms.decrypt(KeyId=arns["alias/backups"], CiphertextBlob=foreign),
        # What the probe never does.
        lambda: kms.generate_data_key(KeyId=arns["alias/backups"], KeySpec="AES_256", EncryptionContext=CONTEXT),
        lambda: kms.re_encrypt(CiphertextBlob=foreign, DestinationKeyId=arns["alias/backups"]),
        lambda: kms.disable_key(KeyId=arns["alias/backups"]),
        lambda: kms.tag_resource(KeyId=arns["alias/payments"], Tags=[fleet.PROBE]),
        lambda: kms.put_key_policy(KeyId=arns["alias/backups"], PolicyName="default", Policy="{}"),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            refused()


def test_without_its_tag_a_key_is_left_alone(quiet):
    kms, arn = quiet.aws.client("kms"), quiet.keys["alias/backups"].arn
    with undone(
        lambda: kms.untag_resource(KeyId=arn, TagKeys=[fleet.PROBE["TagKey"]]),
        lambda: kms.tag_resource(KeyId=arn, Tags=[fleet.PROBE]),
    ):
        response = quiet.invoke(event("dry-run", HEALTH), HEALTH)
        assert of_control(response, "round-trip")[arn] == ("NOT_APPLICABLE", "not_selected")
    with without(quiet, "kms:ListResourceTags", HEALTH):
        response = quiet.invoke(event("dry-run", HEALTH), HEALTH)
    assert of_control(response, "round-trip")[arn] == ("INSUFFICIENT_DATA", "access_denied")


# ---- Other Regions ---------------------------------------------------------------------------------------------------


def test_three_things_that_go_wrong_in_three_places_are_three_findings_that_say_where(known):
    broken, changed = fleet.REPLICA_REGIONS
    primary, payments = known.keys[PRIMARY].arn, known.keys["alias/payments"].arn
    kms = {region: known.aws.client("kms", region=region) for region in (REGION, *fleet.REPLICA_REGIONS)}
    replica = {region: primary.replace(REGION, region) for region in fleet.REPLICA_REGIONS}
    policy = kms[changed].get_key_policy(KeyId=replica[changed], PolicyName="default")["Policy"]
    wider = json.loads(policy)
    partner = {"AWS": "arn:aws:iam::999999999999:root"}
    wider["Statement"].append(
        {"Sid": "Partner", "Effect": "Allow", "Principal": partner, "Action": "kms:Decrypt", "Resource": "*"}
    )

    def put(text):
        kms[changed].put_key_policy(KeyId=replica[changed], PolicyName="default", Policy=text)

    def keep():
        kms[REGION].cancel_key_deletion(KeyId=payments)
        kms[REGION].enable_key(KeyId=payments)

    with (
        undone(
            lambda: kms[broken].disable_key(KeyId=replica[broken]),
            lambda: kms[broken].enable_key(KeyId=replica[broken]),
        ),
        undone(lambda: put(json.dumps(wider)), lambda: put(policy)),
        undone(lambda: kms[REGION].schedule_key_deletion(KeyId=payments, PendingWindowInDays=7), keep),
    ):
        response, told = run(known, HEALTH)
        expected = {
            (primary, "replica-health"): ("replica_not_enabled", "HIGH", broken, changed),
            (primary, "replica-policy-drift"): ("policy_differs", "MEDIUM", changed, broken),
            (payments, "pending-deletion"): ("scheduled_for_deletion", "CRITICAL", "", "no Region"),
        }
        assert told == {"new": set(expected)}
        found = findings(response)
        for finding, (reason, severity, where, not_there) in expected.items():
            said = found[finding]
            assert (said["reason"], said["severity"]) == (reason, severity)
            assert where in said["detail"] and not_there not in said["detail"]
        assert "Partner" in json.dumps(found[(primary, "replica-policy-drift")])
        # Its own Region's round trip is none the worse for it.
        assert (primary, "round-trip") not in found
    assert run(known, HEALTH)[1] == {"resolved": set(expected)}


def test_a_replica_that_may_not_be_looked_at_is_not_known(quiet):
    (region, _), primary = fleet.REPLICA_REGIONS, quiet.keys[PRIMARY].arn
    kms, replica = quiet.aws.client("kms", region=region), primary.replace(REGION, region)
    policy = kms.get_key_policy(KeyId=replica, PolicyName="default")["Policy"]
    shut = json.loads(policy)
    role = f"arn:aws:iam::{ACCOUNT}:role/{quiet.physical_id('HealthProberRole')}"
    shut["Statement"].append({"Effect": "Deny", "Principal": {"AWS": role}, "Action": "kms:*", "Resource": "*"})

    def put(text):
        kms.put_key_policy(KeyId=replica, PolicyName="default", Policy=text)

    with undone(lambda: put(json.dumps(shut)), lambda: put(policy)):
        response = quiet.invoke(event("dry-run", HEALTH), HEALTH)
    said = verdicts(response)
    for control in ("replica-health", "replica-policy-drift"):
        assert said[(primary, control)] == ("INSUFFICIENT_DATA", "access_denied")
        assert region in json.dumps(findings(response)[(primary, control)])
    assert said[(primary, "round-trip")] == ("COMPLIANT", "round_trip_ok")


def test_a_region_that_must_have_a_replica_and_has_none_is_named(quiet):
    with quiet.settings(HEALTH, REPLICA_REGIONS="eu-west-1,ap-southeast-2"):
        response = quiet.invoke(event("dry-run", HEALTH), HEALTH)
    (finding,) = [each for each in response["findings"] if each["control"] == "replica-coverage"]
    assert (finding["aliases"], finding["reason"]) == ([PRIMARY], "replica_missing")
    assert "ap-southeast-2" in finding["detail"] and "eu-west-1" not in finding["detail"]
    with quiet.settings(HEALTH, REPLICA_REGIONS="eu-west-1"):
        response = quiet.invoke(event("dry-run", HEALTH), HEALTH)
    assert of_control(response, "replica-coverage")[quiet.keys[PRIMARY].arn] == ("COMPLIANT", "covered")
