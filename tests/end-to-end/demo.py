"""`make demo`: the real template in a local AWS, three days in three accounts and two Regions, and the mails of each.

On day 1 the schedule fires, moved to now. The other days begin as the schedule begins them: an execution is started.
"""

import collections
import json
import sys
import textwrap
import time

import fleet
import local_aws
import scan
import usage
from executions import Executions
from local_aws import ACCOUNT, NOT_YET, REGION, ROOT, LocalAws, Subscriber, built_template, part, quick_binaries

TEAM = "security-team@example.com"
REGIONS = (REGION, fleet.PRIMARY_REGION)


def main():
    with part("build the functions"):
        binaries = quick_binaries()
    with LocalAws(ROOT / ".local/demo.log") as aws:
        with part("lay keys in three accounts"):
            keys = fleet.create(aws)
            print(f"    account {ACCOUNT}, the monitor's home:")
            for key in keys.values():
                print(f"    {key.alias:22}  {key.what}")
            accounts = {
                account: fleet.create_elsewhere(aws, account) for account in map(aws.new_account, ("web", "data"))
            }
            for account in accounts:
                print(f"    account {account}: three keys, one without rotation, one disabled")
        with part("deploy template.yaml with SAM, and member-role.yaml in each other account"):
            template = built_template(aws.directory, binaries)
            demo = Demo(aws, template)
            for account in accounts:
                aws.let_in(account, demo.stack["CheckRoleArns"])
        wrong = fleet.wrong_here(ACCOUNT, keys)
        for account, made in accounts.items():
            wrong |= fleet.wrong_elsewhere(account, made)
        with part("day 1: the schedule fires"):
            execution = demo.fire()
            demo.tell_of(execution)
        demo.show({"new": wrong})
        demo.show_log()
        with part("day 2: nothing has changed"):
            demo.tell_of(demo.daily_check.start())
        demo.show({})
        print("No mail: the team knows of all that is wrong.\n")
        with part("day 3: the team has fixed some keys, and answers for one"):
            expected = demo.fix(keys, accounts)
            demo.tell_of(demo.daily_check.start())
        demo.show(expected)
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
            EarlyReportMinutes=240,  # time runs faster here: the digest is to tell it all
            Targets="organization",
            TargetRegions=",".join(REGIONS),
            BaselineDays=usage.DAYS,
        )
        self.subscriber = Subscriber(aws, "security-team", self.stack["AlertTopicArn"])
        self.daily_check = Executions(aws, self.stack["DailyCheckArn"])

    def fire(self):
        """The execution that the schedule starts."""
        at = self.aws.let_the_schedule_fire()
        print(f"    it fires at {at:%H:%M:%S} UTC", flush=True)
        return self.daily_check.newest(wait=30)

    def tell_of(self, execution):
        """Waits for the end of a day's check, and says what ran where, how long, and what failed."""
        start = time.monotonic()
        answer = self.daily_check.told(execution)
        print(f"    execution {execution.rpartition(':')[2]}")
        for account, region, status, took in sorted(self.daily_check.children(execution)):
            print(f"    account {account}, {region}: {len(fleet.CONTROLS)} checks, {took:.1f} s, {status.lower()}")
        failed = answer["failed_checks"]
        print(
            f"    {answer['targets_reached']} of {answer['targets_planned']} targets reached, "
            f"{failed or 'no'} check{'' if failed == 1 else 's'} failed, {answer['coverage_percent']:.0f} % judged; "
            f"told after {time.monotonic() - start:.1f} s"
        )
        if failed or answer["targets_reached"] != len(REGIONS) * 3:
            sys.exit(f"the daily check should reach all and fail nowhere: {answer}; the log is {self.aws.log}")

    def fix(self, keys, accounts):
        """Fixes keys here and in one other account; returns what is to be told."""
        expected = collections.defaultdict(set)
        for function, (change, findings) in fleet.fix(self.aws, keys).items():
            expected[change] |= {(function, ACCOUNT, REGION, *finding) for finding in findings}
        account, made = next(iter(accounts.items()))
        arn = made["orders", REGION]
        self.aws.client("kms", REGION, account).enable_key_rotation(KeyId=arn)
        expected["resolved"].add(("rotation-checker", account, REGION, arn, "rotation-enabled"))
        return expected

    def show(self, expected):
        """Shows the day's mail, and compares: by change, of which findings it should tell."""
        alerts = self.subscriber.receive(wait=5 if expected else 0)
        mails = [mail for mail in self.aws.mails() if mail["to"] == TEAM][self.read :]
        self.read += len(mails)
        for mail in mails:
            print(f"\nThe mail that {TEAM} gets:\n")
            print(textwrap.indent(f"Subject: {mail['subject']}\n\n{mail['text'].strip()}", "  | ", lambda _line: True))
        print()
        if not len(mails) == len(alerts) == bool(expected):
            sys.exit(f"{len(alerts)} alerts and {len(mails)} mails came; the log of the local AWS is {self.aws.log}")
        for alert in alerts:
            message = json.loads(alert["Message"])
            told = {
                kind: {
                    (each["function"], each["account_id"], each["region"], each["key_arn"], each["control"])
                    for each in message[kind]
                }
                for kind in ("deleted", "new", "worsened", "resolved", "reminder", "exemptions")
                if message[kind]
            }
            if told != expected:
                sys.exit(f"the digest is not the expected one: it should tell {dict(expected)}, and tells {told}")
            for kind, findings in told.items():
                functions, places = {each[0] for each in findings}, {each[1:3] for each in findings}
                what = f"{kind}, {len(findings)}, by {len(functions)} functions in {len(places)} accounts and Regions"
                print(f"The digest tells exactly what it should: {what}.")

    def show_log(self):
        print("\nWhat the reporter logged:\n")
        for line in self.logged(self.stack["ReporterLogGroup"]):
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
