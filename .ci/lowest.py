"""Print the lowest supported version of each dependency, as constraints for pip."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
extras = project["optional-dependencies"]
for requirement in [*project["dependencies"], *extras["otel"], *extras["cli"]]:
    name, _, version = re.match(r"([\w-]+)(\[.*?\])?>=([\w.]+)", requirement).groups()
    print(f"{name}=={version}")
