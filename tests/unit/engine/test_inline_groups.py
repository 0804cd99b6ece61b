"""Whole jobs whose inputs have map functions and formats of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mrcore
from mrcore.errors import InputError, PluginError, UsageError

JOIN = """
import mrcore


def map_users(key, row):
    yield row["id"], row["name"]


def map_orders(key, order):
    yield order["user"], order["item"]


inputs = {
    "users*.csv": mrcore.Input(map_users, format="csv"),
    "orders": mrcore.Input(map_orders, format="jsonl"),
}


def reduce(user, values):
    name, *items = values
    for item in items:
        yield name, item
"""
BOUGHT = "Ann\tpen\nAnn\tcup\nBob\tink\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "data/orders").mkdir(parents=True)
    (tmp_path / "data/users-1.csv").write_text("id,name\n1,Ann\n")
    (tmp_path / "data/users-2.csv").write_text("id,name\n2,Bob\n")
    orders = [("1", "pen"), ("2", "ink"), ("1", "cup")]
    lines = [json.dumps({"user": user, "item": item}) + "\n" for user, item in orders]
    (tmp_path / "data/orders/a").write_text(lines[0])
    (tmp_path / "data/orders/b").write_text("".join(lines[1:]))
    (tmp_path / "join.py").write_text(JOIN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def output(here: Path) -> str:
    return (here / "out/part-00000").read_text()


@pytest.mark.parametrize("inputs", [["data"], ["data/orders/*", "data/users-*"]])
def test_a_module_names_the_map_and_the_format_of_each_input(here: Path, inputs: list[str]) -> None:
    """Values of a key come in the order of the groups, whatever the order of the inputs."""
    mrcore.run("join.py", inputs=inputs, output="out", engine="inline")
    assert output(here) == BOUGHT


def test_a_program_gives_the_functions_with_the_inputs(here: Path) -> None:
    def reduce(user, values):  # type: ignore[no-untyped-def]
        name, *items = values
        for item in items:
            yield name, item

    result = mrcore.run(
        inputs={
            "data/users-*.csv": mrcore.Input(
                lambda key, row: [(row["id"], row["name"])], format="csv"
            ),
            "data/orders": lambda key, line: [
                (order["user"], order["item"]) for order in [json.loads(line)]
            ],
        },
        reduce=reduce,
        output="out",
        engine="inline",
    )
    assert output(here) == BOUGHT
    receipt = json.loads((here / "out/_SUCCESS").read_text())
    assert receipt["records_in"] == 5
    assert result.job.stages[0].tasks == 4


def test_other_files_go_to_the_map_of_the_plugin(here: Path) -> None:
    (here / "count.py").write_text(
        "def map(key, line):\n    yield 'other', line\n\n\n"
        "def rows(key, row):\n    yield 'user', row['name']\n\n\n"
        "from mrcore import Input\n"
        "inputs = {'users-1.csv': Input(rows, format='csv'), 'users*.csv': Input(format='csv')}\n"
    )
    mrcore.run("count.py", inputs="data", output="out", engine="inline")
    lines = output(here).splitlines()
    assert lines[0] == "other\t{'id': '2', 'name': 'Bob'}"
    assert lines[1:4] == [
        f'other\t{{"user": "{user}", "item": "{item}"}}'
        for user, item in [("1", "pen"), ("2", "ink"), ("1", "cup")]
    ]
    assert lines[4:] == ["user\tAnn"]


def test_arrow_and_text_are_read_side_by_side(here: Path) -> None:
    (here / "sides.py").write_text(
        "import pyarrow as pa\n\n\n"
        "def tables(key, batch):\n"
        "    names = batch.column('name')\n"
        "    yield pa.table({'key': names, 'value': names})\n\n\n"
        "def map(key, line):\n    yield line[:1], line[-2:]\n\n\n"
        "from mrcore import Input\n"
        "inputs = {'*.csv': Input(tables, format='arrow')}\n"
    )
    mrcore.run("sides.py", inputs="data", output="out", engine="inline")
    assert output(here) == 'Ann\tAnn\nBob\tBob\n{\t"}\n{\t"}\n{\t"}\n'


def test_the_first_of_several_steps_has_the_maps(here: Path) -> None:
    steps = JOIN.replace("def reduce(", "def names(") + (
        "\n\ndef tally(name, items):\n    yield name, len(list(items))\n\n\n"
        "steps = [mrcore.Step(reduce=names), mrcore.Step(reduce=tally)]\n"
    )
    (here / "join.py").write_text(steps)
    mrcore.run("join.py", inputs="data", output="out", engine="inline")
    assert output(here) == "Ann\t2\nBob\t1\n"


def test_a_file_without_a_map_is_named_before_anything_runs(here: Path) -> None:
    (here / "data/more.txt").write_text("x\n")
    with pytest.raises(
        InputError,
        match=r"^The input data/more.txt matches none of the patterns in `inputs` of the plugin "
        r"\(users\*.csv, orders\). Add one for it, or leave the file out.$",
    ):
        mrcore.run("join.py", inputs="data", output="out", engine="inline")
    assert not (here / "out").exists()


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("inputs = {'*.csv': 1}", r"^inputs in bad.py has an int for \*.csv. Give it a function"),
        ("inputs = {1: print}", r"^inputs in bad.py has the key 1, which is not a pattern"),
        ("inputs = {'*': Input(format='csv')}", r"has no function for \*, and the plugin has no m"),
        ("inputs = {'*': Input(lambda key: 1)}", r"^map at .*bad.py:2 is declared as map\(key\)"),
        ("inputs = {'*': Input(max, format='tvs')}", r"^bad.py has the format 'tvs' for the inp"),
        ("inputs = {'*': Input(max, format=1)}", r"^bad.py, line 2: The format of an Input is 1"),
    ],
)
def test_what_cannot_be_in_the_table_is_refused(here: Path, line: str, sentence: str) -> None:
    (here / "bad.py").write_text(f"from mrcore import Input\n{line}\n")
    with pytest.raises(PluginError, match=sentence):
        mrcore.run("bad.py", inputs="data", output="out", engine="inline")


def test_another_variable_called_inputs_means_nothing(here: Path) -> None:
    (here / "wc.py").write_text("inputs = ['a', 'b']\n\n\ndef map(key, line):\n    yield line, 1\n")
    mrcore.run("wc.py", inputs="data/users-1.csv", output="out", engine="inline")
    assert output(here) == "1,Ann\t1\nid,name\t1\n"


def test_a_dict_of_inputs_has_no_plugin_beside_it(here: Path) -> None:
    with pytest.raises(UsageError, match="needs one of"):
        mrcore.run("join.py", inputs={"data": print}, output="out", engine="inline")


def test_columns_of_csv_and_tsv_have_the_types_that_are_stated(here: Path) -> None:
    (here / "data/sizes.tsv").write_text("name\tsize\tnew\nx\t5\tyes\ny\t\t0\n")
    (here / "typed.py").write_text(
        "from mrcore import Input\n\n\n"
        "def map(key, row):\n    yield str(sorted(row.items())), None\n\n\n"
        "inputs = {\n"
        "    'users-1.csv': Input(format='csv'),\n"
        "    '*.tsv': Input(format='tsv', columns={'size': int, 'new': 'bool'}),\n"
        "}\n"
    )
    mrcore.run(
        "typed.py",
        inputs=["data/users-1.csv", "data/sizes.tsv"],
        output="out",
        input_columns={"id": "decimal"},
        engine="inline",
    )
    assert output(here).splitlines() == [
        "[('id', Decimal('1')), ('name', 'Ann')]",
        "[('name', 'x'), ('new', True), ('size', 5)]",
        "[('name', 'y'), ('new', False), ('size', None)]",
    ]


def test_a_cell_of_another_type_is_a_broken_row(here: Path) -> None:
    (here / "data/users-2.csv").write_text("id,name\n2,Bob\ntwo,Cy\n3,Di\n")

    def run(**options: object) -> None:
        mrcore.run(
            map=lambda key, row: [(row["id"], row["name"])],
            inputs="data/users-2.csv",
            output="out",
            input_format="csv",
            input_columns={"id": "int"},
            engine="inline",
            **options,  # type: ignore[arg-type]
        )

    with pytest.raises(
        mrcore.RunFailedError,
        match=r"^data/users-2.csv has 'two' in the column 'id' of the row at byte 14, which is not "
        "of the type int. Correct the cell",
    ):
        run()
    run(max_bad_records=1)
    assert output(here) == "2\tBob\n3\tDi\n"
    (bad,) = (here / "out/_bad").iterdir()
    assert "two,Cy" in bad.read_text()


def test_columns_of_arrow_tables_are_cast(here: Path) -> None:
    def types(key, batch):  # type: ignore[no-untyped-def]
        return batch

    (here / "data/t.csv").write_text("key,value\n1,1.5\n2,\n")
    mrcore.run(
        map=types,
        inputs="data/t.csv",
        output="out",
        input_format="arrow",
        output_format="jsonl",
        input_columns={"key": "int", "value": "float"},
        map_only=True,
        engine="inline",
    )
    lines = (here / "out/part-00000.jsonl").read_text()
    assert lines == '{"key":1,"value":1.5}\n{"key":2,"value":null}\n'


@pytest.mark.parametrize(
    ("columns", "input_format", "sentence"),
    [
        ({"id": "int"}, "jsonl", "Types of input columns are for csv and tsv, and the input is js"),
        ({"no": "int"}, "csv", "data/users-1.csv lacks the column 'no', which the job states"),
    ],
)
def test_types_of_columns_that_the_input_cannot_have_are_refused(
    here: Path, columns: dict[str, str], input_format: str, sentence: str
) -> None:
    with pytest.raises(mrcore.MrcoreError, match=sentence):
        mrcore.run(
            map=lambda key, row: [(1, 1)],
            inputs="data/users-1.csv",
            output="out",
            input_format=input_format,
            input_columns=columns,
            engine="inline",
        )
