"""What CloudTrail and KMS say of keys on the event bus, in the shapes that KMS's developer guide shows.

`RULES` says which function looks into which of them.
"""

import json

API_CALL = "AWS API Call via CloudTrail"

# A function's requests, and KMS's own events.
RULES = {
    "rotation-checker": (
        {"DisableKeyRotation", "EnableKeyRotation", "RotateKeyOnDemand", "TagResource", "UntagResource"},
        {"KMS CMK Rotation"},
    ),
    "key-age-checker": (
        {"DeleteImportedKeyMaterial", "ImportKeyMaterial", "RotateKeyOnDemand", "TagResource", "UntagResource"},
        {"KMS CMK Rotation", "KMS Imported Key Material Expiration"},
    ),
    "health-prober": (
        {
            "CancelKeyDeletion",
            "DeleteImportedKeyMaterial",
            "DisableKey",
            "EnableKey",
            "ImportKeyMaterial",
            "PutKeyPolicy",
            "ReplicateKey",
            "ScheduleKeyDeletion",
            "TagResource",
            "UntagResource",
            "UpdatePrimaryRegion",
        },
        {"KMS CMK Deletion", "KMS Imported Key Material Expiration"},
    ),
    "access-checker": ({"PutKeyPolicy", "ReplicateKey", "TagResource", "UntagResource"}, set()),
}

# Requests about grants: access-checker looks into those that no AWS service made.
GRANT_CALLS = {"CreateGrant", "RetireGrant", "RevokeGrant"}

# Requests that name a custom key store and no key: the daily function looks at all keys.
KEY_STORE_CALLS = ("ConnectCustomKeyStore", "DisconnectCustomKeyStore")

# What requests carry besides the key, and what their answers do.
CALLS = {
    "CancelKeyDeletion": ({}, {}),
    "CreateGrant": (
        {"granteePrincipal": "arn:aws:iam::222222222222:role/copy", "operations": ["Decrypt"]},
        {"grantId": "f5d9f3a1"},
    ),
    "DeleteImportedKeyMaterial": ({}, {}),
    "DisableKey": ({}, {}),
    "DisableKeyRotation": ({}, {}),
    "EnableKey": ({}, {}),
    "EnableKeyRotation": ({"rotationPeriodInDays": 365}, {}),
    "ImportKeyMaterial": ({"expirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}, {}),
    "PutKeyPolicy": (
        {"policyName": "default", "policy": '{"Version": "2012-10-17"}', "bypassPolicyLockoutSafetyCheck": False},
        {},
    ),
    "ReplicateKey": (
        {"replicaRegion": "eu-west-1", "policy": '{"Version": "2012-10-17"}', "bypassPolicyLockoutSafetyCheck": False},
        {"replicaPolicy": '{"Version": "2012-10-17"}'},
    ),
    # Its request has no members, when it names the grant by a token.
    "RetireGrant": (None, {"grantId": "f5d9f3a1"}),
    "RevokeGrant": ({"grantId": "f5d9f3a1"}, {"grantId": "f5d9f3a1"}),
    "RotateKeyOnDemand": ({}, {}),
    "ScheduleKeyDeletion": (
        {"pendingWindowInDays": 20},
        {"keyState": "PendingDeletion", "deletionDate": "Apr 12, 2027 18:58:30 PM"},
    ),
    "TagResource": ({"tags": [{"tagKey": "kms-compliance/probe", "tagValue": "true"}]}, {}),
    "UntagResource": ({"tagKeys": ["kms-compliance/probe"]}, {}),
    "UpdatePrimaryRegion": ({"primaryRegion": "eu-west-1"}, {}),
    # Nobody looks into these.
    "DescribeKey": ({}, None),
    "UpdateKeyDescription": ({"description": "for payments"}, {}),
}
OWN = ("KMS CMK Deletion", "KMS CMK Rotation", "KMS Imported Key Material Expiration")


def api_call(name, arn, by_id=False):
    """A request that somebody made; keys are named by ID or by ARN."""
    _, _, _, region, account, resource = arn.split(":")
    request, answer = CALLS[name]
    detail = {
        "eventVersion": "1.11",
        "userIdentity": {
            "type": "IAMUser",
            "principalId": "AIDACKCEVSQ6C2EXAMPLE",
            "arn": f"arn:aws:iam::{account}:user/Alice",
            "accountId": account,
            "accessKeyId": "AKIAIOSFODNN7EXAMPLE",
            "userName": "Alice",
        },
        "eventTime": "2026-11-23T18:58:30Z",
        "eventSource": "kms.amazonaws.com",
        "eventName": name,
        "awsRegion": region,
        "sourceIPAddress": "192.0.2.0",
        "userAgent": "aws-cli/2.31.0",
        "requestParameters": None
        if request is None
        else {"keyId": resource.removeprefix("key/") if by_id else arn, **request},
        "responseElements": None if answer is None else {"keyId": arn, **answer},
        "requestID": "ee408f36-ea01-422b-ac14-b0f147c68334",
        "eventID": "3c4226b0-1e81-48a8-a333-7fa5f3cbd118",
        "readOnly": answer is None,
        "resources": [{"accountId": account, "type": "AWS::KMS::Key", "ARN": arn}],
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": account,
        "eventCategory": "Management",
    }
    return _event(API_CALL, arn, [], detail)


def key_store_call(name, account, region):
    """A request about a custom key store."""
    call = api_call("EnableKey", f"arn:aws:kms:{region}:{account}:key/none")
    request = {"customKeyStoreId": "cks-1234567890abcdef0"}
    detail = call["detail"] | {
        "eventName": name,
        "requestParameters": request,
        "responseElements": None,
        "resources": [],
    }
    return call | {"detail": detail}


def failed(call, code):
    """The same request, had KMS refused it."""
    detail = call["detail"] | {"responseElements": None, "errorCode": code, "errorMessage": "KMS says why"}
    if code == "AccessDenied":
        detail |= {"requestParameters": None, "resources": []}
    return call | {"detail": detail}


def own(kind, arn):
    """What KMS did by itself."""
    return _event(kind, arn, [arn], {"key-id": arn.rpartition("/")[2]})


def by_service(call, service="ec2.amazonaws.com"):
    """The same request, made by an AWS service for somebody."""
    return call | {"detail": call["detail"] | {"userIdentity": call["detail"]["userIdentity"] | {"invokedBy": service}}}


def of_account(event, account):
    """The same event in another account."""
    return json.loads(json.dumps(event).replace(event["account"], account))


def _event(kind, arn, resources, detail):
    _, _, _, region, account, _ = arn.split(":")
    return {
        "version": "0",
        "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
        "detail-type": kind,
        "source": "aws.kms",
        "account": account,
        "time": "2026-11-23T18:58:41Z",
        "region": region,
        "resources": resources,
        "detail": detail,
    }
