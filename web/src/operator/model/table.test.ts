import assert from "node:assert/strict";
import { test } from "node:test";
import { PAGE_ROWS, compare, matches, view } from "./table";

const columns = [(row: number) => `host${row}`, (row: number) => -row];
const rows = Array.from({ length: 120 }, (_, index) => index);

test("numbers in names sort as numbers", () => {
  assert.ok(compare("host2", "host10") < 0);
  assert.ok(compare(2, 10) < 0);
});

test("a filter's words may stand anywhere", () => {
  assert.ok(matches("demo/ada Running host1", "HOST1 ada"));
  assert.ok(!matches("demo/ada Running host1", "ada lost"));
  assert.ok(matches("anything", " "));
});

test("a page at a time, and never beyond the last", () => {
  const first = view(rows, columns, "", { column: 0, down: false }, 0);
  assert.deepEqual([first.rows.length, first.rows[0], first.pages, first.matching], [PAGE_ROWS, 0, 3, 120]);
  const last = view(rows, columns, "", { column: 0, down: false }, 99);
  assert.deepEqual([last.page, last.rows.length, last.rows.at(-1)], [2, 20, 119]);
  const none = view(rows, columns, "nothing", { column: 0, down: false }, 2);
  assert.deepEqual([none.page, none.pages, none.rows], [0, 1, []]);
});

test("sorted down and by another column, without touching the rows", () => {
  assert.equal(view(rows, columns, "", { column: 0, down: true }, 0).rows[0], 119);
  assert.equal(view(rows, columns, "host11", { column: 1, down: false }, 0).rows[0], 119);
  assert.equal(rows[0], 0);
});
