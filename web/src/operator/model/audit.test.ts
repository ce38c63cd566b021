import assert from "node:assert/strict";
import { test } from "node:test";
import { type MessageInitShape, create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type AuditEntry, AuditEntrySchema, AuditOutcome } from "../../gen/rolltop/v1/audit_pb";
import { EVERYTHING, MOST_ROWS, NO_TRAIL, hasText, olderRequest, outcomeLook, serverFilter, withNew, withOlder } from "./audit";
import { csvRow, fileHead, fileLines } from "./audit-file";

function entry(number: number, more: MessageInitShape<typeof AuditEntrySchema> = {}): AuditEntry {
  return create(AuditEntrySchema, {
    id: String(number),
    at: timestampFromMs(number),
    act: "put-pool",
    user: "ada",
    object: "pool:demo",
    outcome: AuditOutcome.OK,
    ...(more as object),
  });
}
const ids = (rows: readonly AuditEntry[]): number[] => rows.map(({ id }) => Number(id));

test("the form's words are the server's filter", () => {
  assert.deepEqual(serverFilter(EVERYTHING), { user: "", act: "", object: "", outcome: AuditOutcome.UNSPECIFIED });
  const filter = serverFilter({ ...EVERYTHING, user: " ada ", kind: "host", from: "2026-01-31T08:00", to: "nonsense" });
  assert.equal(filter.user, "ada");
  assert.equal(filter.object, "host:");
  assert.equal(Number(filter.from?.seconds), new Date(2026, 0, 31, 8).getTime() / 1000);
  assert.equal(filter.to, undefined);
});

test("words are found anywhere in an entry", () => {
  const one = entry(1, { reason: "NO_ROOM: no host", details: { request: "r-17" } });
  for (const text of ["", "ADA no_room", "r-17 demo", "ok"]) assert.ok(hasText(one, text), text);
  assert.ok(!hasText(one, "ada bob"));
});

test("new entries come first, once, and the oldest make room", () => {
  let trail = withOlder(NO_TRAIL, [entry(2), entry(1)], "token");
  trail = withNew(withNew(trail, entry(3)), entry(3));
  assert.deepEqual(ids(trail.rows), [3, 2, 1]);
  for (let number = 4; number <= MOST_ROWS + 1; number += 1) trail = withNew(trail, entry(number));
  assert.equal(trail.rows.length, MOST_ROWS);
  assert.deepEqual(trail.older, { notAfterMs: 2 });
  // The one that made room is asked for again, and one that is there is not doubled.
  assert.equal(Number(olderRequest({}, trail.older).filter.to?.nanos), 3_000_000);
  const back = withOlder(trail, [entry(2), entry(1)], "");
  assert.deepEqual(ids(back.rows).slice(-2), [2, 1]);
  assert.ok(back.past, "the newest made room");
  assert.equal(back.older, undefined);
  assert.equal(withNew(back, entry(5_000)), back, "nothing is shown above a gap");
});

test("every outcome has a look of its own", () => {
  const outcomes = Object.values(AuditOutcome).filter((one): one is AuditOutcome => typeof one === "number");
  const labels = outcomes.filter((one) => one !== AuditOutcome.UNSPECIFIED).map((one) => outcomeLook(one).label);
  assert.equal(new Set(labels).size, labels.length);
});

test("a file of JSON lines is what the command line prints", () => {
  const line = fileLines("jsonl", [entry(0, { details: { b: "2", a: "1" } })]);
  assert.equal(
    line,
    '{"id":"0","at":"1970-01-01T00:00:00.000Z","act":"put-pool","user":"ada","via":null,"from":null,' +
      '"object":"pool:demo","outcome":"ok","reason":null,"details":{"a":"1","b":"2"}}\n',
  );
});

test("hostile names are no formulas and no columns", () => {
  assert.equal(csvRow(['=cmd()', 'a,"b"\n', "plain", "-1"]), `'=cmd(),"a,""b""\n",plain,'-1\r\n`);
  assert.match(fileHead("csv"), /^id,at,act/);
  assert.match(fileLines("csv", [entry(1, { user: "@x", details: { why: "a,b" } })]), /,'@x,.*,"why=a,b"\r\n$/);
});
