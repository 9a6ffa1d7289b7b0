"""From a change of a key to a run that looks at that key alone: rules, queues and what happens on the way."""

import json
import time

import pytest

import fleet
import key_events
from conftest import HEALTH, KINDS, ROTATION, rotation_off, run
from local_aws import REGION, functions, listeners, read_template, receive
from template import ACCOUNT, arn_of, properties
from test_deployed import log_lines

# Functions that are told of events, by the logical ID that the names of their queue and rules begin with.
LISTENERS = {each: functions(read_template())[each] for each in key_events.RULES}
FOR_EVENTS = listeners(read_template())
PLACES, KEY_STORES = ("ApiCallRule", "KeyEventRule"), "HealthProberKeyStores"
GRANTS = "AccessCheckerGrantRule"
OF_GRANTS = "$.detail.responseElements.keyId"


def rules_of(function):
    """The rules that feed a function's queue."""
    places = ("ApiCallRule", "GrantRule") if function == "access-checker" else PLACES
    return [f"{LISTENERS[function]}{place}" for place in places]


ALL_RULES = [*(rule for each in LISTENERS for rule in rules_of(each)), KEY_STORES]
ARN = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
every_listener = pytest.mark.parametrize(("function", "logical_id"), LISTENERS.items())


# ---- The template ----------------------------------------------------------------------------------------------------


def test_every_function_with_rules_is_here():
    assert FOR_EVENTS.keys() == key_events.RULES.keys()


@every_listener
def test_the_rules_take_the_accounts_own_successful_requests_and_kms_own_events(resources, function, logical_id):
    calls, own = key_events.RULES[function]
    of_requests = properties(resources, f"{logical_id}ApiCallRule")["EventPattern"]
    assert set(of_requests["detail"].pop("eventName")) == calls
    assert of_requests == {
        "account": [ACCOUNT],
        "source": ["aws.kms"],
        "detail-type": [key_events.API_CALL],
        "detail": {"eventSource": ["kms.amazonaws.com"], "errorCode": [{"exists": False}]},
    }
    if own:
        of_kms = properties(resources, f"{logical_id}KeyEventRule")["EventPattern"]
        assert set(of_kms.pop("detail-type")) == own
        assert of_kms == {"account": [ACCOUNT], "source": ["aws.kms"]}


def test_the_rule_for_grants_leaves_out_those_that_services_make(resources):
    pattern = properties(resources, GRANTS)["EventPattern"]
    assert set(pattern["detail"].pop("eventName")) == key_events.GRANT_CALLS
    assert pattern == {
        "account": [ACCOUNT],
        "source": ["aws.kms"],
        "detail-type": [key_events.API_CALL],
        "detail": {
            "eventSource": ["kms.amazonaws.com"],
            "userIdentity": {"invokedBy": [{"exists": False}]},
            "responseElements": {"keyId": [{"exists": True}]},
            "errorCode": [{"exists": False}],
        },
    }


@every_listener
def test_a_rule_hands_on_the_key_and_loses_nothing(resources, function, logical_id):
    places = dict(zip(PLACES, ("$.detail.requestParameters.keyId", "$.detail.key-id"), strict=True))
    if function == "access-checker":
        places = {"ApiCallRule": places["ApiCallRule"], "GrantRule": OF_GRANTS}
    for place, path in places.items():
        rule = properties(resources, f"{logical_id}{place}")
        assert rule.get("State", "ENABLED") == "ENABLED" and "EventBusName" not in rule
        assert rule["Targets"] == [
            {
                "Id": "queue",
                "Arn": arn_of(f"{logical_id}EventQueue"),
                "InputTransformer": {
                    "InputPathsMap": {"key": path},
                    "InputTemplate": '{"detail": {"keys": ["<key>"]}}',
                },
                "DeadLetterConfig": {"Arn": arn_of("KeyEventDeadLetterQueue")},
            }
        ]


@every_listener
def test_the_queue_waits_until_kms_is_consistent_and_gives_up_late(resources, function, logical_id):
    queue, mapping = (
        properties(resources, f"{logical_id}EventQueue"),
        properties(resources, f"{FOR_EVENTS[function]}Queue"),
    )
    assert queue["DelaySeconds"] == 60
    timeout = properties(resources, FOR_EVENTS[function])["Timeout"]
    # What AWS advises; less, and a message is handed out again while its run goes on.
    assert queue["VisibilityTimeout"] == 6 * timeout + mapping["MaximumBatchingWindowInSeconds"]
    attempts = queue["RedrivePolicy"]
    assert attempts == {"deadLetterTargetArn": arn_of("KeyEventDeadLetterQueue"), "maxReceiveCount": 5}
    # What a run gives back is tried again within minutes, and longer than a daily run can hold the ledger's lease.
    assert queue["VisibilityTimeout"] <= 10 * 60
    assert queue["VisibilityTimeout"] * attempts["maxReceiveCount"] > 2 * properties(resources, logical_id)["Timeout"]


