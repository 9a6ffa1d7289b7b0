"""A small fleet of keys, one of each kind that the local AWS can make, and what the rotation checker says of each."""

import dataclasses
import datetime
import os

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

PRIMARY_REGION = "eu-west-1"

CONTROLS = ("rotation-enabled", "rotation-period", "rotation-overdue")


def not_applicable(reason):
    return (("NOT_APPLICABLE", reason),) * 3


# The local AWS never says when a key will rotate next.
COMPLIANT = (
    ("COMPLIANT", "rotation_enabled"),
    ("COMPLIANT", "within_policy"),
    ("NOT_APPLICABLE", "no_next_rotation_date"),
)
TOO_SLOW = (COMPLIANT[0], ("NON_COMPLIANT", "period_too_long"), COMPLIANT[2])
OFF = (("NON_COMPLIANT", "rotation_disabled"), *not_applicable("rotation_disabled")[1:])


@dataclasses.dataclass
class Key:
    alias: str
    what: str
    verdicts: tuple  # of (compliance, reason), in the order of CONTROLS
    arn: str = ""

    @property
    def eligible(self):
        """Whether the checker asks for its rotation status."""
        return self.verdicts in (COMPLIANT, TOO_SLOW, OFF)


def create(aws):
    """Makes the fleet and returns its keys by alias."""
    kms = aws.client("kms")
    keys = {}

    def key(alias, what, verdicts, client=kms, **parameters):
        arn = client.create_key(Description=what, **parameters)["KeyMetadata"]["Arn"]
        client.create_alias(AliasName=alias, TargetKeyId=arn)
        keys[alias] = Key(alias, what, verdicts, arn)
        return arn

    key("alias/payments", "symmetric, rotation off", OFF)
    arn = key("alias/backups", "symmetric, rotation on, every 365 days", COMPLIANT)
    kms.enable_key_rotation(KeyId=arn)
    arn = key("alias/archive", "symmetric, rotation on, every 730 days", TOO_SLOW)
    kms.enable_key_rotation(KeyId=arn, RotationPeriodInDays=730)
    asymmetric = not_applicable("asymmetric_key")
    key("alias/invoice-signing", "asymmetric, RSA 2048", asymmetric, KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")
    hmac = not_applicable("hmac_key")
    key("alias/session-tokens", "HMAC", hmac, KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    arn = key("alias/bring-your-own", "imported material", not_applicable("imported_key_material"), Origin="EXTERNAL")
    import_material(kms, arn)
    arn = key("alias/retired", "symmetric, disabled", not_applicable("key_disabled"))
    kms.disable_key(KeyId=arn)
    arn = key("alias/leaving", "symmetric, pending deletion", not_applicable("pending_deletion"))
    kms.schedule_key_deletion(KeyId=arn, PendingWindowInDays=7)

    # A multi-Region pair: the checker sees the replica; rotation can be set at the primary only.
    primary = aws.client("kms", region=PRIMARY_REGION)
    metadata = primary.create_key(Description="multi-Region primary", MultiRegion=True)["KeyMetadata"]
    primary.replicate_key(KeyId=metadata["Arn"], ReplicaRegion=kms.meta.region_name)
    arn = metadata["Arn"].replace(PRIMARY_REGION, kms.meta.region_name)
    kms.create_alias(AliasName="alias/customers", TargetKeyId=arn)
    keys["alias/customers"] = Key("alias/customers", "replica of a multi-Region key, rotation off", OFF, arn)
    arn = key("alias/sessions", "multi-Region primary, rotation on", COMPLIANT, MultiRegion=True)
    kms.enable_key_rotation(KeyId=arn)
    kms.replicate_key(KeyId=arn, ReplicaRegion=PRIMARY_REGION)
    return keys


def import_material(kms, arn):
    parameters = kms.get_parameters_for_import(
        KeyId=arn, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048"
    )
    wrap = serialization.load_der_public_key(parameters["PublicKey"]).encrypt
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    kms.import_key_material(
        KeyId=arn,
        ImportToken=parameters["ImportToken"],
        EncryptedKeyMaterial=wrap(os.urandom(32), oaep),
        ExpirationModel="KEY_MATERIAL_EXPIRES",
        ValidTo=datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=90),
    )
