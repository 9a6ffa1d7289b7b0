"""The findings ledger of the deployed functions: who is told what on which day, with IAM and TLS enforced."""

import concurrent.futures
import contextlib
import datetime
import json

import pytest
from botocore.exceptions import ClientError

import fleet
from conftest import AGE, FINDINGS, ROTATION, event, rotation_off, run
from local_aws import REGION
from test_deployed import ACCOUNT, as_role, without

TABLE_ACTIONS = ("Query", "PutItem", "BatchWriteItem")


@contextlib.contextmanager
def tagged(deployment, alias, name, value):
    kms, arn = deployment.aws.client("kms"), deployment.keys[alias].arn
    kms.tag_resource(KeyId=arn, Tags=[{"TagKey": name, "TagValue": value}])
    try:
        yield
    finally:
        kms.untag_resource(KeyId=arn, TagKeys=[name])


def days_ahead(days):
    return f"{datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days):%Y-%m-%d}"


# ---- Day by day ------------------------------------------------------------------------------------------------------


def test_three_days_of_a_key_broken_unchanged_mended(known):
    with rotation_off(known, "alias/backups") as finding:
        assert run(known)[1] == {"new": {finding}}
        before = known.ledger()
        response, told = run(known)
        assert told == {}
        assert len(response["findings"]) == len(FINDINGS[ROTATION]) + 1
        of_findings = [item for item in before if finding[0] in json.dumps(item)]
        assert of_findings and all(item in known.ledger() for item in of_findings)
    told_at = datetime.datetime.now(datetime.timezone.utc)
    assert run(known)[1] == {"resolved": {finding}}
    (past,) = [item for item in known.ledger() if finding[0] in json.dumps(item)]
    kept = datetime.datetime.fromtimestamp(int(past["expires_at"]["N"]), datetime.timezone.utc) - told_at
    assert datetime.timedelta(days=364) < kept < datetime.timedelta(days=366)
    assert run(known)[1] == {}


def test_a_finding_that_worsens_is_told_again(known):
    kms, key = known.aws.client("kms"), known.keys["alias/card-vault"]
    fleet.import_material(kms, key.arn, datetime.timedelta(days=3))
    try:
        response, told = run(known, AGE)
        assert told == {"worsened": {(key.arn, "imported-material-expiry")}}
        assert {each["severity"] for each in response["findings"]} == {"CRITICAL"}
    finally:
        fleet.import_material(kms, key.arn, datetime.timedelta(days=20))


def test_another_run_of_the_day_for_other_keys_resolves_nothing(known):
    for keys in (["alias/backups"], ["alias/payments", "alias/backups"]):
        response = known.invoke({"detail": {"keys": keys}})
        assert response["alerts"]["resolved"] == response["alerts"]["messages_published"] == 0
    with known.settings(MONITORED_KEYS="alias/backups"):
        assert run(known)[1] == {}
    with without(known, "kms:ListKeys"):
        assert known.invoke(event("empty"))["errorType"] == "ListKeysFailed"
    assert known.alerts() == []
    assert run(known)[1] == {}


def test_a_dry_run_and_another_day_leave_the_ledger_as_it_is(known):
    before = known.ledger()
    with rotation_off(known, "alias/backups"):
        for name in ("dry-run", "options"):
            assert known.invoke(event(name))["alerts"]["messages_published"] == 0
    assert known.ledger() == before
    assert known.alerts() == []


def test_a_denied_key_keeps_its_finding_and_is_told_as_unknown_once(known):
    with without(known, "kms:DescribeKey"):
        response, told = run(known)
        assert set(told) == {"new"}
        assert {each["reason"] for each in response["findings"]} == {"access_denied"}
        assert run(known)[1] == {}
    assert set(run(known)[1]) == {"resolved"}
    # What was open before was open all the time.
    with rotation_off(known, "alias/backups") as finding:
        assert run(known)[1] == {"new": {finding}}


# ---- Exemptions ------------------------------------------------------------------------------------------------------

EXEMPT = "kms-compliance/exempt/rotation-enabled"


