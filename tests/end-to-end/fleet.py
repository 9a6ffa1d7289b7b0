"""A small fleet of keys, one of each kind that the local AWS can make, and what each function says of it."""

import dataclasses
import datetime
import json
import os
import time

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

from usage import Usage

# Decrypt requests with alias/payments in one hour of the last night.
BURST = 48_210
PRIMARY_REGION = "eu-west-1"
REPLICA_REGIONS = (PRIMARY_REGION, "us-west-2")
HERE = "us-east-1"

CONTROLS = {
    "rotation-checker": ("rotation-enabled", "rotation-period", "rotation-overdue"),
    "key-age-checker": ("key-material-age", "imported-material-expiry"),
    "health-prober": (
        "pending-deletion",
        "key-usable",
        "round-trip",
        "replica-health",
        "replica-coverage",
        "replica-policy-drift",
        "key-store-connected",
    ),
    "usage-anomaly-scorer": ("usage-anomaly", "key-unused", "decrypt-ratio"),
    "access-checker": (
        "public-access",
        "foreign-access",
        "foreign-grant",
        "service-principal-bound",
        "administration-separated",
        "policy-manageable",
        "required-tags",
    ),
}
# A key that says so may be tried out.
PROBE = {"TagKey": "kms-compliance/probe", "TagValue": "true"}


def not_applicable(reason, controls=3):
    return (("NOT_APPLICABLE", reason),) * controls


# The local AWS never says when a key will rotate next.
COMPLIANT = (
    ("COMPLIANT", "rotation_enabled"),
    ("COMPLIANT", "within_policy"),
    ("NOT_APPLICABLE", "no_next_rotation_date"),
)
TOO_SLOW = (COMPLIANT[0], ("NON_COMPLIANT", "period_too_long"), COMPLIANT[2])
OFF = (("NON_COMPLIANT", "rotation_disabled"), *not_applicable("rotation_disabled", 2))

# All keys of the local AWS were made just now.
YOUNG = (("COMPLIANT", "within_policy"), ("NOT_APPLICABLE", "not_imported"))


def aged(age, expiry=YOUNG[1]):
    return (age, expiry)


def health(usable=("COMPLIANT", "enabled"), trip=("NOT_APPLICABLE", "not_selected"), leaving=False, primary=False):
    replicas = [("COMPLIANT", "replicas_healthy"), ("NOT_APPLICABLE", "not_required"), ("COMPLIANT", "same_policy")]
    return (
        ("NON_COMPLIANT", "scheduled_for_deletion") if leaving else ("COMPLIANT", "not_scheduled"),
        usable,
        trip,
        *(replicas if primary else not_applicable("not_a_primary")),
        ("NOT_APPLICABLE", "no_custom_key_store"),
    )


def used(anomaly=("NOT_APPLICABLE", "no_usage"), unused="too_young", ratio=("NOT_APPLICABLE", "too_few")):
    return (anomaly, ("NOT_APPLICABLE", unused), ratio)


def reached(public=("COMPLIANT", "not_public"), foreign=("COMPLIANT", "no_foreign_access"), grant="no_foreign_grant"):
    return (
        public,
        foreign,
        ("COMPLIANT" if grant == "no_foreign_grant" else "NON_COMPLIANT", grant),
        ("COMPLIANT", "services_bound"),
        ("COMPLIANT", "separated"),
        ("COMPLIANT", "manageable"),
        ("NOT_APPLICABLE", "not_required"),
    )


HEALTHY = health()
TRIED_OUT = health(trip=("COMPLIANT", "round_trip_ok"))


@dataclasses.dataclass
class Key:
    alias: str
    what: str
    rotation: tuple  # of (compliance, reason), in the order of CONTROLS
    age: tuple
    arn: str = ""
    health: tuple = HEALTHY
    usage: tuple = used()
    access: tuple = reached()
    night: datetime.datetime = None  # when it was used as never before

    @property
    def verdicts(self):
        return {
            "rotation-checker": self.rotation,
            "key-age-checker": self.age,
            "health-prober": self.health,
            "usage-anomaly-scorer": self.usage,
            "access-checker": self.access,
        }

    @property
    def rotatable(self):
        """Whether the rotation checker asks for its rotation status."""
        return self.rotation in (COMPLIANT, TOO_SLOW, OFF)


