"""What watches the monitor, and what it shows of itself, as CloudFormation gets it."""

import json
import re

import pytest

import fleet
import key_events
from local_aws import ROOT, functions, read_template
from template import ALARMS, ALARMS_ONLY, OWNER, of_type, properties

FUNCTIONS = functions(read_template())
QUEUES = ("ScheduleDeadLetterQueue", "FailedRunQueue", "KeyEventDeadLetterQueue")
LISTENERS = {function: FUNCTIONS[function] for function in key_events.RULES}
every_function = pytest.mark.parametrize(("function", "logical_id"), FUNCTIONS.items())


def emitted():
    """The metrics of a run and those of a control, as the functions' code names them."""
    code = (ROOT / "shared/src/metrics.rs").read_text(encoding="utf-8")
    run, controls = (
        set(re.findall(r'\("(\w+)", "(?:Count|Percent|Milliseconds)"', part))
        for part in code.split("let of_controls")[:2]
    )
    assert "KeysListed" in run and "NonCompliant" in controls
    return run, controls


# ---- The operations topic --------------------------------------------------------------------------------------------


def test_the_operations_topic_does_not_depend_on_a_key(resources):
    assert "KmsMasterKeyId" not in properties(resources, "OperationsTopic")


def test_alarms_alone_publish_to_the_operations_topic_over_tls(resources):
    policy = properties(resources, "OperationsTopicPolicy")
    assert policy["Topics"] == [{"Ref": "OperationsTopic"}]
    account, alarms, others, tls = policy["PolicyDocument"]["Statement"]
    assert (account["Effect"], account["Principal"]) == ("Allow", OWNER)
    assert "sns:Publish" not in account["Action"] and "sns:Subscribe" in account["Action"]
    assert (alarms["Effect"], alarms["Principal"]) == ("Allow", {"Service": "cloudwatch.amazonaws.com"})
    assert (alarms["Action"], alarms["Condition"]) == ("sns:Publish", ALARMS_ONLY)
    assert (others["Effect"], others["Principal"], others["Action"]) == ("Deny", "*", "sns:Publish")
    assert others["Condition"] == {"ArnNotLike": {"aws:SourceArn": ALARMS}}
    assert (tls["Effect"], tls["Principal"], tls["Action"]) == ("Deny", "*", "sns:Publish")
    assert tls["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_mail_is_subscribed_to_it_if_an_address_is_given(resources, source):
    subscription = resources["OperationsEmailSubscription"]
    assert subscription["Condition"] == "HasOperationsEmail"
    assert subscription["Properties"]["TopicArn"] == {"Ref": "OperationsTopic"}
    assert source["Parameters"]["OperationsEmail"]["Default"] == ""


# ---- Alarms ----------------------------------------------------------------------------------------------------------


def watching(resources, logical_id):
    """An alarm to the operations topic."""
    alarm = resources[logical_id]
    assert alarm["Type"] == "AWS::CloudWatch::Alarm" and "Condition" not in alarm
    assert alarm["Properties"]["AlarmActions"] == [{"Ref": "OperationsTopic"}]
    assert alarm["Properties"].get("ActionsEnabled", True) is True
    return alarm["Properties"]


def metric(alarm):
    dimensions = {each["Name"]: each["Value"] for each in alarm["Dimensions"]}
    return alarm["Namespace"], alarm["MetricName"], dimensions, alarm["Statistic"]


def test_every_alarm_is_to_the_right_topic(resources):
    alarms = of_type(resources, "AWS::CloudWatch::Alarm")
    operations = {f"{each}{what}" for each in FUNCTIONS.values() for what in ("Errors", "Coverage", "Silence")}
    operations |= {f"{each}Depth" for each in QUEUES} | {f"{each}EventQueueAge" for each in LISTENERS.values()}
    assert alarms.keys() == operations | {"DeniedKmsRequestsAlarm"}
    for name, alarm in alarms.items():
        topic = "OperationsTopic" if name in operations else "AlertTopic"
        assert alarm["Properties"]["AlarmActions"] == [{"Ref": topic}], name
    names = [json.dumps(alarm["Properties"]["AlarmName"]) for alarm in alarms.values()]
    assert len(names) == len(set(names))


@every_function
def test_a_function_that_fails_alarms(resources, function, logical_id):
    alarm = watching(resources, f"{logical_id}Errors")
    assert metric(alarm) == ("AWS/Lambda", "Errors", {"FunctionName": {"Ref": logical_id}}, "Sum")
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 0)
    assert (alarm["EvaluationPeriods"], alarm["TreatMissingData"]) == (1, "notBreaching")


@pytest.mark.parametrize("queue", QUEUES)
def test_a_message_in_a_queue_of_failures_alarms(resources, queue):
    alarm = watching(resources, f"{queue}Depth")
    name = {"Fn::GetAtt": [queue, "QueueName"]}
    assert metric(alarm) == ("AWS/SQS", "ApproximateNumberOfMessagesVisible", {"QueueName": name}, "Maximum")
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 0)
    assert (alarm["EvaluationPeriods"], alarm["TreatMissingData"]) == (1, "notBreaching")


@pytest.mark.parametrize("logical_id", LISTENERS.values(), ids=LISTENERS)
def test_key_events_that_wait_for_an_hour_alarm(resources, logical_id):
    queue = f"{logical_id}EventQueue"
    alarm = watching(resources, f"{queue}Age")
    name = {"Fn::GetAtt": [queue, "QueueName"]}
    assert metric(alarm) == ("AWS/SQS", "ApproximateAgeOfOldestMessage", {"QueueName": name}, "Maximum")
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 3600)
    assert (alarm["EvaluationPeriods"], alarm["TreatMissingData"]) == (1, "notBreaching")


