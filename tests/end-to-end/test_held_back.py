"""Alerts wait while nobody has confirmed a subscription to the topic: published, they would reach nobody."""

import contextlib
import json

import pytest

from conftest import FINDINGS
from local_aws import REPORTER
from test_deployed import metric_lines


@pytest.fixture
def nobody_confirmed(quiet):
    """A deployment whose topic has a subscription that waits to be confirmed, and no other, until `confirm`."""
    sns, topic = quiet.aws.client("sns"), quiet.outputs["AlertTopicArn"]
    confirmed = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    policies = [
        sns.get_subscription_attributes(SubscriptionArn=each["SubscriptionArn"])["Attributes"].get("FilterPolicy")
        for each in confirmed
    ]
    # The local AWS takes mail as confirmed at once, and waits for an https endpoint for ever.
    sns.subscribe(TopicArn=topic, Protocol="https", Endpoint="https://127.0.0.1:9/alerts")
    for each in confirmed:
        sns.unsubscribe(SubscriptionArn=each["SubscriptionArn"])
    with contextlib.ExitStack() as stack:

        @stack.callback
        def subscribe():
            for each, policy in zip(confirmed, policies, strict=True):
                attributes = {"FilterPolicy": policy} if policy else {}
                sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=each["Endpoint"], Attributes=attributes)

        assert sns.get_topic_attributes(TopicArn=topic)["Attributes"]["SubscriptionsConfirmed"] == "0"
        quiet.confirm = stack.close
        yield quiet


def held_back(deployment):
    return [line["AlertsHeldBack"] for line in metric_lines(deployment, REPORTER) if "AlertsHeldBack" in line]


def test_what_the_first_daily_check_finds_is_told_once_somebody_confirmed(nobody_confirmed):
    deployment, count = nobody_confirmed, sum(map(len, FINDINGS.values()))
    answer = deployment.daily_check.run()
    assert (answer["alerts"]["held_back"], answer["alerts"]["messages_published"]) == (count, 0)
    assert held_back(deployment)[-1] == count
    open_findings = [item for item in deployment.ledger() if item["sk"]["S"].startswith("open#")]
    assert open_findings and all(item["last_notified"] == {"NULL": True} for item in open_findings)
    deployment.confirm()
    answer = deployment.daily_check.run()
    assert (answer["alerts"]["held_back"], answer["alerts"]["messages_published"]) == (0, 1)
    (digest,) = deployment.alerts(5)
    assert len(json.loads(digest["Message"])["new"]) == count
    assert deployment.daily_check.run()["alerts"]["messages_published"] == 0
    assert held_back(deployment)[-1] == 0
    assert deployment.alerts(1) == []
