import assert from "node:assert/strict";
import { test } from "node:test";
import { namesOf, openTo, openToGroups } from "./groups";

test("which pools are open to a group", () => {
  const pools = [
    { name: "lab", groups: ["staff", "pupils"] },
    { name: "office", groups: ["staff"] },
    { name: "all", groups: [] },
  ];
  assert.deepEqual([...openToGroups(pools)], [["staff", ["lab", "office"]], ["pupils", ["lab"]]]);
});

test("who may use a pool, in few words", () => {
  assert.equal(openTo({ users: [], groups: [] }), "everyone");
  assert.equal(openTo({ users: ["ada"], groups: ["staff"] }), "@staff, ada");
  assert.equal(openTo({ users: ["ada", "bob", "eve"], groups: ["staff"] }), "@staff, ada and 2 more");
});

test("names by spaces, commas or lines, each once", () => {
  assert.deepEqual(namesOf(" ada, bob\nada  eve,"), ["ada", "bob", "eve"]);
  assert.deepEqual(namesOf("  "), []);
});
