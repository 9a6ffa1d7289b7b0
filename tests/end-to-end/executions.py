"""Executions of the daily check in the local AWS."""

import contextlib
import json
import time


class Executions:
    def __init__(self, aws, arn):
        self.stepfunctions, self.arn = aws.client("stepfunctions"), arn

    def run(self, name=None):
        """A day's check: what the reporter answered at its end."""
        return self.told(self.start(name))

    def start(self, name=None):
        """Starts an execution; returns its ARN."""
        named = {"name": name} if name else {}
        return self.stepfunctions.start_execution(stateMachineArn=self.arn, input="{}", **named)["executionArn"]

    def newest(self, wait):
        """The execution that began last, such as one that a schedule started; waits for it."""
        deadline = time.monotonic() + wait
        while not (found := self.stepfunctions.list_executions(stateMachineArn=self.arn)["executions"]):
            assert time.monotonic() < deadline, "no execution began"
            time.sleep(0.2)
        return max(found, key=lambda each: each["startDate"])["executionArn"]

    def told(self, execution, wait=120):
        """Waits until the reporter has told, and returns its answer. What would tell early is stopped."""
        deadline = time.monotonic() + wait
        while True:
            for answer in self.answers(execution):
                if "failed_checks" in answer:
                    self.stop(execution)
                    return answer
            described = self.stepfunctions.describe_execution(executionArn=execution)
            assert described["status"] == "RUNNING", described
            assert time.monotonic() < deadline, "nobody told"
            time.sleep(0.1)

    def answers(self, execution):
        """What the functions that an execution itself calls answered so far."""
        pages = self.stepfunctions.get_paginator("get_execution_history").paginate(executionArn=execution)
        for event in (event for page in pages for event in page["events"]):
            if "taskSucceededEventDetails" in event:
                yield json.loads(event["taskSucceededEventDetails"]["output"])["Payload"]

    def end(self, execution, wait=60):
        """Waits until it ends by itself; returns what it is then."""
        deadline = time.monotonic() + wait
        while (described := self.stepfunctions.describe_execution(executionArn=execution))["status"] == "RUNNING":
            assert time.monotonic() < deadline, "it did not end"
            time.sleep(0.1)
        return described

    def stop(self, execution):
        """Stops it, unless it has ended: by itself, meanwhile, it may."""
        with contextlib.suppress(self.stepfunctions.exceptions.ValidationException):
            self.stepfunctions.stop_execution(executionArn=execution)

    def children(self, execution):
        """What came of each target: account, Region, how its child ended, and how long it took in seconds."""
        (run,) = self.stepfunctions.list_map_runs(executionArn=execution)["mapRuns"]
        pages = self.stepfunctions.get_paginator("list_executions").paginate(mapRunArn=run["mapRunArn"])
        for each in (each for page in pages for each in page["executions"]):
            described = self.stepfunctions.describe_execution(executionArn=each["executionArn"])
            target = json.loads(described["input"])["target"]
            took = (described["stopDate"] - described["startDate"]).total_seconds()
            yield target["account_id"], target["region"], described["status"], took
