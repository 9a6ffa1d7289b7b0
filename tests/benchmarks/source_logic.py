"""The source document's way, with boto3: each key in turn, each call waited for, one alert over all of them."""

import json

import boto3

kms = boto3.client("kms")
sns = boto3.client("sns")


def check(topic):
    broken, failed, keys = [], 0, 0
    for page in kms.get_paginator("list_keys").paginate():
        for entry in page["Keys"]:
            keys += 1
            try:
                key = kms.describe_key(KeyId=entry["KeyId"])["KeyMetadata"]
                eligible = (
                    key["KeyManager"] == "CUSTOMER"
                    and key["KeyState"] == "Enabled"
                    and key["KeySpec"] == "SYMMETRIC_DEFAULT"
                    and key["Origin"] == "AWS_KMS"
                )
                if eligible and not kms.get_key_rotation_status(KeyId=entry["KeyId"])["KeyRotationEnabled"]:
                    broken.append({"key": key["Arn"], "finding": "rotation is not enabled"})
            except Exception:
                failed += 1
    if broken:
        sns.publish(TopicArn=topic, Subject="KMS key compliance", Message=json.dumps(broken, indent=2))
    return {"keys": keys, "findings": len(broken), "failed": failed}
