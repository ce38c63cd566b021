import assert from "node:assert/strict";
import { test } from "node:test";
import { Role } from "../gen/rolltop/v1/broker_pb";
import { mayOperate } from "./people";

test("operators, and nobody else", () => {
  const roles = Object.values(Role).filter((role): role is Role => typeof role === "number");
  assert.deepEqual(roles.filter((role) => mayOperate({ role })), [Role.OPERATOR]);
});
