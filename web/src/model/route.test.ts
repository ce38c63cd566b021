import assert from "node:assert/strict";
import { test } from "node:test";
import { parseRoute, routeHref } from "./route";

test("an address and back", () => {
  for (const route of [{ page: "home" }, { page: "account" }, { page: "desktop", pool: "demo-keep" }, { page: "operator", tab: "hosts" }] as const) {
    assert.deepEqual(parseRoute(routeHref(route)), route);
  }
});

test("a program that asks, and none that could be anywhere else", () => {
  const challenge = "a-_".repeat(14) + "b";
  const route = { page: "program", challenge, port: 40001, state: "s".repeat(43) } as const;
  assert.deepEqual(parseRoute(routeHref(route)), route);
  assert.deepEqual(parseRoute(routeHref({ ...route, port: 0 })), { ...route, port: 0 });
  for (const bad of [{ challenge: "short" }, { port: 80 }, { port: 65536 }, { state: "" }, { state: "a/b".repeat(9) }]) {
    assert.deepEqual(parseRoute(routeHref({ ...route, ...bad })), { page: "home" }, JSON.stringify(bad));
  }
  assert.deepEqual(parseRoute(`#/program/${challenge}/1e4/${route.state}`), { page: "home" });
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
