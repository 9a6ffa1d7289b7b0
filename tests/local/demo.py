"""`make demo`: the real template in a local AWS, fired by its schedule, and the alert that the team receives."""

import datetime
import json
import sys
import textwrap
import time

import fleet
import local_aws
from local_aws import ROOT, LocalAws, Subscriber, built_template, part, quick_binary

TEAM = "security-team@example.com"


def main():
    with part("build the function"):
        binary = quick_binary()
    with LocalAws(ROOT / ".local/demo.log") as aws:
        with part("lay a fleet of keys"):
            keys = fleet.create(aws)
            for key in keys.values():
                print(f"    {key.alias:22}  {key.what}")
        with part("deploy template.yaml with SAM"):
            template = built_template(aws.directory, binary)
            stack, subscriber, at = deploy(aws, template)
        with part("wait for the schedule"):
            alerts = wait(subscriber, at)
        if not alerts:
            sys.exit(f"no alert came; the log of the local AWS is {aws.log}")
        show(aws, stack, keys, alerts)


def deploy(aws, template):
    """Deploys with the schedule some seconds ahead; the queue must be subscribed before it fires."""
    for ahead in (20, 40, 80):
        at = now() + datetime.timedelta(seconds=ahead)
        stack = aws.deploy(
            template,
            Environment="demo",
            NotificationEmail=TEAM,
            ScheduleExpression=f"at({at:%Y-%m-%dT%H:%M:%S})",
            ScheduleTimezone="UTC",
            ScheduleWindowMinutes=0,
        )
        subscriber = Subscriber(aws, "security-team", stack["AlertTopicArn"])
        if now() < at:
            return stack, subscriber, at
        print("    deploying took longer than the schedule was ahead; again")
    sys.exit("deploying took more than 80 s")


def wait(subscriber, at):
    print(f"    it fires at {at:%H:%M:%S} UTC", flush=True)
    while (left := (at - now()).total_seconds()) > -60:
        print(f"    {left:3.0f} s to go" if left > 0 else "    fired; waiting for the alert", flush=True)
        if alerts := subscriber.receive(wait=left if 0 < left < 5 else 5):
            return alerts
    return []


def show(aws, stack, keys, alerts):
    mail = next((mail for mail in aws.mails() if mail["to"] == TEAM), None)
    if mail is None:
        sys.exit(f"the queue got the alert, and {TEAM} no mail")
    print(f"\nThe mail that {TEAM} gets:\n")
    print(textwrap.indent(f"Subject: {mail['subject']}\n\n{mail['text'].strip()}", "  | ", lambda _line: True))

    print("\nWhat the function logged:\n")
    summaries = []
    for _ in range(20):
        events = aws.client("logs").filter_log_events(logGroupName=stack["RotationCheckerLogGroup"])["events"]
        lines = [json.loads(event["message"]) for event in events if event["message"].startswith("{")]
        summaries = [line for line in lines if "_aws" in line]
        if summaries:
            break
        time.sleep(0.5)
    for line in lines:
        print(f"  {json.dumps({name: value for name, value in line.items() if name != '_aws'})}")

    (alert,) = [json.loads(alert["Message"]) for alert in alerts]
    found = {(finding["key_arn"], finding["control"], finding["reason"]) for finding in alert["new"]}
    expected = {
        (key.arn, control, reason)
        for key in keys.values()
        for control, (compliance, reason) in zip(fleet.CONTROLS, key.verdicts, strict=True)
        if compliance == "NON_COMPLIANT"
    }
    if found != expected or not summaries:
        sys.exit(f"the alert is not the expected one: it should hold {sorted(expected)}")
    print(f"\nThe alert names the {len(expected)} findings of this fleet, and no other.")


def now():
    return datetime.datetime.now(datetime.timezone.utc)


local_aws.run(main)
