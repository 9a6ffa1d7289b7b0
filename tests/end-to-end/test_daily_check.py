"""The daily check's state machine, as its file and the template have it."""

import json
import re

import pytest
from cfnlint.api import lint_all

import state_machine
from local_aws import PLANNER, REPORTER, daily, functions, read_template
from template import arn_of, properties

MACHINE = state_machine.definition()
STATES = state_machine.states(MACHINE)
CHECKS = functions(read_template())
MAP = STATES["Check"]
CHILD = MAP["ItemProcessor"]
INVOKE = "arn:${Partition}:states:::lambda:invoke"


def within(part):
    """All objects in a part of the definition."""
    if isinstance(part, dict):
        yield part
    for each in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from within(each)


def test_the_page_that_shows_it_is_made_from_the_file():
    made = state_machine.page(MACHINE)
    old = state_machine.PAGE.read_text(encoding="utf-8") if state_machine.PAGE.exists() else ""
    state_machine.PAGE.write_text(made, encoding="utf-8")
    assert made == old, "docs/daily-check.md was older than the definition; it is written anew"


def test_it_is_a_state_machine_as_cfn_lint_knows_them():
    definition = json.loads(json.dumps(MACHINE).replace("${Partition}", "aws"))
    role = "arn:aws:iam::123456789012:role/daily-check"
    made = {"Type": "AWS::StepFunctions::StateMachine", "Properties": {"RoleArn": role, "Definition": definition}}
    assert lint_all(json.dumps({"Resources": {"DailyCheck": made}})) == []


def test_the_local_aws_evaluates_all_of_it():
    """Neither JSONata nor what grows with the number of targets; and no time-out on the whole."""
    keys = {key for each in within(MACHINE) for key in each}
    assert not keys & {"QueryLanguage", "ResultWriter", "ItemBatcher", "Arguments", "Output", "Assign"}
    assert "TimeoutSeconds" not in MACHINE
    assert len(STATES) == sum(len(each["States"]) for each in state_machine.machines(MACHINE))


def test_it_calls_the_functions_of_the_template_and_no_other(resources):
    made = properties(resources, "DailyCheck")
    substitutions = made["DefinitionSubstitutions"]
    wanted = set(re.findall(r"\$\{(\w+)\}", json.dumps(MACHINE)))
    assert wanted == set(substitutions)
    called = {each["Parameters"]["FunctionName"] for each in STATES.values() if each.get("Resource") == INVOKE}
    assert called == {f"${{{logical_id}}}" for logical_id in daily(read_template()).values()}
    for logical_id in daily(read_template()).values():
        assert substitutions[logical_id] == arn_of(logical_id)
    assert made["StateMachineType"] == "STANDARD"


