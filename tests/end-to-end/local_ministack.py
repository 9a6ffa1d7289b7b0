"""Runs MiniStack, with some additions. `local_aws.py` starts it.

MiniStack logs that an e-mail subscriber would get mail, and drops the text. Here each mail is a JSON line in the file
`$MAILBOX`, so that an alert can be read as the team reads it.

A function can die as it publishes: where the file `$KILL` says `before` or `after`, the reporter does, once, and its
message is lost or delivered.

CloudFormation makes a number of a parameter where a resource wants one; MiniStack hands a key's rotation period on as
the string that it came as, and KMS would answer with that.

It knows no condition key of KMS, and not the one by which a policy tells a table's partitions apart. Here they have the
values that KMS and DynamoDB give them, so that the template's policies are enforced as they stand.

It does not see which request of CloudWatch it gets by the protocol that the SDK for Rust speaks, so it checks no
permission for it, and its trail has no name for it. Here the path tells.

It compares `aws:PrincipalArn` with the session of a role. On AWS the key holds the role's own ARN, and nothing where a
service calls; so it does here.

It looks at its schedules every ten seconds; here, every second.

A Distributed Map of it takes the number of children at once as a number, and not by a path. A state that waits goes on
after its execution was stopped. Here both are as on AWS.

All of its keys were made just now. Here a key can be older: by its tag `local-aws/created`, in seconds since 1970.

It has no rotation on demand and no last usage, and its trail does not know which key a call changed. Here the keys that
key-manager manages have the two, and the trail names every key by its ARN, as CloudTrail does.

Its rules never see what KMS and CloudTrail say of a key, and nobody may say it in their place. Here anybody may: an
event that a test puts there takes the way of the real one.

Lambda takes what a queue holds in batches as large as the mapping says, and waits its window for more. MiniStack takes
ten messages at most, at once.

Its own `main` would bind port 443 besides its own where TLS is on; this one does not.
"""

import asyncio
import contextlib
import json
import os
import pathlib
import re
import signal
import sys
import threading
import time

from hypercorn.asyncio import serve
from hypercorn.config import Config
from ministack import app as ministack
from ministack.core import iam_actions, iam_evaluator
from ministack.services import eventbridge, iam, kms, lambda_svc, scheduler, sns, sqs, stepfunctions
from ministack.services.cloudformation import provisioners

_deliver = sns._fanout


def _kill_the_reporter():
    for environment in pathlib.Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if b"Reporter" in environment.read_bytes().partition(b"AWS_LAMBDA_FUNCTION_NAME=")[2].partition(b"\0")[0]:
                os.kill(int(environment.parent.name), signal.SIGKILL)


def _deliver_or_die(*args, **kwargs):
    order = pathlib.Path(os.environ["KILL"])
    moment = order.read_text(encoding="utf-8") if order.exists() else None
    if moment:
        order.unlink()
    if moment != "before":
        _deliver_and_keep_mail(*args, **kwargs)
    if moment:
        _kill_the_reporter()


def _deliver_and_keep_mail(topic_arn, message_id, message, subject, message_structure="", *args, **kwargs):
    text = sns._resolve_message_for_protocol(message, message_structure, "email")
    for subscription in sns._topic_by_arn_any_scope(topic_arn)["subscriptions"]:
        if subscription["protocol"] == "email":
            mail = {"to": subscription["endpoint"], "subject": subject, "text": text}
            with open(os.environ["MAILBOX"], "a", encoding="utf-8") as mailbox:
                print(json.dumps(mail), file=mailbox)
    # Last: once the queue has an alert, its mail is there too.
    _deliver(topic_arn, message_id, message, subject, message_structure, *args, **kwargs)


_apply_key_properties = provisioners._kms_apply_key_props


def _apply_key_properties_with_numbers(key, properties):
    if "RotationPeriodInDays" in properties:
        properties = properties | {"RotationPeriodInDays": int(properties["RotationPeriodInDays"])}
    _apply_key_properties(key, properties)