@every_listener
def test_a_burst_becomes_a_few_runs_that_give_back_single_messages(resources, function, logical_id):
    assert properties(resources, f"{FOR_EVENTS[function]}Queue") == {
        "EventSourceArn": arn_of(f"{logical_id}EventQueue"),
        "FunctionName": {"Ref": FOR_EVENTS[function]},
        "BatchSize": 1000,
        "MaximumBatchingWindowInSeconds": 60,
        "ScalingConfig": {"MaximumConcurrency": 2},
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
    }


@pytest.mark.parametrize(
    ("queue", "rules"),
    [
        *((f"{LISTENERS[each]}EventQueue", rules_of(each)) for each in LISTENERS),
        ("KeyEventDeadLetterQueue", ALL_RULES),
    ],
)
def test_its_rules_alone_may_write_to_a_queue(resources, queue, rules):
    policy = properties(resources, f"{queue}Policy")
    assert policy["Queues"] == [{"Ref": queue}]
    allow, tls = policy["PolicyDocument"]["Statement"]
    allowed = allow.pop("Condition")["ArnEquals"]["aws:SourceArn"]
    assert sorted(map(json.dumps, allowed)) == sorted(json.dumps(arn_of(rule)) for rule in rules)
    assert allow == {
        "Sid": "Rules",
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn_of(queue),
    }
    assert (tls["Effect"], tls["Principal"], tls["Action"], tls["Resource"]) == ("Deny", "*", "sqs:*", arn_of(queue))
    assert tls["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_what_names_a_key_store_and_no_key_starts_a_run_over_all_keys(resources):
    rule = properties(resources, KEY_STORES)
    assert set(rule["EventPattern"]["detail"].pop("eventName")) == set(key_events.KEY_STORE_CALLS)
    assert rule["EventPattern"] == {
        "account": [ACCOUNT],
        "source": ["aws.kms"],
        "detail-type": [key_events.API_CALL],
        "detail": {"eventSource": ["kms.amazonaws.com"], "errorCode": [{"exists": False}]},
    }
    (target,) = rule["Targets"]
    assert (target["Arn"], target["Input"]) == (arn_of("HealthProber"), "{}")
    assert target["DeadLetterConfig"] == {"Arn": arn_of("KeyEventDeadLetterQueue")}


# ---- The deployed rules ----------------------------------------------------------------------------------------------


def rules_that_take(deployment, event):
    events, taking = deployment.aws.client("events"), set()
    for rule in ALL_RULES:
        pattern = events.describe_rule(Name=deployment.physical_id(rule))["EventPattern"]
        if events.test_event_pattern(EventPattern=pattern, Event=json.dumps(event))["Result"]:
            taking.add(rule)
    return taking


@pytest.mark.parametrize("name", key_events.KEY_STORE_CALLS)
def test_a_request_about_a_key_store_is_taken_by_the_rule_for_it(deployment, name):
    call = key_events.key_store_call(name, "123456789012", REGION)
    assert rules_that_take(deployment, call) == {KEY_STORES}
    assert rules_that_take(deployment, key_events.failed(call, "CustomKeyStoreInvalidStateException")) == set()
    assert rules_that_take(deployment, key_events.of_account(call, "999999999999")) == set()


@pytest.mark.parametrize("name", key_events.CALLS)
def test_a_successful_request_is_taken_by_the_rules_for_it(deployment, name):
    expected = {
        f"{LISTENERS[function]}ApiCallRule" for function, (calls, _) in key_events.RULES.items() if name in calls
    } | ({GRANTS} if name in key_events.GRANT_CALLS else set())
    for by_id in (True, False):
        assert rules_that_take(deployment, key_events.api_call(name, ARN, by_id)) == expected


@pytest.mark.parametrize("name", key_events.CALLS)
def test_grants_that_a_service_made_are_left_to_the_daily_run(deployment, name):
    taken = rules_that_take(deployment, key_events.api_call(name, ARN))
    assert rules_that_take(deployment, key_events.by_service(key_events.api_call(name, ARN))) == taken - {GRANTS}


@pytest.mark.parametrize("kind", key_events.OWN)
def test_kms_own_event_is_taken_by_the_rules_for_it(deployment, kind):
    assert rules_that_take(deployment, key_events.own(kind, ARN)) == {
        f"{LISTENERS[function]}KeyEventRule" for function, (_, own) in key_events.RULES.items() if kind in own
    }


@pytest.mark.parametrize("name", key_events.CALLS)
def test_no_failed_request_and_no_other_accounts_is_taken(deployment, name):
    call = key_events.api_call(name, ARN)
    for code in ("AccessDenied", "KMSInvalidStateException", "NotFoundException"):
        assert rules_that_take(deployment, key_events.failed(call, code)) == set()
    assert rules_that_take(deployment, key_events.of_account(call, "999999999999")) == set()
    assert rules_that_take(deployment, call | {"source": "aws.s3"}) == set()
    assert rules_that_take(deployment, call | {"detail": call["detail"] | {"eventSource": "s3.amazonaws.com"}}) == set()


@pytest.mark.parametrize("kind", key_events.OWN)
def test_no_other_accounts_event_is_taken(deployment, kind):
    assert rules_that_take(deployment, key_events.of_account(key_events.own(kind, ARN), "999999999999")) == set()


# ---- Through the queue -----------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(deployment):
    """A deployment whose queues wait not at all, and whose mappings a second, where the real ones wait a minute."""
    sqs = deployment.aws.client("sqs")
    for function, logical_id in LISTENERS.items():
        url = deployment.outputs[f"{logical_id}EventQueueUrl"]
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "0", "VisibilityTimeout": "20"})
        name = deployment.physical_id(FOR_EVENTS[function])
        (mapping,) = deployment.lambda_.list_event_source_mappings(FunctionName=name)["EventSourceMappings"]
        deployment.lambda_.update_event_source_mapping(UUID=mapping["UUID"], MaximumBatchingWindowInSeconds=1)
    return deployment


