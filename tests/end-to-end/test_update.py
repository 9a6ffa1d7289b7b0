"""An update of the deployed stack: its name makes it the last one."""


def test_switching_to_multi_region_keys_makes_new_keys_and_keeps_the_old(deployment):
    kms, before = deployment.aws.client("kms"), deployment.outputs
    ciphertext = kms.encrypt(KeyId="alias/shop-test-app-key", Plaintext=b"a letter")["CiphertextBlob"]
    after = deployment.aws.deploy(deployment.template, **deployment.parameters | {"EnableMultiRegion": "true"})
    for kind, alias in (("Application", "app"), ("Database", "db"), ("Backup", "backup")):
        name = f"{kind}KeyArn"
        key = kms.describe_key(KeyId=f"alias/shop-test-{alias}-key")["KeyMetadata"]
        assert (key["Arn"], key["MultiRegion"], key["KeyState"]) == (after[name], True, "Enabled")
        assert after[name] != before[name]
        assert kms.describe_key(KeyId=before[name])["KeyMetadata"]["KeyState"] == "Enabled"
    assert kms.decrypt(CiphertextBlob=ciphertext)["Plaintext"] == b"a letter"
    unchanged = {name for name in before if before[name] == after[name]}
    assert before.keys() - unchanged == {
        f"{kind}Key{what}" for kind in ("Application", "Database", "Backup") for what in ("Id", "Arn")
    }
