"""However the demo ends, it leaves nothing: no process, no directory."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

SCRIPT = """
import sys, time
import local_aws

def main():
    with local_aws.LocalAws(sys.argv[1]) as aws:
        print(aws.process.pid, aws.directory, flush=True)
        if sys.argv[2:] == ["fail"]:
            raise RuntimeError
        time.sleep(60)

local_aws.run(main)
"""


def start(tmp_path, *arguments):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "log"), *arguments]
    directory = pathlib.Path(__file__).parent
    return subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def gone(pid):
    for _ in range(50):
        try:
            os.killpg(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, None])
def test_nothing_is_left_after(tmp_path, number):
    process = start(tmp_path, *([] if number else ["fail"]))
    pid, directory = process.stdout.readline().split()
    assert pathlib.Path(directory).exists()
    if number:
        process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode != 0
    assert (errors.strip() == "interrupted") == (number is not None)
    assert gone(int(pid))
    assert not pathlib.Path(directory).exists()


def test_no_process_is_left_after_a_hard_kill(tmp_path):
    process = start(tmp_path)
    pid, directory = process.stdout.readline().split()
    process.kill()
    process.communicate(timeout=20)
    assert gone(int(pid))
    subprocess.run(["rm", "-r", directory], check=True)