def put(deployment, *events):
    """What CloudTrail and KMS put on the bus."""
    entries = [
        {
            "Source": event["source"],
            "DetailType": event["detail-type"],
            "Resources": event["resources"],
            "Detail": json.dumps(event["detail"]),
        }
        for event in events
    ]
    client = deployment.aws.client("events")
    for i in range(0, len(entries), 10):
        assert client.put_events(Entries=entries[i : i + 10])["FailedEntryCount"] == 0


def runs(deployment, function):
    """How many keys each run so far looked at."""
    lines = log_lines(deployment, function)
    return [line["keys_listed"] for line in lines if line.get("message") == "the run is done"]


def new_runs(deployment, function, before, wait=20):
    """The runs since there were `before`, once there is one and for as long as more come."""
    deadline = time.monotonic() + wait
    while len(found := runs(deployment, function)) == before and time.monotonic() < deadline:
        time.sleep(0.3)
    while True:
        time.sleep(2.5)
        if len(more := runs(deployment, function)) == len(found):
            return found[before:]
        found = more


@pytest.mark.parametrize("by_id", [True, False])
def test_a_request_leads_to_an_alert_on_its_key_alone_and_the_daily_run_is_silent_about_it(known, impatient, by_id):
    before = len(runs(known, ROTATION))
    with rotation_off(known, "alias/backups") as finding:
        put(known, key_events.api_call("DisableKeyRotation", finding[0], by_id))
        (alert,) = known.alerts(20)
        told = json.loads(alert["Message"])["new"]
        assert [(each["key_arn"], each["control"]) for each in told] == [finding]
        assert new_runs(known, ROTATION, before) == [1]
        assert run(known)[1] == {}


def told_at_once(deployment, event):
    """What the alert tells that an event leads to."""
    put(deployment, event)
    (alert,) = deployment.alerts(20)
    return {kind: {(each["key_arn"], each["control"]) for each in json.loads(alert["Message"])[kind]} for kind in KINDS}


def only(**told):
    return dict.fromkeys(KINDS, set()) | {kind: {finding} for kind, finding in told.items()}


def test_the_end_of_a_key_is_told_when_it_is_scheduled_and_taken_back_when_it_is_not(known, impatient):
    kms, arn = known.aws.client("kms"), known.keys["alias/payments"].arn
    leaving, unusable = (arn, "pending-deletion"), (arn, "key-usable")
    kms.schedule_key_deletion(KeyId=arn, PendingWindowInDays=7)
    try:
        assert told_at_once(known, key_events.api_call("ScheduleKeyDeletion", arn)) == only(new=leaving)
        assert run(known, HEALTH)[1] == {}
        kms.cancel_key_deletion(KeyId=arn)
        # It stays disabled.
        event = key_events.api_call("CancelKeyDeletion", arn)
        assert told_at_once(known, event) == only(resolved=leaving, new=unusable)
    finally:
        kms.cancel_key_deletion(KeyId=arn)
        kms.enable_key(KeyId=arn)
    assert told_at_once(known, key_events.api_call("EnableKey", arn)) == only(resolved=unusable)
    assert run(known, HEALTH)[1] == {}


