#!/usr/bin/env python3
"""Checks template.yaml as AWS would read it: expands it with aws-sam-translator, then lints the
result with cfn-lint. Linting the unexpanded text misses a wrong InvokeMode, BatchSize or
FunctionResponseTypes.

Needs `pip install cfn-lint aws-sam-translator`. No network, no AWS account.
Exit code: 0 clean, 1 findings (one line each), 2 the template could not be read.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

from cfnlint.api import lint  # noqa: E402
from cfnlint.config import ManualArgs  # noqa: E402
from samtranslator.model.exceptions import InvalidDocumentException  # noqa: E402
from samtranslator.translator.transform import transform  # noqa: E402
from samtranslator.yaml_helper import yaml_parse  # noqa: E402

TEMPLATE = Path(__file__).resolve().parent.parent / "template.yaml"
REGION = "us-east-1"


class NoManagedPolicies:
    """Stands where SAM would ask IAM for policy names; ours are all spelled out."""

    def load(self):
        return {}


def expand(template):
    """The CloudFormation that SAM makes of `template`, as a dict."""
    for resource in template["Resources"].values():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::Serverless::Function":
            properties["CodeUri"] = "s3://none/none"
    template.get("Globals", {}).get("Function", {}).pop("CodeUri", None)
    parameters = {
        name: parameter["Default"]
        for name, parameter in template.get("Parameters", {}).items()
        if "Default" in parameter
    }
    return transform(template, parameters, NoManagedPolicies())


def main():
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else TEMPLATE
    source = path.read_text(encoding="utf-8")
    findings = []
    try:
        expanded = json.dumps(expand(yaml_parse(source)), default=str)
    except InvalidDocumentException as error:
        for cause in error.causes:
            print(f"{path}: expand: {cause.message}")
        return 1
    except Exception as error:  # any other failure to read is a finding of its own kind
        print(f"{path}: cannot be expanded: {error}", file=sys.stderr)
        return 2
    config = ManualArgs(regions=[REGION])
    for stage, text in (("source", source), ("expanded", expanded)):
        findings += [f"{stage}: {match}" for match in lint(text, config=config)]
    for finding in findings:
        print(f"{path}: {finding}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
