"""Runs MiniStack, with two additions. `local_aws.py` starts it.

MiniStack logs that an e-mail subscriber would get mail, and drops the text. Here each mail is a JSON line in the file
`$MAILBOX`, so that an alert can be read as the team reads it.

CloudFormation makes a number of a parameter where a resource wants one; MiniStack hands a key's rotation period on as
the string that it came as, and KMS would answer with that.

Its own `main` would bind port 443 besides its own where TLS is on; this one does not.
"""

import asyncio
import json
import os
import signal
import sys
import threading

from hypercorn.asyncio import serve
from hypercorn.config import Config
from ministack.app import app
from ministack.services import sns
from ministack.services.cloudformation import provisioners

_deliver = sns._fanout


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


def _end_with_the_parent():
    # Nobody writes to this pipe; it ends with the process that started us, however that one ended. Functions that
    # MiniStack started are in our process group.
    sys.stdin.read()
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sns._fanout = _deliver_and_keep_mail
    provisioners._kms_apply_key_props = _apply_key_properties_with_numbers
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    config = Config()
    config.bind = [f"{os.environ['BIND_HOST']}:{os.environ['GATEWAY_PORT']}"]
    config.certfile, config.keyfile = os.environ["MINISTACK_SSL_CERT"], os.environ["MINISTACK_SSL_KEY"]
    asyncio.run(serve(app, config))