def test_imported_material_that_is_gone_is_told_when_kms_says_so(known, impatient):
    kms, arn = known.aws.client("kms"), known.keys["alias/ledger"].arn
    kms.delete_imported_key_material(KeyId=arn)
    try:
        event = key_events.own("KMS Imported Key Material Expiration", arn)
        assert told_at_once(known, event) == only(new=(arn, "key-usable"))
    finally:
        fleet.import_material(kms, arn, None)
    assert run(known, HEALTH)[1] == {"resolved": {(arn, "key-usable")}}


def test_kms_own_event_leads_to_a_run_on_its_key_alone(quiet, impatient):
    before = len(runs(quiet, ROTATION))
    put(quiet, key_events.own("KMS CMK Rotation", quiet.keys["alias/backups"].arn))
    assert new_runs(quiet, ROTATION, before) == [1]
    assert quiet.alerts() == []


def test_five_hundred_events_at_once_lead_to_few_runs_and_one_mail(known, impatient):
    before = len(runs(known, ROTATION))
    arns = [key.arn for key in known.keys.values()]
    with rotation_off(known, "alias/backups") as finding:
        put(known, *(key_events.api_call("DisableKeyRotation", arns[i % len(arns)]) for i in range(500)))
        listed = new_runs(known, ROTATION, before)
    assert len(listed) <= 5 and max(listed) == len(arns)
    told = [json.loads(alert["Message"])["new"] for alert in known.alerts(1, least=2)]
    assert [[(each["key_arn"], each["control"]) for each in new] for new in told] == [[finding]]


def test_a_message_that_nobody_understands_ends_in_the_dead_letter_queue_and_stops_nothing(quiet, impatient):
    sqs, url = quiet.aws.client("sqs"), quiet.outputs["RotationCheckerEventQueueUrl"]
    policy = json.loads(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]["RedrivePolicy"])
    sooner = json.dumps(policy | {"maxReceiveCount": 2})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "1", "RedrivePolicy": sooner})
    before = len(runs(quiet, ROTATION))
    malformed = {"detail": {"keys": [""]}}  # what a transformer makes of an event that names no key
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps(malformed))
    put(quiet, key_events.api_call("EnableKeyRotation", quiet.keys["alias/payments"].arn))
    (alert,) = quiet.alerts(20)
    assert [each["aliases"] for each in json.loads(alert["Message"])["new"]] == [["alias/payments"]]
    assert receive(sqs, quiet.outputs["KeyEventDeadLetterQueueUrl"], wait=60) == [malformed]
    assert new_runs(quiet, ROTATION, before) == [1]


def test_an_event_outlasts_a_daily_run_that_holds_the_ledger(known, impatient):
    """Some 45 times as fast as the real ones: the run holds it for 20 s, and what is given back comes again after 9."""
    sqs, dynamodb = known.aws.client("sqs"), known.aws.client("dynamodb")
    function, url = known.physical_id(FOR_EVENTS[ROTATION]), known.outputs["RotationCheckerEventQueueUrl"]
    attempts = json.loads(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]["RedrivePolicy"])
    sqs.set_queue_attributes(
        QueueUrl=url,
        Attributes={"VisibilityTimeout": "9", "RedrivePolicy": json.dumps(attempts | {"maxReceiveCount": 5})},
    )
    known.lambda_.update_function_configuration(FunctionName=function, Timeout=3)
    began = time.time()
    lease = {"owner": {"S": "a daily run"}, "attempt": {"S": "its first"}, "telling": {"BOOL": True}}
    lease |= {"pk": {"S": f"123456789012#{REGION}#{ROTATION}"}, "sk": {"S": "lease"}}
    lease["ends_at"] = {"N": str(round((began + 20) * 1000))}
    try:
        with rotation_off(known, "alias/backups") as finding:
            dynamodb.put_item(TableName=known.outputs["FindingsTableName"], Item=lease)
            put(known, key_events.api_call("DisableKeyRotation", finding[0]))
            (alert,) = known.alerts(60)
            assert time.time() - began > 19
            assert [(each["key_arn"], each["control"]) for each in json.loads(alert["Message"])["new"]] == [finding]
    finally:
        known.lambda_.update_function_configuration(FunctionName=function, Timeout=60)
    assert receive(sqs, known.outputs["KeyEventDeadLetterQueueUrl"], wait=0) == []
    assert run(known)[1] == {"resolved": {finding}}
