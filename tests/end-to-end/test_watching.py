"""What watches the monitor, and what it shows of itself, as CloudFormation gets it."""

import json
import re

import pytest

import fleet
from local_aws import ROOT, functions, listeners, read_template
from metric_math import Expression, state
from template import ACCOUNT, ALARMS, ALARMS_ONLY, OWNER, of_type, properties

FUNCTIONS = functions(read_template())
LISTENERS = listeners(read_template())
# What each alarm with math watches. Of a function's own metrics, those of daily runs have the dimension Function alone.
OWN = {"Fn::Sub": "KmsCompliance/${AWS::StackName}"}
# Those whose errors and nothing else tells of; a check of the daily check that fails, fails that.
BY_THEMSELVES = ["TargetPlanner", "Reporter", *LISTENERS.values()]
QUEUES = ("ScheduleDeadLetterQueue", "FailedRunQueue", "KeyEventDeadLetterQueue")
EVENT_QUEUES = [f"{FUNCTIONS[each]}EventQueue" for each in LISTENERS]
OF_ACCESS = ["AccessCheckerApiCallRule", "AccessCheckerGrantRule"]
RULES = [
    f"{FUNCTIONS[each]}{rule}"
    for each in LISTENERS
    if each != "access-checker"
    for rule in ("ApiCallRule", "KeyEventRule")
]
RULES += [*OF_ACCESS, "HealthProberKeyStores"]


def of_lambda(name, logical_ids):
    return [("AWS/Lambda", name, {"FunctionName": {"Ref": each}}, "Sum") for each in logical_ids]


def of_queues(name, queues, statistic):
    return [("AWS/SQS", name, {"QueueName": {"Fn::GetAtt": [each, "QueueName"]}}, statistic) for each in queues]


def of_executions(names):
    return [("AWS/States", name, {"StateMachineArn": {"Ref": "DailyCheck"}}, "Sum") for name in names]


YOURS = {"Fn::Select": [5, {"Fn::Split": [":", {"Ref": "ExistingAlertTopicArn"}]}]}
TOPICS = [
    {"Fn::If": ["OwnAlertTopic", {"Fn::GetAtt": ["AlertTopic", "TopicName"]}, YOURS]},
    {"Fn::GetAtt": ["SecurityAlarmTopic", "TopicName"]},
    {"Fn::GetAtt": ["OperationsTopic", "TopicName"]},
]
WATCHED = {
    "DailyCheckFailures": of_executions(["ExecutionsFailed", "ExecutionsAborted", "ExecutionsTimedOut"]),
    "FunctionErrors": of_lambda("Errors", BY_THEMSELVES),
    "KeyEventDelays": of_queues("ApproximateAgeOfOldestMessage", EVENT_QUEUES, "Maximum"),
    "LostRuns": [
        *of_lambda("AsyncEventsDropped", FUNCTIONS.values()),
        *of_lambda("DestinationDeliveryFailures", FUNCTIONS.values()),
    ],
    "LostMessages": [("AWS/SNS", "NumberOfNotificationsFailed", {"TopicName": topic}, "Sum") for topic in TOPICS],
    "LostKeyEvents": [
        ("AWS/Events", "InvocationsFailedToBeSentToDlq", {"RuleName": {"Ref": rule}}, "Sum") for rule in RULES
    ],
    "FailureQueues": [
        *of_queues("NumberOfMessagesSent", QUEUES, "Sum"),
        *of_queues("ApproximateNumberOfMessagesVisible", QUEUES[2:], "Maximum"),
    ],
}
# What the reporter says once a daily check: metric and statistic.
OF_THE_REPORTER = {
    "Coverage": ("CoveragePercent", "Minimum"),
    "AlertsHeldBack": ("AlertsHeldBack", "Maximum"),
    "DailyCheckSilence": ("TargetsPlanned", "SampleCount"),
}


def code_of_metrics():
    (path,) = ROOT.glob("shared/**/metrics.rs")
    return path.read_text(encoding="utf-8").split("mod tests")[0]


