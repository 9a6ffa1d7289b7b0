"""`make demo`: the real template in a local AWS, three days of it, and the mails that the team gets on each.

On day 1 the schedules fire, moved to now. The other days are played by handing the functions the schedule's event.
"""

import json
import sys
import textwrap
import time

import fleet
import local_aws
import scan
import usage
from local_aws import NOT_YET, ROOT, LocalAws, Subscriber, built_template, part, quick_binaries

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
            demo = Demo(aws, template)
        with part("day 1: the schedules fire"):
            alerts = demo.fire()
        demo.show(alerts, {each: ("new", fleet.findings(keys.values(), each)) for each in fleet.CONTROLS})
        demo.show_log()
        with part("day 2: nothing has changed"):
            alerts = demo.run()
        demo.show(alerts, {})
        print("No mail: the team knows of all that is wrong.\n")
        with part("day 3: the team has fixed some keys, and answers for one"):
            fixed = fleet.fix(aws, keys)
            alerts = demo.run()
        demo.show(alerts, fixed)
        with part("the same keys from a terminal, without any of this"):
            scan.show(aws, binaries["kms-compliance"])


class Demo:
    """The deployed stack, and what the team has read so far."""

    def __init__(self, aws, template):
        self.aws, self.read = aws, 0
        self.stack = aws.deploy(
            template,
            **local_aws.PARAMETERS,
            Environment="demo",
            NotificationEmail=TEAM,
            ScheduleExpression=NOT_YET,  # the queue must be there before it fires
            BaselineDays=usage.DAYS,
        )
        self.subscriber = Subscriber(aws, "security-team", self.stack["AlertTopicArn"])

    def fire(self):
        """The alerts of all functions, or those that came within a minute."""
        at = self.aws.let_the_schedules_fire()
        print(f"    they fire at {at:%H:%M:%S} UTC", flush=True)
        return self.subscriber.receive(wait=60, least=len(fleet.CONTROLS))

    def run(self):
        """The alerts of the next day."""
        for function in fleet.CONTROLS:
            event = (ROOT / f"events/{function}/scheduled.json").read_bytes()
            logical_id = local_aws.functions(local_aws.read_template())[function]
            answer = self.aws.client("lambda").invoke(FunctionName=self.stack[f"{logical_id}Name"], Payload=event)
            response = json.load(answer["Payload"])
            if "errorType" in response:
                sys.exit(f"{function} failed: {response}")
            told = [f"{count} {what}" for what, count in response["alerts"].items() if count]
            print(f"    {function}: {len(response['findings'])} findings; {', '.join(told) or 'nothing to tell'}")
        return self.subscriber.receive(wait=0)

    def show(self, alerts, expected):
        """Shows the day's mails, and compares: by function, the change that its alert should tell of which findings."""
        mails = [mail for mail in self.aws.mails() if mail["to"] == TEAM][self.read :]
        self.read += len(mails)
        for mail in mails:
            print(f"\nA mail that {TEAM} gets:\n")
            print(textwrap.indent(f"Subject: {mail['subject']}\n\n{mail['text'].strip()}", "  | ", lambda _line: True))
        print()
        messages = {(message := json.loads(alert["Message"]))["function"]: message for alert in alerts}
        if not len(mails) == len(alerts) == len(messages) or messages.keys() != expected.keys():
            log = f"the log of the local AWS is {self.aws.log}"
            sys.exit(f"not one alert of each of {sorted(expected)}, but {len(alerts)}, and {len(mails)} mails; {log}")
        for function, (change, findings) in expected.items():
            told = {kind: told for kind, told in messages[function].items() if isinstance(told, list) and told}
            found = {(each["key_arn"], each["control"]) for each in told.pop(change, [])}
            if found != findings or told:
                sys.exit(f"the alert of {function} is not the expected one: it should tell {sorted(findings)}")
            print(f"The alert of {function} tells exactly what it should: {change}, {len(findings)}.")

    def show_log(self):
        for function, logical_id in local_aws.functions(local_aws.read_template()).items():
            print(f"\nWhat {function} logged:\n")
            for line in self.logged(self.stack[f"{logical_id}LogGroup"]):
                print(f"  {json.dumps({name: value for name, value in line.items() if name != '_aws'})}")
        print()

    def logged(self, group):
        for _ in range(20):
            events = self.aws.client("logs").filter_log_events(logGroupName=group)["events"]
            lines = [json.loads(event["message"]) for event in events if event["message"].startswith("{")]
            if any("_aws" in line for line in lines):
                return lines
            time.sleep(0.5)
        sys.exit(f"no metrics in {group}")


local_aws.run(main)
