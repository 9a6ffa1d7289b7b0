"""What `make package` makes, deployed by plain CloudFormation under the longest name that a stack may have."""

import hashlib
import json
import zipfile

import pytest
from samcli.yamlhelper import yaml_parse

from conftest import FINDINGS, ROTATION
from executions import Executions
from local_aws import NOT_YET, PARAMETERS, REGION, Subscriber, daily, read_template
from package import TEMPLATE, package, write_zip
from template import of_type

STACK, FOLDER = "StackSet-" + "s" * 51, "kms-compliance-monitor/0.1.0/"


@pytest.fixture(scope="module")
def packaged(deployment):
    directory = deployment.aws.directory / "dist"
    package(deployment.template, directory)
    return directory


def test_every_file_has_its_checksum(packaged):
    sums = dict(reversed(line.split("  ")) for line in (packaged / "SHA256SUMS").read_text().splitlines())
    files = {path.name: path for path in packaged.iterdir() if path.name != "SHA256SUMS"}
    assert sums == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    zips = [name for name in files if name.endswith(".zip")]
    assert len(zips) == len(daily(read_template())) + 1  # key-manager is one program in two functions
    for name in zips:
        # A new program has a new name.
        with zipfile.ZipFile(files[name]) as file:
            (entry,) = file.infolist()
            assert (entry.filename, entry.external_attr >> 16 & 0o777) == ("bootstrap", 0o755)
        assert sums[name][:16] in name


def test_the_same_program_makes_the_same_zip(tmp_path):
    for name, content in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / name).write_bytes(content)
        write_zip(tmp_path / f"{name}.zip", tmp_path / name)
    a, b, c = ((tmp_path / f"{name}.zip").read_bytes() for name in "abc")
    assert a == b != c


def test_the_template_needs_no_transform_and_names_no_region(packaged):
    template = yaml_parse((packaged / TEMPLATE).read_text())
    assert "Transform" not in template and "Globals" not in template
    assert not [each for each in template["Resources"].values() if each["Type"].startswith("AWS::Serverless")]
    assert REGION not in json.dumps(template)
    names = {path.name for path in packaged.iterdir()}
    for function in of_type(template["Resources"], "AWS::Lambda::Function").values():
        code = function["Properties"]["Code"]
        assert code["S3Bucket"] == {"Fn::Sub": "${CodeBucketPrefix}-${AWS::Region}"}
        assert code["S3Key"]["Fn::Sub"].removeprefix("${CodeKeyPrefix}") in names
    definition = template["Resources"]["DailyCheck"]["Properties"]["DefinitionS3Location"]
    assert definition["Bucket"] == {"Fn::Sub": "${CodeBucketPrefix}-${AWS::Region}"}
    assert definition["Key"]["Fn::Sub"].removeprefix("${CodeKeyPrefix}") in names


def test_the_bill_of_materials_names_what_is_compiled_in_and_nothing_else(packaged):
    bill = json.loads((packaged / "sbom.cdx.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    found = {each["name"]: each for each in bill["components"]}
    assert found.keys() >= {*daily(read_template()), "aws-sdk-kms", "tokio", "ring"}
    assert not found.keys() & {"simulated-fleet", "proptest", "insta"}  # of tests alone
    assert not found.keys() & {"aws-sdk-sso", "clap", "comfy-table"}  # of the program for terminals
    for each in bill["components"]:
        assert each["purl"] == f"pkg:cargo/{each['name']}@{each['version']}"
        assert "hashes" in each or each["version"] == found[ROTATION]["version"]


def test_plain_cloudformation_deploys_it_with_a_topic_of_yours(deployment, packaged):
    aws, tags = deployment.aws, [{"Key": "Application", "Value": "kms-compliance-monitor"}]
    s3, cloudformation = aws.client("s3"), aws.client("cloudformation")
    bucket = f"artifacts-{REGION}"
    s3.create_bucket(Bucket=bucket)
    for path in packaged.iterdir():
        s3.upload_file(str(path), bucket, FOLDER + path.name)
    topic = aws.client("sns").create_topic(Name="theirs")["TopicArn"]
    theirs = Subscriber(aws, "theirs", topic)
    parameters = PARAMETERS | {
        "CodeBucketPrefix": "artifacts",
        "CodeKeyPrefix": FOLDER,
        "Environment": "prod",
        "ExistingAlertTopicArn": topic,
        "ExistingAlertKeyArn": deployment.outputs["AlertKeyArn"],
        "ScheduleExpression": NOT_YET,
        "MonitoredKeys": ",".join(key.arn for key in deployment.keys.values())[:700].rpartition(",")[0],
    }
    assert len(STACK) == 60
    cloudformation.create_stack(
        StackName=STACK,
        TemplateURL=f"{aws.environment['AWS_ENDPOINT_URL']}/{bucket}/{FOLDER}{TEMPLATE}",
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
        Capabilities=["CAPABILITY_IAM"],
        Tags=tags,
    )
    cloudformation.get_waiter("stack_create_complete").wait(StackName=STACK, WaiterConfig={"Delay": 1})
    try:
        (stack,) = cloudformation.describe_stacks(StackName=STACK)["Stacks"]
        outputs = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
        assert outputs["AlertTopicArn"] == topic
        answer = Executions(aws, outputs["DailyCheckArn"]).run()
        assert answer["alerts"]["messages_published"] == 1, answer
        (alert,) = theirs.receive(10)
        new = [each for each in json.loads(alert["Message"])["new"] if each["function"] == ROTATION]
        assert {each["aliases"][0] for each in new} <= {each[0] for each in FINDINGS[ROTATION]} and new
        assert deployment.lambda_.list_tags(Resource=outputs["RotationCheckerArn"])["Tags"].items() >= {
            (each["Key"], each["Value"]) for each in tags
        }
    finally:
        cloudformation.delete_stack(StackName=STACK)
        cloudformation.get_waiter("stack_delete_complete").wait(StackName=STACK, WaiterConfig={"Delay": 1})


def test_prod_is_refused_without_somebody_who_hears(deployment, packaged):
    cloudformation = deployment.aws.client("cloudformation")
    template = f"{deployment.aws.environment['AWS_ENDPOINT_URL']}/artifacts-{REGION}/{FOLDER}{TEMPLATE}"

    def refused(**changes):
        parameters = PARAMETERS | {"CodeBucketPrefix": "artifacts", "CodeKeyPrefix": FOLDER} | changes
        with pytest.raises(cloudformation.exceptions.ClientError) as error:
            cloudformation.create_stack(
                StackName="refused",
                TemplateURL=template,
                Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
                Capabilities=["CAPABILITY_IAM"],
            )
        return str(error.value)

    assert "must name who hears of alerts" in refused(Environment="prod")
    assert "the topic with its key" in refused(ExistingAlertTopicArn=deployment.outputs["AlertTopicArn"])
    assert "at least 3" in refused(ReservedConcurrency="2")
    assert "700 characters at most" in refused(MonitoredKeys=",".join(["alias/payments"] * 50))
    assert "cron(…) with six fields" in refused(ScheduleExpression="cron(0 6 * * *)")
