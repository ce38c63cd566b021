import assert from "node:assert/strict";
import { test } from "node:test";
import { answerHref, providerHref, refusalIn } from "./provider";

test("the way to the provider remembers the view", () => {
  assert.equal(providerHref("/oidc/sign-in", { page: "home" }), "/oidc/sign-in?view=/");
  assert.equal(providerHref("/oidc/sign-in", { page: "desktop", pool: "demo" }), "/oidc/sign-in?view=/desktop/demo");
});

test("a refusal is told in our own words only", () => {
  assert.match(refusalIn("#/not-signed-in/NAME_TAKEN"), /another account/);
  assert.match(refusalIn("#/not-signed-in/SOMETHING_NEW"), /did not succeed/);
  assert.match(refusalIn("#/not-signed-in/CONSTRUCTOR"), /did not succeed/);
  for (const hash of ["", "#/", "#/not-signed-in/", "#/not-signed-in/Call 555-0100", "#/desktop/demo"]) {
    assert.equal(refusalIn(hash), "", hash);
  }
});

test("a code goes to this computer and nowhere else", () => {
  assert.equal(answerHref(40001, "a&b", "s"), "http://127.0.0.1:40001/?code=a%26b&state=s");
});
