"""Renders templates with Jinja2 as Hugging Face transformers sets it up, for a comparison with the engine of this package.

    python3 render.py constructs.txt > constructs.json       the templates of a file, separated by lines of "---"
    python3 render.py FOLDER > renderings.json                every *.jinja of a folder

Each template is rendered over all of conversations.json (a file's templates over one conversation that says much). Needs the
packages jinja2 and transformers.
"""

import datetime
import json
import pathlib
import sys

import transformers.utils.chat_template_utils as utils

NOW = datetime.datetime(2024, 7, 6, 15, 4, 5)
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}


def compile_template(source):
    compiler = getattr(utils._cached_compile_jinja_template, "__wrapped__", utils._cached_compile_jinja_template)
    template = compiler(source)
    template.environment.globals["strftime_now"] = NOW.strftime
    template.globals["strftime_now"] = NOW.strftime
    return template


def render(source, variables):
    """The rendering, or why there is none."""
    try:
        return {"want": compile_template(source).render(**variables, **SPECIAL)}
    except Exception as error:  # whatever a template makes Python raise
        return {"fails": f"{type(error).__name__}: {error}"[:200]}


def main():
    given = pathlib.Path(sys.argv[1])
    conversations = json.loads((pathlib.Path(__file__).parent / "conversations.json").read_text())
    if given.is_dir():
        sources = {path.stem: path.read_text() for path in sorted(given.glob("*.jinja"))}
    else:
        sources = {str(i): source for i, source in enumerate(given.read_text().split("\n---\n"))}
        conversations = [c for c in conversations if c["name"] == "tools used"]
    cases = [
        {"template": name, "conversation": c["name"], **render(source, c["variables"])} for name, source in sources.items() for c in conversations
    ]
    json.dump({"sources": sources, "cases": cases}, sys.stdout, indent=1, ensure_ascii=False)


main()
