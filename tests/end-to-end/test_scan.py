"""`kms-compliance scan` in the local AWS: with IAM enforced, it needs what it says, and says what the functions say."""

import csv
import json
import subprocess

import pytest

import scan
from conftest import FINDINGS
from local_aws import quick_binaries
from test_deployed import verdicts

# A round trip uses a key: a scan never does.
PROBED = {"round-trip"}


@pytest.fixture(scope="module")
def program():
    return quick_binaries()["kms-compliance"]


@pytest.fixture(scope="module")
def auditor(deployment, program):
    """The environment of a user who has exactly the permissions that `policy-document` prints."""
    iam, name = deployment.aws.client("iam"), "auditor"
    policy = subprocess.run([program, "policy-document"], check=True, stdout=subprocess.PIPE, text=True).stdout
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="scan", PolicyDocument=policy)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return deployment.aws.environment | {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
    }


def run(deployment, program, environment, *arguments):
    settings = ("--set", f"BASELINE_DAYS={deployment.parameters['BaselineDays']}")
    return scan.run(deployment.aws, program, *settings, *arguments, environment=environment)


def test_a_scan_with_the_permissions_that_it_prints_says_what_the_functions_say(quiet, program, auditor, tmp_path):
    files = [tmp_path / name for name in ("scan.json", "scan.csv", "scan.html")]
    result = run(quiet, program, auditor, *(part for file in files for part in ("--output", file)))
    assert result.returncode in (scan.COMPLETE, scan.INCOMPLETE), result.stderr
    assert "denied" not in result.stderr and "user/auditor" in result.stderr
    scanned = {response["function"]: response for response in json.loads(files[0].read_text(encoding="utf-8"))}
    assert scanned.keys() == FINDINGS.keys()
    for function, response in scanned.items():
        answer = quiet.invoke({"detail": {"verbose": True, "dry_run": True}}, function)
        expected, said = verdicts(answer), verdicts(response)
        assert said.keys() == expected.keys()
        differing = {row: (said[row], expected[row]) for row in expected if said[row] != expected[row]}
        assert {control for _, control in differing} <= PROBED, differing
        assert all(verdict[0] == ("NOT_APPLICABLE", "not_selected") for verdict in differing.values())
        found = {(each["key_arn"], each["control"]) for each in answer["findings"]}
        assert {(each["key_arn"], each["control"]) for each in response["findings"]} == found
    with files[1].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["key_arn"], row["control"]) for row in rows} == {
        (each["key_arn"], each["control"]) for response in scanned.values() for each in response["findings"]
    }
    page = files[2].read_text(encoding="utf-8")
    assert all(row["key_id"] in page for row in rows)


def test_a_scan_changes_nothing(quiet, program, auditor):
    before = quiet.ledger()
    assert run(quiet, program, auditor).returncode in (scan.COMPLETE, scan.INCOMPLETE)
    assert quiet.ledger() == before and not quiet.alerts()


def test_the_ledger_of_the_deployed_monitor_says_since_when(known, program):
    table = known.outputs["FindingsTableName"]
    result = run(known, program, known.aws.environment, "--since-table", table, "--format", "csv", "--quiet")
    rows = list(csv.DictReader(result.stdout.splitlines()))
    since = {(row["key_arn"], row["control"]): row["open_since"] for row in rows}
    for function, findings in FINDINGS.items():
        for alias, control, *_ in findings:
            assert since[known.keys[alias].arn, control], (function, alias, control)


def test_who_may_not_list_keys_is_told_what_lacks(deployment, program):
    iam, name = deployment.aws.client("iam"), "nobody"
    iam.create_user(UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    environment = deployment.aws.environment | {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
    }
    result = run(deployment, program, environment)
    assert result.returncode == 1 and not result.stdout
    assert "kms:ListKeys is denied" in result.stderr and "policy-document" in result.stderr