def metrics_named(code):
    return set(re.findall(r'\("(\w+)", "(?:Count|Percent|Milliseconds)"', code))


def emitted():
    """The metrics of a run and those of a control, as the functions' code names them."""
    run, controls = map(metrics_named, code_of_metrics().split("fn daily_check_line")[0].split("let of_controls"))
    assert "KeysListed" in run and "NonCompliant" in controls
    return run, controls


def emitted_by_the_reporter():
    """The metrics of a daily check, as the reporter's code names them."""
    names = metrics_named(code_of_metrics().split("fn daily_check_line")[1])
    assert {"CoveragePercent", "TargetsReached"} <= names
    return names


# ---- The operations topic --------------------------------------------------------------------------------------------


def test_the_operations_topic_does_not_depend_on_a_key(resources):
    assert "KmsMasterKeyId" not in properties(resources, "OperationsTopic")


def test_alarms_and_the_reporter_alone_publish_to_the_topics_of_alarms_over_tls(resources):
    policy = properties(resources, "OperationsTopicPolicy")
    assert policy["Topics"] == [{"Ref": "OperationsTopic"}, {"Ref": "SecurityAlarmTopic"}]
    account, alarms, others, subscribers, tls = policy["PolicyDocument"]["Statement"]
    assert (account["Effect"], account["Principal"]) == ("Allow", OWNER)
    assert "sns:Publish" not in account["Action"] and "sns:Subscribe" in account["Action"]
    assert (alarms["Effect"], alarms["Principal"]) == ("Allow", {"Service": "cloudwatch.amazonaws.com"})
    assert (alarms["Action"], alarms["Condition"]) == ("sns:Publish", ALARMS_ONLY)
    assert (others["Effect"], others["Principal"], others["Action"]) == ("Deny", "*", "sns:Publish")
    assert others["Condition"] == {
        "ArnNotLike": {"aws:SourceArn": ALARMS},
        "ArnNotEquals": {"aws:PrincipalArn": {"Fn::GetAtt": ["ReporterRole", "Arn"]}},
    }
    assert (subscribers["Effect"], subscribers["Principal"], subscribers["Action"]) == ("Deny", "*", "sns:Subscribe")
    assert subscribers["Condition"] == {"StringNotEquals": {"aws:PrincipalAccount": ACCOUNT}}
    assert (tls["Effect"], tls["Principal"], tls["Action"]) == ("Deny", "*", "sns:Publish")
    assert tls["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_mail_is_subscribed_to_it_if_an_address_is_given(resources, source):
    subscription = resources["OperationsEmailSubscription"]
    assert subscription["Condition"] == "HasOperationsEmail"
    assert subscription["Properties"]["TopicArn"] == {"Ref": "OperationsTopic"}
    assert source["Parameters"]["OperationsEmail"]["Default"] == ""


# ---- Alarms ----------------------------------------------------------------------------------------------------------


def metric(made):
    dimensions = {each["Name"]: each["Value"] for each in made["Dimensions"]}
    return made["Namespace"], made["MetricName"], dimensions


def metrics(alarm):
    """The metrics of an alarm with math, by their IDs."""
    return {
        each["Id"]: (*metric(each["MetricStat"]["Metric"]), each["MetricStat"]["Stat"])
        for each in alarm["Metrics"]
        if "MetricStat" in each
    }


def test_there_are_as_few_alarms_as_tell_it(resources):
    """Seventeen there were once, then fourteen, which watched less."""
    alarms = of_type(resources, "AWS::CloudWatch::Alarm")
    assert alarms.keys() == WATCHED.keys() | OF_THE_REPORTER.keys() | {"DeniedKmsRequestsAlarm"}
    assert len(WATCHED.keys() | OF_THE_REPORTER.keys()) == 10
    for name, alarm in alarms.items():
        topic = "SecurityAlarmTopic" if name == "DeniedKmsRequestsAlarm" else "OperationsTopic"
        assert alarm["Properties"]["AlarmActions"] == [{"Ref": topic}], name
        assert alarm["Properties"].get("ActionsEnabled", True) is True


@pytest.mark.parametrize(("name", "watched"), WATCHED.items(), ids=WATCHED)
def test_an_alarm_with_math_watches_these_metrics_and_no_more_than_it_may(resources, source, name, watched):
    assert resources[name]["Condition"] == "MetricMath"
    assert source["Conditions"]["MetricMath"] == {"Fn::Equals": [{"Ref": "MetricMathAlarms"}, "true"]}
    assert source["Parameters"]["MetricMathAlarms"]["Default"] == "true"
    made = properties(resources, name)
    assert list(metrics(made).values()) == watched
    assert len(watched) <= 10  # CloudWatch's limit
    (_,) = {each["MetricStat"]["Period"] for each in made["Metrics"] if "MetricStat" in each}
    assert [each["ReturnData"] for each in made["Metrics"] if "MetricStat" in each] == [False] * len(watched)
    # What an alarm on one metric has, one with math must not.
    assert not {"MetricName", "Namespace", "Dimensions", "Statistic", "Period"} & made.keys()


NOTHING = [None] * 12


def with_failure(alarm, failing, values):
    """The series of an alarm: nothing happens, but for one metric."""
    return {each: values if each == failing else NOTHING for each in metrics(alarm)}


@pytest.mark.parametrize(
    "name",
    [
        "DailyCheckFailures",
        "FunctionErrors",
        "KeyEventDelays",
        "LostRuns",
        "LostMessages",
        "LostKeyEvents",
        "FailureQueues",
    ],
)
def test_every_failure_alarms_alone_and_what_is_well_does_not(resources, name):
    alarm = properties(resources, name)
    assert state(alarm, with_failure(alarm, None, None)) == "OK"
    for failing, (_, what, _, _) in metrics(alarm).items():
        well, ill = {
            "ApproximateAgeOfOldestMessage": ([3600] * 12, [*[600] * 11, 3601]),
            # A queue that SQS holds for inactive has no datapoints: the first message comes out of nothing.
            "ApproximateNumberOfMessagesVisible": ([2] * 12, [*NOTHING[:11], 1]),
        }.get(what, ([0] * 12, [*[0] * 11, 1]))
        assert state(alarm, with_failure(alarm, failing, well)) == "OK", what
        assert state(alarm, with_failure(alarm, failing, ill)) == "ALARM", what


def test_what_lies_in_a_queue_does_not_hide_what_arrives(resources):
    """SQS counts nothing as sent that it moves to a dead-letter queue itself: growth tells."""
    alarm = properties(resources, "FailureQueues")
    (growing,) = [each for each, (_, what, _, _) in metrics(alarm).items() if what.startswith("Approximate")]

    def after(*depths):
        series = with_failure(alarm, growing, [*depths])
        return state(alarm, {each: values[: len(depths)] for each, values in series.items()})

    assert after(1, 1, 1, 1, 1, 1) == "OK"  # told when it came
    assert after(1, 1, 1, 1, 1, 2) == "ALARM"
    assert after(1, 1, 2, 2, 2, 2) == "OK"
    assert after(3, 3, 3, 3, 0, 0) == "OK"  # somebody took them
    assert after(3, 3, 3, 0, 0, 1) == "ALARM"
    assert after(3, 3, None, None, 3, 3) == "OK"  # CloudWatch missed some
    # It comes back by itself, and tells that too.
    assert alarm["OKActions"] == [{"Ref": "OperationsTopic"}]


@pytest.mark.parametrize(("name", "watched"), OF_THE_REPORTER.items(), ids=OF_THE_REPORTER)
def test_what_the_reporter_says_is_watched_without_math(resources, name, watched):
    alarm = properties(resources, name)
    assert "Condition" not in resources[name] and "Metrics" not in alarm
    assert metric(alarm) == (OWN, watched[0], {"Function": "reporter"})
    assert (alarm["Statistic"], alarm["Period"]) == (watched[1], 3600)


@pytest.mark.parametrize(
    ("last", "told"),
    [
        (100, "OK"),
        (99, "OK"),
        (98.9, "ALARM"),
        (0, "ALARM"),
        # Between two daily checks it stays as it was.
        (None, None),
    ],
)
def test_a_daily_check_that_could_not_judge_every_key_alarms(resources, source, last, told):
    alarm, least = properties(resources, "Coverage"), source["Parameters"]["MinCoveragePercent"]
    assert alarm["Threshold"] == {"Ref": "MinCoveragePercent"}
    assert (least["Default"], least["MinValue"], least["MaxValue"]) == (99, 0, 100)
    assert state(alarm, {"coverage": [None, last]}, threshold=least["Default"]) == told


def test_alerts_that_nobody_would_hear_alarm(resources):
    alarm = properties(resources, "AlertsHeldBack")
    assert [state(alarm, {"held": [0, last]}) for last in (3, 0)] == ["ALARM", "OK"]
    assert state(alarm, {"held": [3, None]}) is None


def test_no_daily_check_for_26_hours_is_told_and_nothing_before_the_first(resources, source):
    alarm = properties(resources, "DailyCheckSilence")
    assert alarm["EvaluationPeriods"] == {"Ref": "MaxHoursBetweenRuns"}
    hours = source["Parameters"]["MaxHoursBetweenRuns"]
    # With periods of an hour CloudWatch looks back seven days at most.
    assert (hours["Default"], hours["MinValue"], hours["MaxValue"]) == (26, 1, 7 * 24)
    # An alarm begins as INSUFFICIENT_DATA and tells what it becomes.
    assert alarm["InsufficientDataActions"] == [{"Ref": "OperationsTopic"}]

    def after(*checks):
        return state(alarm, {"checks": [*[None] * 40, *checks]}, evaluation_periods=hours["Default"])

    assert after(None) == "INSUFFICIENT_DATA"
    assert after(1) == after(1, *[None] * 25) == "OK"
    assert after(2, None, None) == "OK"
    assert after(1, *[None] * 26) == "INSUFFICIENT_DATA"


def test_alarms_watch_metrics_that_are_emitted():
    assert {name for name, _ in OF_THE_REPORTER.values()} <= emitted_by_the_reporter()


# ---- Unauthorized use ------------------------------------------------------------------------------------------------


ISSUER = "$.userIdentity.sessionContext.sessionIssuer.userName"


def test_denied_requests_are_counted_in_the_trails_log_group(resources, source):
    metric_filter = resources["DeniedKmsRequests"]
    assert metric_filter["Condition"] == "HasCloudTrailLogGroup"
    made = metric_filter["Properties"]
    assert made["LogGroupName"] == {"Ref": "CloudTrailLogGroupName"}
    others = " && ".join(f'({ISSUER} != "${{{logical_id}Role}}")' for logical_id in FUNCTIONS.values())
    assert " ".join(made["FilterPattern"]["Fn::Sub"].split()) == (
        '{ ($.eventSource = "kms.amazonaws.com") && ($.awsRegion = "${AWS::Region}") && '
        '($.recipientAccountId = "${AWS::AccountId}") && '
        '(($.errorCode = "AccessDenied") || ($.errorCode = "AccessDeniedException")) && '
        f"(({ISSUER} NOT EXISTS) || ({others})) }}"
    )
    (count,) = made["MetricTransformations"]
    assert (count["MetricValue"], count["DefaultValue"]) == ("1", 0)
    alarm = resources["DeniedKmsRequestsAlarm"]
    assert alarm["Condition"] == "HasCloudTrailLogGroup"
    watched = alarm["Properties"]
    assert (watched["Namespace"], watched["MetricName"]) == (count["MetricNamespace"], count["MetricName"])
    assert (watched["Statistic"], watched["ComparisonOperator"]) == ("Sum", "GreaterThanThreshold")
    assert watched["Threshold"] == {"Ref": "DeniedRequestsThreshold"}
    assert watched["Period"] == {"Ref": "DeniedRequestsPeriodSeconds"}
    defaults = [source["Parameters"][f"DeniedRequests{each}"]["Default"] for each in ("Threshold", "PeriodSeconds")]
    assert defaults == [0, 300]
    assert source["Parameters"]["CloudTrailLogGroupName"]["Default"] == ""


def test_the_pattern_fits_with_the_longest_names_of_roles(resources):
    pattern = re.sub(r"\$\{\w+Role\}", "r" * 64, properties(resources, "DeniedKmsRequests")["FilterPattern"]["Fn::Sub"])
    pattern = pattern.replace("${AWS::Region}", "ap-southeast-99").replace("${AWS::AccountId}", "123456789012")
    assert "${" not in pattern and len(pattern) <= 1024  # CloudWatch Logs' limit


def record(error="AccessDenied", region="us-east-1", account="123456789012", role=None):
    identity = {"sessionContext": {"sessionIssuer": {"userName": role}}} if role else {"userName": "alice"}
    return {
        "eventSource": "kms.amazonaws.com",
        "errorCode": error,
        "awsRegion": region,
        "recipientAccountId": account,
        "userIdentity": identity,
    }


@pytest.mark.parametrize(
    ("event", "counted"),
    [
        (record(), True),
        (record(error="AccessDeniedException"), True),
        (record(role="an-application"), True),
        (record(role="HealthProberRole"), False),
        (record(role="RotationCheckerRole"), False),
        (record(error="ThrottlingException"), False),
        (record(region="eu-west-1"), False),
        (record(account="999999999999"), False),
        (record() | {"eventSource": "s3.amazonaws.com"}, False),
    ],
)
def test_the_pattern_counts_what_others_were_denied_here(resources, event, counted):
    pattern = properties(resources, "DeniedKmsRequests")["FilterPattern"]["Fn::Sub"]
    pattern = pattern.replace("${AWS::Region}", "us-east-1").replace("${AWS::AccountId}", "123456789012")
    pattern = re.sub(r"\$\{(\w+Role)\}", r"\1", pattern)

    def selected(match):
        value = event
        for name in match["path"].split(".")[1:]:
            value = value.get(name, {})
        # A comparison with a field that is not there is false, whichever it is.
        there = isinstance(value, str)
        if match["test"] == "NOT EXISTS":
            return str(not there)
        return str(there and (value == match["value"]) == (match["test"] == "="))

    term = r'\((?P<path>\$[\w.]+) (?P<test>=|!=|NOT EXISTS)(?: "(?P<value>[^"]*)")?\)'
    formula, terms = re.subn(term, selected, pattern.strip("{} \n"))
    assert terms == 11 and re.fullmatch(r"[()\s&|]*((True|False)[()\s&|]*)+", formula)
    assert eval(formula.replace("&&", "and").replace("||", "or").replace("\n", " ")) is counted


# ---- Dashboard -------------------------------------------------------------------------------------------------------


def dashboard(resources):
    """The dashboard's body, as the template has it: with the variables that CloudFormation fills in."""
    return json.loads(properties(resources, "Dashboard")["DashboardBody"]["Fn::Sub"])


SEARCH = re.compile(
    r"""SEARCH\('\{"(?P<namespace>[^"]+)",(?P<dimensions>[A-Za-z,]+)\} MetricName="(?P<metric>\w+)"', """
    r"""'(?P<statistic>\w+)', (?P<period>\d+)\)"""
)


def searches(body):
    """What a dashboard looks for, by the title of the graph: namespace, dimensions, metric."""
    found = {}
    for widget in body["widgets"]:
        if widget["type"] == "metric":
            made = widget["properties"]
            expressions = [row[0]["expression"] for row in made["metrics"] if row[0]["expression"].startswith("SEARCH")]
            assert expressions and all(len(row) == 1 for row in made["metrics"])
            matches = [SEARCH.fullmatch(each) for each in expressions]
            found[made["title"]] = {(each["namespace"], each["dimensions"], each["metric"]) for each in matches}
    return found


def test_every_metric_on_the_dashboard_is_emitted(resources):
    run, controls = emitted()
    assert "ProbeLatency" in (ROOT / "functions/health-prober/src/lib.rs").read_text(encoding="utf-8")
    known = {("Function", name) for name in run | emitted_by_the_reporter() | {"ProbeLatency"}}
    known |= {("Function,Control", name) for name in controls}
    looked_for = set().union(*searches(dashboard(resources)).values())
    assert {each[0] for each in looked_for} == {OWN["Fn::Sub"]}
    assert {each[1:] for each in looked_for} <= known
    names = {each[2] for each in looked_for}
    assert names >= {"CoveragePercent", "NonCompliant", "InsufficientData", "RunDuration", "KmsThrottles"}
    assert names >= {"AlertsPublished", "TargetsPlanned"}


def test_a_new_function_or_control_needs_no_line_on_the_dashboard(resources):
    text = json.dumps([widget for widget in dashboard(resources)["widgets"] if widget["type"] == "metric"])
    known = {*fleet.CONTROLS, *(control for controls in fleet.CONTROLS.values() for control in controls)}
    assert len(known) > 15 and not [name for name in known if name in text]
    assert all(each["properties"]["region"] == "${AWS::Region}" for each in json.loads(text))


def test_the_dashboard_computes_the_age_of_the_last_daily_check(resources):
    widget = dashboard(resources)["widgets"][0]["properties"]
    assert widget["title"] == "Hours since the last daily check" and widget["period"] == 3600
    rows = {row[0]["id"]: row[0] for row in widget["metrics"]}
    assert [name for name, row in rows.items() if row.get("visible", True)] == ["age"]
    runs = SEARCH.fullmatch(rows["runs"]["expression"])
    assert (runs["metric"], runs["statistic"], runs["period"]) == ("TargetsPlanned", "SampleCount", "3600")
    assert rows["hour"]["expression"] == "EPOCH(TIME_SERIES(0))"
    assert rows["age"]["expression"] == "(hour - FILL(runs * 0 + hour, REPEAT)) / 3600"


def test_the_age_is_computed_for_each_series_by_itself(resources):
    rows = {row[0]["id"]: row[0]["expression"] for row in dashboard(resources)["widgets"][0]["properties"]["metrics"]}
    hour = Expression(rows["hour"], period=3600).over({"runs": NOTHING})
    ran_once, ran_twice, never = [*NOTHING[:5], 1, *NOTHING[:6]], [1, *NOTHING[:8], 2, None, None], NOTHING
    ages = Expression(rows["age"], period=3600).over({"runs": (ran_once, ran_twice, never), "hour": hour})
    assert [each[-1] for each in ages] == [6, 2, None]
    assert ages[0][4:8] == [None, 0, 1, 2]


def test_the_dashboard_is_made_unless_it_is_not_wanted(resources, source):
    assert resources["Dashboard"]["Condition"] == source["Outputs"]["DashboardName"]["Condition"] == "HasDashboard"
    assert source["Conditions"]["HasDashboard"] == {"Fn::Equals": [{"Ref": "CreateDashboard"}, "true"]}
    assert source["Parameters"]["CreateDashboard"]["Default"] == "true"


def test_the_dashboard_shows_every_alarm_that_watches_the_monitor(resources):
    (widget,) = [each for each in dashboard(resources)["widgets"] if each["type"] == "alarm"]
    alarms = of_type(resources, "AWS::CloudWatch::Alarm").values()
    # By name: an alarm that a condition leaves out has no ARN.
    arn = "arn:${AWS::Partition}:cloudwatch:${AWS::Region}:${AWS::AccountId}:alarm:"
    assert set(widget["properties"]["alarms"]) == {
        arn + alarm["Properties"]["AlarmName"]["Fn::Sub"]
        for alarm in alarms
        if alarm["Properties"]["AlarmActions"] == [{"Ref": "OperationsTopic"}]
    }
    variables = re.findall(r"\$\{([^}]+)\}", json.dumps(dashboard(resources)))
    assert set(variables) == {"AWS::AccountId", "AWS::Partition", "AWS::Region", "AWS::StackName"}
