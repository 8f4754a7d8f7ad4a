#!/usr/bin/env python3
"""Checks the templates as AWS would read them: expands each with aws-sam-translator, then lints
the result with cfn-lint. Linting the unexpanded text misses a wrong InvokeMode, BatchSize or
FunctionResponseTypes. For template.yaml it also checks what only the expansion shows: the roles
and permissions that SAM adds, and that the dashboard is JSON.

Without arguments all templates are checked. `--expanded FILE` writes template.yaml's expansion.
It needs `pip install cfn-lint aws-sam-translator`, but no network and no AWS account.
Exit code: 0 clean, 1 findings (one line each), 2 the template could not be read.
"""

import json
import os
import re
import sys
from pathlib import Path

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

from cfnlint.api import lint  # noqa: E402
from cfnlint.config import ManualArgs  # noqa: E402
from samtranslator.model.exceptions import InvalidDocumentException  # noqa: E402
from samtranslator.translator.transform import transform  # noqa: E402
from samtranslator.yaml_helper import yaml_parse  # noqa: E402

INFRA = Path(__file__).resolve().parent
TEMPLATE = INFRA.parent / "template.yaml"
ALL = [TEMPLATE, INFRA / "fargate.yaml", INFRA / "managed-instances.yaml"]
REGION = "us-east-1"


class NoManagedPolicies:
    """Replaces the loader that asks IAM for policy names. Our policies name none."""

    def load(self):
        return {}


def expand(template):
    """The CloudFormation template into which SAM expands `template`, as a dict."""
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


def added_rights(resources):
    """Finds unexpected roles and permissions that SAM has added to template.yaml."""
    functions = [f"{name}Function" for name in ("Relay", "Stats", "Refresh", "Admin")]
    for name, resource in resources.items():
        kind, properties = resource["Type"], resource.get("Properties", {})
        if kind == "AWS::IAM::Role":
            own = name.removesuffix("Role")
            attached = [{"Ref": f"{own}Policy"}] if f"{own}Function" in functions else None
            if name == "RefreshFunctionTickRole":
                (policy,) = properties["Policies"]
                (statement,) = policy["PolicyDocument"]["Statement"]
                rights = (statement["Action"], statement["Resource"])
                if rights != ("lambda:InvokeFunction", {"Fn::GetAtt": ["RefreshFunction", "Arn"]}):
                    yield f"{name}: the schedule may do {rights}"
            elif attached is None:
                yield f"{name}: a role that no function has"
            if properties.get("ManagedPolicyArns") != attached:
                yield f"{name}: attached is {properties.get('ManagedPolicyArns')}"
        elif kind == "AWS::Lambda::Permission":
            of = properties["FunctionName"].get("Ref")
            url = "FunctionUrlAuthType" in properties or properties.get("InvokedViaFunctionUrl")
            if of not in ("RelayFunction", "AdminFunction") or not url:
                yield f"{name}: {properties}"
        elif kind == "AWS::Lambda::Function" and name not in functions:
            yield f"{name}: an unknown function"


def dashboards(resources):
    """Finds dashboards that are not JSON after each substitution is replaced by a word."""
    for name, resource in resources.items():
        if resource["Type"] == "AWS::CloudWatch::Dashboard":
            body = re.sub(r"\$\{[^}]*\}", "word", resource["Properties"]["DashboardBody"]["Fn::Sub"])
            try:
                json.loads(body)
            except ValueError as error:
                yield f"{name}: {error}"


def check(path):
    """All findings about one template, as lines."""
    source = path.read_text(encoding="utf-8")
    stages = {"source": source}
    if "\nTransform:" in source:
        expanded = expand(yaml_parse(source))
        stages["expanded"] = json.dumps(expanded, default=str)
        if path == TEMPLATE:
            yield from added_rights(expanded["Resources"])
            yield from dashboards(expanded["Resources"])
    config = ManualArgs(regions=[REGION])
    for stage, text in stages.items():
        yield from (f"{stage}: {match}" for match in lint(text, config=config))


def main():
    if sys.argv[1:2] == ["--expanded"]:
        expanded = expand(yaml_parse(TEMPLATE.read_text(encoding="utf-8")))
        Path(sys.argv[2]).write_text(json.dumps(expanded, default=str, indent=1), encoding="utf-8")
        return 0
    found = False
    for path in [Path(name).resolve() for name in sys.argv[1:]] or ALL:
        try:
            for finding in check(path):
                print(f"{path}: {finding}")
                found = True
        except InvalidDocumentException as error:
            for cause in error.causes:
                print(f"{path}: expand: {cause.message}")
            found = True
        except Exception as error:  # any other failure to read is a finding of its own kind
            print(f"{path}: cannot be read: {error!r}", file=sys.stderr)
            return 2
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