_request_tags = iam_actions.request_tag_context


def _condition_keys(service, action, body, parameters):
    keys = _request_tags(service, action, body, parameters)
    if service == "kms":
        keys |= _of_kms(action, json.loads(body or b"{}"))
    if service == "dynamodb":
        keys["dynamodb:LeadingKeys"] = _partitions(json.loads(body or b"{}"))
    return keys


def _of_kms(action, request):
    keys = {f"kms:EncryptionContext:{name}": value for name, value in request.get("EncryptionContext", {}).items()}
    if action in ("kms:Encrypt", "kms:Decrypt"):
        keys["kms:EncryptionAlgorithm"] = request.get("EncryptionAlgorithm", "SYMMETRIC_DEFAULT")
    return keys


def _partitions(request):
    """The values of the partition key in a request: `pk`, or that of the index `waits`."""
    key = request.get("IndexName", "pk")
    items = [request.get("Item"), request.get("Key")]
    for writes in request.get("RequestItems", {}).values():
        items += [part for write in writes for change in write.values() for part in change.values()]
    values = [item["pk"] for item in items if item]
    names = request.get("ExpressionAttributeNames", {})
    for name, value in re.findall(r"(#?\w+) = (:\w+)", request.get("KeyConditionExpression", "")):
        if names.get(name, name) == key:
            values.append(request["ExpressionAttributeValues"][value])
    return [value["S"] for value in values] or None


_action, _resource, _event_name = (
    iam_actions.extract_iam_action,
    iam_actions.extract_resource_arn,
    ministack._ct_event_name,
)


def _operation_of_cloudwatch(service, path):
    operation = re.search(r"/operation/(\w+)$", path)
    return operation[1] if service == "monitoring" and operation else None


def _action_of_cloudwatch_too(service, method, path, *rest):
    operation = _operation_of_cloudwatch(service, path)
    return f"cloudwatch:{operation}" if operation else _action(service, method, path, *rest)


def _resource_of_cloudwatch_too(service, method, path, *rest):
    return "*" if _operation_of_cloudwatch(service, path) else _resource(service, method, path, *rest)


def _event_name_of_cloudwatch_too(service, method, path, *rest):
    return _operation_of_cloudwatch(service, path) or _event_name(service, method, path, *rest)


_condition_key = iam_evaluator._resolve_condition_key


def _condition_key_as_on_aws(key, context):
    value = _condition_key(key, context)
    if key.lower() != "aws:principalarn":
        return value
    session = re.fullmatch(r"arn:aws:sts::(\d+):assumed-role/([^/]+)/.*", value)
    if session:
        return iam._roles.get_scoped(session[1], None, session[2])["Arn"]
    return None if value == "*" else value


_create_key = kms._create_key


def _create_key_of_any_age(request):
    status, headers, body = _create_key(request)
    for tag in request.get("Tags", []):
        if tag["TagKey"] == "local-aws/created":
            kms._keys[json.loads(body)["KeyMetadata"]["KeyId"]]["CreationDate"] = int(tag["TagValue"])
    return status, headers, body


_handle_kms, _resources_of_event = kms.handle_request, ministack._ct_resources


async def _handle_kms_of_managed_keys(method, path, headers, body, query):
    answer = _OF_MANAGED_KEYS.get(headers.get("x-amz-target", "").rpartition(".")[2])
    key = kms._resolve_key(json.loads(body)["KeyId"]) if answer else None
    if key and {"TagKey": "kms-compliance/managed", "TagValue": "true"} in key["Tags"]:
        return kms.json_response(answer(key))
    return await _handle_kms(method, path, headers, body, query)


def _rotate(key):
    rotation = {"KeyId": key["Arn"], "RotationDate": int(time.time()), "RotationType": "ON_DEMAND"}
    key.setdefault("Rotations", []).append(rotation)
    return {"KeyId": key["Arn"]}