@every_function
def test_a_run_that_could_not_judge_every_key_alarms(resources, function, logical_id):
    alarm = watching(resources, f"{logical_id}Coverage")
    assert metric(alarm) == ("KmsCompliance", "CoveragePercent", {"Function": function}, "Minimum")
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("LessThanThreshold", 100)
    assert (alarm["EvaluationPeriods"], alarm["TreatMissingData"]) == (1, "ignore")


@every_function
def test_no_run_for_26_hours_alarms(resources, source, function, logical_id):
    alarm = watching(resources, f"{logical_id}Silence")
    # What Scheduler hands to the function, and not what comes of key events.
    assert metric(alarm) == ("AWS/Lambda", "AsyncEventsReceived", {"FunctionName": {"Ref": logical_id}}, "Sum")
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("LessThanThreshold", 1)
    assert alarm["EvaluationPeriods"] == alarm["DatapointsToAlarm"] == {"Ref": "MaxHoursBetweenRuns"}
    assert (alarm["Period"], alarm["TreatMissingData"]) == (3600, "breaching")
    hours = source["Parameters"]["MaxHoursBetweenRuns"]
    # With periods of an hour CloudWatch looks back seven days at most.
    assert (hours["Default"], hours["MinValue"], hours["MaxValue"]) == (26, 1, 7 * 24)


def test_alarms_watch_metrics_that_are_emitted(resources):
    run, _ = emitted()
    own = [
        metric(alarm["Properties"])
        for alarm in of_type(resources, "AWS::CloudWatch::Alarm").values()
        if alarm["Properties"].get("Namespace") == "KmsCompliance"
    ]
    assert len(own) == len(FUNCTIONS)
    for _, name, dimensions, _ in own:
        assert name in run and dimensions["Function"] in FUNCTIONS and len(dimensions) == 1


# ---- Unauthorized use ------------------------------------------------------------------------------------------------


def test_denied_requests_are_counted_in_the_trails_log_group(resources, source):
    metric_filter = resources["DeniedKmsRequests"]
    assert metric_filter["Condition"] == "HasCloudTrailLogGroup"
    made = metric_filter["Properties"]
    assert made["LogGroupName"] == {"Ref": "CloudTrailLogGroupName"}
    assert " ".join(made["FilterPattern"].split()) == (
        '{ ($.eventSource = "kms.amazonaws.com") && '
        '(($.errorCode = "AccessDenied") || ($.errorCode = "AccessDeniedException")) }'
    )
    (count,) = made["MetricTransformations"]
    assert (count["MetricValue"], count["DefaultValue"]) == ("1", 0)
    alarm = resources["DeniedKmsRequestsAlarm"]
    assert alarm["Condition"] == "HasCloudTrailLogGroup"
    watched = alarm["Properties"]
    assert (watched["Namespace"], watched["MetricName"]) == (count["MetricNamespace"], count["MetricName"])
    assert (watched["Statistic"], watched["ComparisonOperator"], watched["Threshold"]) == (
        "Sum",
        "GreaterThanThreshold",
        0,
    )
    assert watched["AlarmActions"] == [{"Ref": "AlertTopic"}]
    assert source["Parameters"]["CloudTrailLogGroupName"]["Default"] == ""


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
    known = {("Function", name) for name in run | {"ProbeLatency"}} | {("Function,Control", name) for name in controls}
    looked_for = set().union(*searches(dashboard(resources)).values())
    assert {each[1:] for each in looked_for} <= known
    names = {each[2] for each in looked_for}
    assert names >= {"CoveragePercent", "NonCompliant", "InsufficientData", "RunDuration", "KmsThrottles"}
    assert names >= {"AlertsPublished", "KeysListed"}


def test_a_new_function_or_control_needs_no_line_on_the_dashboard(resources):
    text = json.dumps([widget for widget in dashboard(resources)["widgets"] if widget["type"] == "metric"])
    known = {*fleet.CONTROLS, *(control for controls in fleet.CONTROLS.values() for control in controls)}
    assert len(known) > 15 and not [name for name in known if name in text]
    assert all(each["properties"]["region"] == "${AWS::Region}" for each in json.loads(text))


def test_the_dashboard_computes_the_age_of_each_functions_last_run(resources):
    widget = dashboard(resources)["widgets"][0]["properties"]
    assert widget["title"] == "Hours since the last run" and widget["period"] == 3600
    rows = {row[0]["id"]: row[0] for row in widget["metrics"]}
    assert [name for name, row in rows.items() if row.get("visible", True)] == ["age"]
    runs = SEARCH.fullmatch(rows["runs"]["expression"])
    assert (runs["metric"], runs["statistic"], runs["period"]) == ("KeysListed", "SampleCount", "3600")
    assert rows["hour"]["expression"] == "EPOCH(TIME_SERIES(0))"
    assert rows["age"]["expression"] == "(hour - FILL(runs * 0 + hour, REPEAT)) / 3600"


def test_the_dashboard_shows_every_alarm_that_watches_the_monitor(resources):
    (widget,) = [each for each in dashboard(resources)["widgets"] if each["type"] == "alarm"]
    shown = {re.fullmatch(r"\$\{(\w+)\.Arn\}", each)[1] for each in widget["properties"]["alarms"]}
    alarms = of_type(resources, "AWS::CloudWatch::Alarm").items()
    assert shown == {
        name for name, alarm in alarms if alarm["Properties"]["AlarmActions"] == [{"Ref": "OperationsTopic"}]
    }
    for variable in re.findall(r"\$\{([^}]+)\}", properties(resources, "Dashboard")["DashboardBody"]["Fn::Sub"]):
        assert variable == "AWS::Region" or variable.partition(".")[0] in resources
