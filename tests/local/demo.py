"""`make demo`: the real template in a local AWS, fired by its schedule, and the alerts that the team receives."""

import datetime
import json
import sys
import textwrap
import time

import fleet
import local_aws
from local_aws import ROOT, LocalAws, Subscriber, built_template, part, quick_binaries

TEAM = "security-team@example.com"


def main():
    with part("build the functions"):
        binaries = quick_binaries()
    with LocalAws(ROOT / ".local/demo.log") as aws:
        with part("lay a fleet of keys"):
            keys = fleet.create(aws)
            for key in keys.values():
                print(f"    {key.alias:22}  {key.what}")
        with part("deploy template.yaml with SAM"):
            template = built_template(aws.directory, binaries)
            stack, subscriber, at = deploy(aws, template)
        with part("wait for the schedule"):
            alerts = wait(subscriber, at)
        if sorted(alert["function"] for alert in alerts) != sorted(fleet.CONTROLS):
            sys.exit(f"not one alert of each function, but {len(alerts)}; the log of the local AWS is {aws.log}")
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
    """The alerts of all functions, or those that came within a minute after they fired."""
    print(f"    they fire at {at:%H:%M:%S} UTC", flush=True)
    alerts = []
    while (left := (at - now()).total_seconds()) > -60 and len(alerts) < len(fleet.CONTROLS):
        print(f"    {left:3.0f} s to go" if left > 0 else "    fired; waiting for the alerts", flush=True)
        alerts += subscriber.receive(wait=left if 0 < left < 5 else 5, least=len(fleet.CONTROLS) - len(alerts))
    return [json.loads(alert["Message"]) for alert in alerts]


def show(aws, stack, keys, alerts):
    mails = [mail for mail in aws.mails() if mail["to"] == TEAM]
    if len(mails) != len(alerts):
        sys.exit(f"the queue got {len(alerts)} alerts, and {TEAM} {len(mails)} mails")
    for mail in mails:
        print(f"\nA mail that {TEAM} gets:\n")
        print(textwrap.indent(f"Subject: {mail['subject']}\n\n{mail['text'].strip()}", "  | ", lambda _line: True))

    for function, logical_id in local_aws.functions(local_aws.read_template()).items():
        print(f"\nWhat {function} logged:\n")
        for line in logged(aws, stack[f"{logical_id}LogGroup"]):
            print(f"  {json.dumps({name: value for name, value in line.items() if name != '_aws'})}")

    print()
    for function in fleet.CONTROLS:
        (alert,) = [alert for alert in alerts if alert["function"] == function]
        found = {(finding["key_arn"], finding["control"], finding["reason"]) for finding in alert["new"]}
        expected = fleet.findings(keys.values(), function)
        if found != expected:
            sys.exit(f"the alert of {function} is not the expected one: it should hold {sorted(expected)}")
        print(f"The alert of {function} names the {len(expected)} findings of this fleet, and no other.")


def logged(aws, group):
    for _ in range(20):
        events = aws.client("logs").filter_log_events(logGroupName=group)["events"]
        lines = [json.loads(event["message"]) for event in events if event["message"].startswith("{")]
        if any("_aws" in line for line in lines):
            return lines
        time.sleep(0.5)
    sys.exit(f"no metrics in {group}")


def now():
    return datetime.datetime.now(datetime.timezone.utc)


local_aws.run(main)
