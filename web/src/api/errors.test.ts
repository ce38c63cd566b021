import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../gen/google/rpc/error_details_pb";
import { FailureSchema, Phase } from "../gen/rolltop/v1/common_pb";
import { actMessage, isWrongCode, problemOf, signInMessage, wantsCode } from "./errors";

test("a wrong password", () => {
  const problem = problemOf(new ConnectError("bad credentials", Code.Unauthenticated));
  assert.equal(problem.kind, "signed-out");
  assert.equal(signInMessage(problem), "Name or password is not right. Please try again.");
});

test("a second factor is asked for, and a wrong code is not a wrong password", () => {
  const refusal = (reason: string): ConnectError =>
    new ConnectError("no", Code.Unauthenticated, undefined, [{ desc: ErrorInfoSchema, value: { reason } }]);
  const wanted = problemOf(refusal("SECOND_FACTOR_REQUIRED"));
  assert.ok(wantsCode(wanted) && !isWrongCode(wanted));
  const wrong = problemOf(refusal("WRONG_CODE"));
  assert.ok(isWrongCode(wrong) && !wantsCode(wrong));
  assert.match(signInMessage(wrong), /code is not right/);
  assert.ok(!wantsCode(problemOf(refusal("WRONG_CREDENTIALS"))));
});

test("a wrong password in a form is told; a lost session is not its affair", () => {
  const refusal = (code: Code, reason: string, message = "no"): string =>
    actMessage(problemOf(new ConnectError(message, code, undefined, [{ desc: ErrorInfoSchema, value: { reason } }])));
  assert.equal(refusal(Code.Unauthenticated, "WRONG_CREDENTIALS"), "Your own password is not right.");
  assert.match(refusal(Code.InvalidArgument, "WRONG_CODE"), /code is not right/);
  assert.equal(refusal(Code.Unauthenticated, "NOT_SIGNED_IN"), "");
  assert.equal(refusal(Code.FailedPrecondition, "GROUP_IN_USE", "the pool demo names it"), "The pool demo names it.");
});

test("a locked name says for how long", () => {
  const details = [{ desc: RetryInfoSchema, value: { retryDelay: { seconds: 89n, nanos: 500_000_000 } } }];
  const error = new ConnectError("locked", Code.ResourceExhausted, undefined, details);
  assert.equal(signInMessage(problemOf(error)), "Too many wrong tries. Try again in 1 min 30 s.");
});

test("the wait may come beside the reason", () => {
  for (const [noted, seconds] of [["30", 30], ["-1", 0], ["soon", 0]] as const) {
    const value = { reason: "SIGN_IN_LOCKED", metadata: { retry_after_seconds: noted } };
    const error = new ConnectError("locked", Code.ResourceExhausted, undefined, [
      { desc: ErrorInfoSchema, value },
    ]);
    assert.equal(problemOf(error).retryAfterS, seconds);
    assert.equal(problemOf(error).reason, "SIGN_IN_LOCKED");
  }
});

test("an unreachable server, however it shows", () => {
  const errors = [
    new ConnectError("down", Code.Unavailable),
    new TypeError("Failed to fetch"),
    ConnectError.from(new TypeError("NetworkError"), Code.Internal),
  ];
  for (const error of errors) {
    const problem = problemOf(error);
    assert.equal(problem.kind, "unreachable");
    assert.match(signInMessage(problem), /cannot be reached/);
  }
});

test("a host that is away is the broker's word, not the network's", () => {
  const error = new ConnectError("host desk1 does not answer", Code.Unavailable, undefined, [
    { desc: ErrorInfoSchema, value: { reason: "HOST_UNREACHABLE" } },
  ]);
  assert.deepEqual(problemOf(error), {
    kind: "refused",
    message: "Host desk1 does not answer.",
    reason: "HOST_UNREACHABLE",
    retryAfterS: 0,
  });
});

test("fields that were wrong are named once", () => {
  const value = {
    fieldViolations: [
      { field: "new_password", description: "must have 8 characters or more" },
      { field: "user", description: "is unknown" },
    ],
  };
  const error = new ConnectError("user: is unknown", Code.InvalidArgument, undefined, [
    { desc: BadRequestSchema, value },
  ]);
  assert.equal(
    problemOf(error).message,
    "User: is unknown. New password: must have 8 characters or more.",
  );
});

test("a failed start carries its failure", () => {
  const value = { phase: Phase.SESSION, reason: "the session ended early", outputTail: ["no such file"] };
  const error = new ConnectError("failed", Code.FailedPrecondition, undefined, [
    { desc: FailureSchema, value },
  ]);
  assert.deepEqual(problemOf(error).failure?.outputTail, ["no such file"]);
});

test("an error of no words still says something", () => {
  assert.equal(problemOf(new ConnectError("", Code.Internal)).message, "The server could not do that.");
  assert.equal(problemOf("odd").message, "Odd.");
});