def _rotations(key):
    return {"Rotations": key.get("Rotations", []), "Truncated": False}


def _never_used(key):
    since = key["CreationDate"]
    return {"KeyId": key["Arn"], "KeyLastUsage": {}, "TrackingStartDate": since, "KeyCreationDate": since}


_OF_MANAGED_KEYS = {"RotateKeyOnDemand": _rotate, "ListKeyRotations": _rotations, "GetKeyLastUsage": _never_used}


def _resources_of_event_with_keys(service, method, path, body):
    request = json.loads(body or b"{}") if service == "kms" else {}
    key = kms._resolve_key(request.get("KeyId") or request.get("TargetKeyId"))
    if key:
        return [{"ResourceName": key["Arn"], "ResourceType": "AWS::KMS::Key"}]
    return _resources_of_event(service, method, path, body)


_put_events = eventbridge._put_events


def _put_events_of_anybody(data, **_):
    return _put_events(data, allow_aws_source=True)


_receive = sqs._receive_messages_for_esm


def _receive_a_whole_batch(queue_url, size):
    queue = sqs._queues[queue_url]
    arn, now = queue["attributes"]["QueueArn"], time.time()
    (window,) = [
        mapping["MaximumBatchingWindowInSeconds"]
        for mapping in lambda_svc._esms.values()
        if mapping["EventSourceArn"] == arn
    ]
    waiting = [now - message["visible_at"] for message in list(queue["messages"]) if message["visible_at"] <= now]
    batch = []
    if len(waiting) >= size or max(waiting, default=-1) >= window:
        while part := _receive(queue_url, size - len(batch)):
            batch += part
    return batch


_distributed_map, _wait = stepfunctions._run_distributed_map, stepfunctions._execute_wait


def _distributed_map_by_path(state, raw_input, effective, *args):
    if path := state.get("MaxConcurrencyPath"):
        state = state | {"MaxConcurrency": stepfunctions._resolve_path(path, effective)}
    return _distributed_map(state, raw_input, effective, *args)


def _wait_unless_stopped(state, raw_input, context=None):
    result = _wait(state, raw_input, context)
    execution = stepfunctions._executions.get(context["Execution"]["Id"])
    if execution["status"] != "RUNNING":
        raise stepfunctions._ExecutionError("States.Runtime", "the execution was stopped")
    return result


def _end_with_the_parent():
    # Nobody writes to this pipe; it ends with the process that started us, however that one ended. Functions that
    # MiniStack started are in our process group.
    sys.stdin.read()
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sns._fanout = _deliver_or_die
    provisioners._kms_apply_key_props = _apply_key_properties_with_numbers
    iam_actions.request_tag_context = _condition_keys
    iam_actions.extract_iam_action = _action_of_cloudwatch_too
    iam_actions.extract_resource_arn = _resource_of_cloudwatch_too
    ministack._ct_event_name = _event_name_of_cloudwatch_too
    iam_evaluator._resolve_condition_key = _condition_key_as_on_aws
    kms._create_key = _create_key_of_any_age
    kms.handle_request = _handle_kms_of_managed_keys
    ministack._ct_resources = _resources_of_event_with_keys
    scheduler._SCHEDULE_TICK_INTERVAL = 1
    eventbridge._put_events = _put_events_of_anybody
    sqs._receive_messages_for_esm = _receive_a_whole_batch
    stepfunctions._run_distributed_map = _distributed_map_by_path
    stepfunctions._execute_wait = _wait_unless_stopped
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    config = Config()
    config.bind = [f"{os.environ['BIND_HOST']}:{os.environ['GATEWAY_PORT']}"]
    config.certfile, config.keyfile = os.environ["MINISTACK_SSL_CERT"], os.environ["MINISTACK_SSL_KEY"]
    asyncio.run(serve(ministack.app, config))
