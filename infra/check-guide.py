#!/usr/bin/env python3
"""Checks the `sam` and `aws` commands of the guides without AWS: each command must exist, have the
flags it is given, and name outputs and parameters of template.yaml. tests/it/guide.rs runs the
`baton` commands.

It needs `pip install aws-sam-cli` (botocore, which knows AWS's operations, comes with it).
Exit code: 0 clean, 1 findings (one line each).
"""

import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import botocore.session
from botocore import xform_name
from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).resolve().parent.parent
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEMPLATES = [ROOT / "template.yaml", *sorted((ROOT / "infra").glob("*.yaml"))]
# Flags of `aws` itself: AWS CLI Command Reference, "aws", November 2026.
GLOBAL = {"--query", "--output", "--region", "--profile", "--no-paginate"}
# Commands of the AWS CLI that are not a single API operation.
WAITERS = {("cloudformation", "wait"), ("dynamodb", "wait"), ("ecr", "get-login-password"), ("logs", "tail")}


def commands(text):
    """The commands in fenced `sh` blocks, with continued lines joined."""
    for block in re.findall(r"^```sh(?: run)?\n(.*?)^```", text, re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            if line.strip() and not line.lstrip().startswith("#"):
                yield line.strip()


def programs(line):
    """`line` and the commands in its `$(…)`, split at pipes and lists, as lists of words."""
    for inner in re.findall(r"\$\(([^()]*)\)", line):
        yield from programs(inner)
    line = re.sub(r"\$\([^()]*\)", "SUBSTITUTED", line)
    words = shlex.split(line)
    while words:
        ends = [at for at, word in enumerate(words) if word in ("|", "&&", "||", ">")]
        end = ends[0] if ends else len(words)
        yield words[:end]
        words = words[end + 1 :]


@cache
def sam_help(command):
    done = subprocess.run(["sam", command, "--help"], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def check_sam(words):
    text = sam_help(words[0])
    if text is None:
        yield f"sam has no command {words[0]}"
        return
    for word in words[1:]:
        flag = word.split("=")[0]
        if flag.startswith("-") and not re.search(rf"(^|[\s,]){re.escape(flag)}([\s,]|$)", text, re.M):
            yield f"sam {words[0]} does not know {flag}"


def check_aws(words):
    service, command, *rest = words
    if (service, command) in WAITERS:
        return
    try:
        model = botocore.session.get_session().get_service_model(service)
    except botocore.exceptions.UnknownServiceError:
        yield f"aws has no service {service}"
        return
    operations = {xform_name(name, "-"): name for name in model.operation_names}
    if command not in operations:
        yield f"aws {service} has no command {command}"
        return
    members = model.operation_model(operations[command]).input_shape.members
    known = {"--" + xform_name(name, "-") for name in members} | GLOBAL
    for name, member in members.items():
        if member.type_name == "boolean":
            known.add("--no-" + xform_name(name, "-"))
    for word in rest:
        if word.startswith("--") and word.split("=")[0] not in known:
            yield f"aws {service} {command} does not know {word}"


def check_names(line, templates):
    """Checks the outputs that a command reads and the parameters that it sets."""
    outputs = {name for template in templates for name in template.get("Outputs", {})}
    parameters = {name for template in templates for name in template.get("Parameters", {})}
    for name in re.findall(r"OutputKey==`?'?(\w+)", line):
        if name not in outputs:
            yield f"no template has an output {name}"
    for name in re.findall(r"\b([A-Z][A-Za-z]+)=", line.partition("--parameter-overrides")[2]):
        if name not in parameters:
            yield f"no template has a parameter {name}"


def main():
    os.environ.update(SAM_CLI_TELEMETRY="0", AWS_DEFAULT_REGION="us-east-1")
    texts = [path.read_text(encoding="utf-8") for path in TEMPLATES]
    templates = [yaml_parse(text) for text in texts if "\nResources:" in text]
    findings, seen = [], {"sam": 0, "aws": 0}
    for path in GUIDES:
        for line in commands(path.read_text(encoding="utf-8")):
            found = list(check_names(line, templates))
            for words in programs(line):
                while words and ("=" in words[0] or words[0] == "export"):
                    words = words[1:]
                if words and words[0] in seen:
                    seen[words[0]] += 1
                    check = check_sam if words[0] == "sam" else check_aws
                    found += check(words[1:])
            findings += [f"{path.relative_to(ROOT)}: {line}: {what}" for what in found]
    for finding in findings:
        print(finding)
    print(f"{seen['sam']} sam and {seen['aws']} aws commands looked at")
    return 1 if findings or not all(seen.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
