"""`labelstream` as the scripts of this folder run it."""

import json
import os
import subprocess


def run(*words, **environment):
    """The JSON object that a program prints, the last thing it prints."""
    words = [str(word) for word in words]
    done = subprocess.run(
        words, stdout=subprocess.PIPE, check=True, text=True, env=os.environ | environment
    )
    return json.loads(done.stdout)


def lines(*words):
    """The JSON objects that a program prints, one a line."""
    done = subprocess.run(
        [str(word) for word in words], stdout=subprocess.PIPE, check=True, text=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]
