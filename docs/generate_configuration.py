"""Write docs/configuration.md and configs/default.yaml from the configuration's dataclasses.

Run it after every change to an option: ``python docs/generate_configuration.py``. A test holds both
files up to date.
"""

from __future__ import annotations

from pathlib import Path

from lit_buckets.config import Option, describe, load_config
from lit_buckets.config.options import options_of
from lit_buckets.config.schema import SourceConfig, sections
from lit_buckets.config.text import show
from lit_buckets.errors import ConfigError
from lit_buckets.sources import KINDS, options_of_kind
from lit_buckets.sources.image_folder import METADATA
from lit_buckets.sources.table_files import TABLE_SUFFIXES

ROOT = Path(__file__).resolve().parent.parent
PLACEHOLDER = "/data/photos"  # the value of data.train in configs/default.yaml

HEAD = """\
# Configuration

<!-- Written by docs/generate_configuration.py from the dataclasses: change those. -->

A configuration is a YAML file, a mapping, an OmegaConf object or a `Config`, with dotted overrides
on top:

```python
from lit_buckets import load_config

config = load_config("configs/default.yaml", ["data.train=~/photos", "buckets.max_area=1048576"])
```

Every key has a default except `data.train`; [configs/default.yaml](recipes.md#every-key) shows
them all. A misspelt key, a value of the wrong type or out of range, two settings that contradict
each other and a folder that does not exist are refused before any image is read, for instance

```text
{message}
```

- Types are strict: `"8"` is not an integer, nor is `true`. An integer is fine as a number. Integers
  are at most 2^63 - 1.
- Relative paths begin at the current working directory. A leading `~` is the home folder.
- An override replaces the value at its key; given a whole section, as in
  `batches={batch_size: null, max_pixels: 4194304}`, it replaces the keys that it names. Its value
  is read as YAML. Entries of a list are counted from 0: `data.train[1].repeats=2`.
- A configuration cannot run code. YAML is read without Python objects, there are no class paths,
  and a value that holds `${` is refused: neither interpolation nor environment variables are
  resolved.
"""

SOURCES = """
## Sources

`data.train`, `data.val`, `data.test` and `data.predict` each take a path, a mapping with the keys
below (a source), or a list of these, of any kinds. `data.val` may be a share of `data.train`
instead.

```yaml
data:
  train:
    - ~/photos
    - {path: ~/best, repeats: 3, captions: null}
    - {path: ~/tables/photos.csv, image_root: ~/photos, missing_caption: skip}
    - ~/shards/{00..01}.tar
  val: 0.02
```

What a path is follows from it, unless `kind` says otherwise:

{kinds}

- **Patterns** (`include`, `exclude`) are those of a `.gitignore` file: `*.png` is for names at any
  depth, `/cats/*.jpg` starts at the folder itself, `drafts/` is for folders and all that is in
  them, `**` stands for any number of folders. Names that begin with a dot are always left out.
- **Columns.** `auto` finds the image's in `path`, `file_name` or `image`, the caption's in
  `caption` or `text`, sizes in `height` and `width`. All others come with the batches, as a tensor
  where all values are numbers, else as a list. In shards they are the fields of a sample's `.json`
  and its `.cls`; `image_column` is the suffix of the image there, such as `jpg`.
- **Sizes** that a source gives are not read from the files, but for an evenly spread sample of
  256 images: one that differs stops the setup pass. They are sizes as displayed, EXIF orientation
  applied.
- **Inside.** What a table names must lie in its folder, or in `image_root`: an absolute path, one
  with `..` and a link that leads out are refused by name unless `allow_outside` is set.
- **URLs** (`s3://`, `gs://`, `https://` and all others that fsspec knows; its packages for them
  must be installed) may stand for folders, tables, shards and `image_root`. Credentials and options
  are fsspec's own affair: environment variables and its configuration files. Over `https://` a
  folder is what its server lists in a web page.
"""

RECOGNISED = {
    "shards": "ends in `.tar`",
    "table": f"ends in {', '.join(f'`{suffix}`' for suffix in TABLE_SUFFIXES)}",
    "dataset": "is a local folder that holds `state.json` or `dataset_dict.json`",
    "imagefolder": f"is a local folder that holds {' or '.join(f'`{name}`' for name in METADATA)}",
    "folder": "is any other",
}


def document() -> str:
    """The text of docs/configuration.md."""
    tables = [
        f"\n## `{name}`\n\n{cls.__doc__}\n\n{_table([*options_of(cls, name).values()])}"
        for name, cls in sections().items()
    ]
    head = HEAD.replace("{message}", _message())
    sources = SOURCES.replace("{kinds}", _kinds())
    return "".join([head, *tables, sources, "\n", _source_table()])


def default_yaml() -> str:
    """The text of configs/default.yaml: every key with its default, meaning and type."""
    parts = [
        f"\n# {cls.__doc__}\n{name}:\n" + "".join(map(_entry, options_of(cls, name).values()))
        for name, cls in sections().items()
    ]
    return "# Every key with its default; all but data.train may be left out.\n" + "".join(parts)


def _message() -> str:
    """What a user reads after a misspelt key."""
    try:
        load_config({"buckets": {"divsor": 32}})
    except ConfigError as error:
        return str(error)
    raise AssertionError("a misspelt key was accepted")


def _entry(option: Option) -> str:
    name, value = option.key.rpartition(".")[2], _value(option)
    return f"  # {option.help}\n  {name}: {value}  # {_type(option).replace('`', '')}\n"


def _value(option: Option) -> str:
    return PLACEHOLDER if option.required else show(option.default)


def _type(option: Option) -> str:
    text = option.type.replace("a mapping {path, ...}", "a source")
    return f"{text}; `{option.interval}`" if option.interval else text


def _table(options: list[Option]) -> str:
    rows = [
        f"| `{option.key}` | {_type(option)} | {_default(option)} | {option.help} |\n"
        for option in options
    ]
    return "".join(["| key | type | default | meaning |\n| --- | --- | --- | --- |\n", *rows])


def _kinds() -> str:
    """How each kind of source is recognised, and what it lists."""
    rows = ["| `kind` | where the path | what it lists |", "| --- | --- | --- |"]
    for kind, where in RECOGNISED.items():
        summary = (KINDS[kind].__doc__ or "").partition("\n")[0].replace("``", "`")
        rows.append(f"| `{kind}` | {where} | {summary} |")
    return "\n".join(rows)


def _source_table() -> str:
    """The keys of a source, with the kinds that they belong to."""
    rows = "| key | kinds | type | default | meaning |\n| --- | --- | --- | --- | --- |\n"
    for name, option in options_of(SourceConfig, "data.train").items():
        having = [kind for kind in KINDS if name in options_of_kind(kind)]
        kinds = "all" if len(having) in (0, len(KINDS)) else ", ".join(having)
        meaning, default = option.help, _default(option)
        rows += f"| `{option.key}` | {kinds} | {_type(option)} | {default} | {meaning} |\n"
    return rows


def _default(option: Option) -> str:
    return "required" if option.required else f"`{show(option.default)}`"


def main() -> None:
    """Write both files."""
    (ROOT / "docs" / "configuration.md").write_text(document(), encoding="utf-8")
    (ROOT / "configs" / "default.yaml").write_text(default_yaml(), encoding="utf-8")


if __name__ == "__main__":
    main()
    print(f"{len(describe())} options written.")
