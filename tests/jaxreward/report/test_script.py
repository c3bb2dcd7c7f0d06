"""The page's script, run by node where that is installed: how rows are sorted, and what a filter leaves."""

import json
import shutil
import subprocess

import pytest

from jaxreward.report.page import document, table
from jaxreward.report.script import LEAST_FILTERED, SCRIPT

NODE = shutil.which("node")
DOM = """
class Element {
  constructor(text = "") { this.textContent = text; this.on = {}; this.attributes = {}; this.hidden = false; }
  addEventListener(name, act) { this.on[name] = act; }
  getAttribute(name) { return this.attributes[name] ?? null; }
  setAttribute(name, value) { this.attributes[name] = value; }
  removeAttribute(name) { delete this.attributes[name]; }
  before(other) { this.beside = other; }
}
function tableOf(cells) {
  const made = new Element();
  const body = {children: [], append(row) { this.children = this.children.filter(r => r !== row).concat([row]); }};
  made.parentNode = new Element();
  made.rows = cells.map(texts => {
    const row = new Element(texts.join(" "));
    row.cells = texts.map(text => new Element(text));
    row.parentNode = body;
    return row;
  });
  body.children = [...made.rows];
  made.body = body;
  return made;
}
globalThis.document = {
  tables: [],
  querySelectorAll(selector) { return selector === ".scroll > table" ? this.tables : []; },
  createElement: () => new Element(),
};
"""


def run(before, after):
    """What the script logs between a made-up page and what a reader does."""
    assert NODE is not None
    done = subprocess.run([NODE, "-e", before + SCRIPT + after], capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")


@needs_node
def test_numbers_are_sorted_as_numbers_and_nothing_goes_last():
    columns = {
        "numbers": ["10", "9 [8, 12]", "-", "1e-3", "-inf", "1,000", "inf"],
        "names": ["ppo", "dqn", "", "a10", "a9"],
        "mixed": ["16", "default", "4"],
    }
    sort = "k => [sortedRows(columns[k], false), sortedRows(columns[k], true)]"
    log = f"console.log(JSON.stringify(Object.keys(columns).map({sort})))"
    found = dict(zip(columns, run(f"const columns = {json.dumps(columns)};", log), strict=True))
    numbers, names, mixed = ([[columns[k][row] for row in rows] for rows in found[k]] for k in columns)
    assert numbers[0] == ["-inf", "1e-3", "9 [8, 12]", "10", "1,000", "inf", "-"]
    assert numbers[1] == ["inf", "1,000", "10", "9 [8, 12]", "1e-3", "-inf", "-"]
    assert names[0] == ["a9", "a10", "dqn", "ppo", ""]
    assert mixed[0] == ["4", "16", "default"]


@needs_node
def test_a_click_sorts_another_turns_and_words_filter():
    rows = [["name", "score"], *([f"run {number}", str((number * 7) % 10)] for number in range(LEAST_FILTERED))]
    page = f"document.tables = [tableOf({json.dumps(rows)}), tableOf([['a'], ['1'], ['2']])];"
    after = """
    const [long, short] = document.tables, head = long.rows[0].cells[1], told = [];
    const shown = () => long.body.children.slice(1).filter(row => !row.hidden).map(row => row.cells[1].textContent);
    head.on.click(); told.push(shown(), head.getAttribute("aria-sort"));
    head.on.keydown({key: "Enter"}); told.push(shown(), head.getAttribute("aria-sort"));
    const field = long.parentNode.beside;
    field.value = "RUN 3"; field.on.input(); told.push(shown());
    told.push(short.parentNode.beside === undefined, long.body.children[0] === long.rows[0]);
    console.log(JSON.stringify(told));
    """
    up, first, down, second, filtered, no_field, head_stays = run(DOM + page, after)
    expected = sorted(row[1] for row in rows[1:])
    assert (up, first) == (expected, "ascending")
    assert (down, second) == (expected[::-1], "descending")
    assert filtered == ["1"]
    assert no_field
    assert head_stays


def test_a_page_has_the_script_once_and_asks_nobody_for_it():
    page = document("runs", [table(["a"], [["1"]]), table(["b"], [["2"]])])
    assert page.count("<script>") == 1
    assert "src=" not in page