def test_an_exemption_is_told_once_and_its_end_brings_the_finding_back(known):
    finding = (known.keys["alias/payments"].arn, "rotation-enabled")
    until = days_ahead(60)
    with tagged(known, "alias/payments", EXEMPT, f"until={until} owner=payments-team reason=moves to a new key"):
        response, told = run(known)
        assert told == {"exemptions": {finding}}
        (exempt,) = [each for each in response["findings"] if (each["key_arn"], each["control"]) == finding]
        assert exempt["compliance"] == "NON_COMPLIANT"
        assert exempt["exempt"] == {"until": until, "owner": "payments-team", "reason": "moves to a new key"}
        assert run(known)[1] == {}
    assert run(known)[1] == {"new": {finding}}


def test_an_exemption_that_is_malformed_exempts_nothing_and_the_alert_says_why(known):
    with (
        rotation_off(known, "alias/backups") as finding,
        tagged(known, "alias/backups", EXEMPT, "until=someday owner=nobody reason=none"),
    ):
        response = known.invoke(event("empty"))
        (alert,) = known.alerts(5)
        message = json.loads(alert["Message"])
        assert finding in {(each["key_arn"], each["control"]) for each in message["new"]}
        assert "someday" in alert["Message"]
        assert not any("exempt" in each for each in response["findings"])


def test_without_the_tags_findings_are_told_as_if_there_were_no_exemption(known):
    until = days_ahead(60)
    with (
        tagged(known, "alias/backups", EXEMPT, f"until={until} owner=backup-team reason=short-lived"),
        rotation_off(known, "alias/backups") as finding,
        without(known, "kms:ListResourceTags"),
    ):
        assert finding in run(known)[1]["new"]


# ---- Without the table -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", TABLE_ACTIONS)
def test_without_its_table_a_run_fails_and_tells_nothing(known, action):
    with rotation_off(known, "alias/backups") as finding:
        with without(known, f"dynamodb:{action}"):
            error = known.invoke(event("empty"))
            assert error["errorType"] == "LedgerUnavailable"
            assert f"dynamodb:{action}" in error["errorMessage"]
            assert known.alerts() == []
        # Nothing is lost.
        assert run(known)[1] == {"new": {finding}}


def test_a_table_that_is_gone_fails_the_run(known):
    with known.settings(FINDINGS_TABLE="no-such-table"):
        error = known.invoke(event("empty"))
    assert error["errorType"] == "LedgerUnavailable"
    assert known.alerts() == []


def test_an_alert_that_could_not_be_published_is_made_up_for(known):
    with rotation_off(known, "alias/backups") as finding:
        with without(known, "sns:Publish"):
            assert known.invoke(event("empty"))["errorType"] == "AlertNotDelivered"
        assert run(known)[1] == {"new": {finding}}
        assert run(known)[1] == {}


# ---- Twice -----------------------------------------------------------------------------------------------------------


def test_two_runs_at_once_and_the_same_event_twice_alert_once(known):
    with rotation_off(known, "alias/backups") as finding:
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            list(threads.map(known.invoke, [event("scheduled"), event("scheduled"), event("empty"), event("empty")]))
        told = [json.loads(alert["Message"])["new"] for alert in known.alerts(3, least=2)]
        assert [[(each["key_arn"], each["control"]) for each in new] for new in told] == [[finding]]
        assert run(known)[1] == {}


def test_each_function_keeps_to_its_own_part_of_the_table(known):
    parts = {item["pk"]["S"] for item in known.ledger()}
    assert parts == {part_of(function) for function in FINDINGS}


def part_of(function):
    return f"{ACCOUNT}#{REGION}#{function}"


def test_its_role_lets_a_function_reach_no_other_part_and_no_other_table(known):
    dynamodb = as_role(known, known.physical_id("RotationCheckerRole"), "dynamodb")
    table, item = known.outputs["FindingsTableName"], {"sk": {"S": "test"}}

    def requests(part):
        pk = {"S": part}
        put = {"PutRequest": {"Item": {"pk": pk, **item}}}
        query = {"KeyConditionExpression": "pk = :pk", "ExpressionAttributeValues": {":pk": pk}}
        return [
            lambda: dynamodb.put_item(TableName=table, Item={"pk": pk, **item}),
            lambda: dynamodb.batch_write_item(RequestItems={table: [put]}),
            lambda: dynamodb.query(TableName=table, **query),
            lambda: dynamodb.delete_item(TableName=table, Key={"pk": pk, **item}),
        ]

    for request in requests(part_of(ROTATION)):
        request()
    for refused in (*requests(part_of(AGE)), lambda: dynamodb.scan(TableName=table), dynamodb.list_tables):
        with pytest.raises(ClientError, match="AccessDenied"):
            refused()
