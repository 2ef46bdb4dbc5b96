"""A self-contained page from a template: escaped by default, and no script runs but those that are known."""

import base64
import hashlib
from importlib.resources import files

from adapter_sweep.report.wording import plain

__all__ = ["part", "render_page", "script_policy"]


def render_page(template: str, **values: object) -> str:
    """One of the report's templates, filled in; text is escaped, and a value that is missing is an error."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(part),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = plain
    return environment.get_template(template).render(**values)


def part(name: str) -> str:
    """One of the report's own files, e.g. `report.css`."""
    return files("adapter_sweep.report").joinpath(name).read_text(encoding="utf-8")


def script_policy(*scripts: str) -> str:
    """The scripts' names in the page's content security policy: their hashes; the empty ones have none."""
    digests = [hashlib.sha256(script.encode("utf-8")).digest() for script in scripts if script]
    return " ".join(f"'sha256-{base64.b64encode(digest).decode('ascii')}'" for digest in digests)
