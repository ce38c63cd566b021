import assert from "node:assert/strict";
import { test } from "node:test";
import { Role } from "../gen/rolltop/v1/broker_pb";
import { isLocal, mayGiveRoles, mayLook, mayManage, mayOperate, roleName, signInBy } from "./people";

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

test("operators look after users, and admins after everybody", () => {
  const managed = (role: Role) => ROLES.filter((other) => mayManage({ role }, { role: other }));
  assert.deepEqual(managed(Role.OPERATOR), [Role.USER]);
  assert.deepEqual(managed(Role.ADMIN), ROLES);
  assert.deepEqual([...managed(Role.AUDITOR), ...managed(Role.USER)], []);
});

test("by whose word somebody signs in", () => {
  assert.equal(signInBy({ source: "local", secondFactor: false }), "local");
  assert.equal(signInBy({ source: "ldap", secondFactor: true }), "directory (LDAP), with a code");
  assert.equal(signInBy({ source: "new", secondFactor: false }), "new");
  assert.ok(isLocal({ source: "" }) && !isLocal({ source: "ldap" }));
});
