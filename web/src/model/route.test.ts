import assert from "node:assert/strict";
import { test } from "node:test";
import { parseRoute, routeHref } from "./route";

test("an address and back", () => {
  for (const route of [{ page: "home" }, { page: "account" }, { page: "desktop", pool: "demo-keep" }, { page: "operator", tab: "hosts" }] as const) {
    assert.deepEqual(parseRoute(routeHref(route)), route);
  }
});

test("what is no address of ours is home", () => {
  for (const hash of [
    "",
    "#",
    "#/nothing",
    "#/desktop/",
    "#/desktop/Demo",
    "#/desktop/a/b",
    "#/desktop/..",
    "#/desktop/%2e",
    `#/desktop/${"a".repeat(41)}`,
  ]) {
    assert.deepEqual(parseRoute(hash), { page: "home" }, hash);
  }
});

test("the operators' side begins with the overview", () => {
  for (const hash of ["#/operator", "#/operator/", "#/operator/nothing"]) {
    assert.deepEqual(parseRoute(hash), { page: "operator", tab: "overview" }, hash);
  }
});
