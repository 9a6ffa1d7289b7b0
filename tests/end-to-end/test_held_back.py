"""Alerts wait while nobody has confirmed a subscription to the topic: published, they would reach nobody."""

import contextlib
import time

import pytest

import fleet
from conftest import FINDINGS, run
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


def held_back(deployment, function):
    return [line["AlertsHeldBack"] for line in metric_lines(deployment, function) if "AlertsHeldBack" in line]


def test_what_the_first_runs_find_is_told_once_somebody_confirmed(nobody_confirmed):
    deployment = nobody_confirmed
    before = {function: len(held_back(deployment, function)) for function in FINDINGS}
    with deployment.aws.the_schedules_fire_again():
        deadline = time.monotonic() + 90
        while any(len(held_back(deployment, function)) == before[function] for function in FINDINGS):
            assert time.monotonic() < deadline
            time.sleep(0.5)
    for function in fleet.CONTROLS:
        assert held_back(deployment, function)[-1] == len(FINDINGS[function])
    open_findings = [item for item in deployment.ledger() if item["sk"]["S"].startswith("open#")]
    assert open_findings and all(item["last_notified"] == {"NULL": True} for item in open_findings)
    deployment.confirm()
    for function in FINDINGS:
        response, told = run(deployment, function)
        assert response["alerts"]["held_back"] == 0
        assert set(told) == {"new"} and len(told["new"]) == len(FINDINGS[function])
        assert run(deployment, function)[1] == {}
