import assert from "node:assert/strict";
import { test } from "node:test";
import { Role } from "../gen/rolltop/v1/broker_pb";
import { mayGiveRoles, mayLook, mayOperate, roleName } from "./people";

const ROLES = Object.values(Role).filter((role): role is Role => typeof role === "number");

test("who is shown the operators' pages, and who may act there", () => {
  assert.deepEqual(ROLES.filter((role) => mayLook({ role })), [Role.OPERATOR, Role.ADMIN, Role.AUDITOR]);
  assert.deepEqual(ROLES.filter((role) => mayOperate({ role })), [Role.OPERATOR, Role.ADMIN]);
  assert.deepEqual(ROLES.filter((role) => mayGiveRoles({ role })), [Role.ADMIN]);
});

test("every role has a name of its own", () => {
  const names = ROLES.map(roleName);
  assert.equal(new Set(names).size, ROLES.length);
  assert.ok(!names.includes("other"), "a role of the API that this page does not know");
});
