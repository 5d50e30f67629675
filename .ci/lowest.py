"""Print the lowest supported version of each dependency, as constraints for pip."""

import re
import tomllib
from pathlib import Path

EXTRAS = ("otel", "cli", "redis", "sql", "postgres", "jwt", "audit", "nats")

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
extras = project["optional-dependencies"]
for requirement in [*project["dependencies"], *(each for name in EXTRAS for each in extras[name])]:
    name, _, version = re.match(r"([\w-]+)(\[.*?\])?>=([\w.]+)", requirement).groups()
    print(f"{name}=={version}")