def test_each_target_is_a_child_in_which_all_checks_run_beside_each_other():
    assert CHILD["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
    together = CHILD["States"][CHILD["StartAt"]]
    assert {branch["StartAt"] for branch in together["Branches"]} == CHECKS.keys()
    last = CHILD["States"][together["Next"]]
    assert (last["Type"], last["Result"], last["End"]) == ("Pass", {}, True)
    # What one target does stops no other.
    assert MAP["ToleratedFailurePercentage"] == 100
    assert MAP["ResultPath"] is None and together["ResultPath"] is None
    assert MAP["ItemReader"]["Resource"].endswith(":s3:getObject")


@pytest.mark.parametrize(("function", "logical_id"), CHECKS.items())
def test_a_check_records_and_says_what_came_of_it_in_short(function, logical_id):
    payload = STATES[function]["Parameters"]["Payload"]
    assert payload == {
        "id.$": "$.execution",
        "detail": {"target.$": "$.target", "notify": "later", "response": "summary"},
    }
    # A child has an execution of its own: the parent's name is handed down.
    assert MAP["ItemSelector"]["execution.$"] == "$$.Execution.Name"
    assert MAP["ItemSelector"]["target"].keys() == {"account_id.$", "region.$"}
    assert STATES[function]["ResultPath"] is None
    caught = STATES[STATES[function]["Catch"][0]["Next"]]
    assert caught["Resource"].endswith(":dynamodb:putItem")
    item = caught["Parameters"]["Item"]
    assert item["pk"] == {"S.$": "States.Format('run#{}', $.execution)"}
    assert item["sk"] == {"S.$": f"States.Format('{{}}#{{}}#{function}', $.target.account_id, $.target.region)"}
    assert item.keys() == {"pk", "sk", "error", "cause", "expires_at"}


@pytest.mark.parametrize("name", [name for name, state in STATES.items() if state.get("Resource") == INVOKE])
def test_a_call_has_a_limit_and_is_made_again_where_that_helps(name, source):
    state = STATES[name]
    assert state["TimeoutSeconds"] == source["Globals"]["Function"]["Timeout"] == 900
    again = {error: each for each in state["Retry"] for error in each["ErrorEquals"]}
    assert again.keys() >= {"Lambda.TooManyRequestsException", "Lambda.ServiceException", "LedgerUnavailable"}
    never = {"InvalidEvent", "InvalidConfiguration", "TargetNotReachable", "States.ALL", "States.TaskFailed"}
    assert not again.keys() & never
    # A run can hold the ledger for 900 s.
    waited = map(int, state_machine.waits(again["LedgerUnavailable"]).split(", "))
    assert sum(waited) > 900


def test_what_fails_without_a_catch_fails_the_execution(source):
    uncaught = {name for name, state in STATES.items() if state["Type"] == "Task" and "Catch" not in state}
    assert uncaught == {"Plan", "Tell", *(f"{function} failed" for function in CHECKS)}
    assert STATES["Checks failed"]["Type"] == "Fail"
    (rule,) = STATES["Did every check answer?"]["Choices"]
    assert (rule["Variable"], rule["NumericGreaterThan"], rule["Next"]) == ("$.failed", 0, "Checks failed")


def test_what_is_critical_does_not_wait_for_a_long_run(source, resources):
    work, early = STATES["Check and tell"]["Branches"]
    wait = early["States"][early["StartAt"]]
    assert (wait["Type"], wait["SecondsPath"]) == ("Wait", "$.early_report_seconds")
    assert STATES[wait["Next"]]["Parameters"]["Payload"]["detail"] == {"min_severity": "CRITICAL"}
    # Of how many targets something should be written: one that is missing failed without a word.
    assert STATES["Tell"]["Parameters"]["Payload"]["detail"] == {"targets.$": "$.targets", "notices.$": "$.notices"}
    # The reporter begins 10 s after the last check: the index learns late.
    assert (STATES[MAP["Next"]]["Type"], STATES[MAP["Next"]]["Seconds"]) == ("Wait", 10)
    assert STATES[STATES[MAP["Next"]]["Next"]] is work["States"]["Tell"]
    minutes = source["Parameters"]["EarlyReportMinutes"]
    assert minutes["Default"] == 30
    seconds = source["Mappings"]["EarlyReport"]
    assert seconds == {str(each): {"Seconds": 60 * each} for each in minutes["AllowedValues"]}
    substitutions = properties(resources, "DailyCheck")["DefinitionSubstitutions"]
    assert substitutions["EarlyReportSeconds"] == {
        "Fn::FindInMap": ["EarlyReport", {"Ref": "EarlyReportMinutes"}, "Seconds"]
    }
    assert substitutions["MaxConcurrency"] == {"Ref": "MaxConcurrency"}
    assert source["Parameters"]["MaxConcurrency"]["Default"] == 5


def test_no_name_is_longer_than_a_state_may_have():
    assert max(map(len, STATES)) <= 80 and len(MAP["Label"]) <= 40
    assert {PLANNER, REPORTER}.isdisjoint(CHECKS)
