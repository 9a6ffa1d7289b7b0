"""A template with its parameters filled in, as far as policies and names need it."""

import re

ACCOUNT, REGION, STACK = "123456789012", "us-east-1", "stack"
PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackName": STACK,
    "AWS::URLSuffix": "amazonaws.com",
}
ARNS = {
    "AWS::DynamoDB::Table": f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/",
    "AWS::Events::Rule": f"arn:aws:events:{REGION}:{ACCOUNT}:rule/",
    "AWS::IAM::Role": f"arn:aws:iam::{ACCOUNT}:role/",
    "AWS::KMS::Key": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/",
    "AWS::Lambda::Function": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:",
    "AWS::Logs::LogGroup": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:",
    "AWS::S3::Bucket": "arn:aws:s3:::",
    "AWS::SNS::Topic": f"arn:aws:sns:{REGION}:{ACCOUNT}:",
    "AWS::SQS::Queue": f"arn:aws:sqs:{REGION}:{ACCOUNT}:",
}
NO_VALUE = object()


class Rendered:
    """The resources of a template whose conditions hold, with their logical IDs for names."""

    def __init__(self, template, resources, **parameters):
        defaults = {name: each["Default"] for name, each in template["Parameters"].items() if "Default" in each}
        self.values = PSEUDO | {name: str(value) for name, value in (defaults | parameters).items()}
        self.conditions, self.declared = template["Conditions"], resources
        self.mappings = template.get("Mappings", {})
        self.resources = {
            name: self.of(each["Properties"])
            for name, each in resources.items()
            if "Condition" not in each or self.of({"Condition": each["Condition"]})
        }

    def arn(self, logical_id):
        kind = self.declared[logical_id]["Type"]
        return ARNS[kind] + logical_id + (":*" if kind == "AWS::Logs::LogGroup" else "")

    def of(self, part):
        if isinstance(part, list):
            return [value for value in map(self.of, part) if value is not NO_VALUE]
        if not isinstance(part, dict):
            return part
        if len(part) == 1:
            ((name, value),) = part.items()
            if name == "Condition" and isinstance(value, str):
                return self.of(self.conditions[value])
            if function := getattr(self, name.replace("Fn::", "").lower() + "_", None):
                return function(value)
        values = {name: self.of(value) for name, value in part.items()}
        return {name: value for name, value in values.items() if value is not NO_VALUE}

    def ref_(self, name):
        if name == "AWS::NoValue":
            return NO_VALUE
        if name in self.values:
            return self.values[name]
        return self.arn(name) if self.declared[name]["Type"] == "AWS::SNS::Topic" else name

    def getatt_(self, path):
        return self.arn(path[0]) if path[1] == "Arn" else path[0]

    def sub_(self, text):
        def value(match):
            return str(self.getatt_(match[1].split(".")) if "." in match[1] else self.ref_(match[1]))

        return re.sub(r"\$\{([\w:.]+)\}", value, text)

    def if_(self, value):
        return self.of(value[1] if self.of({"Condition": value[0]}) else value[2])

    def equals_(self, value):
        left, right = map(self.of, value)
        return str(left) == str(right)

    def not_(self, value):
        return not self.of(value[0])

    def and_(self, value):
        return all(self.of(value))

    def or_(self, value):
        return any(self.of(value))

    def findinmap_(self, value):
        name, first, second = map(self.of, value)
        return self.mappings[name][first][second]

    def split_(self, value):
        return self.of(value[1]).split(value[0])

    def select_(self, value):
        return self.of(value[1])[int(value[0])]
