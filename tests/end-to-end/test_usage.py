"""usage-anomaly-scorer deployed, IAM enforced: thirteen days of usage in CloudWatch, and a burst in the last night."""

import datetime
import json

import pytest

import fleet
from conftest import USAGE, event
from local_aws import REGION
from test_deployed import verdicts, without


@pytest.fixture(scope="module")
def finding(deployment):
    (finding,) = [it for it in json.loads(deployment.scheduled["Message"])["new"] if it["function"] == USAGE]
    return finding


def test_the_alert_names_key_operation_hour_observed_and_usual(deployment, finding):
    assert finding["aliases"] == ["alias/payments"]
    assert (finding["reason"], finding["severity"]) == ("unusual_usage", "HIGH")
    evidence, night = finding["evidence"], deployment.keys["alias/payments"].night
    assert evidence["operation"] == "Decrypt"
    # The hour of the burst, alone or with some before it, as the history that the local CloudWatch keeps has it.
    assert evidence["hour"] == f"{night:%Y-%m-%dT%H:%M:%SZ}"
    hours, observed = evidence.get("hours", 1), evidence["observed"]
    assert hours in (1, 4) and fleet.BURST <= observed < 1.01 * fleet.BURST
    assert 0 <= evidence["usual_low"] <= evidence["usual_high"] < fleet.BURST / 3
    begins, ends = night - datetime.timedelta(hours=hours - 1), night + datetime.timedelta(hours=1)
    between = f"between {begins:%H:%M} and {ends:%H:%M} UTC"
    assert finding["detail"].startswith(f"Decrypt {observed:,} {between}; usual there: ")


def test_the_alert_links_to_that_graph(finding):
    link = finding["evidence"]["graph"]
    assert link.startswith(f"https://{REGION}.console.aws.amazon.com/cloudwatch/home?region={REGION}#metricsV2")
    for part in ("SuccessfulRequest", "Decrypt", finding["key_id"]):
        assert part in link


def test_a_calm_key_is_silent(quiet):
    response = quiet.invoke(event("dry-run", USAGE), USAGE)
    said = verdicts(response)
    assert said[(quiet.keys["alias/backups"].arn, "usage-anomaly")] == ("COMPLIANT", "usual")
    assert [each["aliases"] for each in response["findings"]] == [["alias/payments"]]


@pytest.mark.parametrize("action", ["cloudwatch:ListMetrics", "cloudwatch:GetMetricData"])
def test_without_cloudwatch_usage_is_not_known_and_never_none(quiet, action):
    with without(quiet, action, USAGE):
        response = quiet.invoke(event("dry-run", USAGE), USAGE)
    said = verdicts(response)
    for alias in ("alias/payments", "alias/backups"):
        assert said[(quiet.keys[alias].arn, "usage-anomaly")] == ("INSUFFICIENT_DATA", "access_denied")
    # GetMetricData is not asked about a key of which no series is listed.
    others = {verdict for (_, control), verdict in said.items() if control == "usage-anomaly"}
    assert (("NOT_APPLICABLE", "no_usage") in others) == (action == "cloudwatch:GetMetricData")


def test_the_threshold_decides(quiet):
    with quiet.settings(USAGE, ANOMALY_THRESHOLD="1"):
        strict = quiet.invoke(event("dry-run", USAGE), USAGE)
    with quiet.settings(USAGE, ANOMALY_THRESHOLD="0"):
        lax = quiet.invoke(event("dry-run", USAGE), USAGE)
    assert len(strict["findings"]) <= 1
    assert {each["aliases"][0] for each in lax["findings"]} == {"alias/payments", "alias/backups"}
