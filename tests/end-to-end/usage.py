"""Thirteen days of usage of keys, as KMS would have CloudWatch count it: the local CloudWatch forgets older days."""

import datetime
import random

DAYS = 13
HOUR = datetime.timedelta(hours=1)


class Usage:
    """Keys are used in office hours; twelve hours away from those lies the night, and in it what is unusual."""

    def __init__(self):
        now = datetime.datetime.now(datetime.timezone.utc)
        self.until = now.replace(minute=0, second=0, microsecond=0)
        # Whatever the time of day: well within the last 24 hours, while the tests run and after.
        self.night = self.until - 6 * HOUR
        self.random = random.Random(1)

    def lay(self, aws, key_arn, operation, by_day, at_night, last_night=None):
        """n requests an hour by day and at night, more or less, and in one hour of the last night."""
        counts = {}
        for hours in range(1, DAYS * 24 + 1):
            at = self.until - hours * HOUR
            from_midnight = ((at - self.night) // HOUR) % 24
            usual = by_day if 7 < from_midnight < 17 else at_night
            counts[at] = round(usual * self.random.uniform(0.8, 1.2))
        if last_night is not None:
            counts[self.night] = last_night
        metric = {
            "MetricName": "SuccessfulRequest",
            "Dimensions": [{"Name": "KeyArn", "Value": key_arn}, {"Name": "Operation", "Value": operation}],
            "Unit": "Count",
        }
        data = [metric | {"Timestamp": at, "Value": count} for at, count in counts.items()]
        aws.client("cloudwatch").put_metric_data(Namespace="AWS/KMS", MetricData=data)