def create(aws):
    """Makes the fleet and returns its keys by alias."""
    kms = aws.client("kms")
    keys = {}

    def key(alias, what, rotation, age=YOUNG, health=HEALTHY, **parameters):
        # Old enough for its usage to be judged, and too young for anything else to be said of its age.
        tags = [{"TagKey": "local-aws/created", "TagValue": str(int(time.time()) - 40 * 86_400)}]
        tags += [PROBE] if ("COMPLIANT", "round_trip_ok") in health else []
        arn = kms.create_key(Description=what, Tags=tags, **parameters)["KeyMetadata"]["Arn"]
        kms.create_alias(AliasName=alias, TargetKeyId=arn)
        usage = used() if health[1] == HEALTHY[1] else used(unused="not_enabled")
        keys[alias] = Key(alias, what, rotation, age, arn, health, usage)
        return arn

    key("alias/payments", "symmetric, rotation off", OFF)
    arn = key("alias/backups", "symmetric, rotation on, every 365 days", COMPLIANT, health=TRIED_OUT)
    kms.enable_key_rotation(KeyId=arn)
    arn = key("alias/archive", "symmetric, rotation on, every 730 days", TOO_SLOW)
    kms.enable_key_rotation(KeyId=arn, RotationPeriodInDays=730)
    asymmetric = not_applicable("asymmetric_key")
    signs = {"KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"}
    key("alias/invoice-signing", "asymmetric, RSA 2048, signs", asymmetric, health=TRIED_OUT, **signs)
    encrypts = {"KeySpec": "RSA_2048", "KeyUsage": "ENCRYPT_DECRYPT"}
    key("alias/inbox", "asymmetric, RSA 2048, encrypts", asymmetric, health=TRIED_OUT, **encrypts)
    hmac = not_applicable("hmac_key")
    key("alias/session-tokens", "HMAC", hmac, health=TRIED_OUT, KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    disabled = not_applicable("key_disabled")
    unusable = health(usable=("NON_COMPLIANT", "key_disabled"))
    arn = key("alias/retired", "symmetric, disabled", disabled, aged(disabled[0]), unusable)
    kms.disable_key(KeyId=arn)
    leaving = not_applicable("pending_deletion")
    gone_soon = health(usable=leaving[0], leaving=True)
    arn = key("alias/leaving", "symmetric, pending deletion", leaving, aged(leaving[0]), gone_soon)
    kms.schedule_key_deletion(KeyId=arn, PendingWindowInDays=7)

    def imported(alias, what, age, expires_in):
        arn = key(alias, f"imported material, {what}", not_applicable("imported_key_material"), age, Origin="EXTERNAL")
        import_material(kms, arn, expires_in)

    soon = ("NON_COMPLIANT", "material_expiring")
    imported("alias/partner-exchange", "expires in 5 days", aged(YOUNG[0], soon), datetime.timedelta(days=5))
    imported("alias/card-vault", "expires in 20 days", aged(YOUNG[0], soon), datetime.timedelta(days=20))
    later = ("COMPLIANT", "not_due")
    imported("alias/bring-your-own", "expires in 90 days", aged(YOUNG[0], later), datetime.timedelta(days=90))
    imported("alias/ledger", "does not expire", aged(YOUNG[0], ("COMPLIANT", "does_not_expire")), None)
    empty = not_applicable("no_key_material", 2)
    byok = not_applicable("imported_key_material")
    unusable = health(usable=("NON_COMPLIANT", "no_key_material"))
    key("alias/not-yet", "waits for its material to be imported", byok, empty, unusable, Origin="EXTERNAL")

    # A multi-Region pair: the checkers see the replica; rotation can be set at the primary only.
    primary = aws.client("kms", region=PRIMARY_REGION)
    metadata = primary.create_key(Description="multi-Region primary", MultiRegion=True)["KeyMetadata"]
    primary.replicate_key(KeyId=metadata["Arn"], ReplicaRegion=kms.meta.region_name)
    arn = metadata["Arn"].replace(PRIMARY_REGION, kms.meta.region_name)
    kms.create_alias(AliasName="alias/customers", TargetKeyId=arn)
    replica = aged(("NOT_APPLICABLE", "judged_at_primary"))
    keys["alias/customers"] = Key("alias/customers", "replica of a multi-Region key, rotation off", OFF, replica, arn)
    both_ways = health(trip=("COMPLIANT", "round_trip_ok"), primary=True)
    arn = key("alias/sessions", "multi-Region primary, rotation on", COMPLIANT, health=both_ways, MultiRegion=True)
    kms.enable_key_rotation(KeyId=arn)
    for region in REPLICA_REGIONS:
        kms.replicate_key(KeyId=arn, ReplicaRegion=region, Tags=[PROBE])

    # A statement for everybody, and a grant for a foreign account.
    open_key, shared = keys["alias/inbox"], keys["alias/ledger"]
    policy = json.loads(kms.get_key_policy(KeyId=open_key.arn, PolicyName="default")["Policy"])
    condition = {"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}}
    everybody = {"Sid": "Partner", "Effect": "Allow", "Principal": "*", "Action": "kms:Encrypt", "Resource": "*"}
    policy["Statement"].append(everybody | {"Condition": condition})
    kms.put_key_policy(KeyId=open_key.arn, PolicyName="default", Policy=json.dumps(policy))
    open_key.access = reached(("NON_COMPLIANT", "public"), ("NOT_APPLICABLE", "public"))
    grantee = "arn:aws:iam::222222222222:role/copy"
    kms.create_grant(KeyId=shared.arn, GranteePrincipal=grantee, Operations=["Decrypt"])
    shared.access = reached(grant="foreign_grantee")

    # Somebody decrypted a lot last night.
    usage, payments, backups = Usage(), keys["alias/payments"], keys["alias/backups"]
    usage.lay(aws, payments.arn, "GenerateDataKey", by_day=40, at_night=5)
    usage.lay(aws, payments.arn, "Decrypt", by_day=900, at_night=60, last_night=BURST)
    usage.lay(aws, backups.arn, "Decrypt", by_day=900, at_night=60)
    usual = ("COMPLIANT", "usual")
    payments.usage, payments.night = used(("NON_COMPLIANT", "unusual_usage"), ratio=usual), usage.night
    backups.usage = used(usual, ratio=usual)
    return keys


def create_elsewhere(aws, account):
    """Three keys of another account, of which two have something wrong; returns them by alias, with their Region."""
    made = {}
    for region, name, rotated in ((HERE, "orders", False), (HERE, "invoices", True), (PRIMARY_REGION, "orders", True)):
        kms = aws.client("kms", region, account)
        arn = kms.create_key(Description=f"{name} of {account}")["KeyMetadata"]["Arn"]
        kms.create_alias(AliasName=f"alias/{name}", TargetKeyId=arn)
        if rotated:
            kms.enable_key_rotation(KeyId=arn)
        made[name, region] = arn
    aws.client("kms", PRIMARY_REGION, account).disable_key(KeyId=made["orders", PRIMARY_REGION])
    return made


def wrong_elsewhere(account, made):
    """What the daily check tells of those: function, account, Region, key ARN, control."""
    return {
        ("rotation-checker", account, HERE, made["orders", HERE], "rotation-enabled"),
        ("health-prober", account, PRIMARY_REGION, made["orders", PRIMARY_REGION], "key-usable"),
    }


def wrong_here(account, keys):
    """What it tells of the fleet, in both Regions: function, account, Region, key ARN, control."""
    primary = keys["alias/customers"].arn.replace(HERE, PRIMARY_REGION)
    found = {
        (function, account, HERE, *finding) for function in CONTROLS for finding in findings(keys.values(), function)
    }
    # The local AWS makes replicas without their primary's rotation.
    replica = keys["alias/sessions"].arn.replace(HERE, PRIMARY_REGION)
    return found | {
        ("rotation-checker", account, PRIMARY_REGION, arn, "rotation-enabled") for arn in (primary, replica)
    }


def fix(aws, keys):
    """Fixes a key for each function, or exempts it; returns what is told of it, by function: change and findings."""
    kms = aws.client("kms")
    payments, vault, empty = (keys[f"alias/{name}"] for name in ("payments", "card-vault", "not-yet"))
    kms.enable_key_rotation(KeyId=payments.arn)
    import_material(kms, vault.arn, None)
    import_material(kms, empty.arn, None)
    shared = keys["alias/ledger"]
    for grant in kms.list_grants(KeyId=shared.arn)["Grants"]:
        kms.revoke_grant(KeyId=shared.arn, GrantId=grant["GrantId"])
    # What was decrypted stays decrypted; somebody answers for it.
    until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=7)
    value = f"until={until:%Y-%m-%d} owner=payments-team reason=the yearly restore test"
    kms.tag_resource(KeyId=payments.arn, Tags=[{"TagKey": "kms-compliance/exempt/usage-anomaly", "TagValue": value}])
    return {
        "rotation-checker": ("resolved", findings([payments], "rotation-checker")),
        "key-age-checker": ("resolved", findings([vault], "key-age-checker")),
        "health-prober": ("resolved", findings([empty], "health-prober")),
        "usage-anomaly-scorer": ("exemptions", findings([payments], "usage-anomaly-scorer")),
        "access-checker": ("resolved", findings([shared], "access-checker")),
    }


def import_material(kms, arn, expires_in):
    parameters = kms.get_parameters_for_import(
        KeyId=arn, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048"
    )
    wrap = serialization.load_der_public_key(parameters["PublicKey"]).encrypt
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    expiry = {"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}
    if expires_in:
        # An hour more: whole days are left while the tests run.
        valid_to = datetime.datetime.now(datetime.timezone.utc) + expires_in + datetime.timedelta(hours=1)
        expiry = {"ExpirationModel": "KEY_MATERIAL_EXPIRES", "ValidTo": valid_to}
    kms.import_key_material(
        KeyId=arn,
        ImportToken=parameters["ImportToken"],
        EncryptedKeyMaterial=wrap(os.urandom(32), oaep),
        **expiry,
    )


def findings(keys, function):
    """What a function finds wrong: key ARN, control."""
    return {
        (key.arn, control)
        for key in keys
        for control, (compliance, _) in zip(CONTROLS[function], key.verdicts[function], strict=True)
        if compliance == "NON_COMPLIANT"
    }
